// vtable patching: what the replaced `eval_cpu` of MLX's own classes does (`vtable_hook*.cpp`).
//
// It asks the CPU backend whether it has a kernel for these inputs, and calls what was there before when it has none.
#ifndef MLX_NATIVE_HOOK_H
#define MLX_NATIVE_HOOK_H

#include "cpu.h"
#include "vtable.h"

namespace hooks {

namespace mx = mlx::core;

using vtable::EvalCpu;

// Whether every element of the result is made of those in its place, whether the result starts as the first input, or
// neither.
enum class Kind { Plain, Elementwise, Update };

// Whether all inputs have the same dense layout, and not that of row-major order: then so can the result.
inline bool have_same_order(const Arrays& inputs, const mx::array& out) {
  auto& first = inputs[0];
  if (!first.flags().contiguous || first.flags().row_contiguous) {
    return false;
  }
  for (auto& x : inputs) {
    if (x.shape() != out.shape() || x.strides() != first.strides() || !x.flags().contiguous ||
        x.data_size() != first.data_size()) {
      return false;
    }
  }
  return true;
}

// Whether the result may be written over an input: nothing else needs that, and it is in row-major order.
inline bool may_write_over(const mx::array& x, const mx::array& out) {
  bool in_rows = x.flags().row_contiguous && x.data_size() == x.size();
  return in_rows && x.is_donatable() && x.nbytes() == out.nbytes();
}

// The input that the result is written over, or -1: of an update the first, of an elementwise operation any that has the
// same dtype.
template <Kind kind>
int donated_input(const Arrays& inputs, const mx::array& out) {
  if (kind == Kind::Update) {
    return may_write_over(inputs[0], out) ? 0 : -1;
  }
  if (kind == Kind::Elementwise && out.dtype() != mx::bool_) {
    for (size_t i = 0; i < inputs.size(); i++) {
      if (inputs[i].dtype() == out.dtype() && may_write_over(inputs[i], out)) {
        return static_cast<int>(i);
      }
    }
  }
  return -1;
}

// Gives the output the memory of an input, which the kernel then does not see.
inline void take_over(const Arrays& inputs, Arrays& outputs, Buffers& buffers, int donated) {
  auto& out = outputs[0];
  out.copy_shared_buffer(inputs[donated]);
  buffers.outputs[0].data = out.data<void>();
  buffers.inputs[donated].data = nullptr;
  buffers.inputs[donated].size = 0;
}

// Runs the kernel of an operation on these inputs. Returns false when there is none; then nothing has been done.
//
// `donated` is asked of `donated_input` before the list of inputs is copied: a copy holds them.
template <Kind kind>
bool try_kernel(const CpuOp& op, mx::Primitive* self, const Arrays& inputs, Arrays& outputs, int donated) {
  auto buffers = std::make_shared<Buffers>(inputs, outputs);
  auto& out = outputs[0];
  bool keeps_order = kind == Kind::Elementwise && have_same_order(inputs, out);
  auto& x = inputs[0];
  if (keeps_order) {
    buffers->flatten(x.data_size());
  }
  if (!supports(op, *buffers)) {
    return false;
  }
  if (keeps_order) {
    out.set_data(mx::allocator::malloc(x.data_size() * out.itemsize()), x.data_size(), x.strides(), x.flags());
    buffers->outputs[0].data = out.data<void>();
  } else if (donated >= 0) {
    take_over(inputs, outputs, *buffers, donated);
  } else {
    allocate(outputs, *buffers);
  }
  run_kernel(op, inputs, outputs, std::move(buffers), self->stream());
  return true;
}

// How a class of MLX's reads: the operation that a primitive of it is; no bytes when it is none of the table's.
template <class Class>
using ToOp = ops::Bytes (*)(const Class&);

// One patched class.
template <class Class, ToOp<Class> to_op, Kind kind>
struct Hook {
  static inline EvalCpu original_eval_cpu = nullptr;

  static void eval_cpu(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    CpuOp op{to_op(static_cast<const Class&>(*self))};
    int donated = donated_input<kind>(inputs, outputs[0]);
    if (op.bytes.empty() || !try_kernel<kind>(op, self, inputs, outputs, donated)) {
      original_eval_cpu(self, inputs, outputs);
    }
  }
};

// The same for a class whose operation takes its inputs in another order, or is known only with its inputs: `read` returns
// the operation and may reorder.
template <class Class, ops::Bytes (*read)(const Class&, Arrays& inputs, const mx::array& out), Kind kind>
struct HookWithInputs {
  static inline EvalCpu original_eval_cpu = nullptr;

  static void eval_cpu(mx::Primitive* self, const Arrays& given, Arrays& outputs) {
    if (!run(self, given, outputs)) {
      original_eval_cpu(self, given, outputs);
    }
  }

 private:
  static bool run(mx::Primitive* self, const Arrays& given, Arrays& outputs) {
    int donated = kind == Kind::Update ? donated_input<kind>(given, outputs[0]) : -1;
    auto inputs = given;
    CpuOp op{read(static_cast<const Class&>(*self), inputs, outputs[0])};
    return !op.bytes.empty() && try_kernel<kind>(op, self, inputs, outputs, donated);
  }
};

// Of a class without attributes.
template <class Class, class Op>
ops::Bytes plain(const Class&) {
  return ops::encode(Op{});
}

template <class List>
std::vector<int32_t> list(const List& values) {
  return {values.begin(), values.end()};
}

#if defined(__linux__)

// Patches the class of `sample`'s primitive, which must have this name.
template <class Class, ToOp<Class> to_op, Kind kind = Kind::Plain>
int hook(const mx::array& sample, const char* name) {
  using Here = Hook<Class, to_op, kind>;
  return vtable::hook_eval_cpu(sample, name, &Here::eval_cpu, Here::original_eval_cpu);
}

template <class Class, ops::Bytes (*read)(const Class&, Arrays&, const mx::array&), Kind kind = Kind::Plain>
int hook_with_inputs(const mx::array& sample, const char* name) {
  using Here = HookWithInputs<Class, read, kind>;
  return vtable::hook_eval_cpu(sample, name, &Here::eval_cpu, Here::original_eval_cpu);
}

// The same for an elementwise class without attributes.
template <class Class, class Op>
int hook_elementwise(const mx::array& sample, const char* name) {
  return hook<Class, plain<Class, Op>, Kind::Elementwise>(sample, name);
}

#endif

// Patches the classes that compute with numbers, those that move, find and order them, and factorizations; returns how many.
int hook_arithmetic(const mx::Stream& s);
int hook_data(const mx::Stream& s);
int hook_linalg(const mx::Stream& s);

} // namespace hooks

#endif

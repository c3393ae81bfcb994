// A function over raw slices as an MLX primitive on the CPU: what metal_kernel and cuda_kernel are to GPUs.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "guard.h"
#include "owners.h"
#include "run.h"
#include "vmap.h"
#include "mlx/c/private/mlx.h"
#include "mlx/primitives.h"
#include "mlx/transforms.h"

namespace mx = mlx::core;

// All runs of host kernels and of the CPU backend's kernels.
std::atomic<uint64_t> mlx_native_runs{0};

namespace {

using Function = std::function<Arrays(const Arrays&)>;

// Counts by name live for the process; a kernel keeps a pointer to its own.
std::atomic<uint64_t>* counter_of(const std::string& name) {
  // Never destroyed: kernels run until the very end of the process.
  static auto* lock = new std::mutex;
  static auto* counters = new std::map<std::string, std::atomic<uint64_t>>;
  std::lock_guard<std::mutex> hold(*lock);
  return &(*counters)[name];
}

struct Kernel {
  mlx_native_kernel run;
  std::shared_ptr<void> payload;
  std::string name;
  std::atomic<uint64_t>* counter;
  uint64_t identity;
  // For each output the input that it starts as, or -1; or nothing at all.
  std::vector<int> origins;
  // Inputs after those that an application is given; or null.
  std::shared_ptr<const Arrays> captured;
};

// How often each array is among these.
std::unordered_map<std::uintptr_t, int> occurrences(const Arrays& arrays) {
  std::unordered_map<std::uintptr_t, int> counts;
  for (auto& array : arrays) {
    counts[array.id()]++;
  }
  return counts;
}

// Whether only these outputs, which are evaluated together, need the memory of their input of this number.
//
// It is array::is_donatable for several outputs: each of them holds the inputs.
bool is_last_use(const mx::array& input, size_t number, const Arrays& outputs) {
  long holders = 0;
  for (auto& output : outputs) {
    auto& held = output.inputs();
    holders += number < held.size() && held[number].id() == input.id();
  }
  // And the list of inputs here. Memory that MLX's allocator does not own may be shared.
  auto& data = input.data_shared_ptr();
  return owners(input) == holders + 1 && data.use_count() == 1 && data->is_owned();
}

// Copies elements in row-major order to contiguous memory.
void copy_rows(const mlx_native_buffer& from, size_t itemsize, char* to) {
  std::vector<int> index(from.ndim, 0);
  auto* source = static_cast<const char*>(from.data);
  for (size_t i = 0; i < from.size; i++, to += itemsize) {
    std::memcpy(to, source, itemsize);
    for (size_t axis = from.ndim; axis-- > 0;) {
      auto step = from.strides[axis] * static_cast<int64_t>(itemsize);
      source += step;
      if (++index[axis] < from.shape[axis]) {
        break;
      }
      source -= step * from.shape[axis];
      index[axis] = 0;
    }
  }
}

// An output that starts as a copy of an input.
struct Start {
  mlx_native_buffer from;
  size_t itemsize;
  bool in_rows;
  char* to;

  void copy() const {
    if (in_rows) {
      std::memcpy(to, from.data, from.size * itemsize);
    } else {
      copy_rows(from, itemsize, to);
    }
  }
};

class HostKernel : public mx::Primitive {
 public:
  HostKernel(mx::Stream stream, Kernel kernel, Function composed)
      : Primitive(stream), kernel_(std::move(kernel)), composed_(std::move(composed)) {}

  void eval_cpu(const Arrays& given, Arrays& outputs) override {
    auto& encoder = mx::cpu::get_command_encoder(stream());
    auto inputs = given;
    if (kernel_.captured) {
      inputs.insert(inputs.end(), kernel_.captured->begin(), kernel_.captured->end());
    }
    auto buffers = std::make_shared<Buffers>(inputs, outputs);
    auto starts = allocate_from(inputs, outputs, *buffers);
    for (auto& input : inputs) {
      encoder.set_input_array(input);
    }
    for (auto& output : outputs) {
      encoder.set_output_array(output);
    }
    encoder.dispatch([kernel = kernel_, buffers, starts = std::move(starts)] {
      for (auto& start : starts) {
        start.copy();
      }
      run_guarded(kernel.name.c_str(), kernel.counter, *buffers, [&] {
        return kernel.run(
            kernel.payload.get(),
            buffers->inputs.data(),
            buffers->inputs.size(),
            buffers->outputs.data(),
            buffers->outputs.size());
      });
    });
  }

  void eval_gpu(const Arrays&, Arrays&) override {
    throw std::runtime_error(kernel_.name + ": a host kernel runs on the CPU only");
  }

  // Derivatives are taken with respect to the asked-for inputs only: others may be of a dtype that has none.
  Arrays vjp(
      const Arrays& primals,
      const Arrays& cotangents,
      const std::vector<int>& argnums,
      const Arrays&) override {
    return mx::vjp(only(needed("a gradient"), primals, argnums), pick(primals, argnums), cotangents).second;
  }

  // `tangents` has one entry for each of `argnums`.
  Arrays jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) override {
    return mx::jvp(only(needed("a tangent"), primals, argnums), pick(primals, argnums), tangents).second;
  }

  std::pair<Arrays, std::vector<int>> vmap(const Arrays& inputs, const std::vector<int>& axes) override {
    auto outputs = vmap_in_front(needed("vmap"), inputs, axes);
    return {outputs, std::vector<int>(outputs.size(), 0)};
  }

  // For shapeless functions: the composed form knows.
  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override {
    std::vector<mx::Shape> shapes;
    for (auto& output : needed("a shapeless function")(inputs)) {
      shapes.push_back(output.shape());
    }
    return shapes;
  }

  const char* name() const override {
    return kernel_.name.c_str();
  }

  bool is_equivalent(const Primitive& other) const override {
    auto* kernel = dynamic_cast<const HostKernel*>(&other);
    return kernel && kernel_.identity != 0 && kernel->kernel_.identity == kernel_.identity;
  }

 private:
  // Allocates the outputs, except those that take over the memory of the input that they start as. The kernel does not
  // see such inputs. Returns what must be copied first.
  std::vector<Start> allocate_from(const Arrays& inputs, Arrays& outputs, Buffers& buffers) const {
    std::vector<Start> starts;
    if (kernel_.origins.empty()) {
      allocate(outputs, buffers);
      return starts;
    }
    auto counts = occurrences(inputs);
    for (size_t i = 0; i < outputs.size(); i++) {
      auto& output = outputs[i];
      int origin = kernel_.origins[i];
      if (origin >= 0) {
        auto& input = inputs[origin];
        bool in_rows = input.flags().row_contiguous && input.data_size() == input.size();
        bool is_last = counts[input.id()] == 1 && is_last_use(input, origin, outputs);
        if (in_rows && input.nbytes() == output.nbytes() && is_last) {
          output.copy_shared_buffer(input);
        } else {
          output.set_data(mx::allocator::malloc(output.nbytes()));
          starts.push_back({buffers.inputs[origin], input.itemsize(), in_rows, output.data<char>()});
        }
      } else {
        output.set_data(mx::allocator::malloc(output.nbytes()));
      }
      buffers.outputs[i].data = output.data<void>();
    }
    for (int origin : kernel_.origins) {
      if (origin >= 0) {
        buffers.inputs[origin].data = nullptr;
        buffers.inputs[origin].size = 0;
      }
    }
    return starts;
  }

  static Arrays pick(const Arrays& all, const std::vector<int>& argnums) {
    Arrays picked;
    for (int i : argnums) {
      picked.push_back(all[i]);
    }
    return picked;
  }

  // `function` of the inputs at `argnums`, the others being those of `primals`.
  static Function only(const Function& function, const Arrays& primals, const std::vector<int>& argnums) {
    return [function, primals, argnums](const Arrays& some) {
      auto all = primals;
      for (size_t i = 0; i < argnums.size(); i++) {
        all[argnums[i]] = some[i];
      }
      return function(all);
    };
  }

  const Function& needed(const char* what) const {
    if (!composed_) {
      throw std::runtime_error(kernel_.name + ": " + what + " needs the composed form, which was not given");
    }
    return composed_;
  }

  Kernel kernel_;
  Function composed_;
};

} // namespace

extern "C" int mlx_native_host_kernel(
    mlx_vector_array* res,
    const char* name,
    const mlx_vector_array inputs,
    const int* shapes,
    const size_t* ndims,
    const mlx_dtype* dtypes,
    size_t n_outputs,
    mlx_native_kernel kernel,
    void* payload,
    void (*dtor)(void*),
    const mlx_closure composed,
    bool row_contiguous,
    const int* origins,
    const mlx_vector_array captured,
    uint64_t identity,
    const mlx_stream s) {
  // Owned from here on, so that it is freed whatever happens.
  std::shared_ptr<void> owned(payload, dtor ? dtor : [](void*) {});
  return guarded(name, [&] {
    auto stream = mlx_stream_get_(s);
    if (stream.device.type != mx::Device::cpu) {
      throw std::runtime_error(std::string(name) + ": a host kernel needs a CPU stream");
    }
    Arrays arrays = mlx_vector_array_get_(inputs);
    if (row_contiguous) {
      for (auto& array : arrays) {
        array = mx::contiguous(array, false, stream);
      }
    }
    std::vector<mx::Shape> out_shapes;
    std::vector<mx::Dtype> out_dtypes;
    for (size_t i = 0; i < n_outputs; i++) {
      out_shapes.emplace_back(shapes, shapes + ndims[i]);
      out_dtypes.push_back(mlx_dtype_to_cpp(dtypes[i]));
      shapes += ndims[i];
    }
    Function function;
    if (composed.ctx) {
      function = mlx_closure_get_(composed);
    }
    std::vector<int> from;
    if (origins) {
      from.assign(origins, origins + n_outputs);
      for (size_t i = 0; i < n_outputs; i++) {
        int origin = from[i];
        bool fits = origin < 0 ||
            (static_cast<size_t>(origin) < arrays.size() && arrays[origin].shape() == out_shapes[i] &&
             arrays[origin].dtype() == out_dtypes[i]);
        if (!fits) {
          throw std::runtime_error("an output must be of the type of the input that it starts as");
        }
      }
    }
    std::shared_ptr<const Arrays> kept;
    if (captured.ctx) {
      kept = std::make_shared<const Arrays>(mlx_vector_array_get_(captured));
    }
    std::string label(name);
    auto* counter = counter_of(label);
    auto primitive = std::make_shared<HostKernel>(
        stream,
        Kernel{kernel, std::move(owned), std::move(label), counter, identity, std::move(from), std::move(kept)},
        std::move(function));
    auto outputs =
        mx::array::make_arrays(std::move(out_shapes), out_dtypes, primitive, arrays);
    mlx_vector_array_set_(*res, outputs);
  });
}

extern "C" uint64_t mlx_native_host_kernel_runs(void) {
  return mlx_native_runs.load(std::memory_order_relaxed);
}

extern "C" uint64_t mlx_native_host_kernel_runs_of(const char* name) {
  return counter_of(name)->load(std::memory_order_relaxed);
}

// The second half of vmap: replaces each operation of a traced function by its vectorized form.
//
// MLX 0.32.2 has it as detail::vmap_replace. Ours hands the vectorized axis to every operation as the first one,
// because Scatter writes out of bounds when it is another: it makes room for the axis in the updates as if it were in
// front (primitives.cpp, Scatter::vmap), and a Gather puts it elsewhere. It repeats an update that is the same for all
// elements, which SliceUpdate would write to the first of them only, and both sides of a bitwise operation, which takes
// the shape of the left one. A factorization goes over the axis as over any other leading one; what MLX has no rule
// for is computed element by element. Ranks gather and scatter along the first axis of each element. And it does not call itself, so that a long graph does not overflow the stack.
#include "vmap.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "guard.h"
#include "mlx/c/private/mlx.h"
#include "mlx/distributed/ops.h"
#include "mlx/distributed/primitives.h"
#include "mlx/primitives.h"
#include "mlx/transforms.h"
#include "mlx/transforms_impl.h"

namespace mx = mlx::core;

namespace {

using Arrays = std::vector<mx::array>;
using Axes = std::vector<int>;

mx::StreamOrDevice stream_of(const mx::array& array) {
  return array.has_primitive() ? mx::StreamOrDevice(array.primitive().stream()) : mx::StreamOrDevice{};
}

mx::array in_front(const mx::array& array, int axis, mx::StreamOrDevice stream) {
  return axis > 0 ? mx::moveaxis(array, axis, 0, stream) : array;
}

mx::array repeated(const mx::array& array, int size, int axis, mx::StreamOrDevice stream) {
  return mx::repeat(mx::expand_dims(array, axis, stream), size, axis, stream);
}

// Whether a primitive is of this kind, with or without a reduction: "Scatter", "Scatter Sum".
bool is_a(const mx::Primitive& primitive, const char* kind) {
  auto length = std::strlen(kind);
  auto name = primitive.name();
  return std::strncmp(name, kind, length) == 0 && (name[length] == 0 || name[length] == ' ');
}

bool is_one_of(const mx::Primitive& primitive, std::initializer_list<const char*> kinds) {
  return std::any_of(kinds.begin(), kinds.end(), [&](auto kind) { return is_a(primitive, kind); });
}

// What an operation depends on. A function with rules of its own also holds the outputs it gave, which are made anew.
size_t dependencies(const mx::array& array) {
  bool holds = array.has_primitive() && is_a(array.primitive(), "CustomTransforms");
  auto held = holds ? array.outputs().size() : 0;
  return array.inputs().size() - held;
}

// The types of the outputs of an operation, with an axis of this size in front unless it is negative.
std::pair<std::vector<mx::Shape>, std::vector<mx::Dtype>> output_types(const Arrays& outputs, int size) {
  std::vector<mx::Shape> shapes;
  std::vector<mx::Dtype> dtypes;
  for (auto& output : outputs) {
    auto shape = output.shape();
    if (size >= 0) {
      shape.insert(shape.begin(), size);
    }
    shapes.push_back(std::move(shape));
    dtypes.push_back(output.dtype());
  }
  return {std::move(shapes), std::move(dtypes)};
}

// An operation on matrices, for which the axis in front is one more of its leading ones. MLX's own rules have none for
// LU and QR, and turn the inverse of a triangular matrix into that of a full one.
Arrays batched(const mx::array& array, const Arrays& v_inputs, int size) {
  auto [shapes, dtypes] = output_types(array.outputs(), size);
  return mx::array::make_arrays(std::move(shapes), dtypes, array.primitive_ptr(), v_inputs);
}

// An operation that has no rule: of each element by itself.
Arrays one_by_one(const mx::array& array, const Arrays& v_inputs, const Axes& v_axes, int size) {
  auto stream = array.primitive().stream();
  auto [shapes, dtypes] = output_types(array.outputs(), -1);
  std::vector<Arrays> parts(shapes.size());
  for (int i = 0; i < size; ++i) {
    Arrays inputs;
    for (size_t k = 0; k < v_inputs.size(); ++k) {
      // Some operations read their inputs as if they were in row-major order.
      inputs.push_back(
          v_axes[k] < 0 ? v_inputs[k]
                        : mx::contiguous(mx::take(v_inputs[k], i, 0, stream), false, stream));
    }
    auto outputs = mx::array::make_arrays(shapes, dtypes, array.primitive_ptr(), inputs);
    for (size_t k = 0; k < outputs.size(); ++k) {
      parts[k].push_back(outputs[k]);
    }
  }
  Arrays results;
  for (size_t k = 0; k < parts.size(); ++k) {
    if (size > 0) {
      results.push_back(mx::stack(parts[k], 0, stream));
    } else {
      auto shape = shapes[k];
      shape.insert(shape.begin(), 0);
      results.push_back(mx::zeros(shape, dtypes[k], stream));
    }
  }
  return results;
}

// The operations that depend on `mapped`, each after those it needs.
Arrays tape_of(const Arrays& s_inputs, const Arrays& s_outputs, std::unordered_set<std::uintptr_t> mapped) {
  std::unordered_set<std::uintptr_t> seen;
  for (auto& input : s_inputs) {
    seen.insert(input.id());
  }
  auto enter = [&](const mx::array& array) {
    bool is_new = seen.insert(array.id()).second;
    for (auto& sibling : array.siblings()) {
      seen.insert(sibling.id());
    }
    return is_new;
  };
  Arrays tape;
  std::vector<std::pair<mx::array, size_t>> path;
  for (auto& output : s_outputs) {
    if (output.has_primitive() && enter(output)) {
      path.emplace_back(output, 0);
    }
    while (!path.empty()) {
      auto& [array, next] = path.back();
      if (next < dependencies(array)) {
        mx::array input = array.inputs()[next++];
        if (enter(input)) {
          path.emplace_back(std::move(input), 0);
        }
        continue;
      }
      mx::array done = std::move(array);
      path.pop_back();
      for (size_t i = 0; i < dependencies(done); ++i) {
        if (mapped.count(done.inputs()[i].id())) {
          done.set_tracer(false);
          mapped.insert(done.id());
          for (auto sibling : done.siblings()) {
            sibling.set_tracer(false);
            mapped.insert(sibling.id());
          }
          tape.push_back(done);
          break;
        }
      }
    }
  }
  return tape;
}

// What is communicated along the first axis of each element, which MLX takes for the vectorized one.
std::pair<Arrays, Axes> along_rows(mx::Primitive& primitive, const mx::array& x, bool gathers) {
  auto& group = static_cast<mx::distributed::DistPrimitive&>(primitive).group();
  auto s = primitive.stream();
  auto rows = x.ndim() == 1 ? mx::expand_dims(x, 0, s) : mx::moveaxis(x, 0, -1, s);
  auto out = gathers ? mx::distributed::all_gather(rows, group, s) : mx::distributed::sum_scatter(rows, group, s);
  return {{out}, {static_cast<int>(out.ndim()) - 1}};
}

// An operation on these inputs, and the axis of each output.
std::pair<Arrays, Axes> vectorize(const mx::array& array, const Arrays& v_inputs, const Axes& v_axes, int size) {
  auto& primitive = array.primitive();
  if (is_one_of(primitive, {"Inverse", "Cholesky", "LUF", "QRF", "SVD", "Eigh", "Eig"})) {
    return {batched(array, v_inputs, size), {0}};
  }
  // These have no rule, or one that only says so.
  if (is_one_of(primitive, {"AsStrided", "BlockMaskedMM", "GatherMM", "SegmentedMM", "QuantizedMatmul", "GatherQMM"})) {
    return {one_by_one(array, v_inputs, v_axes, size), {0}};
  }
  bool gathers = is_a(primitive, "AllGather");
  if (gathers || is_a(primitive, "Sum ReduceScatter")) {
    return along_rows(primitive, v_inputs[0], gathers);
  }
  return primitive.vmap(v_inputs, v_axes);
}

Arrays replace(
    const Arrays& inputs,
    const Arrays& s_inputs,
    const Arrays& s_outputs,
    const Axes& in_axes,
    const Axes& out_axes) {
  if (in_axes.size() != inputs.size() || s_inputs.size() != inputs.size() || out_axes.size() != s_outputs.size()) {
    throw std::invalid_argument("[vmap] wanted an axis for each input and output.");
  }
  int size = -1;
  std::unordered_map<std::uintptr_t, mx::array> vectorized;
  std::unordered_set<std::uintptr_t> mapped;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (in_axes[i] >= 0) {
      mx::array traced = s_inputs[i];
      traced.set_tracer(false);
      size = inputs[i].shape(in_axes[i]);
      mapped.insert(traced.id());
      vectorized.insert({traced.id(), in_front(inputs[i], in_axes[i], stream_of(inputs[i]))});
    }
  }
  if (size < 0) {
    throw std::invalid_argument("[vmap] wanted an axis of at least one input, got none.");
  }
  for (auto& array : tape_of(s_inputs, s_outputs, std::move(mapped))) {
    Arrays v_inputs;
    Axes v_axes;
    for (auto& input : array.inputs()) {
      auto found = vectorized.find(input.id());
      v_inputs.push_back(found == vectorized.end() ? input : found->second);
      v_axes.push_back(found == vectorized.end() ? -1 : 0);
    }
    auto& primitive = array.primitive();
    if (is_a(primitive, "Scatter") && v_inputs.size() < 3) {
      throw std::invalid_argument("[vmap] a scatter without indices cannot be vectorized.");
    }
    auto repeat_input = [&](size_t i) {
      if (v_axes[i] < 0) {
        v_inputs[i] = repeated(v_inputs[i], size, 0, primitive.stream());
        v_axes[i] = 0;
      }
    };
    if (is_one_of(primitive, {"SliceUpdate", "DynamicSliceUpdate"})) {
      repeat_input(1);
    } else if (is_one_of(primitive, {"BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift"})) {
      repeat_input(0);
      repeat_input(1);
    } else if (is_a(primitive, "AddMM") && v_axes[0] < 0 && v_axes[1] < 0) {
      // A product without the axis has the shape of the result without it.
      repeat_input(0);
    }
    auto [v_outputs, v_out_axes] = vectorize(array, v_inputs, v_axes, size);
    auto outputs = array.outputs();
    for (size_t i = 0; i < v_outputs.size() && i < outputs.size(); ++i) {
      auto& out = v_outputs[i];
      // DivMod gives one axis for both of its outputs.
      auto axis = v_out_axes[std::min(i, v_out_axes.size() - 1)];
      // An operation may find that an output does not depend on the axis.
      auto front = axis < 0 ? repeated(out, size, 0, primitive.stream()) : in_front(out, axis, primitive.stream());
      vectorized.insert({outputs[i].id(), std::move(front)});
    }
  }
  Arrays results;
  for (size_t i = 0; i < s_outputs.size(); ++i) {
    auto found = vectorized.find(s_outputs[i].id());
    auto stream = stream_of(s_outputs[i]);
    if (found == vectorized.end()) {
      results.push_back(repeated(s_outputs[i], size, out_axes[i], stream));
    } else if (out_axes[i] == 0) {
      results.push_back(found->second);
    } else {
      results.push_back(mx::moveaxis(found->second, 0, out_axes[i], stream));
    }
  }
  return results;
}

} // namespace

std::vector<mx::array> vmap_in_front(const ArraysFunction& function, const Arrays& inputs, const Axes& in_axes) {
  auto [s_inputs, s_outputs] = mx::detail::vmap_trace(function, inputs, in_axes);
  return replace(inputs, s_inputs, s_outputs, in_axes, Axes(s_outputs.size(), 0));
}

namespace {

// What vmap makes of a function with a gradient of its own: the function, vectorized.
auto vectorized_by_us(const ArraysFunction& function) {
  return [function](const Arrays& inputs, const Axes& axes) {
    auto outputs = vmap_in_front(function, inputs, axes);
    return std::pair(outputs, Axes(outputs.size(), 0));
  };
}

} // namespace

extern "C" int mlx_native_checkpoint(mlx_closure* res, const mlx_closure fun) {
  return guarded("checkpoint", [&] {
    ArraysFunction function = mlx_closure_get_(fun);
    auto vjp = [function](const Arrays& primals, const Arrays& cotangents, const Arrays& outputs) {
      return mx::vjp(function, mx::depends(primals, outputs), cotangents).second;
    };
    mlx_closure_set_(*res, mx::custom_function(function, vjp, std::nullopt, vectorized_by_us(function)));
  });
}

extern "C" int mlx_native_vmap_replace(
    mlx_vector_array* res,
    const mlx_vector_array inputs,
    const mlx_vector_array s_inputs,
    const mlx_vector_array s_outputs,
    const int* in_axes,
    size_t in_axes_num,
    const int* out_axes,
    size_t out_axes_num) {
  return guarded("vmap", [&] {
    mlx_vector_array_set_(
        *res,
        replace(
            mlx_vector_array_get_(inputs),
            mlx_vector_array_get_(s_inputs),
            mlx_vector_array_get_(s_outputs),
            Axes(in_axes, in_axes + in_axes_num),
            Axes(out_axes, out_axes + out_axes_num)));
  });
}

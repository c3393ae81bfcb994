// The second half of vmap: replaces each operation of a traced function by its vectorized form.
//
// MLX 0.32.2 has it as detail::vmap_replace. Ours hands the vectorized axis to every operation as the first one,
// because Scatter writes out of bounds when it is another: it makes room for the axis in the updates as if it were in
// front (primitives.cpp, Scatter::vmap), and a Gather puts it elsewhere. It repeats an update that is the same for all
// elements, which SliceUpdate would write to the first of them only. And it does not call itself, so that a long graph
// does not overflow the stack.
#include "vmap.h"

#include <cstring>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "guard.h"
#include "mlx/c/private/mlx.h"
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
      if (next < array.inputs().size()) {
        mx::array input = array.inputs()[next++];
        if (enter(input)) {
          path.emplace_back(std::move(input), 0);
        }
        continue;
      }
      mx::array done = std::move(array);
      path.pop_back();
      for (auto& input : done.inputs()) {
        if (mapped.count(input.id())) {
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
    if ((is_a(primitive, "SliceUpdate") || is_a(primitive, "DynamicSliceUpdate")) && v_axes[1] < 0) {
      v_inputs[1] = repeated(v_inputs[1], size, 0, primitive.stream());
      v_axes[1] = 0;
    }
    auto [v_outputs, v_out_axes] = primitive.vmap(v_inputs, v_axes);
    auto outputs = array.outputs();
    for (size_t i = 0; i < v_outputs.size() && i < outputs.size(); ++i) {
      auto& out = v_outputs[i];
      // An operation may find that an output does not depend on the axis.
      auto front = v_out_axes[i] < 0 ? repeated(out, size, 0, primitive.stream())
                                     : in_front(out, v_out_axes[i], primitive.stream());
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

extern "C" int mlx_native_custom_vjp(mlx_closure* res, const mlx_closure fun, const mlx_closure_custom fun_vjp) {
  return guarded("custom_vjp", [&] {
    ArraysFunction function = mlx_closure_get_(fun);
    auto vjp = mlx_closure_custom_get_(fun_vjp);
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

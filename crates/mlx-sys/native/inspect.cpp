// What can be seen of a graph and of data without running anything.
#include <unordered_set>
#include <vector>

#include "guard.h"
#include "mlx/c/private/mlx.h"
#include "mlx/primitives.h"

namespace mx = mlx::core;

extern "C" int mlx_native_primitive_name(mlx_string* res, const mlx_array a) {
  return guarded("primitive_name", [&] {
    auto& array = mlx_array_get_(a);
    mlx_string_set_(*res, std::string(array.has_primitive() ? array.primitive().name() : ""));
  });
}

extern "C" int mlx_native_graph_size(size_t* res, const mlx_array a) {
  return guarded("graph_size", [&] {
    std::unordered_set<std::uintptr_t> seen;
    std::vector<mx::array> todo{mlx_array_get_(a)};
    while (!todo.empty()) {
      auto array = todo.back();
      todo.pop_back();
      if (array.has_primitive() && seen.insert(array.id()).second) {
        todo.insert(todo.end(), array.inputs().begin(), array.inputs().end());
      }
    }
    *res = seen.size();
  });
}

extern "C" int mlx_native_is_tracer(bool* res, const mlx_array a) {
  return guarded("is_tracer", [&] { *res = mlx_array_get_(a).is_tracer(); });
}

extern "C" const void* mlx_native_data(const mlx_array a) {
  const void* data = nullptr;
  guarded("data", [&] {
    auto& array = mlx_array_get_(a);
    if (!array.is_available()) {
      throw std::runtime_error("the array is not evaluated");
    }
    data = array.data<void>();
  });
  return data;
}

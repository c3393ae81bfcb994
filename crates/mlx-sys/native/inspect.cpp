// What can be seen of a graph and of data without running anything.
#include <unordered_set>
#include <utility>
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

namespace {

// The arguments of the functions being transformed on this thread, the innermost last.
thread_local std::vector<std::vector<mx::array>> arguments;
// Arguments and outputs of functions that have ended inside another that has not.
thread_local std::vector<mx::array> ended;

// Marks each array that depends on an argument. It does not call itself: graphs are deep.
void mark(std::vector<mx::array> roots) {
  std::unordered_set<std::uintptr_t> seen;
  std::unordered_set<std::uintptr_t> marked;
  std::vector<std::pair<mx::array, size_t>> path;
  for (auto& level : arguments) {
    for (auto& argument : level) {
      marked.insert(argument.id());
      roots.push_back(argument);
    }
  }
  for (auto& root : roots) {
    if (seen.insert(root.id()).second) {
      path.emplace_back(root, 0);
    }
    while (!path.empty()) {
      auto& [array, next] = path.back();
      if (next < array.inputs().size()) {
        mx::array input = array.inputs()[next++];
        if (seen.insert(input.id()).second) {
          path.emplace_back(std::move(input), 0);
        }
        continue;
      }
      mx::array done = std::move(array);
      path.pop_back();
      bool depends = marked.count(done.id()) > 0;
      for (auto& input : done.inputs()) {
        depends |= input.is_tracer();
      }
      if (depends) {
        done.set_tracer(true);
        for (auto sibling : done.siblings()) {
          sibling.set_tracer(true);
        }
      }
    }
  }
}

} // namespace

extern "C" int mlx_native_transform_begin(const mlx_vector_array args) {
  return guarded("transform_begin", [&] { arguments.push_back(mlx_vector_array_get_(args)); });
}

extern "C" int mlx_native_transform_end(const mlx_vector_array outputs) {
  return guarded("transform_end", [&] {
    auto level = std::move(arguments.back());
    arguments.pop_back();
    if (arguments.empty()) {
      return;
    }
    ended.insert(ended.end(), level.begin(), level.end());
    if (outputs.ctx) {
      auto& given = mlx_vector_array_get_(outputs);
      ended.insert(ended.end(), given.begin(), given.end());
    }
  });
}

extern "C" int mlx_native_transform_resume(const mlx_vector_array results) {
  return guarded("transform_resume", [&] {
    auto roots = std::move(ended);
    ended.clear();
    if (arguments.empty()) {
      return;
    }
    if (results.ctx) {
      auto& given = mlx_vector_array_get_(results);
      roots.insert(roots.end(), given.begin(), given.end());
    }
    mark(std::move(roots));
  });
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

// Functions written to files, with inputs that have names: mlx-c's exporter drops these when it calls the function.
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "guard.h"
#include "mlx/c/private/mlx.h"

namespace mx = mlx::core;

extern "C" int mlx_native_function_exporter(
    mlx_function_exporter* res,
    const char* file,
    const mlx_closure fun,
    bool shapeless) {
  return guarded("function_exporter", [&] {
    auto flat = mlx_closure_get_(fun);
    auto with_names = [flat](const mx::Args& args, const mx::Kwargs& named) {
      auto inputs = args;
      for (auto& [name, input] : std::map<std::string, mx::array>(named.begin(), named.end())) {
        inputs.push_back(input);
      }
      return flat(inputs);
    };
    *res = mlx_function_exporter_new_(mx::exporter(file, with_names, shapeless));
  });
}

extern "C" int mlx_native_function_exporter_apply(
    const mlx_function_exporter exporter,
    const mlx_vector_array inputs,
    const char* const* names,
    size_t count) {
  return guarded("function_exporter_apply", [&] {
    auto args = mlx_vector_array_get_(inputs);
    mx::Kwargs named;
    auto first = args.end() - count;
    for (size_t i = 0; i < count; i++) {
      named.insert({names[i], first[i]});
    }
    args.erase(first, args.end());
    mlx_function_exporter_get_(exporter)(args, named);
  });
}

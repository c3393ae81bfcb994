// Which versions were compiled together, and numbers that are unique in the process.
#include <atomic>

#include "mlx/version.h"
#include "mlx_native.h"

#define MLX_NATIVE_TEXT_(x) #x
#define MLX_NATIVE_TEXT(x) MLX_NATIVE_TEXT_(x)

extern "C" const char* mlx_native_compiled_mlx_version(void) {
  return MLX_NATIVE_TEXT(MLX_VERSION_MAJOR) "." MLX_NATIVE_TEXT(MLX_VERSION_MINOR) "." MLX_NATIVE_TEXT(
      MLX_VERSION_PATCH);
}

extern "C" const char* mlx_native_compiled_mlxc_version(void) {
  return MLX_NATIVE_MLXC_VERSION;
}

extern "C" int mlx_native_version(void) {
  return MLX_NATIVE_VERSION;
}

extern "C" uint64_t mlx_native_next_id(void) {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

extern "C" bool mlx_native_first(void) {
  static std::atomic<bool> done{false};
  return !done.exchange(true);
}

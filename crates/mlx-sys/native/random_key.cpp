// The default random key of each thread, and where a function that is being traced takes its keys from.
#include "mlx_native.h"

namespace {

struct Key {
  uint64_t value = 0;
  bool is_set = false;
};

thread_local Key key;
thread_local void* source = nullptr;

} // namespace

extern "C" bool mlx_native_random_key(uint64_t* out) {
  *out = key.value;
  return key.is_set;
}

extern "C" void mlx_native_random_key_set(uint64_t value) {
  key = {value, true};
}

extern "C" void* mlx_native_key_source(void) {
  return source;
}

extern "C" void* mlx_native_key_source_swap(void* next) {
  auto* before = source;
  source = next;
  return before;
}

// How the functions here turn exceptions into a status and the thread's error text.
#ifndef MLX_NATIVE_GUARD_H
#define MLX_NATIVE_GUARD_H

#include <exception>
#include <string>

#include "mlx_native.h"

template <class Work>
int guarded(const char* name, Work&& work) noexcept {
  try {
    work();
    return 0;
  } catch (const std::exception& e) {
    mlx_native_error_set(e.what());
  } catch (...) {
    mlx_native_error_set((std::string(name) + ": an exception of an unknown type").c_str());
  }
  return 1;
}

#endif

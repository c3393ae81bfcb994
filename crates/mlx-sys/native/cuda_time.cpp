// Moments on the GPU's own clock: events of CUDA's on the stream of the calling thread.
#include <stdexcept>
#include <string>

#include "guard.h"
#include "mlx/stream.h"
#include "mlx_native.h"

#ifdef __linux__

#include <dlfcn.h>

#include "cuda.h"
#include "cuda_graph.h"

namespace {

using Event = void*;

struct Driver {
  int (*create)(Event* event, unsigned flags);
  int (*record)(Event event, void* stream);
  int (*wait)(Event event);
  int (*elapsed)(float* milliseconds, Event start, Event end);
  int (*destroy)(Event event);

  static const Driver* get() {
    static Driver driver;
    static const bool is_whole = [] {
      auto* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
      auto find = [&](const char* name, auto& function) {
        function = library ? reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name)) : nullptr;
        return function != nullptr;
      };
      return find("cuEventCreate", driver.create) && find("cuEventRecord", driver.record) &&
          find("cuEventSynchronize", driver.wait) && find("cuEventElapsedTime", driver.elapsed) &&
          find("cuEventDestroy_v2", driver.destroy);
    }();
    return is_whole ? &driver : nullptr;
  }
};

void check(int status, const char* what) {
  if (status != 0) {
    throw std::runtime_error(std::string("CUDA events: ") + what + " failed with the driver's status " + std::to_string(status));
  }
}

} // namespace

extern "C" int mlx_native_gpu_moment(void** moment) {
  *moment = nullptr;
  return guarded("gpu_moment", [&] {
    if (!cuda::can_record() || !Driver::get()) {
      return;
    }
    auto held = keep_recordings_out();
    auto stream = mlx::core::default_stream(mlx::core::Device::gpu);
    cuda::commit(stream);
    Event event = nullptr;
    check(Driver::get()->create(&event, 0), "making one");
    *moment = event;
    check(Driver::get()->record(event, cuda::driver_stream(stream)), "recording one");
  });
}

extern "C" int mlx_native_gpu_time_between(double* microseconds, void* start, void* end) {
  return guarded("gpu_time_between", [&] {
    check(Driver::get()->wait(end), "waiting for one");
    float milliseconds = 0;
    check(Driver::get()->elapsed(&milliseconds, start, end), "comparing two");
    *microseconds = milliseconds * 1e3;
  });
}

extern "C" void mlx_native_gpu_moment_free(void* moment) {
  if (moment) {
    Driver::get()->destroy(moment);
  }
}

#else

extern "C" int mlx_native_gpu_moment(void** moment) {
  *moment = nullptr;
  return 0;
}

extern "C" int mlx_native_gpu_time_between(double*, void*, void*) {
  return guarded("gpu_time_between", [] { throw std::runtime_error("CUDA is on Linux only"); });
}

extern "C" void mlx_native_gpu_moment_free(void*) {}

#endif

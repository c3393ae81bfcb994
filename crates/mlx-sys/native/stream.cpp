// The stream that this thread's operations go to.
#include <vector>

#include "cuda.h"
#include "guard.h"
#include "mlx/c/private/mlx.h"
#include "thread.h"

namespace mx = mlx::core;

namespace {

struct Streams {
  std::vector<mx::Stream> scopes;
  // The default stream, empty or one: a thread keeps its default streams until it ends.
  std::vector<mx::Stream> fallback;
};

Streams& streams() {
  thread_local Streams streams;
  return streams;
}

void use(const mx::Stream& s) {
  if (s.device == mx::Device::gpu) {
    hook_cuda_evaluations();
  }
  stream_is_used(s);
}

} // namespace

void make_scopes() {
  streams();
}

extern "C" mlx_stream mlx_native_stream(void) {
  auto& own = streams();
  if (!own.scopes.empty()) {
    return mlx_stream{&own.scopes.back()};
  }
  if (own.fallback.empty() || own.fallback.back().device != mx::default_device()) {
    own.fallback.clear();
    guarded("default stream", [&] {
      own.fallback.push_back(mx::default_stream(mx::default_device()));
      use(own.fallback.back());
    });
  }
  return mlx_stream{own.fallback.empty() ? nullptr : &own.fallback.back()};
}

extern "C" int mlx_native_eval(const mlx_vector_array outputs) {
  return guarded("eval", [&] {
    Waits waits;
    mx::eval(mlx_vector_array_get_(outputs));
    check_captures();
  });
}

extern "C" int mlx_native_synchronize(const mlx_stream s) {
  return guarded("synchronize", [&] {
    Waits waits;
    mx::synchronize(mlx_stream_get_(s));
    check_captures();
  });
}

extern "C" int mlx_native_stream_new(mlx_stream* res, const mlx_device device) {
  return guarded("stream_new", [&] { mlx_stream_set_(*res, new_stream_of_thread(mlx_device_get_(device))); });
}

extern "C" int mlx_native_stream_push(const mlx_stream s) {
  return guarded("stream_push", [&] {
    streams().scopes.push_back(mlx_stream_get_(s));
    use(streams().scopes.back());
  });
}

extern "C" void mlx_native_stream_pop(void) {
  if (!streams().scopes.empty()) {
    streams().scopes.pop_back();
  }
}

extern "C" bool mlx_native_stream_is_gpu(const mlx_stream s) {
  return s.ctx && static_cast<mx::Stream*>(s.ctx)->device.type == mx::Device::gpu;
}

// Lets threads use CPU streams that others have made and no longer use. MLX knows the streams of a thread by a table of the
// thread that only `new_stream` writes to; libmlx calls its `get_command_encoder` through its symbol table, so that the
// definition here is the one that is called. It knows the streams that were given to a thread; the original knows the rest.
#include "streams.h"

#include <dlfcn.h>

#include <stdexcept>

namespace mx = mlx::core;

namespace {

// The first of this thread's streams. Without a destructor: others run until the very end of a thread.
thread_local PooledStream* first = nullptr;

mx::cpu::CommandEncoder& original(mx::Stream stream) {
  using Get = mx::cpu::CommandEncoder& (*)(mx::Stream);
  static auto get = [] {
    void* mlx = dlopen("libmlx.so", RTLD_LAZY | RTLD_NOLOAD);
    return reinterpret_cast<Get>(mlx ? dlsym(mlx, "_ZN3mlx4core3cpu19get_command_encoderENS0_6StreamE") : nullptr);
  }();
  if (!get) {
    throw std::runtime_error("libmlx has no streams of threads");
  }
  return get(stream);
}

} // namespace

extern "C" void mlx_guard_own_stream(PooledStream* stream) {
  stream->next = first;
  first = stream;
}

extern "C" void mlx_guard_disown_streams() {
  first = nullptr;
}

namespace mlx::core::cpu {

CommandEncoder& get_command_encoder(Stream stream) {
  for (auto* own = first; own; own = own->next) {
    if (own->stream.index == stream.index) {
      return *own->encoder;
    }
  }
  return original(stream);
}

} // namespace mlx::core::cpu

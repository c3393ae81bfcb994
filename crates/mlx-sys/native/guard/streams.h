// How a CPU stream passes from a thread that has ended to the next.
#ifndef MLX_GUARD_STREAMS_H
#define MLX_GUARD_STREAMS_H

#include "mlx/stream.h"

namespace mlx::core::cpu {
struct CommandEncoder;
}

// A stream that belongs to one thread at a time.
struct PooledStream {
  mlx::core::Stream stream;
  mlx::core::cpu::CommandEncoder* encoder;
  // Whether anything may have been queued on it.
  bool was_used;
  // Another stream of the same thread.
  PooledStream* next;
};

// Gives a stream to this thread. Looked up by name: only there where libmlxguard is loaded.
extern "C" void mlx_guard_own_stream(PooledStream* stream);
// Takes all streams away that this thread was given.
extern "C" void mlx_guard_disown_streams();

#endif

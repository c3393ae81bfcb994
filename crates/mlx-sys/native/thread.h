// The streams of a thread, which the next thread gets when it ends.
#ifndef MLX_NATIVE_THREAD_H
#define MLX_NATIVE_THREAD_H

#include "mlx/stream.h"

// A stream for this thread, given to another one when this thread has ended, if it is a CPU stream.
mlx::core::Stream new_stream_of_thread(mlx::core::Device device);

// Says that work may go to this stream from now on.
void stream_is_used(const mlx::core::Stream& stream);

// While this is alive the thread waits for what it evaluates, and may run it itself (`guard/scheduler.cpp`).
class Waits {
 public:
  Waits();
  ~Waits();
  Waits(const Waits&) = delete;

 private:
  // Of this thread.
  int* waits_;
};

// While this is alive, what the thread evaluates goes to the streams' own threads all the same.
class WaitsNot {
 public:
  WaitsNot();
  ~WaitsNot();
  WaitsNot(const WaitsNot&) = delete;

 private:
  int before_;
};

// From now on `Waits` has an effect.
void allow_waits();

// Makes factorizations run on streams' own threads, and returns whether that was done.
bool factorize_on_own_thread();

// Makes the storage for scopes of streams.
void make_scopes();

#endif

// Threads that come and go: the streams of one that has ended serve the next, and no thread uses MLX when it cannot.
//
// MLX keeps a thread of its own for each CPU stream until the process ends, and gives each thread of the user a stream.
// So that many short threads do not leave as many behind, CPU streams come from a pool here. A stream goes back to it
// behind everything that was queued on it, so the next owner finds it idle; an error that nobody waited for is dropped.
//
// The storage of a thread is destroyed in the reverse order in which it was made. `Member` is made after all that MLX
// keeps for a thread, so it goes first, and whoever comes later (destructors of values that were made before MLX was
// first used) is refused.
#include "thread.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "guard.h"
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/private/mlx.h"
#include "mlx/compile_impl.h"
#include "mlx/scheduler.h"

namespace mx = mlx::core;

namespace {

// How many CPU streams the pool makes. All are made at once, before any thread uses one: MLX looks streams that any
// thread may use up in a table without a lock, which must not grow meanwhile. A stream without work has no thread.
constexpr int kStreams = 1024;

struct Idle {
  mx::Stream stream;
  bool was_used;
};

struct Pool {
  std::mutex lock;
  std::vector<Idle> idle;

  Pool() {
    for (int i = 0; i < kStreams; i++) {
      idle.push_back({mx::new_thread_unsafe_stream(mx::Device::cpu), false});
    }
    // The first is taken first.
    std::reverse(idle.begin(), idle.end());
  }

  void put(Idle stream) {
    std::lock_guard<std::mutex> hold(lock);
    idle.push_back(stream);
  }

  bool take(mx::Stream& stream) {
    Idle taken{stream, false};
    {
      std::lock_guard<std::mutex> hold(lock);
      if (idle.empty()) {
        return false;
      }
      taken = idle.back();
      idle.pop_back();
    }
    stream = taken.stream;
    if (taken.was_used) {
      try {
        mx::scheduler::check_error(stream);
      } catch (const std::exception&) {
        // Of a thread that has ended without asking.
      }
    }
    return true;
  }
};

Pool& pool() {
  // Never destroyed: streams come back until the very end of the process.
  static auto* pool = new Pool;
  return *pool;
}

// Sends a stream back when all that was given to it is done.
void give_back(Idle stream) {
  if (!stream.was_used) {
    pool().put(stream);
    return;
  }
  try {
    mx::scheduler::enqueue(stream.stream, [stream] { pool().put(stream); });
  } catch (const std::exception&) {
    // Its thread cannot be made: the stream is lost.
  }
}

enum class State : char { kNew, kEntered, kEnded };
// Without a destructor, so it can be read while the thread's storage is destroyed.
thread_local State state = State::kNew;

struct Member {
  std::vector<Idle> streams;

  ~Member() {
    state = State::kEnded;
    mlx_native_error_clear();
    for (auto& stream : streams) {
      give_back(stream);
    }
  }
};

Member& member() {
  thread_local Member member;
  return member;
}

// Set in a child of fork, where none of MLX's threads exists.
std::atomic<bool> forked{false};

// Registered when the library is loaded.
[[maybe_unused]] const int watches_forks = pthread_atfork(nullptr, nullptr, [] { forked.store(true); });

[[noreturn]] void refuse() {
  if (forked.load(std::memory_order_relaxed)) {
    throw std::runtime_error(
        "MLX cannot be used in a child of fork, where its threads do not exist: start a new process instead");
  }
  throw std::runtime_error("MLX cannot be used while a thread's storage is being destroyed");
}

// Makes what MLX and this library keep for a thread.
void make_storage(const mx::Stream& stream) {
  make_scopes();
  mx::cpu::get_command_encoder(stream);
  mx::detail::compile_cache();
  // Only a tracer is looked up among the transforms of the thread.
  mx::array probe(0.0f);
  probe.set_tracer(true);
  static_cast<void>(probe.is_tracer());
}

void enter() {
  if (forked.load(std::memory_order_relaxed) || state == State::kEnded) {
    refuse();
  }
  auto stream = mx::Stream(0, mx::Device::cpu);
  bool pooled = pool().take(stream);
  if (pooled) {
    mx::set_default_stream(stream);
  } else {
    stream = mx::default_stream(mx::Device::cpu);
  }
  make_storage(stream);
  auto& own = member();
  if (pooled) {
    own.streams.push_back({stream, false});
  }
  state = State::kEntered;
}

} // namespace

mx::Stream new_stream_of_thread(mx::Device device) {
  auto stream = mx::Stream(0, mx::Device::cpu);
  if (device.type != mx::Device::cpu || state != State::kEntered || !pool().take(stream)) {
    return mx::new_stream(device);
  }
  member().streams.push_back({stream, true});
  return stream;
}

void stream_is_used(const mx::Stream& stream) {
  if (state != State::kEntered) {
    return;
  }
  for (auto& own : member().streams) {
    own.was_used |= own.stream == stream;
  }
}

extern "C" int mlx_native_enter(void) {
  if (state == State::kEntered && !forked.load(std::memory_order_relaxed)) [[likely]] {
    return 0;
  }
  return guarded("enter", enter);
}

extern "C" bool mlx_native_is_forked(void) {
  return forked.load(std::memory_order_relaxed);
}

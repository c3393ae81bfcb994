// Threads that come and go: the streams of one that has ended serve the next, and no thread uses MLX when it cannot.
//
// MLX keeps a thread of its own for each CPU stream until the process ends, and gives each thread of the user a stream.
// So that many short threads do not leave as many behind, CPU streams come from a pool here, where libmlxguard lets them
// pass from thread to thread. A stream goes back behind everything that was queued on it, so the next owner finds it
// idle; an error that was not waited for is dropped.
//
// The storage of a thread is destroyed in the reverse order in which it was made. `Member` is made after all that MLX
// keeps for a thread, so it goes first, and what runs later (destructors of values that were made before MLX was
// first used) is refused.
#include "thread.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "guard.h"
#include "guard/scheduler.h"
#include "guard/streams.h"
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/private/mlx.h"
#include "mlx/compile_impl.h"
#include "mlx/scheduler.h"

namespace mx = mlx::core;

namespace {

template <class Function>
Function of_guard(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

// The streams that no thread has, and what makes them pass between threads.
struct Pool {
  std::mutex lock;
  std::vector<PooledStream*> idle;
  decltype(&mlx_guard_own_stream) own = of_guard<decltype(own)>("mlx_guard_own_stream");
  decltype(&mlx_guard_disown_streams) disown = of_guard<decltype(disown)>("mlx_guard_disown_streams");

  bool is_there() const {
    return own && disown;
  }

  void put(PooledStream* stream) {
    std::lock_guard<std::mutex> hold(lock);
    idle.push_back(stream);
  }

  // A stream that is this thread's from now on.
  PooledStream* take() {
    auto* stream = take_idle();
    if (!stream) {
      auto fresh = mx::new_stream(mx::Device::cpu);
      stream = new PooledStream{fresh, new mx::cpu::CommandEncoder(fresh), false, nullptr};
    }
    if (std::exchange(stream->was_used, false)) {
      try {
        mx::scheduler::check_error(stream->stream);
      } catch (const std::exception&) {
        // Of a thread that has ended without asking.
      }
    }
    own(stream);
    return stream;
  }

 private:
  PooledStream* take_idle() {
    std::lock_guard<std::mutex> hold(lock);
    if (idle.empty()) {
      return nullptr;
    }
    auto* stream = idle.back();
    idle.pop_back();
    return stream;
  }
};

Pool& pool() {
  // Never destroyed: streams come back until the very end of the process.
  static auto* pool = new Pool;
  return *pool;
}

// Set once factorizations are sent to threads with a large stack.
std::atomic<bool> are_waits_allowed{false};

// How many calls that evaluate and wait this thread is in; null where libmlxguard is not loaded.
int* waits_of_thread() {
  static auto* find = of_guard<decltype(&mlx_guard_waits)>("mlx_guard_waits");
  return find && are_waits_allowed.load(std::memory_order_acquire) ? find() : nullptr;
}

// Sends a stream back when all that was given to it is done.
void give_back(PooledStream* stream) {
  if (!stream->was_used) {
    pool().put(stream);
    return;
  }
  try {
    // At once if nothing is left to do: then no thread is made for it.
    Waits waits;
    mx::scheduler::enqueue(stream->stream, [stream] { pool().put(stream); });
  } catch (const std::exception&) {
    // Its thread cannot be made: the stream is lost.
  }
}

enum class State : char { kNew, kEntered, kEnded };
// Without a destructor, so it can be read while the thread's storage is destroyed.
thread_local State state = State::kNew;

struct Member {
  std::vector<PooledStream*> streams;

  ~Member() {
    state = State::kEnded;
    mlx_native_error_clear();
    if (!streams.empty()) {
      pool().disown();
    }
    for (auto* stream : streams) {
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
  auto* pooled = pool().is_there() ? pool().take() : nullptr;
  if (pooled) {
    mx::set_default_stream(pooled->stream);
  }
  make_storage(mx::default_stream(mx::Device::cpu));
  auto& own = member();
  if (pooled) {
    own.streams.push_back(pooled);
  }
  state = State::kEntered;
}

} // namespace

Waits::Waits() : waits_(waits_of_thread()) {
  if (waits_) {
    ++*waits_;
  }
}

Waits::~Waits() {
  if (waits_) {
    --*waits_;
  }
}

WaitsNot::WaitsNot() {
  auto* waits = waits_of_thread();
  before_ = waits ? std::exchange(*waits, 0) : 0;
}

WaitsNot::~WaitsNot() {
  if (auto* waits = waits_of_thread()) {
    *waits = before_;
  }
}

void allow_waits() {
  are_waits_allowed.store(true, std::memory_order_release);
}

mx::Stream new_stream_of_thread(mx::Device device) {
  if (device.type != mx::Device::cpu || state != State::kEntered || !pool().is_there()) {
    return mx::new_stream(device);
  }
  auto* stream = pool().take();
  member().streams.push_back(stream);
  return stream->stream;
}

void stream_is_used(const mx::Stream& stream) {
  if (state != State::kEntered) {
    return;
  }
  for (auto* own : member().streams) {
    own->was_used |= own->stream == stream;
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

// Lets a thread that evaluates and waits run what is queued on its CPU stream itself, when nothing is queued before it: a
// small operation then costs no wake-up of another thread. libmlx calls its scheduler through its symbol table, so that
// the definitions here, loaded globally before libmlx, are the ones that are called; they know which stream is idle, and
// pass to the originals what must wait, or belongs to `async_eval`.
//
// A stream stays in order: a task runs here only while none is queued on the stream's own thread, and holds the stream's
// lock while it runs, so that what another thread queues meanwhile begins after it. Errors stay with MLX: one that is
// thrown here is queued on the stream's thread to be thrown there.
#include "scheduler.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlx/event.h"
#include "mlx/scheduler.h"

namespace mx = mlx::core;

namespace {

using mx::scheduler::Scheduler;
using Task = std::function<void()>;
using EventTask = std::function<void(mx::Event&)>;

// What is known of a stream.
struct Lane {
  // Held by the task that runs.
  std::mutex running;
  // Tasks that were given to the stream's own thread and have not ended.
  std::atomic<int> queued{0};
  // Whether a task may have failed since errors were last asked for: signals must carry that.
  std::atomic<bool> may_have_failed{false};
};

// How many calls that evaluate and wait this thread is in.
thread_local int waits = 0;
// The stream whose task this thread is running, if it is.
thread_local Lane* current = nullptr;

Lane& lane_of(const mx::Stream& stream) {
  // Never destroyed: streams work until the very end of the process.
  static auto* lanes = new std::vector<std::unique_ptr<Lane>>;
  static auto* lock = new std::shared_mutex;
  static thread_local std::pair<int, Lane*> last{-1, nullptr};
  if (last.first == stream.index) {
    return *last.second;
  }
  auto index = static_cast<size_t>(stream.index);
  {
    std::shared_lock hold(*lock);
    if (index < lanes->size() && (*lanes)[index]) {
      last = {stream.index, (*lanes)[index].get()};
      return *last.second;
    }
  }
  std::unique_lock hold(*lock);
  if (index >= lanes->size()) {
    lanes->resize(index + 1);
  }
  if (!(*lanes)[index]) {
    (*lanes)[index] = std::make_unique<Lane>();
  }
  last = {stream.index, (*lanes)[index].get()};
  return *last.second;
}

// A function of libmlx that the one of the same name here hides.
template <class Function>
Function original(const char* symbol) {
  void* mlx = dlopen("libmlx.so", RTLD_LAZY | RTLD_NOLOAD);
  auto function = reinterpret_cast<Function>(mlx ? dlsym(mlx, symbol) : nullptr);
  if (!function) {
    throw std::runtime_error(std::string("libmlx has no function ") + symbol);
  }
  return function;
}

// A member function is called as a plain one whose first argument is the object (Itanium C++ ABI).
void enqueue_original(Scheduler* self, mx::Stream stream, Task task) {
  using Enqueue = void (*)(Scheduler*, mx::Stream, Task);
  static auto call = original<Enqueue>("_ZN3mlx4core9scheduler9Scheduler7enqueueENS0_6StreamESt8functionIFvvEE");
  call(self, stream, std::move(task));
}

// Counts a task of the stream's own thread, holds the lane while it runs, and remembers its failure.
class OnItsThread {
 public:
  explicit OnItsThread(Lane& lane) : lane_(lane), hold_(lane.running) {}

  ~OnItsThread() {
    lane_.queued.fetch_sub(1, std::memory_order_release);
  }

  template <class Work>
  void run(Work&& work) {
    try {
      work();
    } catch (...) {
      lane_.may_have_failed.store(true, std::memory_order_relaxed);
      throw;
    }
  }

 private:
  Lane& lane_;
  std::unique_lock<std::mutex> hold_;
};

// Calls `queue`, which gives a counted task to the stream's own thread.
template <class Queue>
void count(Lane& lane, Queue&& queue) {
  lane.queued.fetch_add(1, std::memory_order_relaxed);
  try {
    queue();
  } catch (...) {
    lane.queued.fetch_sub(1, std::memory_order_relaxed);
    throw;
  }
}

void enqueue_counted(Scheduler* self, mx::Stream stream, Lane& lane, Task task) {
  count(lane, [&] {
    enqueue_original(self, stream, [&lane, task = std::move(task)] { OnItsThread(lane).run(task); });
  });
}

// The lowest address that a task may find the stack at: a thread with a small stack leaves tasks to larger ones.
uintptr_t lowest_for_tasks() {
  constexpr size_t kRoom = size_t{512} << 10;
  void* start = nullptr;
  size_t size = 0;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &start, &size);
    pthread_attr_destroy(&attributes);
  }
  return start ? reinterpret_cast<uintptr_t>(start) + kRoom : UINTPTR_MAX;
}

bool has_room() {
  static thread_local const uintptr_t lowest = lowest_for_tasks();
  return reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) > lowest;
}

// Whether a task of this stream may run on this thread now; then the lane is held.
//
// Inside a task of the same stream it always may: whoever waits for it is the task itself.
bool may_run_here(Lane& lane, std::unique_lock<std::mutex>& hold) {
  if (current == &lane) {
    return true;
  }
  if (waits == 0 || lane.queued.load(std::memory_order_acquire) != 0 || !has_room()) {
    return false;
  }
  hold = std::unique_lock(lane.running, std::try_to_lock);
  return hold.owns_lock() && lane.queued.load(std::memory_order_acquire) == 0;
}

class Running {
 public:
  explicit Running(Lane& lane) : before_(current) {
    current = &lane;
  }

  ~Running() {
    current = before_;
  }

 private:
  Lane* before_;
};

} // namespace

extern "C" int* mlx_guard_waits() {
  return &waits;
}

namespace mlx::core::scheduler {

void Scheduler::enqueue(Stream stream, std::function<void()> task) {
  auto& lane = lane_of(stream);
  std::unique_lock<std::mutex> hold;
  if (!may_run_here(lane, hold)) {
    hold = {};
    enqueue_counted(this, stream, lane, std::move(task));
    return;
  }
  std::shared_ptr<std::string> failure;
  try {
    Running running(lane);
    task();
    // What it holds goes while the lane is held, as it would on the stream's thread.
    task = nullptr;
  } catch (const std::exception& error) {
    failure = std::make_shared<std::string>(error.what());
  }
  if (failure) {
    hold = {};
    enqueue_counted(this, stream, lane, [failure] { throw std::runtime_error(*failure); });
  }
}

void Scheduler::signal_event(Stream stream, Event event, std::function<void(Event&)> task) {
  using Signal = void (*)(Scheduler*, Stream, Event, EventTask);
  static auto original_signal = original<Signal>(
      "_ZN3mlx4core9scheduler9Scheduler12signal_eventENS0_6StreamENS0_5EventESt8functionIFvRS4_EE");
  auto& lane = lane_of(stream);
  std::unique_lock<std::mutex> hold;
  if (may_run_here(lane, hold) && !lane.may_have_failed.load(std::memory_order_relaxed)) {
    task(event);
    return;
  }
  hold = {};
  count(lane, [&] {
    original_signal(this, stream, std::move(event), [&lane, task = std::move(task)](Event& event) {
      OnItsThread(lane).run([&] { task(event); });
    });
  });
}

void Scheduler::wait_event(Stream stream, Event event, std::function<void(Event&)> task) {
  using Wait = void (*)(Scheduler*, Stream, Event, EventTask);
  static auto original_wait = original<Wait>(
      "_ZN3mlx4core9scheduler9Scheduler10wait_eventENS0_6StreamENS0_5EventESt8functionIFvRS4_EE");
  auto& lane = lane_of(stream);
  std::unique_lock<std::mutex> hold;
  if (may_run_here(lane, hold)) {
    task(event);
    // An error of the event is that of the stream which signals it.
    bool may_have_error = lane_of(event.stream()).may_have_failed.load(std::memory_order_acquire);
    if (current == &lane || !may_have_error) {
      return;
    }
  }
  hold = {};
  // It counts until the event is there and its error is the stream's, so that nothing behind it runs before. The lane is
  // not held meanwhile.
  lane.may_have_failed.store(true, std::memory_order_relaxed);
  count(lane, [&] {
    original_wait(this, stream, std::move(event), std::move(task));
    enqueue_original(this, stream, [&lane] { lane.queued.fetch_sub(1, std::memory_order_release); });
  });
}

void Scheduler::check_error(Stream stream) {
  using Check = void (*)(Scheduler*, Stream);
  static auto original_check =
      original<Check>("_ZN3mlx4core9scheduler9Scheduler11check_errorENS0_6StreamE");
  lane_of(stream).may_have_failed.store(false, std::memory_order_relaxed);
  original_check(this, stream);
}

} // namespace mlx::core::scheduler

// Factorizations run on their stream's own thread, also when another thread waits for them (`guard/scheduler.cpp`).
//
// OpenBLAS keeps a table of jobs on the stack when it factorizes with several threads, of a size that overflows the stacks
// of 2 MiB that Rust gives to threads. A stream's thread has 8 MiB.
//
// Those of matrices below a size are computed by one thread of OpenBLAS: it hands its threads work so small that waking them
// costs more than they save.
#include <algorithm>
#include <mutex>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/linalg.h"
#include "thread.h"
#include "vtable.h"

namespace mx = mlx::core;

namespace {

#if defined(__linux__)

// Matrices with a side as long are factorized by all of OpenBLAS's threads.
constexpr int kMinThreaded = 1024;

// OpenBLAS's number of threads, which is one for the process.
struct BlasThreads {
  int (*get)() = nullptr;
  void (*set)(int) = nullptr;
  std::mutex lock;
  int n_limits = 0;
  int before = 0;

  // Null functions where another library has the LAPACK.
  static BlasThreads& instance() {
    // Never destroyed: kernels run until the very end of the process.
    static auto* found = [] {
      auto* threads = new BlasThreads;
      threads->get = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "scipy_openblas_get_num_threads"));
      threads->set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "scipy_openblas_set_num_threads"));
      return threads;
    }();
    return *found;
  }

  void limit() {
    std::lock_guard<std::mutex> hold(lock);
    if (n_limits++ == 0) {
      before = get();
      set(1);
    }
  }

  void release() {
    std::lock_guard<std::mutex> hold(lock);
    if (--n_limits == 0) {
      set(before);
    }
  }
};

// While this is alive, what is queued on the stream runs on one thread of OpenBLAS.
class OneBlasThread {
 public:
  OneBlasThread(mx::Stream stream, bool is_wanted) : stream_(stream) {
    auto& threads = BlasThreads::instance();
    is_limited_ = is_wanted && threads.get && threads.set;
    if (is_limited_) {
      mx::cpu::get_command_encoder(stream_).dispatch([&threads] { threads.limit(); });
    }
  }

  ~OneBlasThread() {
    if (is_limited_) {
      mx::cpu::get_command_encoder(stream_).dispatch([] { BlasThreads::instance().release(); });
    }
  }

  OneBlasThread(const OneBlasThread&) = delete;

 private:
  mx::Stream stream_;
  bool is_limited_ = false;
};

// Inverses of triangular matrices gain by threads from the start.
template <class Class>
bool wants_one_thread(const mx::Primitive& self, const mx::array& x) {
  if constexpr (std::is_same_v<Class, mx::Inverse>) {
    if (static_cast<const mx::Inverse&>(self).state().first) {
      return false;
    }
  }
  return x.ndim() >= 2 && std::max(x.shape(-1), x.shape(-2)) < kMinThreaded;
}

template <class Class>
struct OnOwnThread {
  static inline vtable::EvalCpu original_eval_cpu = nullptr;

  static void eval_cpu(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    WaitsNot waits_not;
    OneBlasThread one_thread(self->stream(), wants_one_thread<Class>(*self, inputs[0]));
    original_eval_cpu(self, inputs, outputs);
  }
};

template <class Class>
int hook(const mx::array& sample, const char* name) {
  using Here = OnOwnThread<Class>;
  return vtable::hook_eval_cpu(sample, name, &Here::eval_cpu, Here::original_eval_cpu);
}

constexpr int kClasses = 7;

int hook_factorizations() {
  auto s = mx::default_stream(mx::Device::cpu);
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  int done = 0;
  done += hook<mx::QRF>(mx::linalg::qr(x, s).first, "QRF");
  done += hook<mx::SVD>(mx::linalg::svd(x, true, s)[0], "SVD");
  done += hook<mx::Inverse>(mx::linalg::inv(x, s), "Inverse");
  done += hook<mx::Cholesky>(mx::linalg::cholesky(x, false, s), "Cholesky");
  done += hook<mx::Eig>(mx::linalg::eig(x, s).first, "Eig");
  done += hook<mx::Eigh>(mx::linalg::eigh(x, "L", s).first, "Eigh");
  done += hook<mx::LUF>(mx::linalg::lu_factor(x, s).first, "LUF");
  return done;
}

#endif

} // namespace

// Whether they do from now on; only then may evaluations run where they are waited for.
bool factorize_on_own_thread() {
#if defined(__linux__)
  static const bool done = vtable::is_as_expected() && hook_factorizations() == kClasses;
  return done;
#else
  return false;
#endif
}

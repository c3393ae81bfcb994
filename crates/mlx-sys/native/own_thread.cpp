// Factorizations run on their stream's own thread, also when another thread waits for them (`guard/scheduler.cpp`).
//
// OpenBLAS keeps a table of jobs on the stack when it factorizes with several threads, of a size that overflows the stacks
// of 2 MiB that Rust gives to threads. A stream's thread has 8 MiB.
#include "mlx/linalg.h"
#include "thread.h"
#include "vtable.h"

namespace mx = mlx::core;

namespace {

template <class Class>
struct OnOwnThread {
  static inline vtable::EvalCpu original_eval_cpu = nullptr;

  static void eval_cpu(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    WaitsNot waits_not;
    original_eval_cpu(self, inputs, outputs);
  }
};

#if defined(__linux__)

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

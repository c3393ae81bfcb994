// Functions that run as programs, for C: on CUDA by one graph (`cuda_program.h`), elsewhere as they are.
#include <string>

#include "guard.h"
#include "mlx/c/private/mlx.h"
#include "mlx_native.h"

#ifdef __linux__
#include "cuda_program.h"
#endif

namespace {

using Arrays = std::vector<mlx::core::array>;

#ifdef __linux__
using Program = cuda::Program;
#else
// Calls the function.
class Program {
 public:
  explicit Program(std::function<Arrays(const Arrays&)> function) : function_(std::move(function)) {}

  Arrays call(const Arrays& inputs) {
    return function_(inputs);
  }

  std::string report() const {
    return "";
  }

 private:
  std::function<Arrays(const Arrays&)> function_;
};
#endif

using Handle = std::shared_ptr<Program>;

Handle& program_of(mlx_native_program program) {
  return *static_cast<Handle*>(program.ctx);
}

} // namespace

extern "C" int mlx_native_program_new(mlx_native_program* res, const mlx_closure function) {
  return guarded("program", [&] { res->ctx = new Handle(std::make_shared<Program>(mlx_closure_get_(function))); });
}

extern "C" int mlx_native_program_call(mlx_vector_array* res, const mlx_native_program program, const mlx_vector_array inputs) {
  return guarded("program", [&] {
    // The function may drop the program's handle.
    auto held = program_of(program);
    mlx_vector_array_set_(*res, held->call(mlx_vector_array_get_(inputs)));
  });
}

extern "C" const char* mlx_native_program_report(const mlx_native_program program) {
  thread_local std::string report;
  guarded("program", [&] { report = program_of(program)->report(); });
  return report.c_str();
}

extern "C" int mlx_native_program_free(mlx_native_program program) {
  return guarded("program", [&] { delete static_cast<Handle*>(program.ctx); });
}

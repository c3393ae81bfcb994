// vtable patching: the hooks (`hook.h`) on MLX's factorizations that kernels compute. What no kernel takes (doubles, the
// decompositions into eigenvalues and singular values) goes on to LAPACK by way of `own_thread.cpp`.
#include "hook.h"

#include "mlx/linalg.h"

namespace hooks {

#if defined(__linux__)

namespace {

ops::Bytes read_inverse(const mx::Inverse& inverse) {
  auto [is_triangular, upper] = inverse.state();
  return is_triangular ? ops::encode(ops::TriInv{upper}) : ops::encode(ops::Inv{});
}

} // namespace

int hook_linalg(const mx::Stream& s) {
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  int done = hook<mx::Inverse, read_inverse>(mx::linalg::inv(x, s), "Inverse");
  // Its third output is the order of rows.
  done += hook<mx::LUF, plain<mx::LUF, ops::LuFactor>>(mx::linalg::lu_factor(x, s).first, "LUF");
  done += hook<mx::QRF, plain<mx::QRF, ops::Qr>>(mx::linalg::qr(x, s).first, "QRF");
  return done;
}

#endif

} // namespace hooks

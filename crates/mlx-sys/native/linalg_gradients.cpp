// Derivatives of factorizations and inverses of real matrices, which MLX lacks: inv, tri_inv, cholesky, eigh, svd, qr,
// lu and pinv. What MLX composes of them (solve, solve_triangular, cholesky_inv, det, slogdet, norms) follows.
//
// Each `vjp` is a closed form of operations that have derivatives themselves. A `jvp` is the transpose of the `vjp`,
// which is linear in the cotangents. A matrix of which one triangle is read is taken as symmetric: its gradient is
// symmetric, as in JAX and PyTorch. Vectors of equal eigenvalues or singular values are not determined: what would
// turn them into each other contributes nothing.
#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "gradients.h"
#include "guard.h"
#include "mlx/c/private/mlx.h"
#include "mlx/linalg.h"
#include "mlx/transforms.h"

namespace mx = mlx::core;

namespace {

using namespace gradients;

using Work = std::function<Arrays(const Arrays&)>;

// Operations on the last two axes, on one stream.
struct Matrices {
  mx::Stream s;

  mx::array t(const mx::array& x) const {
    return mx::swapaxes(x, -1, -2, s);
  }
  mx::array mul(const mx::array& a, const mx::array& b) const {
    return mx::matmul(a, b, s);
  }
  mx::array mul(const mx::array& a, const mx::array& b, const mx::array& c) const {
    return mul(mul(a, b), c);
  }
  mx::array add(const mx::array& a, const mx::array& b) const {
    return mx::add(a, b, s);
  }
  mx::array sub(const mx::array& a, const mx::array& b) const {
    return mx::subtract(a, b, s);
  }
  mx::array each(const mx::array& a, const mx::array& b) const {
    return mx::multiply(a, b, s);
  }
  mx::array symmetric(const mx::array& x) const {
    return each(add(x, t(x)), like(0.5, x));
  }
  mx::array eye(int n, const mx::array& x) const {
    return mx::eye(n, n, 0, x.dtype(), s);
  }
  // The vectors of the last axis as the rows or the columns of a matrix of one.
  mx::array row(const mx::array& x) const {
    return mx::expand_dims(x, -2, s);
  }
  mx::array column(const mx::array& x) const {
    return mx::expand_dims(x, -1, s);
  }
  // Rows and columns from the first to before the last.
  mx::array block(const mx::array& x, int row, int row_end, int column, int column_end) const {
    mx::Shape start(x.ndim(), 0);
    auto stop = x.shape();
    auto at = x.ndim() - 2;
    start[at] = row;
    stop[at] = row_end;
    start[at + 1] = column;
    stop[at + 1] = column_end;
    return mx::slice(x, start, stop, s);
  }
  // 1 / x, and 0 of 0, with derivatives that are finite.
  mx::array reciprocal(const mx::array& x) const {
    auto is_zero = mx::equal(x, like(0, x), s);
    auto safe = mx::where(is_zero, like(1, x), x, s);
    return mx::where(is_zero, like(0, x), mx::divide(like(1, x), safe, s), s);
  }
};

int rows(const mx::array& x) {
  return x.shape(-2);
}

int columns(const mx::array& x) {
  return x.shape(-1);
}

void check_real(const mx::array& x, const char* name) {
  if (mx::issubdtype(x.dtype(), mx::complexfloating)) {
    throw std::invalid_argument(
        std::string("linalg.") + name + ": wanted a real matrix to take a gradient of, got complex64");
  }
}

// Y = A^-1: A' = -Y^T Y' Y^T, of a triangular matrix its triangle.
Arrays inverse_vjp(mx::Primitive* self, const Arrays&, const Arrays& cotangents, const Axes&, const Arrays& outputs) {
  Matrices m{self->stream()};
  auto transposed = m.t(outputs[0]);
  auto slope = mx::negative(m.mul(transposed, cotangents[0], transposed), m.s);
  auto [is_triangular, upper] = static_cast<mx::Inverse*>(self)->state();
  if (is_triangular) {
    slope = upper ? mx::triu(slope, 0, m.s) : mx::tril(slope, 0, m.s);
  }
  return {slope};
}

// A = L L^T: A' = L^-T P L^-1 made symmetric, where P is the lower triangle of L^T L' with half its diagonal.
Arrays cholesky_vjp(mx::Primitive* self, const Arrays&, const Arrays& cotangents, const Axes&, const Arrays& outputs) {
  Matrices m{self->stream()};
  bool upper = static_cast<mx::Cholesky*>(self)->state();
  auto factor = upper ? m.t(outputs[0]) : outputs[0];
  auto cotangent = upper ? m.t(cotangents[0]) : cotangents[0];
  auto product = m.mul(m.t(factor), cotangent);
  auto half = m.each(m.eye(rows(factor), factor), like(0.5, factor));
  auto lower = m.sub(mx::tril(product, 0, m.s), m.each(product, half));
  auto inverse = mx::linalg::tri_inv(factor, false, m.s);
  return {m.symmetric(m.mul(m.t(inverse), lower, inverse))};
}

// A = V diag(w) V^T: A' = V (diag(w') + (V^T V') * F) V^T with F_ij = 1 / (w_j - w_i).
Arrays eigh_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes&,
    const Arrays& outputs) {
  check_real(primals[0], "eigh");
  Matrices m{self->stream()};
  auto [uplo, has_vectors] = static_cast<mx::Eigh*>(self)->state();
  if (!has_vectors) {
    auto vectors = mx::linalg::eigh(primals[0], uplo, m.s).second;
    return {m.symmetric(m.mul(m.each(vectors, m.row(cotangents[0])), m.t(vectors)))};
  }
  auto& values = outputs[0];
  auto& vectors = outputs[1];
  auto inverse_gaps = m.reciprocal(m.sub(m.row(values), m.column(values)));
  auto turned = m.each(m.mul(m.t(vectors), cotangents[1]), inverse_gaps);
  auto scaled = m.each(m.eye(columns(vectors), vectors), m.row(cotangents[0]));
  return {m.symmetric(m.mul(vectors, m.add(scaled, turned), m.t(vectors)))};
}

// A = U S V^T with all columns of U (m x m) and V (n x n), of which the first k = min(m, n) belong to values. With the
// skew matrices K = U^T U' - U'^T U and J = V^T V' - V'^T V, A' = U C V^T, where the k x k corner of C is
// (K * E) S + S (J * E) + diag(s'), E_ij = 1 / (s_j^2 - s_i^2), and beyond it K S^-1 is below or (J S^-1)^T beside:
// the columns without a value turn out of those that have one, and not among themselves.
Arrays svd_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes&,
    const Arrays& outputs) {
  check_real(primals[0], "svd");
  Matrices m{self->stream()};
  int n_rows = rows(primals[0]), n_columns = columns(primals[0]), k = std::min(n_rows, n_columns);
  if (!static_cast<mx::SVD*>(self)->state()) {
    auto parts = mx::linalg::svd(primals[0], true, m.s);
    auto u = m.block(parts[0], 0, n_rows, 0, k);
    auto vt = m.block(parts[2], 0, k, 0, n_columns);
    return {m.mul(m.each(u, m.row(cotangents[0])), vt)};
  }
  auto& u = outputs[0];
  auto& values = outputs[1];
  auto& vt = outputs[2];
  auto skew = [&](const mx::array& x) { return m.sub(x, m.t(x)); };
  auto of_u = skew(m.mul(m.t(u), cotangents[0]));
  auto of_v = skew(m.mul(vt, m.t(cotangents[2])));
  auto right = m.row(values), left = m.column(values);
  auto gaps = m.reciprocal(m.each(m.sub(right, left), m.add(right, left)));
  auto core = m.each(m.each(m.block(of_u, 0, k, 0, k), gaps), right);
  core = m.add(core, m.each(left, m.each(m.block(of_v, 0, k, 0, k), gaps)));
  core = m.add(core, m.each(m.eye(k, values), m.row(cotangents[1])));
  auto inverse = m.row(m.reciprocal(values));
  if (n_rows > k) {
    auto below = m.each(m.block(of_u, k, n_rows, 0, k), inverse);
    core = mx::concatenate({core, below}, -2, m.s);
  } else if (n_columns > k) {
    auto beside = m.t(m.each(m.block(of_v, k, n_columns, 0, k), inverse));
    core = mx::concatenate({core, beside}, -1, m.s);
  }
  return {m.mul(u, core, vt)};
}

// A = [X | Y] = Q [R | W] with a square R, W of the columns that a wide matrix has beyond it. With G = Q' + Y W'^T and
// the symmetric C that has the lower triangle of R R'^T - G^T Q: A' = [(G + Q C) R^-T | Q W'].
Arrays qr_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes&,
    const Arrays& outputs) {
  Matrices m{self->stream()};
  auto& q = outputs[0];
  int k = rows(outputs[1]), n = columns(outputs[1]);
  auto r = m.block(outputs[1], 0, k, 0, k);
  auto of_r = mx::triu(m.block(cotangents[1], 0, k, 0, k), 0, m.s);
  auto of_q = cotangents[0];
  auto of_w = m.block(cotangents[1], 0, k, k, n);
  if (n > k) {
    auto y = m.block(primals[0], 0, rows(primals[0]), k, n);
    of_q = m.add(of_q, m.mul(y, m.t(of_w)));
  }
  auto product = m.sub(m.mul(r, m.t(of_r)), m.mul(m.t(of_q), q));
  auto strict = mx::tril(product, -1, m.s);
  auto mirrored = m.add(mx::tril(product, 0, m.s), m.t(strict));
  auto inverse = mx::linalg::tri_inv(r, true, m.s);
  auto slope = m.mul(m.add(of_q, m.mul(q, mirrored)), m.t(inverse));
  if (n > k) {
    slope = mx::concatenate({slope, m.mul(q, of_w)}, -1, m.s);
  }
  return {slope};
}

// The rows of A in the order of LU: A = [[L], [M]] [U | W] with square L and U, M and W of what a tall or a wide matrix
// has beyond them. Their corner has the slope L^-T [lower(L^T L' - W' W^T) + upper(U' U^T - M^T M')] U^-T, with a
// strictly lower triangle; beside it is L^-T W', below it M' U^-T.
Arrays lu_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes&,
    const Arrays& outputs) {
  Matrices m{self->stream()};
  auto& both = outputs[0];
  auto& cotangent = cotangents[0];
  int n_rows = rows(primals[0]), n_columns = columns(primals[0]), k = std::min(n_rows, n_columns);
  auto corner = m.block(both, 0, k, 0, k), of_corner = m.block(cotangent, 0, k, 0, k);
  auto l = m.add(mx::tril(corner, -1, m.s), m.eye(k, both)), u = mx::triu(corner, 0, m.s);
  auto lower = m.mul(m.t(l), mx::tril(of_corner, -1, m.s));
  auto upper = m.mul(mx::triu(of_corner, 0, m.s), m.t(u));
  auto below = m.block(cotangent, k, n_rows, 0, k), beside = m.block(cotangent, 0, k, k, n_columns);
  if (n_rows > k) {
    upper = m.sub(upper, m.mul(m.t(m.block(both, k, n_rows, 0, k)), below));
  } else if (n_columns > k) {
    lower = m.sub(lower, m.mul(beside, m.t(m.block(both, 0, k, k, n_columns))));
  }
  auto l_inverse = m.t(mx::linalg::tri_inv(l, false, m.s));
  auto u_inverse = m.t(mx::linalg::tri_inv(u, true, m.s));
  auto slope = m.mul(l_inverse, m.add(mx::tril(lower, -1, m.s), mx::triu(upper, 0, m.s)), u_inverse);
  if (n_rows > k) {
    slope = mx::concatenate({slope, m.mul(below, u_inverse)}, -2, m.s);
  } else if (n_columns > k) {
    slope = mx::concatenate({slope, m.mul(l_inverse, beside)}, -1, m.s);
  }
  auto order = mx::stop_gradient(m.column(outputs[2]), m.s);
  return {mx::take_along_axis(slope, order, -2, m.s)};
}

// The slope along `tangents` of `work`, whose outputs all have slopes: the transpose of its vjp.
Arrays transposed(const Work& work, const Arrays& primals, const Arrays& tangents, mx::Stream s) {
  Arrays zeros;
  for (auto& output : work(primals)) {
    zeros.push_back(mx::zeros_like(output, s));
  }
  auto pull = [&](const Arrays& cotangents) { return mx::vjp(work, primals, cotangents).second; };
  return mx::vjp(pull, zeros, tangents).second;
}

Arrays inverse_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes&) {
  auto s = self->stream();
  auto [is_triangular, upper] = static_cast<mx::Inverse*>(self)->state();
  auto work = [&, is_triangular = is_triangular, upper = upper](const Arrays& a) {
    return Arrays{is_triangular ? mx::linalg::tri_inv(a[0], upper, s) : mx::linalg::inv(a[0], s)};
  };
  return transposed(work, primals, tangents, s);
}

Arrays cholesky_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes&) {
  auto s = self->stream();
  bool upper = static_cast<mx::Cholesky*>(self)->state();
  auto work = [&](const Arrays& a) { return Arrays{mx::linalg::cholesky(a[0], upper, s)}; };
  return transposed(work, primals, tangents, s);
}

Arrays eigh_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes&) {
  auto s = self->stream();
  auto state = static_cast<mx::Eigh*>(self)->state();
  auto work = [&](const Arrays& a) {
    if (!state.second) {
      return Arrays{mx::linalg::eigvalsh(a[0], state.first, s)};
    }
    auto [values, vectors] = mx::linalg::eigh(a[0], state.first, s);
    return Arrays{values, vectors};
  };
  return transposed(work, primals, tangents, s);
}

Arrays svd_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes&) {
  auto s = self->stream();
  bool has_vectors = static_cast<mx::SVD*>(self)->state();
  auto work = [&](const Arrays& a) { return mx::linalg::svd(a[0], has_vectors, s); };
  return transposed(work, primals, tangents, s);
}

Arrays qr_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes&) {
  auto s = self->stream();
  auto work = [&](const Arrays& a) {
    auto [q, r] = mx::linalg::qr(a[0], s);
    return Arrays{q, r};
  };
  return transposed(work, primals, tangents, s);
}

Arrays lu_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes&) {
  auto s = self->stream();
  auto work = [&](const Arrays& a) { return Arrays{mx::linalg::lu_factor(a[0], s).first}; };
  auto slopes = transposed(work, primals, tangents, s);
  // The pivots and the order of rows are integers.
  auto outputs = mx::linalg::lu_factor(primals[0], s).first.outputs();
  for (size_t i = 1; i < outputs.size(); ++i) {
    slopes.push_back(mx::zeros_like(outputs[i], s));
  }
  return slopes;
}

mx::array pinv(const mx::array& a, mx::Stream s);

// A' = -P^T P' P^T + (I - A P) P'^T P P^T + P^T P P'^T (I - P A).
mx::array pinv_vjp(const mx::array& a, const mx::array& p, const mx::array& cotangent, mx::Stream s) {
  Matrices m{s};
  auto pt = m.t(p), ct = m.t(cotangent);
  auto left = m.sub(m.eye(rows(a), a), m.mul(a, p)), right = m.sub(m.eye(columns(a), a), m.mul(p, a));
  auto slope = m.add(m.mul(left, ct, m.mul(p, pt)), m.mul(m.mul(pt, p), ct, right));
  return m.sub(slope, m.mul(pt, cotangent, pt));
}

// dP = -P dA P + P P^T dA^T (I - A P) + (I - P A) dA^T P^T P.
mx::array pinv_jvp(const mx::array& a, const mx::array& tangent, mx::Stream s) {
  Matrices m{s};
  auto p = pinv(a, s);
  auto pt = m.t(p), tt = m.t(tangent);
  auto left = m.sub(m.eye(rows(a), a), m.mul(a, p)), right = m.sub(m.eye(columns(a), a), m.mul(p, a));
  auto slope = m.add(m.mul(m.mul(p, pt), tt, left), m.mul(right, tt, m.mul(pt, p)));
  return m.sub(slope, m.mul(p, tangent, p));
}

// The pseudo-inverse with derivatives of its own: those of its svd fail where singular values are equal.
mx::array pinv(const mx::array& a, mx::Stream s) {
  auto work = [s](const Arrays& x) { return Arrays{mx::linalg::pinv(x[0], s)}; };
  if (a.size() == 0 || a.ndim() < 2) {
    return work({a})[0];
  }
  auto pull = [s](const Arrays& x, const Arrays& cotangents, const Arrays& outputs) {
    return Arrays{pinv_vjp(x[0], outputs[0], cotangents[0], s)};
  };
  auto push = [s](const Arrays& x, const Arrays& tangents, const Axes&) {
    return Arrays{pinv_jvp(x[0], tangents[0], s)};
  };
  auto batch = [s](const Arrays& x, const Axes& axes) {
    auto front = axes[0] > 0 ? mx::moveaxis(x[0], axes[0], 0, s) : x[0];
    return std::pair(Arrays{pinv(front, s)}, Axes{axes[0] < 0 ? -1 : 0});
  };
  return mx::custom_function(work, pull, push, batch)({a})[0];
}

} // namespace

#if defined(__linux__)

int gradients::replace_linalg(size_t pull, size_t push) {
  auto s = mx::default_stream(mx::Device::cpu);
  mx::array x({1.0f, 0.0f, 0.0f, 1.0f}, {2, 2});
  // What was there only throws, and is never called.
  Pull no_pull;
  Push no_push;
  auto both = [&](const mx::array& sample, const char* name, Pull vjp, Push jvp) {
    return replace(sample, name, pull, vjp, no_pull) + replace(sample, name, push, jvp, no_push);
  };
  auto eigh = mx::linalg::eigh(x, "L", s).first;
  auto svd = mx::linalg::svd(x, true, s)[0];
  auto qr = mx::linalg::qr(x, s).first;
  auto lu = mx::linalg::lu_factor(x, s).first;
  int done = both(mx::linalg::inv(x, s), "Inverse", inverse_vjp, inverse_jvp);
  done += both(mx::linalg::cholesky(x, false, s), "Cholesky", cholesky_vjp, cholesky_jvp);
  done += both(eigh, "Eigh", eigh_vjp, eigh_jvp);
  done += both(svd, "SVD", svd_vjp, svd_jvp);
  done += both(qr, "QRF", qr_vjp, qr_jvp);
  done += both(lu, "LUF", lu_vjp, lu_jvp);
  return done;
}

#endif

extern "C" int mlx_native_linalg_pinv(mlx_array* res, const mlx_array a, const mlx_stream s) {
  return guarded("pinv", [&] { mlx_array_set_(*res, pinv(mlx_array_get_(a), mlx_stream_get_(s))); });
}

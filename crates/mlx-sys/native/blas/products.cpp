// Matrix products, split into pieces that threads of ours compute, each with OpenBLAS on one thread.
//
// OpenBLAS's own threads are not used: it ends the process when it cannot make them, it waits for them when the process
// exits or forks, which never ends while they compute, and they look for work on cores that other kernels need.
//
// Both kinds of names are here: those that libmlx imports, and those by which OpenBLAS's LAPACK reaches its own products
// (`scipy_sgemm_`), which are bound here too because this library comes before OpenBLAS where its names are looked up.
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <complex>
#include <cstddef>
#include <utility>

#include "share.h"

namespace {

using Complex = std::complex<float>;

// CBLAS's numbers.
constexpr int kRowMajor = 101;
constexpr int kNoTranspose = 111;
constexpr int kConjugateNoTranspose = 114;

std::atomic<mlx_blas_share> share{nullptr};
std::atomic<size_t> threads{1};

// Rows and columns of a piece are multiples of this: what OpenBLAS's inner loops take at once.
constexpr size_t kUnit = 16;
// Work of a piece, in nanoseconds, below which it is not worth a thread.
constexpr double kWorthSplitting = 25e3;

// A rough time of a multiplication with an addition on one thread, in nanoseconds.
template <class T>
constexpr double kStep = 0.02;
template <>
constexpr double kStep<double> = 0.04;
template <>
constexpr double kStep<Complex> = 0.08;

size_t units(size_t size) {
  return (size + kUnit - 1) / kUnit;
}

// How often the rows and the columns of a result are cut.
struct Grid {
  size_t rows = 1;
  size_t columns = 1;
};

// The grid of at most `pieces` for which least is read: each piece packs its rows of A and its columns of B.
Grid grid_of(size_t m, size_t n, size_t pieces) {
  for (; pieces > 1; pieces--) {
    Grid best{0, 0};
    for (size_t rows = 1; rows <= pieces; rows++) {
      Grid grid{rows, pieces / rows};
      bool fits = rows * grid.columns == pieces && rows <= units(m) && grid.columns <= units(n);
      if (fits && (!best.rows || m * grid.columns + n * rows < m * best.columns + n * best.rows)) {
        best = grid;
      }
    }
    if (best.rows) {
      return best;
    }
  }
  return {};
}

// Where the part of this number begins, of `parts` of `size`.
size_t start_of(size_t part, size_t parts, size_t size) {
  return std::min(size, units(size) * part / parts * kUnit);
}

// A product in Fortran's order: m x n results, columns of `ldc` elements.
template <class T>
struct Product {
  bool a_transposed, b_transposed;
  size_t m, n, k;
  const T* a;
  size_t lda;
  const T* b;
  size_t ldb;
  T* c;
  size_t ldc;
};

// Calls `multiply(m, n, a, b, c)` for each piece, on as many threads as are worth it.
template <class T, class Multiply>
void split(const Product<T>& product, const Multiply& multiply) {
  auto [a_transposed, b_transposed, m, n, k, a, lda, b, ldb, c, ldc] = product;
  double nanoseconds = kStep<T> * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  auto run = share.load(std::memory_order_acquire);
  auto worth = static_cast<size_t>(std::min(nanoseconds / kWorthSplitting, 1e6));
  auto grid = run ? grid_of(m, n, std::min(worth, threads.load(std::memory_order_relaxed))) : Grid{};
  size_t pieces = grid.rows * grid.columns;
  if (pieces <= 1) {
    multiply(m, n, a, b, c);
    return;
  }
  auto piece = [&](size_t number) {
    size_t row = number % grid.rows, column = number / grid.rows;
    size_t i = start_of(row, grid.rows, m), j = start_of(column, grid.columns, n);
    size_t rows = start_of(row + 1, grid.rows, m) - i, columns = start_of(column + 1, grid.columns, n) - j;
    multiply(rows, columns, a + (a_transposed ? i * lda : i), b + (b_transposed ? j : j * ldb), c + j * ldc + i);
  };
  using Piece = decltype(piece);
  run([](void* job, size_t number) { (*static_cast<Piece*>(job))(number); }, &piece, pieces, nanoseconds);
}

bool is_transposed(int cblas) {
  return cblas != kNoTranspose && cblas != kConjugateNoTranspose;
}

bool is_transposed(const char* fortran) {
  return *fortran == 'T' || *fortran == 't' || *fortran == 'C' || *fortran == 'c';
}

// OpenBLAS's own function behind a name that this library has too.
template <class Function>
Function own(const char* name, const void* other_of_openblas) {
  Dl_info info;
  void* openblas = dladdr(other_of_openblas, &info) ? dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  return reinterpret_cast<Function>(openblas ? dlsym(openblas, name) : nullptr);
}

} // namespace

extern "C" void mlx_blas_set_share(size_t count, mlx_blas_share function) {
  threads.store(std::max<size_t>(count, 1), std::memory_order_relaxed);
  share.store(function, std::memory_order_release);
}

// `Scalar` is how alpha and beta are passed.
#define PRODUCT(letter, T, Element, Scalar)                                                                            \
  extern "C" void scipy_cblas_##letter##gemm(                                                                          \
      int, int, int, int, int, int, Scalar, const Element*, int, const Element*, int, Scalar, Element*, int);          \
                                                                                                                       \
  extern "C" void cblas_##letter##gemm(                                                                                \
      int order, int ta, int tb, int m, int n, int k, Scalar alpha, const Element* a, int lda, const Element* b,       \
      int ldb, Scalar beta, Element* c, int ldc) {                                                                     \
    if (m <= 0 || n <= 0 || k <= 0) {                                                                                  \
      scipy_cblas_##letter##gemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                         \
      return;                                                                                                          \
    }                                                                                                                  \
    /* A product in C's order is that of the factors in the other order, in Fortran's. */                              \
    if (order == kRowMajor) {                                                                                          \
      std::swap(ta, tb), std::swap(m, n), std::swap(a, b), std::swap(lda, ldb);                                        \
    }                                                                                                                  \
    constexpr int kColumnMajor = 102;                                                                                  \
    Product<T> product{                                                                                                \
        is_transposed(ta), is_transposed(tb), size_t(m), size_t(n), size_t(k), reinterpret_cast<const T*>(a),          \
        size_t(lda), reinterpret_cast<const T*>(b), size_t(ldb), reinterpret_cast<T*>(c), size_t(ldc)};                \
    split(product, [=](size_t m, size_t n, const T* a, const T* b, T* c) {                                             \
      scipy_cblas_##letter##gemm(                                                                                      \
          kColumnMajor, ta, tb, int(m), int(n), k, alpha, reinterpret_cast<const Element*>(a), lda,                    \
          reinterpret_cast<const Element*>(b), ldb, beta, reinterpret_cast<Element*>(c), ldc);                         \
    });                                                                                                                \
  }                                                                                                                    \
                                                                                                                       \
  extern "C" void scipy_##letter##gemm_(                                                                               \
      const char* ta, const char* tb, const int* m, const int* n, const int* k, const T* alpha, const T* a,            \
      const int* lda, const T* b, const int* ldb, const T* beta, T* c, const int* ldc, size_t ta_len, size_t tb_len) { \
    using Function = decltype(&scipy_##letter##gemm_);                                                                 \
    static const auto own_gemm = own<Function>(                                                                        \
        "scipy_" #letter "gemm_", reinterpret_cast<const void*>(&scipy_cblas_##letter##gemm));                         \
    if (*m <= 0 || *n <= 0 || *k <= 0) {                                                                               \
      own_gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, ta_len, tb_len);                                  \
      return;                                                                                                          \
    }                                                                                                                  \
    Product<T> product{                                                                                                \
        is_transposed(ta), is_transposed(tb), size_t(*m), size_t(*n), size_t(*k), a, size_t(*lda), b, size_t(*ldb), c, \
        size_t(*ldc)};                                                                                                 \
    split(product, [=](size_t rows, size_t columns, const T* a, const T* b, T* c) {                                    \
      int m = int(rows), n = int(columns);                                                                             \
      own_gemm(ta, tb, &m, &n, k, alpha, a, lda, b, ldb, beta, c, ldc, ta_len, tb_len);                                \
    });                                                                                                                \
  }

PRODUCT(s, float, float, float)
PRODUCT(d, double, double, double)
PRODUCT(c, Complex, void, const void*)

// A row times a matrix by a kernel of our own (`cuda/gemv.cu`): when it fits, and how it is launched.
#include "cuda_gemv.h"

#ifdef __linux__

namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = 8;
constexpr int kMostVectors = 8;
// With two matrices a lane has twice as many loads.
constexpr int kMostGatedVectors = 4;
// Warps that a multiprocessor should have.
constexpr int kBusy = 16;

// Whether all axes in front of the last two are of size 1.
bool is_one_matrix(const mx::array& x) {
  for (int axis = 0; axis + 2 < static_cast<int>(x.ndim()); axis++) {
    if (x.shape(axis) != 1) {
      return false;
    }
  }
  return true;
}

// A row and matrices that the kernel takes, and what it writes.
struct Product {
  const mx::array& x;
  const mx::array& w;
  std::optional<mx::array> gated, addend;

  int k() const {
    return w.shape(-2);
  }

  int n() const {
    return w.shape(-1);
  }

  bool fits(mx::Dtype dtype, size_t n_out) const {
    int at_once = 16 / static_cast<int>(x.itemsize());
    bool is_row = x.ndim() >= 1 && type_name(dtype) && x.dtype() == dtype && x.flags().row_contiguous && is_aligned(x);
    return is_row && fits_matrix(w) && (!gated || (fits_matrix(*gated) && gated->shape(-1) == n())) && x.size() == static_cast<size_t>(k()) &&
        n_out == static_cast<size_t>(n()) && k() % at_once == 0 && k() > 0 && n() >= 2;
  }

  // The kernel, and a block for each 8 warps; no kernel where rows are too long.
  std::pair<const Kernel*, unsigned> choose(const mx::Stream& s) const {
    int chunks = k() * static_cast<int>(x.itemsize()) / 16, most = gated ? kMostGatedVectors : kMostVectors;
    auto vectors_of = [&](int split) { return (chunks + 32 * split - 1) / (32 * split); };
    int split = 1;
    while (split < kWarps && vectors_of(split) > 1 && (vectors_of(split) > most || n() * split < processors(s) * kBusy)) {
      split *= 2;
    }
    if (vectors_of(split) > most) {
      return {nullptr, 0};
    }
    auto name = std::string("gemv<") + type_name(x.dtype()) + ", " + std::to_string(vectors_of(split)) + ", " + std::to_string(split) +
        (gated ? ", true>" : ", false>");
    int rows = kWarps / split;
    return {find("gemv", name, s), static_cast<unsigned>((n() + rows - 1) / rows)};
  }

  void run(const Kernel& kernel, unsigned blocks, const mx::array& out, const mx::Stream& s) const {
    int is_known = may_read_early(w) & (!gated || may_read_early(*gated));
    Launch(kernel, s).input(x).input(w).input(gated).input(addend).output(out).value(n()).value(k()).value(is_known).run({blocks}, kThreads);
  }

 private:
  bool fits_matrix(const mx::array& matrix) const {
    return matrix.ndim() >= 2 && is_one_matrix(matrix) && matrix.dtype() == x.dtype() && matrix.strides(-2) == 1 &&
        matrix.strides(-1) == matrix.shape(-2) && is_aligned(matrix);
  }
};

bool compute(const Product& product, mx::array& out, const mx::Stream& s) {
  if (!product.fits(out.dtype(), out.size())) {
    return false;
  }
  auto [kernel, blocks] = product.choose(s);
  if (!kernel) {
    return false;
  }
  allocate(out, s);
  product.run(*kernel, blocks, out, s);
  return true;
}

} // namespace

bool gemv(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  return compute({inputs[0], inputs[1], {}, {}}, outputs[0], s);
}

bool gemv_and_sum(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& c = inputs[2];
  auto& out = outputs[0];
  // One row, which may be broadcast to one.
  bool is_row = c.dtype() == out.dtype() && c.size() == out.size() && c.ndim() >= 1 && c.strides(-1) == 1;
  return is_row && compute({inputs[0], inputs[1], {}, c}, out, s);
}

bool gated_gemv(const mx::array& x, const mx::array& w, const mx::array& gated, mx::array& out, const mx::Stream& s) {
  return compute({x, w, gated, {}}, out, s);
}

} // namespace cuda

#endif

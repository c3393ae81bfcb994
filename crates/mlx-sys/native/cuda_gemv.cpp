// A row times a matrix by a kernel of our own (`cuda/gemv.cu`): when it fits, and how it is launched.
#include "cuda_gemv.h"

#ifdef __linux__

namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = 8;
constexpr int kMostVectors = 8;
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

} // namespace

bool gemv(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto &x = inputs[0], &w = inputs[1];
  auto& out = outputs[0];
  if (x.ndim() < 1 || w.ndim() < 2 || !is_one_matrix(w) || !type_name(out.dtype()) || x.dtype() != out.dtype() || w.dtype() != out.dtype()) {
    return false;
  }
  int k = w.shape(-2), n = w.shape(-1);
  int at_once = 16 / static_cast<int>(out.itemsize());
  bool is_row = x.size() == static_cast<size_t>(k) && x.flags().row_contiguous && static_cast<int>(out.size()) == n;
  bool is_transposed = w.strides(-2) == 1 && w.strides(-1) == k;
  if (!is_row || !is_transposed || k % at_once != 0 || k == 0 || n < 2 || !is_aligned(x) || !is_aligned(w)) {
    return false;
  }
  int chunks = k / at_once;
  auto vectors_of = [&](int split) { return (chunks + 32 * split - 1) / (32 * split); };
  int split = 1;
  while (split < kWarps && vectors_of(split) > 1 && (vectors_of(split) > kMostVectors || n * split < processors(s) * kBusy)) {
    split *= 2;
  }
  int vectors = vectors_of(split);
  if (vectors > kMostVectors) {
    return false;
  }
  auto name = std::string("gemv<") + type_name(out.dtype()) + ", " + std::to_string(vectors) + ", " + std::to_string(split) + ">";
  auto* kernel = find("gemv", name, s);
  if (!kernel) {
    return false;
  }
  allocate(out, s);
  int rows = kWarps / split;
  Launch(*kernel, s).input(x).input(w).output(out).value(n).value(k).run({static_cast<unsigned>((n + rows - 1) / rows)}, kThreads);
  return true;
}

} // namespace cuda

#endif

// Activations by a kernel of our own (`cuda/activation.cu`).
#include "cuda_activation.h"

#ifdef __linux__

namespace cuda {

namespace {

constexpr int kThreads = 256;

} // namespace

bool activation(Activation kind, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& out = outputs[0];
  bool is_free = inputs[0].is_donatable() && inputs[0].flags().row_contiguous;
  auto x = in_rows(inputs[0], s);
  std::optional<mx::array> factor;
  if (inputs.size() > 1) {
    factor = in_rows(inputs[1], s);
  }
  bool can_load = is_aligned(x) && (!factor || is_aligned(*factor));
  int n = can_load ? 16 / static_cast<int>(x.itemsize()) : 1;
  auto name = std::string("activation<") + type_name(out.dtype()) + ", " + std::to_string(static_cast<int>(kind)) + ", " +
      std::to_string(n) + ">";
  auto* kernel = find("activation", name, s);
  if (!kernel) {
    return false;
  }
  if (is_free) {
    out.copy_shared_buffer(x);
  } else {
    allocate(out, s);
  }
  int64_t size = x.size();
  int64_t threads = (size + n - 1) / n;
  Launch(*kernel, s).input(x).input(factor).output(out).value(size).run(
      {static_cast<unsigned>((threads + kThreads - 1) / kThreads)}, kThreads);
  return true;
}

} // namespace cuda

#endif

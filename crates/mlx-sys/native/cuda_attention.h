// Attention on CUDA by kernels of our own.
#ifndef MLX_NATIVE_CUDA_ATTENTION_H
#define MLX_NATIVE_CUDA_ATTENTION_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// What attention is given beside q, k and v: a mask of `[batch, heads, queries, keys]`, bool or to be added, and a score for
// each head.
struct Attention {
  float scale;
  bool is_causal;
  bool has_mask;
  bool has_sinks;

  // Whether the kernel takes q, k and v of these shapes and types.
  static bool fits(const mx::array& q, const mx::array& k, const mx::array& v);

  // Computes; false when the kernel cannot be compiled, and then nothing has been done to the output. With a flag, the result is
  // the number `otherwise` where the flag is false.
  bool run(const Arrays& inputs, mx::array& out, const mx::Stream& s, const mx::array* flag = nullptr, const mx::array* otherwise = nullptr)
      const;
};

} // namespace cuda

#endif

#endif

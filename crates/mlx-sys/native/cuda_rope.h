// Rotary embedding on CUDA by a kernel of our own.
#ifndef MLX_NATIVE_CUDA_ROPE_H
#define MLX_NATIVE_CUDA_ROPE_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// The attributes of MLX's primitive.
struct Rope {
  int dims;
  bool is_traditional;
  float base;
  float scale;
  bool is_forward;

  // The inputs are those of MLX's primitive: x, offset, and frequencies or none. False when no kernel fits; then nothing has
  // been done to the output.
  bool run(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) const;

  // The same of `rms_norm(x) * w`, where `x` is of `[batch, 1, heads, dims]`: one position of few rows.
  bool run_with_norm(float eps, const mx::array& x, const mx::array& w, const Arrays& inputs, mx::array& out, const mx::Stream& s) const;
};

} // namespace cuda

#endif

#endif

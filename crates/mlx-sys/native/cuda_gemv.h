// A row times a matrix by a kernel of our own.
#ifndef MLX_NATIVE_CUDA_GEMV_H
#define MLX_NATIVE_CUDA_GEMV_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// A product of MLX's where the first factor is one row and the second a transposed matrix; false where MLX must.
bool gemv(const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

// The same and a third input on top.
bool gemv_and_sum(const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

// `silu(x @ w) * (x @ gated)` of such a row and two such matrices.
bool gated_gemv(const mx::array& x, const mx::array& w, const mx::array& gated, mx::array& out, const mx::Stream& s);

} // namespace cuda

#endif

#endif

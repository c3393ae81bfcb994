// layer_norm and rms_norm on CUDA by kernels of our own.
#ifndef MLX_NATIVE_CUDA_NORM_H
#define MLX_NATIVE_CUDA_NORM_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// The inputs are those of MLX's primitives: x, weight and, if centered, bias, of which scalars stand for none; of a gradient,
// that of the result behind them. False when no kernel fits; then nothing has been done to the outputs.
bool norm(bool is_centered, float eps, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);
// An addition and the rms_norm of its result, whose other inputs are `w` and none.
bool add_and_norm(float eps, const Arrays& terms, const mx::array& w, mx::array& sum, mx::array& out, const mx::Stream& s);

// The gradient of layer_norm.
bool layer_norm_gradient(float eps, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

} // namespace cuda

#endif

#endif

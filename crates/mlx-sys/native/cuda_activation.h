// Activations on CUDA by a kernel of our own.
#ifndef MLX_NATIVE_CUDA_ACTIVATION_H
#define MLX_NATIVE_CUDA_ACTIVATION_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// In the order of `cuda/activation.cu`.
enum class Activation { Gelu, GeluApprox, Silu, SwiGlu };

// Computes the activation of one input, or of two that are alike; false when the kernel cannot be compiled, and then nothing
// has been done to the output.
bool activation(Activation kind, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

} // namespace cuda

#endif

#endif

// Products with packed weights on CUDA by kernels of our own.
#ifndef MLX_NATIVE_CUDA_QUANTIZED_H
#define MLX_NATIVE_CUDA_QUANTIZED_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// The inputs are those of MLX's `QuantizedMatmul` of affine weights that are stored by output: x, weights, scales, biases.
// False when no kernel fits; then nothing has been done to the output.
bool quantized_product(int group_size, int bits, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

// The same for many rows: the weights are unpacked into memory of the device, and cuBLAS multiplies.
bool unpacked_product(int group_size, int bits, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

} // namespace cuda

#endif

#endif

// Whole rows of a matrix by kernels of our own (`cuda/rows.cu`).
#ifndef MLX_NATIVE_CUDA_ROWS_H
#define MLX_NATIVE_CUDA_ROWS_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// Rows of an array in order that one array of indices names; false where MLX must.
bool gather_rows(
    const std::vector<int>& axes, const mx::Shape& slice_sizes, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

// Sums over the last axes of an array in order, in half precision; false where MLX must.
bool sum_rows(const std::vector<int>& axes, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

} // namespace cuda

#endif

#endif

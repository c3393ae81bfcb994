// Writing into part of an array, from a position on the device, by a kernel of our own.
#ifndef MLX_NATIVE_CUDA_UPDATE_H
#define MLX_NATIVE_CUDA_UPDATE_H

#ifdef __linux__

#include "cuda_kernel.h"

namespace cuda {

// `slice_update` with a start that is an array, for these axes; false where MLX must.
bool update_in_place(const std::vector<int>& axes, const Arrays& inputs, Arrays& outputs, const mx::Stream& s);

} // namespace cuda

#endif

#endif

// How often kernels of our own have computed on CUDA.
#ifndef MLX_NATIVE_CUDA_HOOK_H
#define MLX_NATIVE_CUDA_HOOK_H

// Counts one run, of a class of MLX's or an operation with this name.
void count_cuda_kernel(const char* name);

#endif

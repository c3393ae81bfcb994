// What is different where MLX computes with CUDA.
#ifndef MLX_NATIVE_CUDA_H
#define MLX_NATIVE_CUDA_H

// Has one thread at a time compute Fourier transforms, from now on: before the first one on a GPU.
void serialize_transforms();

// Throws when work of this thread was lost since the last call, because what it was recorded into became invalid.
void check_captures();

#endif

// What is different where MLX computes with CUDA.
#ifndef MLX_NATIVE_CUDA_H
#define MLX_NATIVE_CUDA_H

#include <mutex>

// Throws when work of this thread was lost since the last call, because what it was recorded into became invalid.
void check_captures();

// Has other evaluations take the place of those that MLX has wrong on CUDA (`cuda_eval.cpp`): before the first one there.
void hook_cuda_evaluations();

// Has kernels of our own compute what they fit (`cuda_hook.cpp`): after that.
void hook_cuda_kernels();

#ifdef __linux__

// Whether the MLX that is loaded computes with CUDA.
bool is_cuda();

// While it is held nothing is recorded by other threads.
std::unique_lock<std::recursive_mutex> keep_recordings_out();

#endif

#endif

// Operations of a recording that one kernel computes together.
#ifndef MLX_NATIVE_CUDA_FUSE_H
#define MLX_NATIVE_CUDA_FUSE_H

#ifdef __linux__

#include "cuda_walk.h"

namespace cuda {

// Computes `first` together with those that come next in `tape`, takes these out, and keeps what was read in `held`. False where
// `first` is left to itself: then nothing has been done.
bool fuse(mx::array& first, Tape& tape, Datas& held);

// Computes an array by itself.
void evaluate(mx::array& x, Datas& held);

// Marks an array and its siblings as evaluated, and keeps what was read.
void settle(mx::array& x, Datas& held);

} // namespace cuda

#endif

#endif

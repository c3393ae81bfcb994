// How matrix products reach threads that are not OpenBLAS's.
#ifndef MLX_BLAS_SHARE_H
#define MLX_BLAS_SHARE_H

#include <stddef.h>

// Calls `piece(job, number)` once for each number below `pieces`, on any threads, and returns when all calls have
// returned. `nanoseconds` is a rough estimate of the whole work on one thread.
typedef void (*mlx_blas_share)(void (*piece)(void* job, size_t number), void* job, size_t pieces, double nanoseconds);

// From now on products are split for this many threads and given to `share`.
extern "C" void mlx_blas_set_share(size_t threads, mlx_blas_share share);

#endif

// A position of a cache that a kernel writes its results into.
#ifndef MLX_NATIVE_CUDA_PLACE_H
#define MLX_NATIVE_CUDA_PLACE_H

#ifdef __linux__

#include <vector>

#include "cuda_kernel.h"

namespace cuda {

// As `cuda/numbers.cuh` has it.
struct Place {
  int64_t batch, head, row;
  int inner, most;
};

// A `slice_update` of one position of a cache, `[batch, heads, positions, size]`, that is only left to write.
class CachePosition {
 public:
  // `update` is of MLX's class for updates at a position that is computed; what it writes is not looked at. Where the cache is
  // held by others too, or laid out or indexed in another way, it does not fit.
  explicit CachePosition(mx::array& update);

  bool fits() const {
    return fits_;
  }

  // Gives the update the cache's memory.
  void take() const;

  const mx::array& cache() const {
    return update_.inputs()[0];
  }

  const mx::array& start() const {
    return update_.inputs()[2];
  }

  const mx::array& result() const {
    return update_;
  }

  Place place() const;

 private:
  mx::array& update_;
  bool fits_;
};

} // namespace cuda

#endif

#endif

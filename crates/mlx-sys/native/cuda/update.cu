// Writing into part of an array in place, from a position that is in memory of the device.
//
// Formula: `to[start + i] = from[i]` for all indices `i` of `from`; `start` is 0 on axes that it does not name.
// Blocking: a thread for each item, which is 16 bytes where rows allow it. The limit is memory, or a launch for what is small.
// A start that would leave the array is moved to the nearest one that does not.
// Refuses (MLX computes): more than 8 axes, an array that is still read by others, which would have to be copied.
#include "numbers.cuh"

constexpr int most_axes = 8;

struct Sizes {
  // Of the axes of more than one item.
  int64_t from_strides[most_axes], to_strides[most_axes];
  int shape[most_axes];
  // Of the axes of `start`: what one position is in items, and the largest start.
  int64_t start_strides[most_axes];
  int most[most_axes];
  int ndim, n_axes, start_stride, size;
};

struct alignas(16) Chunk {
  uint32_t words[4];
};

template <class Item, class Index>
__global__ void __launch_bounds__(128) update(const Item* from, Item* to, const Index* start, const __grid_constant__ Sizes sizes) {
  begin();
  int at = blockIdx.x * 128 + threadIdx.x;
  if (at >= sizes.size) {
    return;
  }
  int64_t read = 0, write = 0;
  for (int axis = sizes.ndim - 1; axis > 0; axis--) {
    int rest = at / sizes.shape[axis], index = at - rest * sizes.shape[axis];
    at = rest;
    read += index * sizes.from_strides[axis];
    write += index * sizes.to_strides[axis];
  }
  read += at * sizes.from_strides[0];
  write += at * sizes.to_strides[0];
  for (int i = 0; i < sizes.n_axes; i++) {
    int64_t first = static_cast<int64_t>(start[i * sizes.start_stride]);
    first = first < 0 ? 0 : first > sizes.most[i] ? sizes.most[i] : first;
    write += first * sizes.start_strides[i];
  }
  to[write] = from[read];
}

// A row times a matrix whose rows are its outputs: `y_n = sum_k x_k w_nk`, as in a linear layer of one token.
//
// Blocking: `split` warps have an output, 16 bytes of its row in each of `vectors` loads of a lane, all in flight at once; warps
// join their sums in shared memory. The row `x` comes from the cache.
// Limit: bandwidth of memory, each element of the matrix read once; for small matrices a launch and one latency.
// Error: sums in float32, in the order of lanes; one rounding to `T`.
// Refuses (MLX computes): rows that do not begin and end at 16 bytes, or are longer than `8 * 32 * 8` loads.
#include "numbers.cuh"

template <class T, int vectors, int split>
__global__ void __launch_bounds__(256) gemv(const T* __restrict__ x, const T* __restrict__ w, T* __restrict__ y, int n, int k) {
  constexpr int at_once = 16 / sizeof(T);
  constexpr int rows = 8 / split;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int row = blockIdx.x * rows + warp / split;
  bool is_in = row < n;
  const T* from = w + int64_t(is_in ? row : 0) * k;
  int first = (warp % split * 32 + lane) * at_once;
  Vector<T, at_once> of_row[vectors], of_x[vectors];
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int at = first + v * (32 * split * at_once);
    if (at < k) {
      of_row[v] = load<T, at_once>(from + at);
    }
  }
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int at = first + v * (32 * split * at_once);
    if (at < k) {
      of_x[v] = load<T, at_once>(x + at);
    }
  }
  float sum = 0;
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    if (first + v * (32 * split * at_once) < k) {
#pragma unroll
      for (int i = 0; i < at_once; i++) {
        sum += to_float(of_row[v].at[i]) * to_float(of_x[v].at[i]);
      }
    }
  }
  sum = reduce<Plus, 32>(sum);
  if constexpr (split > 1) {
    __shared__ float parts[8];
    if (lane == 0) {
      parts[warp] = sum;
    }
    __syncthreads();
    sum = 0;
#pragma unroll
    for (int i = 0; i < split; i++) {
      sum += parts[warp / split * split + i];
    }
  }
  if (lane == 0 && warp % split == 0 && is_in) {
    y[row] = from_float<T>(sum);
  }
}

// A row times a matrix whose rows are its outputs: `y_n = sum_k x_k w_nk + c_n`, as in a linear layer of one token; or, of two
// matrices, `silu(sum_k x_k w_nk) * sum_k x_k v_nk`, the gated part of a network (SwiGLU).
//
// Blocking: `split` warps have an output, 16 bytes of its row in each of `vectors` loads of a lane, all in flight at once; warps
// join their sums in shared memory. The row `x` comes from the cache. A matrix that no kernel of this graph writes (`is_ready`)
// is read while the kernel before still makes `x`.
// Limit: bandwidth of memory, each element of the matrix read once; for small matrices a launch and one latency.
// Error: sums in float32, in the order of lanes; one rounding to `T`. Both factors of a gate are rounded before, as alone.
// Refuses (MLX computes): rows that do not begin and end at 16 bytes, or are longer than `8 * 32 * 8` loads.
#include "numbers.cuh"

// Blocks that a multiprocessor has room for: while one kernel ends, the blocks of the next should all be there.
template <int vectors, bool is_gated>
__device__ constexpr int blocks_of() {
  return is_gated ? (vectors <= 2 ? 4 : vectors <= 4 ? 3 : 1) : vectors == 1 ? 8 : vectors == 2 ? 6 : vectors <= 4 ? 4 : 2;
}

template <class T, int vectors, int split>
__device__ __forceinline__ float sum_of(const Vector<T, 16 / sizeof(T)> (&row)[vectors], const Vector<T, 16 / sizeof(T)> (&x)[vectors], int first, int k) {
  constexpr int at_once = 16 / sizeof(T);
  float sum = 0;
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    if (first + v * (32 * split * at_once) < k) {
#pragma unroll
      for (int i = 0; i < at_once; i++) {
        sum += to_float(row[v].at[i]) * to_float(x[v].at[i]);
      }
    }
  }
  return reduce<Plus, 32>(sum);
}

template <class T, int vectors, int split, bool is_gated>
__global__ void __launch_bounds__(256, blocks_of<vectors, is_gated>()) gemv(
    const T* x, const T* w, const T* gated, const T* addend, T* y, int n, int k, int is_ready) {
  let_next_begin();
  if (!is_ready) {
    wait_for_inputs();
  }
  constexpr int at_once = 16 / sizeof(T);
  constexpr int rows = 8 / split;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int row = blockIdx.x * rows + warp / split;
  bool is_in = row < n;
  int64_t from = int64_t(is_in ? row : 0) * k;
  int first = (warp % split * 32 + lane) * at_once;
  Vector<T, at_once> of_row[vectors], of_gated[is_gated ? vectors : 1], of_x[vectors];
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int at = first + v * (32 * split * at_once);
    if (at < k) {
      of_row[v] = load_now<T, at_once>(w + from + at);
      if constexpr (is_gated) {
        of_gated[v] = load_now<T, at_once>(gated + from + at);
      }
    }
  }
  wait_for_inputs();
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int at = first + v * (32 * split * at_once);
    if (at < k) {
      of_x[v] = load<T, at_once>(x + at);
    }
  }
  // Asked for before the sums, whose lanes wait for each other.
  float more = addend && lane == 0 && is_in ? to_float(addend[row]) : 0.0f;
  float sum = sum_of<T, vectors, split>(of_row, of_x, first, k), other = 0;
  if constexpr (is_gated) {
    other = sum_of<T, vectors, split>(of_gated, of_x, first, k);
  }
  if constexpr (split > 1) {
    __shared__ float2 parts[8];
    if (lane == 0) {
      parts[warp] = float2{sum, other};
    }
    __syncthreads();
    sum = other = 0;
#pragma unroll
    for (int i = 0; i < split; i++) {
      auto part = parts[warp / split * split + i];
      sum += part.x;
      other += part.y;
    }
  }
  if (lane != 0 || warp % split != 0 || !is_in) {
    return;
  }
  if constexpr (is_gated) {
    float gate = to_float(from_float<T>(sum));
    sum = gate / (1.0f + expf(-gate)) * to_float(from_float<T>(other));
  }
  y[row] = from_float<T>(sum + more);
}

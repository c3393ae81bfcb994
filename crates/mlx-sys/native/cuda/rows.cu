// Whole rows of a matrix: those that indices name, and the sums of rows in half precision.
//
// Formula: `y[i] = x[index[i]]`; `y[i] = sum over k of x[i, k]`.
// Blocking: a thread moves up to 16 bytes of four rows or places of a row; a sum has a warp for a short row and 256 threads for
// a long one, each with 16 bytes at a time.
// Limit: bandwidth of memory, each element read once.
// Error: none; sums are in float32, rounded once to `T`.
// Refuses (MLX computes): other axes than the first for indices and other than the last ones for sums, arrays that are not in order.
#include "numbers.cuh"

constexpr int block = 256;
constexpr int per_thread = 4;

// `chunks` of `Chunk` are a row. An index counts from the end where it is negative; one that is out of range is moved into it.
template <class Chunk, class Index>
__global__ void __launch_bounds__(block) gather_rows(
    const Chunk* x, const Index* index, Chunk* y, int64_t n_rows, int chunks, int64_t size) {
  begin();
  int64_t first = int64_t(blockIdx.x) * block * per_thread + threadIdx.x;
  Chunk read[per_thread];
#pragma unroll
  for (int i = 0; i < per_thread; i++) {
    int64_t at = first + i * block;
    if (at < size) {
      // Short numbers are divided faster.
      int64_t place = size <= 0x7fffffff ? uint32_t(at) / uint32_t(chunks) : at / chunks;
      int64_t row = index[place];
      row = row < 0 ? row + n_rows : row;
      row = row < 0 ? 0 : row >= n_rows ? n_rows - 1 : row;
      read[i] = x[row * chunks + (at - place * chunks)];
    }
  }
#pragma unroll
  for (int i = 0; i < per_thread; i++) {
    int64_t at = first + i * block;
    if (at < size) {
      y[at] = read[i];
    }
  }
}

// `threads` are a row's, `n` elements are read at once.
template <class T, int threads, int n>
__global__ void __launch_bounds__(block) sum_rows(const T* x, T* y, int64_t rows, int size) {
  begin();
  constexpr int rows_at_once = block / threads;
  int64_t row = int64_t(blockIdx.x) * rows_at_once + threadIdx.x / threads;
  // A whole block or a whole warp leaves.
  if (row >= rows) {
    return;
  }
  const T* from = x + row * size;
  int lane = threadIdx.x % threads;
  float total = 0;
#pragma unroll 4
  for (int at = lane * n; at < size; at += threads * n) {
    auto part = load<T, n>(from + at);
#pragma unroll
    for (int i = 0; i < n; i++) {
      total += to_float(part.at[i]);
    }
  }
  total = reduce<Plus, threads>(total);
  if (lane == 0) {
    y[row] = from_float<T>(total);
  }
}

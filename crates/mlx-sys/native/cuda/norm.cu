// layer_norm and rms_norm of rows, and their gradients.
//
// Formula: `y = (x - mean(x)) * rsqrt(var(x) + eps) * w + b`, in rms_norm `mean(x)` is 0; `w` and `b` may be absent (null).
// Blocking: `threads` threads hold one row in registers, `vectors` loads of `n` elements each, so memory is read once and
// written once. Short rows share a block. Gradients: a block goes through many rows and sums those of `w` and `b` for its
// columns in registers; a second kernel adds up what the blocks have.
// Limit: bandwidth of memory; 8 bytes an element of `float32`, 12 with the gradient.
// Error: mean and variance in two passes over float32; each element within 4 units in the last place of float32 and one
// rounding to `T`. The sums of gradients have an error of `log2` of the number of rows at most per block, then in order.
// Refuses (MLX computes): axes longer than 8 loads of 1024 threads, float64, devices before compute capability 8.0.
#include "numbers.cuh"

// One row of `size` elements as this thread sees it: its loads are `threads` loads apart.
template <class T, int threads, int vectors, int n>
struct Row {
  float at[vectors][n];

  __device__ __forceinline__ static int column(int vector) {
    return (vector * threads + threadIdx.x % threads) * n;
  }

  __device__ __forceinline__ void read(const T* row, int size) {
    Vector<T, n> raw[vectors];
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      if (column(v) < size) {
        raw[v] = load<T, n>(row + column(v));
      }
    }
#pragma unroll
    for (int v = 0; v < vectors; v++) {
#pragma unroll
      for (int i = 0; i < n; i++) {
        at[v][i] = column(v) < size ? to_float(raw[v].at[i]) : 0.0f;
      }
    }
  }

  __device__ __forceinline__ float sum() const {
    float total = 0;
#pragma unroll
    for (int v = 0; v < vectors; v++) {
#pragma unroll
      for (int i = 0; i < n; i++) {
        total += at[v][i];
      }
    }
    return reduce<Plus, threads>(total);
  }

  // Subtracts the mean where it is asked for, and returns what the row is to be multiplied by.
  template <bool is_centered>
  __device__ __forceinline__ float normalizer(int size, float eps) {
    float mean = is_centered ? sum() / size : 0.0f;
    float total = 0;
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      bool is_in = column(v) < size;
#pragma unroll
      for (int i = 0; i < n; i++) {
        at[v][i] = is_in ? at[v][i] - mean : 0.0f;
        total += at[v][i] * at[v][i];
      }
    }
    float variance = reduce<Plus, threads>(total) / size;
    return 1.0f / sqrtf(variance + eps);
  }
};

template <class T, bool is_centered, int threads, int vectors, int n>
__global__ void __launch_bounds__(threads <= 32 ? 128 : threads) norm(
    const T* x, const T* w, const T* b, T* y, int64_t rows, int size, float eps) {
  begin();
  constexpr int per_block = threads <= 32 ? 128 / threads : 1;
  int64_t at = int64_t(blockIdx.x) * per_block + threadIdx.x / threads;
  // Whole warps or blocks leave together, unless a warp has several rows: those compute the last one again.
  bool is_in = at < rows;
  at = is_in ? at : rows - 1;
  using Here = Row<T, threads, vectors, n>;
  Here row;
  row.read(x + at * size, size);
  // Before the sums, whose threads wait for each other: a small row is all latency.
  constexpr bool is_early = vectors <= 4;
  Vector<T, n> early[is_early ? vectors : 1];
  if (is_early && w) {
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      if (Here::column(v) < size) {
        early[is_early ? v : 0] = load<T, n>(w + Here::column(v));
      }
    }
  }
  float scale = row.template normalizer<is_centered>(size, eps);
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int column = Here::column(v);
    if (column < size && is_in) {
      Vector<T, n> weights, biases, out;
      if (w) {
        weights = is_early ? early[is_early ? v : 0] : load<T, n>(w + column);
      }
      if (b) {
        biases = load<T, n>(b + column);
      }
#pragma unroll
      for (int i = 0; i < n; i++) {
        float value = row.at[v][i] * scale;
        value = w ? value * to_float(weights.at[i]) : value;
        value = b ? value + to_float(biases.at[i]) : value;
        out.at[i] = from_float<T>(value);
      }
      store<T, n>(y + at * size + column, out);
    }
  }
}

// `sum = x + more`, rounded as that is, and `y = rms_norm(sum) * w`.
template <class T, int threads, int vectors, int n>
__global__ void __launch_bounds__(threads <= 32 ? 128 : threads) add_norm(
    const T* x, const T* more, const T* w, T* sum, T* y, int64_t rows, int size, float eps) {
  begin();
  constexpr int per_block = threads <= 32 ? 128 / threads : 1;
  int64_t at = int64_t(blockIdx.x) * per_block + threadIdx.x / threads;
  bool is_in = at < rows;
  at = is_in ? at : rows - 1;
  using Here = Row<T, threads, vectors, n>;
  Here row;
  Vector<T, n> other[vectors], weights[vectors];
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    if (Here::column(v) < size) {
      other[v] = load<T, n>(more + at * size + Here::column(v));
      if (w) {
        weights[v] = load<T, n>(w + Here::column(v));
      }
    }
  }
  row.read(x + at * size, size);
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int column = Here::column(v);
    if (column < size) {
      Vector<T, n> out;
#pragma unroll
      for (int i = 0; i < n; i++) {
        out.at[i] = from_float<T>(row.at[v][i] + to_float(other[v].at[i]));
        row.at[v][i] = to_float(out.at[i]);
      }
      if (is_in) {
        store<T, n>(sum + at * size + column, out);
      }
    }
  }
  float scale = row.template normalizer<false>(size, eps);
#pragma unroll
  for (int v = 0; v < vectors; v++) {
    int column = Here::column(v);
    if (column < size && is_in) {
      Vector<T, n> out;
#pragma unroll
      for (int i = 0; i < n; i++) {
        float value = row.at[v][i] * scale;
        out.at[i] = from_float<T>(w ? value * to_float(weights[v].at[i]) : value);
      }
      store<T, n>(y + at * size + column, out);
    }
  }
}

// A row as it is in memory, which takes half the registers in half precision.
template <class T, int threads, int vectors, int n>
struct RawRow {
  Vector<T, n> raw[vectors];

  __device__ __forceinline__ void read(const T* row, int size) {
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      int column = (v * threads + threadIdx.x) * n;
      raw[v] = column < size ? load<T, n>(row + column) : Vector<T, n>{};
    }
  }

  __device__ __forceinline__ float at(int v, int i) const {
    return to_float(raw[v].at[i]);
  }
};

// Writes `gx`, and for each block its sums over rows: `partial` is `[blocks, 2 or 1, size]`, of `w` and, if centered, `b`.
// The next row is read while one is computed.
template <class T, bool is_centered, bool has_weight, int threads, int vectors, int n>
__global__ void __launch_bounds__(threads) norm_gradient(
    const T* x, const T* w, const T* g, T* gx, float* partial, int64_t rows, int size, float eps) {
  begin();
  using Here = Row<T, threads, vectors, n>;
  float gw[vectors][n] = {};
  float gb[vectors][n] = {};
  RawRow<T, threads, vectors, n> next, next_gradient;
  next.read(x + blockIdx.x * int64_t(size), size);
  next_gradient.read(g + blockIdx.x * int64_t(size), size);
  for (int64_t at = blockIdx.x; at < rows; at += gridDim.x) {
    auto row = next, gradient = next_gradient;
    if (at + gridDim.x < rows) {
      next.read(x + (at + gridDim.x) * size, size);
      next_gradient.read(g + (at + gridDim.x) * size, size);
    }
    float mean = 0, variance = 0;
    if (is_centered) {
#pragma unroll
      for (int v = 0; v < vectors; v++) {
#pragma unroll
        for (int i = 0; i < n; i++) {
          mean += row.at(v, i);
        }
      }
      mean = reduce<Plus, threads>(mean) / size;
    }
#pragma unroll
    for (int v = 0; v < vectors; v++) {
#pragma unroll
      for (int i = 0; i < n; i++) {
        float apart = Here::column(v) < size ? row.at(v, i) - mean : 0.0f;
        variance += apart * apart;
      }
    }
    float scale = 1.0f / sqrtf(reduce<Plus, threads>(variance) / size + eps);
    float sum_g = 0, sum_gx = 0;
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      int column = Here::column(v);
      Vector<T, n> weights = {};
      if (has_weight && column < size) {
        weights = load<T, n>(w + column);
      }
#pragma unroll
      for (int i = 0; i < n; i++) {
        // Beyond the end of the row its gradient is 0.
        float normal = (row.at(v, i) - mean) * scale, of_result = gradient.at(v, i);
        gw[v][i] += of_result * normal;
        gb[v][i] += of_result;
        of_result *= has_weight ? to_float(weights.at[i]) : 1.0f;
        sum_g += of_result;
        sum_gx += of_result * normal;
      }
    }
    sum_two<threads>(sum_g, sum_gx);
    float mean_g = is_centered ? sum_g / size : 0.0f;
    float mean_gx = sum_gx / size;
#pragma unroll
    for (int v = 0; v < vectors; v++) {
      int column = Here::column(v);
      if (column < size) {
        Vector<T, n> weights = {}, out;
        if (has_weight) {
          weights = load<T, n>(w + column);
        }
#pragma unroll
        for (int i = 0; i < n; i++) {
          float of_normal = gradient.at(v, i) * (has_weight ? to_float(weights.at[i]) : 1.0f);
          out.at[i] = from_float<T>(scale * (of_normal - mean_g - (row.at(v, i) - mean) * scale * mean_gx));
        }
        store<T, n>(gx + at * size + column, out);
      }
    }
  }
  if (!partial) {
    return;
  }
  float* mine = partial + int64_t(blockIdx.x) * size * (is_centered ? 2 : 1);
#pragma unroll
  for (int v = 0; v < vectors; v++) {
#pragma unroll
    for (int i = 0; i < n; i++) {
      int column = Here::column(v) + i;
      if (Here::column(v) < size) {
        mine[column] = gw[v][i];
        if (is_centered) {
          mine[size + column] = gb[v][i];
        }
      }
    }
  }
}

// Adds up the rows of `partial`, `[blocks, width]`, into `gw` (the first `size` columns) and `gb` (the rest); either may be
// absent. A block has 32 columns and 32 parts of the rows.
template <class T>
__global__ void __launch_bounds__(1024) add_rows(const float* partial, T* gw, T* gb, int blocks, int width, int size) {
  begin();
  int column = blockIdx.x * 32 + threadIdx.x % 32;
  int part = threadIdx.x / 32;
  float total = 0;
  if (column < width) {
    for (int block = part; block < blocks; block += 32) {
      total += partial[int64_t(block) * width + column];
    }
  }
  __shared__ float sums[32][33];
  sums[part][threadIdx.x % 32] = total;
  __syncthreads();
  total = reduce<Plus, 32>(sums[threadIdx.x % 32][part]);
  column = blockIdx.x * 32 + part;
  if (threadIdx.x % 32 == 0 && column < width) {
    T* to = column < size ? gw : gb;
    if (to) {
      to[column < size ? column : column - size] = from_float<T>(total);
    }
  }
}

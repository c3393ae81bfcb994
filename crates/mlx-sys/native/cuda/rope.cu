// Rotary embedding: pairs of features turn by their position.
//
// Formula: element `t` of a sequence has the angle `(t + offset) * scale * w_i` for pair `i`; `(a, b)` becomes
// `(a cos - b sin, a sin + b cos)`, and turns back where `sign` is -1. Features behind the first `dims` are copied.
// Blocking: a thread has `n` neighbouring pairs of one position, whose sines it uses for several heads; 16 bytes at a time.
// Few elements have a thread for each pair, as sines take longer than the rest.
// Limit: bandwidth of memory, each element read and written once.
// Error: the angle is a product in float32, as in the composed form; sines are within 2 units in the last place.
// Refuses (MLX computes): other than four axes, more than 512 features that turn.
#include "numbers.cuh"

constexpr int most_pairs = 256;

// `w_i`, made of the base in double by the caller; or nothing where `freqs` has their reciprocals.
struct Frequencies {
  float at[most_pairs];
};

struct Strides3 {
  int64_t batch, head, row;
};

struct Sizes {
  int heads, positions, size, dims;
  // Between offsets and between frequencies.
  int offset_stride, freqs_stride;
  float scale, sign;
};

template <class T, int width, int at_once>
__device__ __forceinline__ Vector<T, width> load_in_parts(const T* from) {
  Vector<T, width> whole;
#pragma unroll
  for (int i = 0; i < width; i += at_once) {
    auto part = load<T, at_once>(from + i);
#pragma unroll
    for (int j = 0; j < at_once; j++) {
      whole.at[i + j] = part.at[j];
    }
  }
  return whole;
}

template <class T, int width, int at_once>
__device__ __forceinline__ void store_in_parts(T* to, const Vector<T, width>& whole) {
#pragma unroll
  for (int i = 0; i < width; i += at_once) {
    Vector<T, at_once> part;
#pragma unroll
    for (int j = 0; j < at_once; j++) {
      part.at[j] = whole.at[i + j];
    }
    store<T, at_once>(to + i, part);
  }
}

template <class T, bool is_traditional, int n, int heads_at_once>
__global__ void __launch_bounds__(128) rope(
    const T* x, T* y, const int* offset, const float* freqs, Strides3 strides, Sizes sizes, const __grid_constant__ Frequencies table) {
  begin();
  constexpr int loads = is_traditional ? 1 : 2;
  constexpr int width = is_traditional ? 2 * n : n;
  // Where rows begin anywhere, elements are read one by one.
  constexpr int at_once = n == 1 ? 1 : width;
  int pairs = sizes.dims / 2;
  int turning = pairs / n;
  int chunks = turning + (sizes.size - sizes.dims) / at_once;
  int64_t id = int64_t(blockIdx.x) * 128 + threadIdx.x;
  int position = static_cast<int>(id / chunks), chunk = static_cast<int>(id % chunks);
  if (position >= sizes.positions) {
    return;
  }
  int first_head = blockIdx.y * heads_at_once;
  int n_heads = min(sizes.heads - first_head, heads_at_once);
  const T* from = x + blockIdx.z * strides.batch + first_head * strides.head + position * strides.row;
  int64_t per_head = int64_t(sizes.positions) * sizes.size;
  T* to = y + (int64_t(blockIdx.z) * sizes.heads + first_head) * per_head + int64_t(position) * sizes.size;

  if (chunk >= turning) {
    int at = sizes.dims + (chunk - turning) * at_once;
    for (int head = 0; head < n_heads; head++) {
      store<T, at_once>(to + head * per_head + at, load<T, at_once>(from + head * strides.head + at));
    }
    return;
  }
  float angle_of_one = (static_cast<float>(position) + static_cast<float>(offset[blockIdx.z * sizes.offset_stride])) * sizes.scale;
  float cosines[n], sines[n];
#pragma unroll
  for (int i = 0; i < n; i++) {
    int pair = chunk * n + i;
    float w = freqs ? 1.0f / freqs[pair * sizes.freqs_stride] : table.at[pair];
    sincosf(angle_of_one * w, &sines[i], &cosines[i]);
    sines[i] *= sizes.sign;
  }
  int first = chunk * width, second = pairs + chunk * width;
#pragma unroll 4
  for (int head = 0; head < n_heads; head++) {
    Vector<T, width> in[loads], out[loads];
#pragma unroll
    for (int part = 0; part < loads; part++) {
      in[part] = load_in_parts<T, width, at_once>(from + head * strides.head + (part ? second : first));
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
      float a = to_float(is_traditional ? in[0].at[2 * i] : in[0].at[i]);
      float b = to_float(is_traditional ? in[0].at[2 * i + 1] : in[loads - 1].at[i]);
      T turned_a = from_float<T>(a * cosines[i] - b * sines[i]);
      T turned_b = from_float<T>(a * sines[i] + b * cosines[i]);
      if (is_traditional) {
        out[0].at[2 * i] = turned_a;
        out[0].at[2 * i + 1] = turned_b;
      } else {
        out[0].at[i] = turned_a;
        out[loads - 1].at[i] = turned_b;
      }
    }
#pragma unroll
    for (int part = 0; part < loads; part++) {
      store_in_parts<T, width, at_once>(to + head * per_head + (part ? second : first), out[part]);
    }
  }
}

// Not where it is used, which would be several times: small kernels are as fast as their instructions are fetched.
__device__ __noinline__ float2 cosine_and_sine(float x) {
  float2 both;
  sincosf(x, &both.y, &both.x);
  return both;
}

// One row of a position, whose features all turn: `rope(rms_norm(x) * w)`, rounded in between as both are, or without the norm. A
// warp has the row; sines are computed while it is read.
template <class T, bool is_traditional, bool is_normed, int most>
__device__ __forceinline__ void turn_row(
    const T* from, const T* w, T* to, float angle_of_one, const float* freqs, float eps, const Sizes& sizes, const Frequencies& table) {
  int lane = threadIdx.x % 32;
  int pairs = sizes.dims / 2;
  float a[most], b[most], wa[most], wb[most], cosines[most], sines[most];
  float total = 0;
#pragma unroll
  for (int i = 0; i < most; i++) {
    int pair = lane + 32 * i;
    a[i] = b[i] = 0;
    wa[i] = wb[i] = 1;
    if (pair < pairs) {
      int first = is_traditional ? 2 * pair : pair, second = is_traditional ? 2 * pair + 1 : pairs + pair;
      a[i] = to_float(from[first]);
      b[i] = to_float(from[second]);
      if (is_normed && w) {
        wa[i] = to_float(w[first]);
        wb[i] = to_float(w[second]);
      }
    }
    total += a[i] * a[i] + b[i] * b[i];
  }
#pragma unroll
  for (int i = 0; i < most; i++) {
    int pair = lane + 32 * i;
    if (pair < pairs) {
      float turn = freqs ? 1.0f / freqs[pair * sizes.freqs_stride] : table.at[pair];
      auto both = cosine_and_sine(angle_of_one * turn);
      cosines[i] = both.x;
      sines[i] = both.y;
    }
  }
  float norm = is_normed ? 1.0f / sqrtf(reduce<Plus, 32>(total) / sizes.size + eps) : 1.0f;
#pragma unroll
  for (int i = 0; i < most; i++) {
    int pair = lane + 32 * i;
    if (pair < pairs) {
      int first = is_traditional ? 2 * pair : pair, second = is_traditional ? 2 * pair + 1 : pairs + pair;
      float u = a[i], v = b[i];
      if (is_normed) {
        u = to_float(from_float<T>(u * norm * wa[i]));
        v = to_float(from_float<T>(v * norm * wb[i]));
      }
      to[first] = from_float<T>(u * cosines[i] - v * sines[i]);
      to[second] = from_float<T>(u * sines[i] + v * cosines[i]);
    }
  }
}

// Few rows, each of one position.
template <class T, bool is_traditional, int most>
__global__ void __launch_bounds__(128) norm_rope(
    const T* x, const T* w, T* y, const int* offset, const float* freqs, int rows, float eps, Sizes sizes, const __grid_constant__ Frequencies table) {
  begin();
  int row = blockIdx.x * 4 + threadIdx.x / 32;
  if (row >= rows) {
    return;
  }
  float angle = static_cast<float>(offset[row / sizes.heads * sizes.offset_stride]) * sizes.scale;
  int64_t at = int64_t(row) * sizes.size;
  turn_row<T, is_traditional, true, most>(x + at, w, y + at, angle, freqs, eps, sizes, table);
}

// What attention takes of one token: its queries turned, and its keys, turned too, and values in position `start` of their caches.
template <class T, bool is_traditional, bool is_normed, int most>
__global__ void __launch_bounds__(128) heads(
    const T* q,
    const T* k,
    const T* v,
    const T* q_weight,
    const T* k_weight,
    T* queries,
    T* keys,
    T* values,
    const int* offset,
    const float* freqs,
    const int* start,
    Place key_place,
    Place value_place,
    int batch,
    int kv_heads,
    float q_eps,
    float k_eps,
    Sizes sizes,
    const __grid_constant__ Frequencies table) {
  begin();
  int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  int q_rows = batch * sizes.heads, k_rows = batch * kv_heads;
  bool is_query = row < q_rows;
  int of_head = is_query ? row : (row - q_rows) % k_rows;
  bool is_value = row >= q_rows + k_rows;
  if (row >= q_rows + 2 * k_rows) {
    return;
  }
  int in_batch = of_head / (is_query ? sizes.heads : kv_heads), head = of_head % (is_query ? sizes.heads : kv_heads);
  auto in_cache = [&](T* cache, const Place& place) {
    return cache + in_batch * place.batch + head * place.head + int64_t(max(0, min(*start, place.most))) * place.row;
  };
  int64_t at = int64_t(of_head) * sizes.size;
  if (is_value) {
    T* to = in_cache(values, value_place);
    for (int i = lane; i < sizes.size; i += 32) {
      to[i] = v[at + i];
    }
    return;
  }
  float angle = static_cast<float>(offset[in_batch * sizes.offset_stride]) * sizes.scale;
  T* to = is_query ? queries + at : in_cache(keys, key_place);
  turn_row<T, is_traditional, is_normed, most>(
      (is_query ? q : k) + at, is_query ? q_weight : k_weight, to, angle, freqs, is_query ? q_eps : k_eps, sizes, table);
}

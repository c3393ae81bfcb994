// Attention of one query, as in decoding: `softmax(q @ k^T * scale + mask) @ v`, split over keys.
//
// Formula: as in `attention.cu`, without tensor cores: with one query for each head they would have little to multiply, and the
// instructions of that kernel take longer to fetch than these to run.
// Blocking: a block has the `group` heads that share keys and values, and a part of the keys. A key's features are 16 bytes of
// each of `lanes` lanes; a warp has `turn` keys at a time, all loads of keys and values in flight at once. Parts of lanes, of
// warps and of blocks (`join` in `attention.cu`) are joined by their maxima.
// Limit: bandwidth of memory, `2 * dim * sizeof(T)` bytes a key that is seen; for few keys latencies.
// Error: float32 throughout, one rounding to `T`.
// Refuses (`attention.cu` computes): more queries, masks that are added, other groups than 1, 2 and 4, sizes of heads whose
// lanes are no power of two.
#include "numbers.cuh"

struct Strides3 {
  int64_t batch, head, row;
};

struct Strides4 {
  int64_t batch, head, row, key;
};

struct Sizes {
  int heads, kv_heads, queries, keys;
  // Of a block.
  int keys_of_block;
  // Of scores, times the logarithm of e to base 2.
  float scale;
};

// The sum over neighbouring `lanes` lanes.
template <int lanes>
__device__ __forceinline__ float sum_of_lanes(float x) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) {
    x += __shfl_xor_sync(0xffffffff, x, step);
  }
  return x;
}

// A running softmax: the maximum, the sum of exponentials and the weighted sum of values below it.
template <int width>
struct Part {
  float maximum, total, acc[width];

  // Moves what is there to a new maximum.
  __device__ __forceinline__ void raise(float highest) {
    // While nothing was seen, differences would be those of infinities.
    float fade = highest == maximum ? 1.0f : exp2_of(maximum - highest);
    maximum = highest;
    total *= fade;
#pragma unroll
    for (int i = 0; i < width; i++) {
      acc[i] *= fade;
    }
  }
};

template <class T, int dim, int group, bool is_masked>
__global__ void __launch_bounds__(128) decode_attention(
    const T* q,
    const T* k,
    const T* v,
    const uint8_t* mask,
    const T* sinks,
    const uint8_t* flag,
    const T* otherwise,
    T* out,
    float* partial,
    Strides3 q_strides,
    Strides3 k_strides,
    Strides3 v_strides,
    Strides4 mask_strides,
    Sizes sizes) {
  begin();
  constexpr int width = 16 / sizeof(T);
  constexpr int lanes = dim / width;
  constexpr int at_once = 32 / lanes;
  constexpr int loads = 4;
  constexpr int turn = at_once * loads;
  constexpr int warps = 4;
  constexpr float log2e = 1.44269504088896f;
  constexpr float lowest = -3.402823466e38f;
  const float infinity = __int_as_float(0x7f800000);

  // The same in all lanes, and known to be.
  int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffff, threadIdx.x / 32, 0);
  int feature = lane % lanes * width, line = lane / lanes;
  int batch = blockIdx.z / sizes.kv_heads, kv_head = blockIdx.z % sizes.kv_heads;
  float query[group][width];
  int64_t mask_at[group];
  bool may_skip = is_masked;
  Part<width> part[group];
#pragma unroll
  for (int g = 0; g < group; g++) {
    int head = kv_head * group + g;
    auto of_query = load<T, width>(q + batch * q_strides.batch + head * q_strides.head + feature);
#pragma unroll
    for (int i = 0; i < width; i++) {
      query[g][i] = to_float(of_query.at[i]) * sizes.scale;
      part[g].acc[i] = 0;
    }
    part[g].maximum = -infinity;
    part[g].total = 0;
    mask_at[g] = batch * mask_strides.batch + head * mask_strides.head;
    // Hidden keys weigh nothing beside one that is seen, and need not be read where each head sees the first.
    may_skip = may_skip && mask[mask_at[g]];
  }
  const T* keys = k + batch * k_strides.batch + kv_head * k_strides.head + feature;
  const T* values = v + batch * v_strides.batch + kv_head * v_strides.head + feature;
  int first = blockIdx.x * sizes.keys_of_block;
  int end = min(first + sizes.keys_of_block, sizes.keys);
#pragma unroll 1
  for (int tile = first + warp * turn; tile < end; tile += warps * turn) {
    bool is_seen[group][loads];
    if constexpr (is_masked) {
      bool sees = false;
#pragma unroll
      for (int g = 0; g < group; g++) {
#pragma unroll
        for (int l = 0; l < loads; l++) {
          int key = tile + l * at_once + line;
          is_seen[g][l] = key < end && mask[mask_at[g] + key * mask_strides.key];
          sees = sees || is_seen[g][l];
        }
      }
      if (may_skip && !__any_sync(0xffffffff, sees)) {
        continue;
      }
    }
    Vector<T, width> of_key[loads], of_value[loads];
#pragma unroll
    for (int l = 0; l < loads; l++) {
      int64_t key = min(tile + l * at_once + line, end - 1);
      of_key[l] = load<T, width>(keys + key * k_strides.row);
      of_value[l] = load<T, width>(values + key * v_strides.row);
    }
#pragma unroll
    for (int g = 0; g < group; g++) {
      float score[loads], highest = part[g].maximum;
#pragma unroll
      for (int l = 0; l < loads; l++) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < width; i++) {
          sum += query[g][i] * to_float(of_key[l].at[i]);
        }
        sum = sum_of_lanes<lanes>(sum);
        // As MLX's formula: a row that sees no key is the mean of all values.
        sum = !is_masked || is_seen[g][l] ? sum : lowest;
        score[l] = tile + l * at_once + line < end ? sum : -infinity;
        highest = Maximum::apply(score[l], highest);
      }
      part[g].raise(highest);
#pragma unroll
      for (int l = 0; l < loads; l++) {
        float weight = score[l] == -infinity ? 0.0f : exp2_of(score[l] - highest);
        part[g].total += weight;
#pragma unroll
        for (int i = 0; i < width; i++) {
          part[g].acc[i] += weight * to_float(of_value[l].at[i]);
        }
      }
    }
  }

  // The lines of a warp, then the warps.
  __shared__ float joined[warps][group][dim + 2];
#pragma unroll
  for (int g = 0; g < group; g++) {
    auto& mine = part[g];
    float highest = mine.maximum;
#pragma unroll
    for (int step = 16; step >= lanes; step /= 2) {
      highest = Maximum::apply(highest, __shfl_xor_sync(0xffffffff, highest, step));
    }
    mine.raise(highest);
#pragma unroll
    for (int step = 16; step >= lanes; step /= 2) {
      mine.total += __shfl_xor_sync(0xffffffff, mine.total, step);
#pragma unroll
      for (int i = 0; i < width; i++) {
        mine.acc[i] += __shfl_xor_sync(0xffffffff, mine.acc[i], step);
      }
    }
    if (line == 0) {
#pragma unroll
      for (int i = 0; i < width; i++) {
        joined[warp][g][feature + i] = mine.acc[i];
      }
      if (lane == 0) {
        joined[warp][g][dim] = mine.maximum;
        joined[warp][g][dim + 1] = mine.total;
      }
    }
  }
  __syncthreads();
#pragma unroll 1
  for (int at = threadIdx.x; at < group * dim; at += 32 * warps) {
    int g = at / dim, i = at % dim, head = kv_head * group + g;
    float highest = -infinity, sum = 0, value = 0;
#pragma unroll
    for (int w = 0; w < warps; w++) {
      highest = Maximum::apply(highest, joined[w][g][dim]);
    }
#pragma unroll
    for (int w = 0; w < warps; w++) {
      float maximum = joined[w][g][dim];
      float weight = maximum == -infinity ? 0.0f : exp2_of(maximum - highest);
      sum += joined[w][g][dim + 1] * weight;
      value += joined[w][g][i] * weight;
    }
    int64_t row = int64_t(batch) * sizes.heads + head;
    if (partial) {
      float* to = partial + (row * gridDim.x + blockIdx.x) * (dim + 2);
      to[i] = value;
      if (i == 0) {
        to[dim] = highest;
        to[dim + 1] = sum;
      }
      continue;
    }
    if (sinks) {
      float sink = to_float(sinks[head]) * log2e;
      float higher = Maximum::apply(sink, highest);
      float fade = exp2_of(highest - higher);
      value *= fade;
      sum = sum * fade + exp2_of(sink - higher);
    }
    value = sum == 0 ? 0.0f : value / sum;
    out[row * dim + i] = flag && !*flag ? *otherwise : from_float<T>(value);
  }
}

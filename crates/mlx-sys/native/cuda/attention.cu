// Attention of few queries: `softmax(q @ k^T * scale + mask) @ v`, split over keys.
//
// Formula: for each query the maximum, the sum of exponentials and the weighted sum of values are kept while keys go by; the
// parts of warps and of blocks are joined by their maxima. Sinks take part as one more score that has no value. Where a flag is
// given and is not set, the result is `otherwise` everywhere.
// Blocking: 16 rows at a time: the queries of all heads that share keys and values. A warp takes 16 keys at a time by tensor
// cores, in the layout in which 16 bytes of a key and of a value are read by one lane: the order of features is the same in
// both factors, and that of results is known. Numbers in float32 are split into three bfloat16 each, six products of them.
// Limit: bandwidth of memory, `2 * dim * sizeof(T)` bytes a key for each 16 rows.
// Error: float32 sums and exponentials; weights are rounded to `T` before they meet values, as in other attention kernels.
// Refuses (MLX computes): other sizes of heads than 64, 80, 96, 128 and 256, values of another size than keys, soft caps.
#include "numbers.cuh"

template <class T>
struct Operand {
  static constexpr int parts = 1;
};

template <>
struct Operand<float> {
  static constexpr int parts = 3;
};

template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high);

template <>
__device__ __forceinline__ uint32_t pack<bfloat16>(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

template <>
__device__ __forceinline__ uint32_t pack<float16>(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Two numbers as one operand, in parts that add up to them.
template <class T>
__device__ __forceinline__ void split(float low, float high, uint32_t (&part)[Operand<T>::parts]) {
  if constexpr (sizeof(T) == 2) {
    part[0] = pack<T>(low, high);
  } else {
#pragma unroll
    for (int p = 0; p < 3; p++) {
      part[p] = pack<bfloat16>(low, high);
      low -= __uint_as_float(part[p] << 16);
      high -= __uint_as_float(part[p] & 0xffff0000);
    }
  }
}

template <class T>
__device__ __forceinline__ void mma(float (&acc)[4], const uint4& a, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void mma<float16>(float (&acc)[4], const uint4& a, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// The product of two operands in parts, without what is below the last bits.
template <class T>
__device__ __forceinline__ void multiply(
    float (&acc)[4],
    const uint4 (&a)[Operand<T>::parts],
    const uint32_t (&b0)[Operand<T>::parts],
    const uint32_t (&b1)[Operand<T>::parts]) {
  constexpr int parts = Operand<T>::parts;
#pragma unroll
  for (int i = parts - 1; i >= 0; i--) {
#pragma unroll
    for (int j = parts - 1 - i; j >= 0; j--) {
      mma<T>(acc, a[i], b0[j], b1[j]);
    }
  }
}

// Eight neighbouring features, or zeros.
template <class T>
struct Eight {
  Vector<T, 16 / sizeof(T)> at[sizeof(T) / 2];

  __device__ __forceinline__ void read(const T* from, bool is_in) {
#pragma unroll
    for (int i = 0; i < sizeof(T) / 2; i++) {
      at[i] = is_in ? load<T, 16 / sizeof(T)>(from + i * 16 / sizeof(T)) : Vector<T, 16 / sizeof(T)>{};
    }
  }

  __device__ __forceinline__ T get(int i) const {
    return at[i * sizeof(T) / 16].at[i % (16 / sizeof(T))];
  }

  // Neighbours `2 i` and `2 i + 1` as an operand.
  __device__ __forceinline__ void pair(int i, uint32_t (&part)[Operand<T>::parts]) const {
    if constexpr (sizeof(T) == 2) {
      part[0] = get(2 * i).bits | uint32_t(get(2 * i + 1).bits) << 16;
    } else {
      split<T>(get(2 * i), get(2 * i + 1), part);
    }
  }
};

// Feature `i` of two rows as an operand.
template <class T>
__device__ __forceinline__ void pair_of(const Eight<T>& a, const Eight<T>& b, int i, uint32_t (&part)[Operand<T>::parts]) {
  if constexpr (sizeof(T) == 2) {
    part[0] = a.get(i).bits | uint32_t(b.get(i).bits) << 16;
  } else {
    split<T>(a.get(i), b.get(i), part);
  }
}

struct Strides3 {
  int64_t batch, head, row;
};

struct Strides4 {
  int64_t batch, head, row, key;
};

// Which rows and keys there are. The rows of a block are those of `heads / kv_heads` heads, one after the other.
struct Sizes {
  int heads, kv_heads, queries, keys;
  // Of a block.
  int keys_of_block;
  // Of scores, times the logarithm of e to base 2.
  float scale;
};

// Whether a row of this lane sees one of its keys in 16 of them.
__device__ __forceinline__ bool sees_some(const uint8_t* mask, const int64_t (&mask_at)[2], int64_t stride, int tile, int end) {
  bool sees = false;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int key = tile + i / 2 * 8 + 2 * (threadIdx.x % 4) + i % 2;
    if (key < end) {
      sees = sees || mask[mask_at[0] + key * stride] || mask[mask_at[1] + key * stride];
    }
  }
  return sees;
}

template <class T, int dim, int warps, bool is_causal, int mask_bytes>
__global__ void __launch_bounds__(32 * warps) attention(
    const T* q,
    const T* k,
    const T* v,
    const void* mask,
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
  constexpr int parts = Operand<T>::parts;
  constexpr int k_reads = (dim + 31) / 32;
  constexpr int v_reads = (dim + 63) / 64;
  constexpr float log2e = 1.44269504088896f;
  constexpr float lowest = -3.402823466e38f;
  const float infinity = __int_as_float(0x7f800000);

  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int line = lane / 4, quarter = lane % 4;
  int batch = blockIdx.z / sizes.kv_heads, kv_head = blockIdx.z % sizes.kv_heads;
  int group = sizes.heads / sizes.kv_heads;
  int rows = group * sizes.queries;
  int first_row = blockIdx.y * 16;

  // The queries as operands, in the order in which lanes read them.
  __shared__ uint4 operands[2 * k_reads][parts][32];
  for (int step = warp; step < 2 * k_reads; step += warps) {
    uint32_t registers[4][parts];
#pragma unroll
    for (int r = 0; r < 4; r++) {
      int row = first_row + line + 8 * (r % 2);
      int feature = step / 2 * 32 + quarter * 8 + step % 2 * 4 + r / 2 * 2;
      bool is_in = row < rows && feature < dim;
      const T* from = q + batch * q_strides.batch + (kv_head * group + row / sizes.queries) * q_strides.head +
          row % sizes.queries * q_strides.row + feature;
      split<T>(is_in ? to_float(from[0]) : 0.0f, is_in ? to_float(from[1]) : 0.0f, registers[r]);
    }
#pragma unroll
    for (int p = 0; p < parts; p++) {
      operands[step][p][lane] = uint4{registers[0][p], registers[1][p], registers[2][p], registers[3][p]};
    }
  }
  __syncthreads();

  // Of the two rows of this lane: which query, which head, the last key that they may attend to.
  int row[2], last[2];
  int64_t mask_at[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    row[h] = min(first_row + line + 8 * h, rows - 1);
    int query = row[h] % sizes.queries;
    last[h] = is_causal ? sizes.keys - sizes.queries + query : sizes.keys - 1;
    mask_at[h] = batch * mask_strides.batch + (kv_head * group + row[h] / sizes.queries) * mask_strides.head + query * mask_strides.row;
  }
  int begin = blockIdx.x * sizes.keys_of_block;
  int end = min(begin + sizes.keys_of_block, sizes.keys);
  if (is_causal) {
    int last_row = min(first_row + 15, rows - 1);
    bool is_one_head = first_row / sizes.queries == last_row / sizes.queries;
    int query = is_one_head ? last_row % sizes.queries : sizes.queries - 1;
    end = min(end, sizes.keys - sizes.queries + query + 1);
  }
  const T* keys = k + batch * k_strides.batch + kv_head * k_strides.head + quarter * 8;
  const T* values = v + batch * v_strides.batch + kv_head * v_strides.head + line * 8;

  float acc[v_reads][8][4] = {};
  float maximum[2] = {-infinity, -infinity}, total[2] = {0, 0};
  // Keys that no row sees need not be read where each row sees the first: others weigh nothing beside it. So a step over a
  // cache of fixed capacity reads what is filled.
  auto* seen = static_cast<const uint8_t*>(mask);
  bool may_skip = false, sees_next = true;
  if (mask_bytes == 1 && !is_causal) {
    may_skip = __all_sync(0xffffffff, seen[mask_at[0]] && seen[mask_at[1]]);
    sees_next = !may_skip || sees_some(seen, mask_at, mask_strides.key, begin + warp * 16, end);
  }
  for (int tile = begin + warp * 16; tile < end; tile += 16 * warps) {
    if (mask_bytes == 1 && may_skip) {
      bool sees = __any_sync(0xffffffff, sees_next);
      sees_next = sees_some(seen, mask_at, mask_strides.key, tile + 16 * warps, end);
      if (!sees) {
        continue;
      }
    }
    float scores[2][4] = {};
    Eight<T> of_key[2][k_reads];
#pragma unroll
    for (int t = 0; t < 2; t++) {
      int key = tile + t * 8 + line;
#pragma unroll
      for (int i = 0; i < k_reads; i++) {
        of_key[t][i].read(keys + int64_t(key) * k_strides.row + i * 32, key < sizes.keys && i * 32 + quarter * 8 < dim);
      }
    }
    Eight<T> of_value[4][v_reads];
#pragma unroll
    for (int r = 0; r < 4; r++) {
      int key = tile + 2 * quarter + r % 2 + r / 2 * 8;
#pragma unroll
      for (int i = 0; i < v_reads; i++) {
        of_value[r][i].read(values + int64_t(key) * v_strides.row + i * 64, key < sizes.keys && i * 64 + line * 8 < dim);
      }
    }
#pragma unroll
    for (int step = 0; step < 2 * k_reads; step++) {
      uint4 a[parts];
#pragma unroll
      for (int p = 0; p < parts; p++) {
        a[p] = operands[step][p][lane];
      }
#pragma unroll
      for (int t = 0; t < 2; t++) {
        uint32_t b0[parts], b1[parts];
        of_key[t][step / 2].pair(step % 2 * 2, b0);
        of_key[t][step / 2].pair(step % 2 * 2 + 1, b1);
        multiply<T>(scores[t], a, b0, b1);
      }
    }

    // Scores of this lane: of row `h`, keys `t * 8 + 2 * quarter + j`.
    float highest[2] = {maximum[0], maximum[1]};
#pragma unroll
    for (int t = 0; t < 2; t++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
          int key = tile + t * 8 + 2 * quarter + j;
          float score = scores[t][2 * h + j] * sizes.scale;
          bool is_seen = key < end && key <= last[h];
          if (mask_bytes > 0 && is_seen) {
            int64_t at = mask_at[h] + key * mask_strides.key;
            if (mask_bytes == 1) {
              // As MLX's formula: a row that sees no key is the mean of all values.
              score = static_cast<const uint8_t*>(mask)[at] ? score : lowest;
            } else {
              // The least finite number does not become infinity: it hides keys only beside others.
              float added = to_float(static_cast<const T*>(mask)[at]);
              score += added * log2e;
              score = added > -infinity && score < lowest ? lowest : score;
            }
          }
          scores[t][2 * h + j] = is_seen ? score : -infinity;
          highest[h] = Maximum::apply(scores[t][2 * h + j], highest[h]);
        }
      }
    }
    uint32_t weights[4][parts];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      highest[h] = Maximum::apply(highest[h], __shfl_xor_sync(0xffffffff, highest[h], 1));
      highest[h] = Maximum::apply(highest[h], __shfl_xor_sync(0xffffffff, highest[h], 2));
      // While nothing was seen, differences would be those of infinities.
      float zero = highest[h] == -infinity ? 0.0f : highest[h];
      float fade = exp2f(maximum[h] - zero);
      maximum[h] = highest[h];
      total[h] *= fade;
#pragma unroll
      for (int i = 0; i < v_reads; i++) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
          acc[i][j][2 * h] *= fade;
          acc[i][j][2 * h + 1] *= fade;
        }
      }
#pragma unroll
      for (int t = 0; t < 2; t++) {
        float low = exp2f(scores[t][2 * h] - zero), high = exp2f(scores[t][2 * h + 1] - zero);
        total[h] += low + high;
        split<T>(low, high, weights[2 * t + h]);
      }
    }
    uint4 a[parts];
#pragma unroll
    for (int p = 0; p < parts; p++) {
      a[p] = uint4{weights[0][p], weights[1][p], weights[2][p], weights[3][p]};
    }
#pragma unroll
    for (int i = 0; i < v_reads; i++) {
#pragma unroll
      for (int j = 0; j < 8; j++) {
        uint32_t b0[parts], b1[parts];
        pair_of(of_value[0][i], of_value[1][i], j, b0);
        pair_of(of_value[2][i], of_value[3][i], j, b1);
        multiply<T>(acc[i][j], a, b0, b1);
      }
    }
  }

  // The parts of the warps, at the maximum of all.
  __shared__ float2 stats[warps][16];
  __shared__ float joined[16][dim + 4];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    total[h] += __shfl_xor_sync(0xffffffff, total[h], 1);
    total[h] += __shfl_xor_sync(0xffffffff, total[h], 2);
    if (quarter == 0) {
      stats[warp][line + 8 * h] = float2{maximum[h], total[h]};
    }
  }
  __syncthreads();
  float whole[2] = {0, 0};
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float highest = -infinity;
#pragma unroll
    for (int other = 0; other < warps; other++) {
      highest = Maximum::apply(highest, stats[other][line + 8 * h].x);
    }
    float zero = highest == -infinity ? 0.0f : highest;
#pragma unroll
    for (int other = 0; other < warps; other++) {
      whole[h] += stats[other][line + 8 * h].y * exp2f(stats[other][line + 8 * h].x - zero);
    }
    float fade = exp2f(maximum[h] - zero);
    maximum[h] = highest;
#pragma unroll
    for (int i = 0; i < v_reads; i++) {
#pragma unroll
      for (int j = 0; j < 8; j++) {
        acc[i][j][2 * h] *= fade;
        acc[i][j][2 * h + 1] *= fade;
      }
    }
  }
  for (int other = 0; other < warps; other++) {
    if (warp == other) {
#pragma unroll
      for (int i = 0; i < v_reads; i++) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
#pragma unroll
          for (int c = 0; c < 4; c++) {
            int feature = i * 64 + (2 * quarter + c % 2) * 8 + j;
            if (feature < dim) {
              float& to = joined[line + 8 * (c / 2)][feature];
              to = other ? to + acc[i][j][c] : acc[i][j][c];
            }
          }
        }
      }
    }
    __syncthreads();
  }

  // The result, or the part of this block: `[rows in order of the result, blocks, dim + 2]`.
  if (warp == 0 && quarter == 0) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      stats[0][line + 8 * h] = float2{maximum[h], whole[h]};
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 16 * dim; i += 32 * warps) {
    int here = i / dim, feature = i % dim;
    int row = first_row + here;
    if (row >= rows) {
      break;
    }
    int head = kv_head * group + row / sizes.queries;
    int64_t to = (int64_t(batch) * sizes.heads + head) * sizes.queries + row % sizes.queries;
    float highest = stats[0][here].x, sum = stats[0][here].y;
    float value = joined[here][feature];
    if (partial) {
      float* part = partial + (to * gridDim.x + blockIdx.x) * (dim + 2);
      part[feature] = value;
      if (feature == 0) {
        part[dim] = highest;
        part[dim + 1] = sum;
      }
      continue;
    }
    if (sinks) {
      float sink = to_float(sinks[head]) * log2e;
      float higher = Maximum::apply(sink, highest);
      float fade = exp2f(highest - higher);
      value *= fade;
      sum = sum * fade + exp2f(sink - higher);
    }
    value = sum == 0 && mask_bytes <= 1 ? 0.0f : value / sum;
    out[to * dim + feature] = flag && !*flag ? *otherwise : from_float<T>(value);
  }
}

// Joins what `blocks` blocks have of each row: a block has one row, its 8 warps share the parts. With a mask that is added a
// row that sees no key is NaN, as in the formula, otherwise 0.
template <class T, int dim, bool is_masked>
__global__ void __launch_bounds__(256) join(
    const float* partial,
    const T* sinks,
    const uint8_t* flag,
    const T* otherwise,
    T* out,
    int blocks,
    int heads,
    int queries) {
  begin();
  constexpr int warps = 8;
  constexpr int reads = (dim + 31) / 32;
  constexpr float log2e = 1.44269504088896f;
  const float infinity = __int_as_float(0x7f800000);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t row = blockIdx.x;
  const float* mine = partial + row * blocks * (dim + 2);
  // Each warp looks at all maxima, so that none waits for the others.
  float highest = -infinity;
  for (int block = lane; block < blocks; block += 32) {
    highest = Maximum::apply(highest, mine[block * (dim + 2) + dim]);
  }
  highest = reduce<Maximum, 32>(highest);
  float sink = sinks ? to_float(sinks[row / queries % heads]) * log2e : -infinity;
  highest = Maximum::apply(highest, sink);
  float zero = highest == -infinity ? 0.0f : highest;
  float sum = 0, acc[reads] = {};
#pragma unroll 2
  for (int block = warp; block < blocks; block += warps) {
    const float* part = mine + block * (dim + 2);
    float weight = exp2_of(part[dim] - zero);
    sum += part[dim + 1] * weight;
#pragma unroll
    for (int i = 0; i < reads; i++) {
      acc[i] += i * 32 + lane < dim ? part[i * 32 + lane] * weight : 0.0f;
    }
  }
  __shared__ float sums[warps][reads * 32 + 1];
#pragma unroll
  for (int i = 0; i < reads; i++) {
    sums[warp][i * 32 + lane] = acc[i];
  }
  if (lane == 0) {
    sums[warp][reads * 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x < dim) {
    float value = 0, total = sinks ? exp2_of(sink - zero) : 0.0f;
#pragma unroll
    for (int w = 0; w < warps; w++) {
      value += sums[w][threadIdx.x];
      total += sums[w][reads * 32];
    }
    value = total == 0 && !is_masked ? 0.0f : value / total;
    out[row * dim + threadIdx.x] = flag && !*flag ? *otherwise : from_float<T>(value);
  }
}

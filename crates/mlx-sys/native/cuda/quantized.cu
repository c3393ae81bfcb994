// Products of a few rows with packed weights: `y[m, n] = sum over k of x[m, k] * (scale * q[n, k] + bias)`.
//
// Formula: within a group of `group` neighbouring k, `scale * sum(q x) + bias * sum(x)`, both sums by tensor cores in float32;
// q are whole numbers up to 255, exact in both halves. Rows in float32 are split into three bfloat16 each.
// Blocking: a warp has 16 rows of weights; a lane reads 16 bytes of two of them at a time. Four lanes share a row, and their
// shares of k may lie in different groups: a column of the tensor core's result is a row of x and one of these groups, so B
// is zero but for the lanes of that group. `split` warps of a block share the rows' length and add up at the end.
// Limit: bandwidth of memory for the weights: `bits / 8 + 4 / group` bytes an element for scales of 16 bits.
// Error: float32 sums, one rounding to `T`.
// Refuses (weights are unpacked, or MLX computes): more than 16 rows, other modes, weights that are not transposed or not a matrix, other bits.
#include "numbers.cuh"

template <class T>
struct Operand {
  static constexpr int parts = 1;
  static constexpr bool is_float16 = false;
};

template <>
struct Operand<float> {
  static constexpr int parts = 3;
  static constexpr bool is_float16 = false;
};

template <>
struct Operand<float16> {
  static constexpr int parts = 1;
  static constexpr bool is_float16 = true;
};

template <bool is_float16>
__device__ __forceinline__ void multiply(float (&acc)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (is_float16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

__device__ __forceinline__ uint32_t pack_bfloat16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

// Weights are used once: they need no place in the nearest cache, which the rows of x have.
__device__ __forceinline__ uint4 load_once(const void* from) {
  uint4 value;
  asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from)
               : "memory");
  return value;
}

// Whether weights stay 128 above what they stand for: in bfloat16 that costs nothing but four bits of float32.
template <class T, int bits>
__device__ constexpr bool is_offset() {
  return bits == 4 && sizeof(T) == 2 && !Operand<T>::is_float16;
}

// Elements `i` and `i + per_word / 2` of a word of weights, as two whole numbers in half precision.
template <class T, int bits>
__device__ __forceinline__ uint32_t weight_pair(uint32_t word, int i, uint32_t mask) {
  uint32_t pair = (word >> (bits * i)) & mask;
  uint32_t result;
  if constexpr (Operand<T>::is_float16) {
    // 1024 + q, minus 1024.
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(pair | 0x64006400), "r"(0x3c003c00), "r"(0xe400e400));
  } else if constexpr (is_offset<T, bits>()) {
    result = pair | 0x43004300;
  } else if constexpr (bits == 4) {
    // 128 + q, minus 128.
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(pair | 0x43004300), "r"(0x3f803f80), "r"(0xc300c300));
  } else {
    // 2^23 + q, minus 2^23.
    float low = __uint_as_float(__byte_perm(word, 0x4b000000, 0x7440 + i)) - 8388608.0f;
    float high = __uint_as_float(__byte_perm(word, 0x4b000000, 0x7442 + i)) - 8388608.0f;
    result = pack_bfloat16(low, high);
  }
  return result;
}

// What the elements of one word meet: elements `i` and `i + per_word / 2` of x side by side. Lanes whose share is of another
// group have zeros, which nothing overwrites.
template <class T, int per_word>
struct XWord {
  static constexpr int parts = Operand<T>::parts;
  static constexpr int pairs = per_word / 2;
  static constexpr int loads = sizeof(T) * per_word / 8;  // of 8 bytes
  uint32_t raw[2 * loads];
  uint32_t part[parts][pairs];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 2 * loads; i++) {
      raw[i] = 0;
    }
  }

  __device__ __forceinline__ void read(const T* from, bool is_mine) {
    auto* at = reinterpret_cast<const char*>(from);
    if constexpr (loads % 2 == 0) {
#pragma unroll
      for (int i = 0; i < loads / 2; i++) {
        asm volatile(
            "{.reg .pred p; setp.ne.u32 p, %5, 0; @p ld.global.v4.u32 {%0,%1,%2,%3}, [%4];}"
            : "+r"(raw[4 * i]), "+r"(raw[4 * i + 1]), "+r"(raw[4 * i + 2]), "+r"(raw[4 * i + 3])
            : "l"(at + 16 * i), "r"(uint32_t(is_mine)));
      }
    } else {
      asm volatile("{.reg .pred p; setp.ne.u32 p, %3, 0; @p ld.global.v2.u32 {%0,%1}, [%2];}"
                   : "+r"(raw[0]), "+r"(raw[1])
                   : "l"(at), "r"(uint32_t(is_mine)));
    }
  }

  __device__ __forceinline__ void pair_up() {
#pragma unroll
    for (int i = 0; i < pairs; i++) {
      if constexpr (sizeof(T) == 2) {
        part[0][i] = __byte_perm(raw[i / 2], raw[(i + pairs) / 2], i % 2 ? 0x7632 : 0x5410);
      } else {
        float low = __uint_as_float(raw[i]), high = __uint_as_float(raw[i + pairs]);
#pragma unroll
        for (int p = 0; p < parts; p++) {
          part[p][i] = pack_bfloat16(low, high);
          low -= __uint_as_float(part[p][i] << 16);
          high -= __uint_as_float(part[p][i] & 0xffff0000);
        }
      }
    }
  }
};

// `n` neighbouring scales of one row, which lie at a multiple of their size if they are read at once.
template <class T, int n>
struct Scales {
  static constexpr int words = sizeof(T) * n < 4 ? 1 : sizeof(T) * n / 4;
  uint32_t raw[words];

  __device__ __forceinline__ void read(const T* from) {
    if constexpr (sizeof(T) * n == 2) {
      uint16_t one;
      asm volatile("ld.global.u16 %0, [%1];" : "=h"(one) : "l"(from)
               : "memory");
      raw[0] = one;
    } else if constexpr (words == 1) {
      asm volatile("ld.global.u32 %0, [%1];" : "=r"(raw[0]) : "l"(from)
               : "memory");
    } else if constexpr (words == 2) {
      asm volatile("ld.global.v2.u32 {%0,%1}, [%2];" : "=r"(raw[0]), "=r"(raw[1]) : "l"(from)
               : "memory");
    } else {
#pragma unroll
      for (int i = 0; i < words; i += 4) {
        asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                     : "=r"(raw[i]), "=r"(raw[i + 1]), "=r"(raw[i + 2]), "=r"(raw[i + 3])
                     : "l"(reinterpret_cast<const uint32_t*>(from) + i));
      }
    }
  }

  // One by one, and the last of `left` in the place of what would follow.
  __device__ __forceinline__ void read_some(const T* from, int left) {
#pragma unroll
    for (int i = 0; i < n; i++) {
      T one = from[i < left ? i : left - 1];
      if constexpr (sizeof(T) == 2) {
        raw[i / 2] = i % 2 ? raw[i / 2] | uint32_t(one.bits) << 16 : one.bits;
      } else {
        raw[i] = __float_as_uint(one);
      }
    }
  }

  __device__ __forceinline__ float at(int i) const {
    if constexpr (sizeof(T) == 2) {
      T one;
      one.bits = i % 2 ? raw[i / 2] >> 16 : raw[i / 2] & 0xffff;
      return to_float(one);
    } else {
      return __uint_as_float(raw[i]);
    }
  }
};

// `sets` times 8 columns of results; `steps` reads of weights by a lane are under way at once, a batch, with their scales.
// `is_whole`: the batches have no end that is cut off.
template <class T, int bits, int group, int sets, int split, int steps, bool is_whole>
__global__ void __launch_bounds__(256) quantized_product(
    const T* x,
    const uint32_t* w,
    const T* scales,
    const T* biases,
    T* y,
    int n_x,
    int rows,
    int size,
    int is_ready) {
  let_next_begin();
  if (!is_ready) {
    wait_for_inputs();
  }
  constexpr bool is_float16 = Operand<T>::is_float16;
  constexpr int per_word = 32 / bits;
  constexpr int share = 4 * per_word;  // of a lane
  constexpr int at_once = 4 * share;   // of the four lanes of a row
  constexpr int groups = at_once > group ? at_once / group : 1;
  constexpr int per_set = 8 / groups;  // rows of x
  constexpr int tiles = 8 / split;
  constexpr int batch = steps * at_once;
  constexpr int n_scales = batch > group ? batch / group : 1;
  // What weights have been given on top, and is taken off with the biases.
  constexpr float offset = is_offset<T, bits>() ? 128.0f : 0.0f;

  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int line = lane / 4, quarter = lane % 4;
  int tile = blockIdx.x * tiles + warp / split;
  int row_groups = size / group;
  const uint32_t* words[2];
  const T* scales_of[2];
  const T* biases_of[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    int row = min(tile * 16 + line + 8 * h, rows - 1);
    words[h] = w + int64_t(row) * (size / per_word) + 4 * quarter;
    scales_of[h] = scales + int64_t(row) * row_groups;
    biases_of[h] = biases + int64_t(row) * row_groups;
  }
  // As a column of B this lane's group meets row `line / groups` of x, if its share is in that group.
  bool is_column = quarter * groups / 4 == line % groups;
  const T* x_of[sets];
  bool is_mine[sets];
  XWord<T, per_word> b[sets == 1 ? 4 : 1];
#pragma unroll
  for (int set = 0; set < sets; set++) {
    int m = set * per_set + line / groups;
    is_mine[set] = is_column && m < n_x;
    x_of[set] = x + int64_t(is_mine[set] ? m : 0) * size + quarter * share;
  }
#pragma unroll
  for (auto& word : b) {
    word.clear();
  }
  uint32_t mask = bits == 4 ? 0x000f000f : 0x00ff00ff;
  uint32_t one = is_float16 ? 0x3c003c00 : 0x3f803f80;
  // Not known to the compiler, so that it keeps them in registers, where it would make them again and again.
  uint32_t zero = rows >> 31;
  mask += zero;
  one += zero;
  const uint32_t all_ones[4] = {one, one, one, one};
#pragma unroll
  for (int h = 0; h < 2; h++) {
    asm volatile("" : "+l"(words[h]), "+l"(scales_of[h]), "+l"(biases_of[h]));
  }
#pragma unroll
  for (int set = 0; set < sets; set++) {
    asm volatile("" : "+l"(x_of[set]));
  }

  float total[sets][4] = {};
  // Of two columns of results, which lie in one group or in two neighbouring ones.
  auto scale_of = [&](const Scales<T, n_scales>& of, int step, int column) {
    int i = step * at_once / group + (groups > 1 ? column : 0);
    return groups == 4 && quarter % 2 ? of.at(i + 2) : of.at(i);
  };
  auto compute = [&](const uint4 (&packed)[2], const Scales<T, n_scales> (&scale)[2], const Scales<T, n_scales> (&bias)[2],
                     int u, int step) {
    bool is_in = is_whole || step * at_once + quarter * share < size;
    float acc[sets][4] = {}, ones[sets][4] = {};
    if constexpr (sets == 1) {
#pragma unroll
      for (int word = 0; word < 4; word++) {
        if (!is_in) {
          b[word].clear();
        }
        b[word].read(x_of[0] + step * at_once + word * per_word, is_mine[0] && is_in);
      }
    }
#pragma unroll
    for (int word = 0; word < 4; word++) {
      uint32_t pair[2][per_word / 2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        uint32_t four = word == 0 ? packed[h].x : word == 1 ? packed[h].y : word == 2 ? packed[h].z : packed[h].w;
#pragma unroll
        for (int i = 0; i < per_word / 2; i++) {
          pair[h][i] = weight_pair<T, bits>(four, i, mask);
        }
      }
#pragma unroll
      for (int set = 0; set < sets; set++) {
        auto& here = b[sets == 1 ? word : 0];
        if constexpr (sets > 1) {
          here.clear();
          here.read(x_of[set] + step * at_once + word * per_word, is_mine[set] && is_in);
        }
        here.pair_up();
#pragma unroll
        for (int t = 0; t < per_word / 4; t++) {
          const uint32_t a[4] = {pair[0][2 * t], pair[1][2 * t], pair[0][2 * t + 1], pair[1][2 * t + 1]};
#pragma unroll
          for (int p = 0; p < Operand<T>::parts; p++) {
            multiply<is_float16>(acc[set], a, here.part[p][2 * t], here.part[p][2 * t + 1]);
            multiply<is_float16>(ones[set], all_ones, here.part[p][2 * t], here.part[p][2 * t + 1]);
          }
        }
      }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float s = scale_of(scale[h], u, j);
        float shift = scale_of(bias[h], u, j) - offset * s;
#pragma unroll
        for (int set = 0; set < sets; set++) {
          total[set][2 * h + j] += s * acc[set][2 * h + j] + shift * ones[set][2 * h + j];
        }
      }
    }
  };

  for (int k = warp % split * batch; k < size; k += split * batch) {
    uint4 packed[steps][2];
    Scales<T, n_scales> scale[2], bias[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
#pragma unroll
      for (int u = 0; u < steps; u++) {
        int at = k + u * at_once;
        bool is_in = is_whole || at + quarter * share < size;
        packed[u][h] = is_in ? load_once(words[h] + at / per_word) : uint4{};
      }
      if constexpr (is_whole) {
        scale[h].read(scales_of[h] + k / group);
        bias[h].read(biases_of[h] + k / group);
      } else {
        scale[h].read_some(scales_of[h] + k / group, row_groups - k / group);
        bias[h].read_some(biases_of[h] + k / group, row_groups - k / group);
      }
    }
    if (k < split * batch) {
      wait_for_inputs();
    }
#pragma unroll
    for (int u = 0; u < steps; u++) {
      if (is_whole || k + u * at_once < size) {
        compute(packed[u], scale, bias, u, k / at_once + u);
      }
    }
  }

  // For warps that had nothing to read.
  wait_for_inputs();
  // Columns of one row of x are added up, then what the warps have.
  constexpr int per_tile = sets * per_set;
  __shared__ float sums[8][16][per_tile + 1];
#pragma unroll
  for (int set = 0; set < sets; set++) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float first = total[set][2 * h], second = total[set][2 * h + 1];
      int column = 2 * quarter;
      if (groups > 1) {
        first += second;
        if (groups > 2) {
          first += __shfl_xor_sync(0xffffffff, first, 1);
        }
        sums[warp][line + 8 * h][set * per_set + column / groups] = first;
      } else {
        sums[warp][line + 8 * h][set * per_set + column] = first;
        sums[warp][line + 8 * h][set * per_set + column + 1] = second;
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < tiles * 16 * n_x; i += 256) {
    int r = i % 16, t = i / 16 % tiles, m = i / 16 / tiles;
    float result = 0;
#pragma unroll
    for (int s = 0; s < split; s++) {
      result += sums[t * split + s][r][m];
    }
    int to = (blockIdx.x * tiles + t) * 16 + r;
    if (to < rows) {
      y[int64_t(m) * rows + to] = from_float<T>(result);
    }
  }
}

constexpr int words_per_thread = 4;

// The weights themselves, `scale * q + bias` in float32, rounded once: for products of many rows, which cuBLAS computes. A thread
// unpacks four times 8 elements, of one group each. Limit: bandwidth of memory, mostly for what is written.
template <class T, int bits, int group>
__global__ void __launch_bounds__(256) unpack(
    const uint32_t* w, const T* scales, const T* biases, T* y, int64_t eights) {
  let_next_begin();
  constexpr int words = bits / 4;
  constexpr uint32_t mask = (1u << bits) - 1;
  int64_t first = int64_t(blockIdx.x) * 256 * words_per_thread + threadIdx.x;
  uint32_t packed[words_per_thread][words];
  float scale[words_per_thread], bias[words_per_thread];
  wait_for_inputs();
#pragma unroll
  for (int i = 0; i < words_per_thread; i++) {
    int64_t at = first + i * 256;
    if (at < eights) {
#pragma unroll
      for (int j = 0; j < words; j++) {
        packed[i][j] = w[at * words + j];
      }
      scale[i] = to_float(scales[at * 8 / group]);
      bias[i] = to_float(biases[at * 8 / group]);
    }
  }
#pragma unroll
  for (int i = 0; i < words_per_thread; i++) {
    int64_t at = first + i * 256;
    if (at < eights) {
      Vector<T, 8> unpacked;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        uint32_t q = (packed[i][j * bits / 32] >> (j * bits % 32)) & mask;
        unpacked.at[j] = from_float<T>(fmaf(scale[i], static_cast<float>(q), bias[i]));
      }
      store<T, 8>(y + at * 8, unpacked);
    }
  }
}

// Types of elements, loads of 16 bytes, sums over threads, places in caches: what every kernel of this folder starts with.
//
// NVRTC compiles a kernel together with this file and no other header, in some hundredths of a second.

using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;

// In a graph a kernel of this folder may be launched while the one before it still runs: its threads are there, and what nobody
// writes (weights) is on its way, when that one ends. Every kernel begins with these two, or with `begin`; before
// `wait_for_inputs` nothing is read that a kernel may have written, and nothing is written. Pointers are not `__restrict__`:
// the compiler would move loads of what is constant from one side of it to the other.
__device__ __forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void begin() {
  let_next_begin();
  wait_for_inputs();
}

struct float16 {
  uint16_t bits;
};

struct bfloat16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) {
  return x;
}

__device__ __forceinline__ float to_float(float16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}

__device__ __forceinline__ float to_float(bfloat16 x) {
  return __uint_as_float(uint32_t(x.bits) << 16);
}

template <class T>
__device__ __forceinline__ T from_float(float x);

template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}

template <>
__device__ __forceinline__ float16 from_float<float16>(float x) {
  float16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
  bfloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

// `n` elements that lie side by side and are read and written at once.
template <class T, int n>
struct alignas(sizeof(T) * n) Vector {
  T at[n];
};

template <class T, int n>
__device__ __forceinline__ Vector<T, n> load(const T* from) {
  return *reinterpret_cast<const Vector<T, n>*>(from);
}

// The same for 16 bytes, at this place of the program and not where they are used.
template <class T, int n>
__device__ __forceinline__ Vector<T, n> load_now(const T* from) {
  static_assert(sizeof(Vector<T, n>) == 16);
  union {
    uint32_t words[4];
    Vector<T, n> vector;
  } read;
  asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(read.words[0]), "=r"(read.words[1]), "=r"(read.words[2]), "=r"(read.words[3])
               : "l"(from)
               : "memory");
  return read.vector;
}

template <class T, int n>
__device__ __forceinline__ void store(T* to, const Vector<T, n>& value) {
  *reinterpret_cast<Vector<T, n>*>(to) = value;
}

// A power of 2 in one instruction: within 2 units in the last place, and 0 below the normal numbers.
__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Where in a cache `[batch, heads, positions, inner]` the elements of one position go. The position is in memory of the device;
// one beyond `most` is moved to it.
struct Place {
  int64_t batch, head, row;
  int inner, most;
};

struct Plus {
  __device__ static float apply(float a, float b) {
    return a + b;
  }
  __device__ static float neutral() {
    return 0;
  }
};

struct Maximum {
  __device__ static float apply(float a, float b) {
    // NaN stays NaN.
    return a > b || a != a ? a : b;
  }
  __device__ static float neutral() {
    return -__int_as_float(0x7f800000);
  }
};

// The sum of one number of each of `threads` neighbouring threads, a power of two; all get it. Threads beyond a warp are a
// whole block, which meets twice.
template <class Op, int threads>
__device__ __forceinline__ float reduce(float x) {
#pragma unroll
  for (int step = (threads < 32 ? threads : 32) / 2; step > 0; step /= 2) {
    x = Op::apply(x, __shfl_xor_sync(0xffffffff, x, step));
  }
  if constexpr (threads > 32) {
    constexpr int warps = threads / 32;
    __shared__ float partial[warps];
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
      partial[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = threadIdx.x % 32 < warps ? partial[threadIdx.x % 32] : Op::neutral();
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      x = Op::apply(x, __shfl_xor_sync(0xffffffff, x, step));
    }
  }
  return x;
}

// The sums of two numbers at once.
template <int threads>
__device__ __forceinline__ void sum_two(float& a, float& b) {
#pragma unroll
  for (int step = (threads < 32 ? threads : 32) / 2; step > 0; step /= 2) {
    a += __shfl_xor_sync(0xffffffff, a, step);
    b += __shfl_xor_sync(0xffffffff, b, step);
  }
  if constexpr (threads > 32) {
    constexpr int warps = threads / 32;
    __shared__ float2 partial[warps];
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
      partial[threadIdx.x / 32] = float2{a, b};
    }
    __syncthreads();
    float2 mine = threadIdx.x % 32 < warps ? partial[threadIdx.x % 32] : float2{0, 0};
    a = mine.x;
    b = mine.y;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      a += __shfl_xor_sync(0xffffffff, a, step);
      b += __shfl_xor_sync(0xffffffff, b, step);
    }
  }
}

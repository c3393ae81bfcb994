// Activations of mlx.nn in one pass: GELU, its form with tanh, SiLU, and SiLU times a second array (SwiGLU).
//
// Formula: `x (1 + erf(x / sqrt 2)) / 2`, `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, `x / (1 + exp(-x))`.
// Blocking: a thread has 16 bytes of each input.
// Limit: bandwidth of memory, each element read and written once.
// Error: within some units in the last place of float32, and one rounding to `T`.
// Refuses (MLX computes): inputs that differ in shape or type, float64.
#include "numbers.cuh"

enum Kind { gelu, gelu_approx, silu, swiglu };

template <int kind>
__device__ __forceinline__ float apply(float x) {
  if constexpr (kind == gelu) {
    return x * (1.0f + erff(x * 0.70710678118654752f)) * 0.5f;
  } else if constexpr (kind == gelu_approx) {
    float inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + tanhf(inner));
  } else {
    return x / (1.0f + expf(-x));
  }
}

template <class T, int kind, int n>
__global__ void __launch_bounds__(256) activation(const T* x, const T* factor, T* y, int64_t size) {
  begin();
  int64_t at = (int64_t(blockIdx.x) * 256 + threadIdx.x) * n;
  if (at >= size) {
    return;
  }
  if (at + n > size) {
    for (; at < size; at++) {
      float value = apply<kind>(to_float(x[at]));
      y[at] = from_float<T>(kind == swiglu ? value * to_float(factor[at]) : value);
    }
    return;
  }
  auto in = load<T, n>(x + at);
  Vector<T, n> other, out;
  if (kind == swiglu) {
    other = load<T, n>(factor + at);
  }
#pragma unroll
  for (int i = 0; i < n; i++) {
    float value = apply<kind>(to_float(in.at[i]));
    out.at[i] = from_float<T>(kind == swiglu ? value * to_float(other.at[i]) : value);
  }
  store<T, n>(y + at, out);
}

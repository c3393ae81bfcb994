// Rotary embedding on CUDA by a kernel of our own.
#ifndef MLX_NATIVE_CUDA_ROPE_H
#define MLX_NATIVE_CUDA_ROPE_H

#ifdef __linux__

#include "cuda_kernel.h"
#include "cuda_place.h"

namespace cuda {

// Rows of one token for attention, `[batch, 1, heads, dims]` each, before queries and keys turn, and the norms of these two, if
// any: `x`, `w` and eps.
struct TokenHeads {
  mx::array q, k, v;
  const mx::array *q_norm, *k_norm;

  bool is_normed() const {
    return q_norm != nullptr;
  }
};

// The attributes of MLX's primitive.
struct Rope {
  int dims;
  bool is_traditional;
  float base;
  float scale;
  bool is_forward;

  // The inputs are those of MLX's primitive: x, offset, and frequencies or none. False when no kernel fits; then nothing has
  // been done to the output.
  bool run(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) const;

  // The same of `rms_norm(x) * w`, where `x` is of `[batch, 1, heads, dims]`: one position of few rows.
  bool run_with_norm(float eps, const mx::array& x, const mx::array& w, const Arrays& inputs, mx::array& out, const mx::Stream& s) const;

  // The kernel that computes what attention takes of one token; null where none fits.
  const Kernel* heads_kernel(const TokenHeads& token, const Arrays& inputs, const mx::Stream& s) const;

  // Launches it: `queries` and both positions of caches are written.
  void run_heads(
      const Kernel& kernel,
      const TokenHeads& token,
      const Arrays& inputs,
      mx::array& queries,
      const CachePosition& keys,
      const CachePosition& values,
      const mx::Stream& s) const;

 private:
  struct Sizes;

  Sizes sizes_of(const mx::array& x, const Arrays& inputs) const;
  bool turns_whole_rows(const mx::array& x, const Arrays& inputs) const;
  std::string most_pairs() const;
};

} // namespace cuda

#endif

#endif

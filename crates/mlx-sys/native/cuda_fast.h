// Operations of mlx::core::fast that MLX composes on CUDA, by kernels of our own.
#ifndef MLX_NATIVE_CUDA_FAST_H
#define MLX_NATIVE_CUDA_FAST_H

#include <functional>
#include <optional>
#include <vector>

#include "mlx/array.h"
#include "mlx_ops.h"

using ComposedForm = std::function<std::vector<mlx::core::array>(const std::vector<mlx::core::array>&)>;

// The result of an operation by a kernel of our own; nothing where none fits, or `s` is no stream of CUDA. Gradients,
// tangents and vmap go through `composed`, which also computes where a kernel cannot be compiled.
std::optional<mlx::core::array> cuda_fast(
    const ops::Bytes& op,
    const std::vector<mlx::core::array>& inputs,
    ComposedForm composed,
    mlx::core::Stream s);

namespace cuda {

// Computes an attention of `cuda_fast`'s whose result, `out`, is the number `otherwise` where the flag is false; false where it
// cannot, and then nothing has been done.
bool attention_or(
    mlx::core::array& attention,
    const mlx::core::array& flag,
    const mlx::core::array& otherwise,
    mlx::core::array& out);

} // namespace cuda

#endif

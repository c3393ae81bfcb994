// A vmap that keeps the vectorized axis in front; see vmap.cpp.
#ifndef MLX_NATIVE_VMAP_H
#define MLX_NATIVE_VMAP_H

#include <functional>
#include <vector>

#include "mlx/mlx.h"

using ArraysFunction =
    std::function<std::vector<mlx::core::array>(const std::vector<mlx::core::array>&)>;

// `function` over these axes of its inputs, -1 for none; at least one is given. The outputs have the axis in front.
std::vector<mlx::core::array> vmap_in_front(
    const ArraysFunction& function,
    const std::vector<mlx::core::array>& inputs,
    const std::vector<int>& in_axes);

#endif

// How many hold an array: what `array::is_donatable` asks, for code that must know more than yes or no.
#ifndef MLX_NATIVE_OWNERS_H
#define MLX_NATIVE_OWNERS_H

#include "mlx/array.h"

namespace {

// Lets the one line below name a private member: access is not checked for the arguments of an instantiation.
template <auto Member>
struct Reach {
  friend long owners(const mlx::core::array& a) {
    return (a.*Member).use_count();
  }
};
long owners(const mlx::core::array& a);
template struct Reach<&mlx::core::array::array_desc_>;

} // namespace

#endif

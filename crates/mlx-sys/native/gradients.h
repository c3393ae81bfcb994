// vtable patching: how a rule of differentiation of one of MLX's classes is replaced by a function of this library.
#ifndef MLX_NATIVE_GRADIENTS_H
#define MLX_NATIVE_GRADIENTS_H

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "vtable.h"
#include "mlx/primitives.h"

namespace gradients {

namespace mx = mlx::core;

using Axes = std::vector<int>;
using Pull = Arrays (*)(mx::Primitive*, const Arrays&, const Arrays&, const Axes&, const Arrays&);
using Push = Arrays (*)(mx::Primitive*, const Arrays&, const Arrays&, const Axes&);

// A number of the dtype of `x`.
inline mx::array like(double value, const mx::array& x) {
  return mx::array(static_cast<float>(value), x.dtype());
}

// The rules of a class before they were replaced.
template <class Class>
struct Rules {
  static inline Pull vjp = nullptr;
  static inline Push jvp = nullptr;
};

#if defined(__linux__)

// Where the table has a virtual function, which its pointer tells (Itanium C++ ABI).
template <class F>
size_t place_of(F function) {
  uintptr_t offset;
  static_assert(sizeof(function) >= sizeof(offset));
  std::memcpy(&offset, &function, sizeof offset);
  return (offset & ~uintptr_t{1}) / sizeof(void*);
}

// Puts `now` in the place of a rule of the class of `sample`'s primitive, which must have this name, and keeps what was
// there in `original`. Returns for how many rules that was done.
template <class Rule>
int replace(const mx::array& sample, const char* name, size_t place, Rule now, Rule& original) {
  if (!sample.has_primitive() || sample.primitive().name() != std::string(name)) {
    return 0;
  }
  auto** entry = vtable::vtable_of(sample.primitive()) + place;
  original = reinterpret_cast<Rule>(*entry);
  return vtable::write_slot(entry, reinterpret_cast<void*>(now)) ? 1 : 0;
}

// The rules of factorizations and inverses, linalg_gradients.cpp. `pull` and `push` are where tables have them.
int replace_linalg(size_t pull, size_t push);

#endif

} // namespace gradients

#endif

// Elements of arrays in a wider type: how they are walked through, read, and written rounded once.
#ifndef MLX_NATIVE_WIDE_H
#define MLX_NATIVE_WIDE_H

#include <cmath>
#include <complex>
#include <vector>

#include "mlx/array.h"
#include "run.h"

namespace wide {

namespace mx = mlx::core;

inline bool is_half(mx::Dtype dtype) {
  return dtype == mx::float16 || dtype == mx::bfloat16;
}

inline bool is_real(mx::Dtype dtype) {
  return is_half(dtype) || dtype == mx::float32 || dtype == mx::float64;
}

// Calls `with` with a number of the C++ type of a floating or complex dtype.
template <class F>
void by_type(mx::Dtype dtype, F&& with) {
  switch (dtype) {
    case mx::float16:
      return with(mx::float16_t{});
    case mx::bfloat16:
      return with(mx::bfloat16_t{});
    case mx::float32:
      return with(float{});
    case mx::float64:
      return with(double{});
    case mx::complex64:
      return with(mx::complex64_t{});
    default:
      throw std::runtime_error("wanted a floating or complex dtype");
  }
}

// What sums and products of a type are kept in.
template <class T>
struct State {
  using Type = double;
};
template <>
struct State<mx::complex64_t> {
  using Type = std::complex<double>;
};

template <class T>
typename State<T>::Type widened(T x) {
  if constexpr (std::is_same_v<T, mx::complex64_t>) {
    return {x.real(), x.imag()};
  } else if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return static_cast<double>(static_cast<float>(x));
  }
}

// The nearest number of a type. From double to half by way of float, rounded to odd there so that it is rounded once.
template <class T>
T narrowed(typename State<T>::Type x) {
  if constexpr (std::is_same_v<T, mx::complex64_t>) {
    return T(static_cast<float>(x.real()), static_cast<float>(x.imag()));
  } else if constexpr (std::is_same_v<T, double> || std::is_same_v<T, float>) {
    return static_cast<T>(x);
  } else {
    auto single = static_cast<float>(x);
    uint32_t bits;
    std::memcpy(&bits, &single, sizeof bits);
    // Inexact and even: the neighbour on the other side of `x` is odd.
    if (std::isfinite(single) && static_cast<double>(single) != x && (bits & 1) == 0) {
      bool away = std::abs(x) > std::abs(static_cast<double>(single));
      bits += away ? 1 : -1;
      std::memcpy(&single, &bits, sizeof bits);
    }
    return static_cast<T>(single);
  }
}

inline mx::Strides row_strides(const mx::Shape& shape) {
  mx::Strides strides(shape.size(), 1);
  for (int i = static_cast<int>(shape.size()) - 2; i >= 0; i--) {
    strides[i] = strides[i + 1] * shape[i + 1];
  }
  return strides;
}

// Goes through all elements of a shape, a row along the last axis at a time. `with` gets for each of the operands, which
// have these strides, where the row begins; the steps along a row are the last strides.
template <class F>
void each_row(const mx::Shape& shape, const std::vector<mx::Strides>& strides, F&& with) {
  std::vector<int64_t> offsets(strides.size(), 0);
  int outer = static_cast<int>(shape.size()) - 1;
  for (auto size : shape) {
    if (size == 0) {
      return;
    }
  }
  std::vector<int> index(outer > 0 ? outer : 0, 0);
  while (true) {
    with(offsets);
    int axis = outer - 1;
    for (; axis >= 0; axis--) {
      for (size_t k = 0; k < strides.size(); k++) {
        offsets[k] += strides[k][axis];
      }
      if (++index[axis] < shape[axis]) {
        break;
      }
      for (size_t k = 0; k < strides.size(); k++) {
        offsets[k] -= strides[k][axis] * shape[axis];
      }
      index[axis] = 0;
    }
    if (axis < 0) {
      return;
    }
  }
}

// The shape and strides of an array, with one axis where it has none.
struct Layout {
  explicit Layout(const mx::array& x) : shape(x.shape()), strides(x.strides()) {
    if (shape.empty()) {
      shape.push_back(1);
      strides.push_back(1);
    }
  }

  int64_t step() const {
    return strides.back();
  }

  mx::Shape shape;
  mx::Strides strides;
};

// Queues `work` on a stream; it gets the input's and the output's memory while it runs.
template <class F>
void queue(mx::Stream stream, const mx::array& x, mx::array& out, F&& work) {
  auto& encoder = mx::cpu::get_command_encoder(stream);
  encoder.set_input_array(x);
  encoder.set_output_array(out);
  encoder.dispatch([x = mx::array::unsafe_weak_copy(x),
                    out = mx::array::unsafe_weak_copy(out),
                    work = std::forward<F>(work)]() mutable { work(x, out); });
}

// Queues the conversion of `x` to a fresh row-contiguous array of a real dtype.
inline mx::array converted(const mx::array& x, mx::Dtype dtype, mx::Stream stream) {
  mx::array out(x.shape(), dtype, nullptr, {});
  out.set_data(mx::allocator::malloc(out.nbytes()));
  queue(stream, x, out, [](const mx::array& x, mx::array& out) {
    by_type(x.dtype(), [&](auto from) {
      by_type(out.dtype(), [&](auto to) {
        using T = decltype(from);
        using U = decltype(to);
        if constexpr (!std::is_same_v<T, mx::complex64_t> && !std::is_same_v<U, mx::complex64_t>) {
          Layout layout(x);
          auto n = layout.shape.back();
          auto* to = out.data<U>();
          each_row(layout.shape, {layout.strides}, [&](const std::vector<int64_t>& at) {
            auto* from = x.data<T>() + at[0];
            for (int i = 0; i < n; i++, from += layout.step()) {
              *to++ = narrowed<U>(widened(*from));
            }
          });
        }
      });
    });
  });
  return out;
}

} // namespace wide

#endif

// MLX's own operations on the CPU that lose more than rounding: evaluated in a wider type, and rounded once (vtable patching,
// `vtable.h`).
//
// Sums, products, scans, softmax and logsumexp of floating numbers keep their state in double; scatters and quantized
// products of half precision are MLX's own, of float32. Functions of doubles that MLX computes in single precision are
// those of the C library. As the evaluation of the class is replaced, all that MLX makes of its operations (gradients,
// vmap, compiled functions) is right as well.
#include <algorithm>

#include "thread.h"
#include "vtable.h"
#include "guard.h"
#include "wide.h"

namespace mx = mlx::core;

namespace {

using vtable::EvalCpu;
using wide::by_type;
using wide::each_row;
using wide::narrowed;
using wide::State;
using wide::widened;

// Asking for the stream changes nothing, but is not const.
mx::Stream stream_of(const mx::Primitive& self) {
  return const_cast<mx::Primitive&>(self).stream();
}

void set(mx::array& out) {
  out.set_data(mx::allocator::malloc(out.nbytes()));
}

// A sum of numbers of type T. In double, that of doubles needs what was lost as well (Neumaier).
template <class T>
struct Sum {
  using A = typename State<T>::Type;
  A total{};
  A lost{};

  void add(A x) {
    auto next = total + x;
    if constexpr (std::is_same_v<T, double>) {
      lost += std::abs(total) >= std::abs(x) ? (total - next) + x : (x - next) + total;
    }
    total = next;
  }

  A value() const {
    if constexpr (std::is_same_v<T, double>) {
      // Of infinities nothing sensible is lost.
      return std::isfinite(lost) ? total + lost : total;
    } else {
      return total;
    }
  }
};

template <class T>
struct Product {
  using A = typename State<T>::Type;
  A total{1};

  void add(A x) {
    total *= x;
  }

  A value() const {
    return total;
  }
};

// A reduction over axes: results of the outer axes one after the other, each over the inner ones, which begin with the
// first axis that is reduced.
struct Plan {
  Plan(const mx::array& x, const std::vector<int>& axes) : inner(x) {
    int first = 0;
    auto is_reduced = [&](int axis) { return std::find(axes.begin(), axes.end(), axis) != axes.end(); };
    while (first + 1 < static_cast<int>(inner.shape.size()) && (!is_reduced(first) || inner.shape[first] == 1)) {
      first++;
    }
    outer_shape = mx::Shape(inner.shape.begin(), inner.shape.begin() + first);
    outer_strides = mx::Strides(inner.strides.begin(), inner.strides.begin() + first);
    outer_shape.push_back(1);
    outer_strides.push_back(0);
    inner.shape = mx::Shape(inner.shape.begin() + first, inner.shape.end());
    inner.strides = mx::Strides(inner.strides.begin() + first, inner.strides.end());
    to = mx::Strides(inner.shape.size(), 0);
    for (int axis = static_cast<int>(to.size()) - 1; axis >= 0; axis--) {
      if (!is_reduced(axis + first)) {
        to[axis] = parts;
        parts *= inner.shape[axis];
      }
    }
  }

  mx::Shape outer_shape;
  mx::Strides outer_strides;
  wide::Layout inner;
  // The index of a result among those of the inner axes.
  mx::Strides to;
  int64_t parts = 1;
};

// Adds a row to one result: sums of a few lanes, which need not wait for each other.
template <class T, class Part>
void add_row(Part& part, const T* row, int64_t step, int n) {
  constexpr int lanes = 8;
  Part own[lanes];
  int i = 0;
  for (; i + lanes <= n; i += lanes, row += lanes * step) {
    for (int lane = 0; lane < lanes; lane++) {
      own[lane].add(widened(row[lane * step]));
    }
  }
  for (; i < n; i++, row += step) {
    part.add(widened(*row));
  }
  if (n >= lanes) {
    for (auto& lane : own) {
      part.add(lane.value());
    }
  }
}

// Reads the elements in the order of the axes.
template <class T, class Part>
void reduce(const Plan& plan, const T* x, T* result, std::vector<Part>& parts) {
  auto n = plan.inner.shape.back();
  auto step = plan.inner.step();
  each_row(plan.outer_shape, {plan.outer_strides}, [&](const std::vector<int64_t>& from) {
    std::fill(parts.begin(), parts.end(), Part());
    each_row(plan.inner.shape, {plan.inner.strides, plan.to}, [&](const std::vector<int64_t>& at) {
      auto* row = x + from[0] + at[0];
      auto* part = parts.data() + at[1];
      if (plan.to.back() == 0) {
        add_row(*part, row, step, n);
      } else {
        for (int i = 0; i < n; i++, row += step, part += plan.to.back()) {
          part->add(widened(*row));
        }
      }
    });
    for (auto& part : parts) {
      *result++ = narrowed<T>(part.value());
    }
  });
}

template <class T, template <class> class Part>
void queue_reduce(const mx::Reduce& self, const mx::array& x, mx::array& out, const std::vector<int>& axes) {
  Plan plan(x, axes);
  // Made here, where memory that is missing is an error of the evaluation.
  auto parts = std::make_shared<std::vector<Part<T>>>(plan.parts);
  wide::queue(stream_of(self), x, out, [plan, parts](const mx::array& x, mx::array& out) {
    reduce(plan, x.data<T>(), out.data<T>(), *parts);
  });
}

bool reduce(const mx::Reduce& self, const Arrays& inputs, Arrays& outputs) {
  auto [kind, axes] = self.state();
  auto dtype = inputs[0].dtype();
  bool is_sum = kind == mx::Reduce::Sum;
  if ((!is_sum && kind != mx::Reduce::Prod) || !mx::issubdtype(dtype, mx::inexact) || dtype != outputs[0].dtype()) {
    return false;
  }
  set(outputs[0]);
  by_type(dtype, [&, &axes = axes](auto number) {
    using T = decltype(number);
    is_sum ? queue_reduce<T, Sum>(self, inputs[0], outputs[0], axes)
           : queue_reduce<T, Product>(self, inputs[0], outputs[0], axes);
  });
  return true;
}

double log_add_exp(double a, double b) {
  auto most = std::max(a, b);
  if (std::isnan(a) || std::isnan(b)) {
    return NAN;
  }
  return std::isinf(most) ? most : most + std::log1p(std::exp(std::min(a, b) - most));
}

template <class A>
bool is_nan(A x) {
  if constexpr (std::is_same_v<A, double>) {
    return std::isnan(x);
  } else {
    return std::isnan(x.real()) || std::isnan(x.imag());
  }
}

template <class A>
bool is_less(A a, A b) {
  if constexpr (std::is_same_v<A, double>) {
    return a < b;
  } else {
    return a.real() < b.real() || (a.real() == b.real() && a.imag() < b.imag());
  }
}

// One line of a scan. Once NaN, an extreme stays it.
template <class T, class A>
void scan_line(mx::Scan::ReduceType kind, bool inclusive, int n, const T* x, int64_t dx, T* out, int64_t dout) {
  A first = kind == mx::Scan::Sum ? A(0) : kind == mx::Scan::Prod ? A(1) : kind == mx::Scan::Min ? A(INFINITY) : A(-INFINITY);
  Sum<T> sum;
  A state = first;
  for (int i = 0; i < n; i++, x += dx, out += dout) {
    if (!inclusive) {
      *out = narrowed<T>(state);
    }
    A next = widened(*x);
    bool is_first = i == 0;
    switch (kind) {
      case mx::Scan::Sum:
        sum.add(next);
        state = sum.value();
        break;
      case mx::Scan::Prod:
        state *= next;
        break;
      case mx::Scan::Max:
        state = is_first || (!is_nan(state) && (is_nan(next) || is_less(state, next))) ? next : state;
        break;
      case mx::Scan::Min:
        state = is_first || (!is_nan(state) && (is_nan(next) || is_less(next, state))) ? next : state;
        break;
      case mx::Scan::LogAddExp:
        if constexpr (std::is_same_v<A, double>) {
          state = is_first ? next : log_add_exp(state, next);
        }
        break;
    }
    if (inclusive) {
      *out = narrowed<T>(state);
    }
  }
}

bool scan(const mx::Scan& self, const Arrays& inputs, Arrays& outputs) {
  auto [kind, along, reverse, inclusive] = self.state();
  auto dtype = inputs[0].dtype();
  bool takes = mx::issubdtype(dtype, mx::inexact) && dtype == outputs[0].dtype() && inputs[0].ndim() > 0;
  if (!takes || (kind == mx::Scan::LogAddExp && dtype == mx::complex64)) {
    return false;
  }
  set(outputs[0]);
  auto work = [kind = kind, axis = along, reverse = reverse, inclusive = inclusive](const mx::array& x, mx::array& out) {
    auto shape = x.shape();
    auto from = x.strides();
    auto to = wide::row_strides(shape);
    int n = shape[axis];
    auto dx = from[axis];
    auto dout = to[axis];
    // One line starts at each place of the other axes.
    shape[axis] = std::min(n, 1);
    shape.push_back(1);
    from.push_back(0);
    to.push_back(0);
    int64_t end = reverse ? n - 1 : 0;
    int64_t sign = reverse ? -1 : 1;
    by_type(x.dtype(), [&](auto number) {
      using T = decltype(number);
      each_row(shape, {from, to}, [&](const std::vector<int64_t>& at) {
        auto* row = x.data<T>() + at[0] + end * dx;
        auto* result = out.data<T>() + at[1] + end * dout;
        scan_line<T, typename State<T>::Type>(kind, inclusive, n, row, sign * dx, result, sign * dout);
      });
    });
  };
  wide::queue(stream_of(self), inputs[0], outputs[0], work);
  return true;
}

// The maximum of a row, NaN if one is, and the sum of exp(x - maximum).
template <class T>
std::pair<double, double> exponentials(const T* x, int64_t step, int n) {
  double most = -INFINITY;
  for (int i = 0; i < n; i++) {
    auto value = widened(x[i * step]);
    most = std::isnan(most) || most >= value ? most : value;
  }
  Sum<T> sum;
  for (int i = 0; i < n; i++) {
    sum.add(std::exp(widened(x[i * step]) - most));
  }
  return {most, sum.value()};
}

template <bool is_softmax>
bool last_axis(const mx::Primitive& self, const Arrays& inputs, Arrays& outputs) {
  if (!wide::is_real(inputs[0].dtype()) || inputs[0].ndim() == 0 || outputs[0].dtype() != inputs[0].dtype()) {
    return false;
  }
  set(outputs[0]);
  wide::queue(stream_of(self), inputs[0], outputs[0], [](const mx::array& x, mx::array& out) {
    by_type(x.dtype(), [&](auto number) {
      using T = decltype(number);
      if constexpr (!std::is_same_v<T, mx::complex64_t>) {
        int n = x.shape(-1);
        auto step = x.strides().back();
        auto* result = out.data<T>();
        each_row(x.shape(), {x.strides()}, [&](const std::vector<int64_t>& at) {
          auto* row = x.data<T>() + at[0];
          auto [most, sum] = exponentials(row, step, n);
          if constexpr (is_softmax) {
            for (int i = 0; i < n; i++) {
              *result++ = narrowed<T>(std::exp(widened(row[i * step]) - most) / sum);
            }
          } else {
            *result++ = narrowed<T>(std::isinf(most) ? most : most + std::log(sum));
          }
        });
      }
    });
  });
  return true;
}

bool softmax(const mx::Softmax& self, const Arrays& inputs, Arrays& outputs) {
  return last_axis<true>(self, inputs, outputs);
}

bool logsumexp(const mx::LogSumExp& self, const Arrays& inputs, Arrays& outputs) {
  return last_axis<false>(self, inputs, outputs);
}

// The number whose error function is `y`: a first guess (Winitzki), then Halley's steps.
double erfinv(double y) {
  if (!(std::abs(y) < 1) || y == 0) {
    return y == 0 ? y : std::abs(y) == 1 ? std::copysign(INFINITY, y) : NAN;
  }
  double left = 1 - std::abs(y);
  double log = std::log(left) + std::log1p(std::abs(y));
  double b = 2 / (M_PI * 0.147) + log / 2;
  double x = std::sqrt(std::sqrt(b * b - log / 0.147) - b);
  if (!(x > 0)) {
    x = std::abs(y) * std::sqrt(M_PI) / 2;
  }
  for (int i = 0; i < 3; i++) {
    // Near 1 the complement has all the digits.
    double error = std::abs(y) > 0.5 ? left - std::erfc(x) : std::erf(x) - std::abs(y);
    double step = error / (M_2_SQRTPI * std::exp(-x * x));
    x -= step / (1 + x * step);
  }
  return std::copysign(x, y);
}

double sigmoid(double x) {
  double small = std::exp(-std::abs(x));
  return x < 0 ? small / (1 + small) : 1 / (1 + small);
}

double exponential(double x) {
  return std::exp(x);
}

double sine(double x) {
  return std::sin(x);
}

double cosine(double x) {
  return std::cos(x);
}

double error_function(double x) {
  return std::erf(x);
}

// A function of doubles.
template <class Class, double (*function)(double)>
bool of_doubles(const Class& self, const Arrays& inputs, Arrays& outputs) {
  if (inputs[0].dtype() != mx::float64) {
    return false;
  }
  set(outputs[0]);
  wide::queue(stream_of(self), inputs[0], outputs[0], [](const mx::array& x, mx::array& out) {
    wide::Layout layout(x);
    auto n = layout.shape.back();
    auto* result = out.data<double>();
    each_row(layout.shape, {layout.strides}, [&](const std::vector<int64_t>& at) {
      auto* row = x.data<double>() + at[0];
      for (int i = 0; i < n; i++) {
        *result++ = function(row[i * layout.step()]);
      }
    });
  });
  return true;
}

// A power of complex numbers in double, in which 0 needs no logarithm.
mx::complex64_t complex_power(mx::complex64_t base, mx::complex64_t exponent) {
  auto x = widened(base);
  auto y = widened(exponent);
  if (y == 0.0) {
    return {1.0f, 0.0f};
  }
  if (x == 0.0 && y.real() > 0) {
    return {0.0f, 0.0f};
  }
  return narrowed<mx::complex64_t>(std::pow(x, y));
}

// A function of two numbers of type T.
template <class Class, class T, T (*function)(T, T)>
bool of_two(const Class& self, const Arrays& inputs, Arrays& outputs) {
  // MLX's own table calls double float32.
  auto dtype = std::is_same_v<T, double> ? mx::float64 : mx::Dtype(mx::TypeToDtype<T>());
  if (inputs[0].dtype() != dtype || inputs[1].dtype() != dtype) {
    return false;
  }
  set(outputs[0]);
  auto second = mx::array::unsafe_weak_copy(inputs[1]);
  mx::cpu::get_command_encoder(stream_of(self)).set_input_array(inputs[1]);
  wide::queue(stream_of(self), inputs[0], outputs[0], [second](const mx::array& x, mx::array& out) {
    wide::Layout a(x);
    wide::Layout b(second);
    auto n = a.shape.back();
    auto* result = out.data<T>();
    each_row(a.shape, {a.strides, b.strides}, [&](const std::vector<int64_t>& at) {
      for (int i = 0; i < n; i++) {
        *result++ = function(x.data<T>()[at[0] + i * a.step()], second.data<T>()[at[1] + i * b.step()]);
      }
    });
  });
  return true;
}

// One class: what MLX did, and what is done now if `evaluate` takes it.
template <class Class, bool (*take)(const Class&, const Arrays&, Arrays&)>
struct Wide {
  static inline EvalCpu original = nullptr;

  static void evaluate(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    if (outputs[0].size() == 0 || inputs[0].size() == 0 || !take(static_cast<const Class&>(*self), inputs, outputs)) {
      original(self, inputs, outputs);
    }
  }
};

template <class Class>
bool always(const Class&) {
  return true;
}

bool adds(const mx::Scatter& scatter) {
  auto kind = scatter.state().first;
  return kind == mx::Scatter::Sum || kind == mx::Scatter::Prod;
}

bool adds_along(const mx::ScatterAxis& scatter) {
  return scatter.state().first == mx::ScatterAxis::Sum;
}

// One class that MLX computes, of float32 where inputs or outputs are of half precision.
template <class Class, bool (*takes)(const Class&)>
struct InSingle {
  static inline EvalCpu original = nullptr;

  static void evaluate(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    auto& out = outputs[0];
    if (out.size() == 0 || !wide::is_half(out.dtype()) || !takes(static_cast<const Class&>(*self))) {
      return original(self, inputs, outputs);
    }
    auto stream = self->stream();
    auto& encoder = mx::cpu::get_command_encoder(stream);
    Arrays singles;
    for (auto& input : inputs) {
      bool is_half = wide::is_half(input.dtype());
      singles.push_back(is_half ? wide::converted(input, mx::float32, stream) : input);
      if (is_half) {
        encoder.add_temporary(singles.back());
      }
    }
    Arrays single{mx::array(out.shape(), mx::float32, nullptr, {})};
    original(self, singles, single);
    encoder.add_temporary(single[0]);
    auto half = wide::converted(single[0], out.dtype(), stream);
    out.copy_shared_buffer(half);
  }
};

#if defined(__linux__)

template <class Class, bool (*take)(const Class&, const Arrays&, Arrays&)>
int widen(const mx::array& sample, const char* name) {
  return vtable::hook_eval_cpu(sample, name, &Wide<Class, take>::evaluate, Wide<Class, take>::original);
}

template <class Class, bool (*takes)(const Class&)>
int in_single(const mx::array& sample, const char* name) {
  return vtable::hook_eval_cpu(sample, name, &InSingle<Class, takes>::evaluate, InSingle<Class, takes>::original);
}

int widen_all() {
  auto s = mx::default_stream(mx::Device::cpu);
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  mx::array index({0, 0}, mx::uint32);
  std::vector<int> last{-1};
  auto grid = mx::zeros({2, 32}, mx::float32, s);
  auto packed = mx::zeros({2, 4}, mx::uint32, s);
  auto scales = mx::zeros({2, 1}, mx::float32, s);
  auto update = mx::zeros({2, 1, 2}, mx::float32, s);
  auto along = mx::zeros({2, 2}, mx::uint32, s);
  int done = 0;
  done += widen<mx::Reduce, reduce>(mx::sum(x, last, true, s), "Sum");
  done += widen<mx::Scan, scan>(mx::cumsum(x, -1, false, true, s), "CumSum");
  done += widen<mx::Softmax, softmax>(mx::softmax(x, last, false, s), "Softmax");
  done += widen<mx::LogSumExp, logsumexp>(mx::logsumexp(x, last, true, s), "LogSumExp");
  done += widen<mx::Exp, of_doubles<mx::Exp, exponential>>(mx::exp(x, s), "Exp");
  done += widen<mx::Sin, of_doubles<mx::Sin, sine>>(mx::sin(x, s), "Sin");
  done += widen<mx::Cos, of_doubles<mx::Cos, cosine>>(mx::cos(x, s), "Cos");
  done += widen<mx::Sigmoid, of_doubles<mx::Sigmoid, sigmoid>>(mx::sigmoid(x, s), "Sigmoid");
  done += widen<mx::Erf, of_doubles<mx::Erf, error_function>>(mx::erf(x, s), "Erf");
  done += widen<mx::ErfInv, of_doubles<mx::ErfInv, erfinv>>(mx::erfinv(x, s), "ErfInv");
  done += widen<mx::LogAddExp, of_two<mx::LogAddExp, double, log_add_exp>>(mx::logaddexp(x, x, s), "LogAddExp");
  done += widen<mx::Power, of_two<mx::Power, mx::complex64_t, complex_power>>(mx::power(x, x, s), "Power");
  done += in_single<mx::Scatter, adds>(mx::scatter_add(x, index, update, 0, s), "Scatter Sum");
  done += in_single<mx::ScatterAxis, adds_along>(mx::scatter_add_axis(x, along, x, 0, s), "ScatterAxis Sum");
  done += in_single<mx::QuantizedMatmul, always<mx::QuantizedMatmul>>(
      mx::quantized_matmul(grid, packed, scales, scales, true, 32, 4, "affine", s), "QuantizedMatmul");
  return done;
}

#endif

} // namespace

extern "C" int mlx_native_cpu_widen(int* hooked) {
  return guarded("cpu_widen", [&] {
#if defined(__linux__)
    static const int done = vtable::is_as_expected() ? widen_all() : 0;
    if (factorize_on_own_thread()) {
      allow_waits();
    }
    *hooked = done;
#else
    *hooked = 0;
#endif
  });
}

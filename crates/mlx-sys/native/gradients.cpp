// Rules of differentiation that MLX gets wrong: replaced in the table of the class, on every device.
//
// The slope of x^0 and of 0^y at 0 is 0 and not NaN, in every order; |z| and the sign of a complex number have second
// derivatives; the remainder's slope for the divisor is that of the quotient it belongs to.
#include <limits>

#include "gradients.h"
#include "guard.h"
#include "mlx/transforms.h"

namespace mx = mlx::core;

namespace {

using namespace gradients;

// Powers whose slopes are those of x^y, where a factor of 0 hides what is infinite beside it.
Arrays power_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes& argnums,
    const Arrays& outputs) {
  auto s = self->stream();
  auto& x = primals[0];
  auto& y = primals[1];
  Arrays vjps;
  for (auto arg : argnums) {
    if (arg == 0) {
      // Without y = 0, the base may be anything.
      auto is_constant = mx::equal(y, like(0, y), s);
      auto base = mx::where(is_constant, like(1, x), x, s);
      auto slope = mx::multiply(mx::power(base, mx::subtract(y, like(1, y), s), s), y, s);
      vjps.push_back(mx::multiply(cotangents[0], slope, s));
    } else {
      // 0^y is 0 for positive y, and 1 at 0.
      auto is_zero = mx::equal(x, like(0, x), s);
      auto sign = mx::issubdtype(y.dtype(), mx::complexfloating) ? mx::real(y, s) : y;
      auto is_flat = mx::logical_and(is_zero, mx::greater_equal(sign, like(0, sign), s), s);
      auto base = mx::where(is_flat, like(1, x), x, s);
      auto& power = outputs[0];
      auto slope = mx::multiply(mx::log(base, s), power, s);
      // 0 * log 0 is 0.
      slope = mx::where(mx::equal(power, like(0, power), s), like(0, power), slope, s);
      vjps.push_back(mx::multiply(cotangents[0], slope, s));
    }
  }
  return vjps;
}

// z / |z|, and 0 of 0, of operations that have slopes.
mx::array direction(const mx::array& z, mx::Stream s) {
  auto is_zero = mx::equal(z, like(0, z), s);
  auto safe = mx::where(is_zero, like(1, z), z, s);
  auto size = mx::astype(mx::abs(safe, s), z.dtype(), s);
  return mx::where(is_zero, like(0, z), mx::divide(safe, size, s), s);
}

bool is_complex(const mx::array& x) {
  return mx::issubdtype(x.dtype(), mx::complexfloating);
}

Arrays abs_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes& argnums,
    const Arrays& outputs) {
  if (!is_complex(primals[0])) {
    return Rules<mx::Abs>::vjp(self, primals, cotangents, argnums, outputs);
  }
  auto s = self->stream();
  return {mx::multiply(cotangents[0], direction(primals[0], s), s)};
}

Arrays sign_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes& argnums,
    const Arrays& outputs) {
  if (!is_complex(primals[0])) {
    return Rules<mx::Sign>::vjp(self, primals, cotangents, argnums, outputs);
  }
  auto s = self->stream();
  auto function = [s](const Arrays& z) { return Arrays{direction(z[0], s)}; };
  return mx::vjp(function, {primals[0]}, {cotangents[0]}).second;
}

Arrays sign_jvp(mx::Primitive* self, const Arrays& primals, const Arrays& tangents, const Axes& argnums) {
  if (!is_complex(primals[0])) {
    return Rules<mx::Sign>::jvp(self, primals, tangents, argnums);
  }
  auto s = self->stream();
  auto function = [s](const Arrays& z) { return Arrays{direction(z[0], s)}; };
  return mx::jvp(function, {primals[0]}, {tangents[0]}).second;
}

Arrays remainder_vjp(
    mx::Primitive* self,
    const Arrays& primals,
    const Arrays& cotangents,
    const Axes& argnums,
    const Arrays& outputs) {
  auto s = self->stream();
  Arrays vjps;
  for (auto arg : argnums) {
    if (arg == 0) {
      vjps.push_back(cotangents[0]);
    } else {
      auto& b = primals[1];
      // The quotient itself, which the division of a rounded difference can miss by less than a half.
      auto rest = outputs.empty() ? mx::remainder(primals[0], b, s) : outputs[0];
      auto whole = mx::round(mx::divide(mx::subtract(primals[0], rest, s), b, s), 0, s);
      vjps.push_back(mx::negative(mx::multiply(mx::stop_gradient(whole, s), cotangents[0], s), s));
    }
  }
  return vjps;
}

#if defined(__linux__)

int replace_all() {
  auto s = mx::default_stream(mx::Device::cpu);
  mx::array x({0.5f, 0.5f});
  auto pull = place_of(&mx::Primitive::vjp);
  auto push = place_of(&mx::Primitive::jvp);
  auto exp = mx::exp(x, s);
  auto** table = vtable::vtable_of(exp.primitive());
  // Exp has rules of its own, which libmlx exports.
  auto* vjp = dlsym(RTLD_DEFAULT, "_ZN3mlx4core3Exp3vjpERKSt6vectorINS0_5arrayESaIS3_EES7_RKS2_IiSaIiEES7_");
  auto* jvp = dlsym(RTLD_DEFAULT, "_ZN3mlx4core3Exp3jvpERKSt6vectorINS0_5arrayESaIS3_EES7_RKS2_IiSaIiEE");
  if (!vjp || !jvp || table[pull] != vjp || table[push] != jvp) {
    return 0;
  }
  auto sign = mx::sign(x, s);
  int done = replace<Pull>(mx::power(x, x, s), "Power", pull, power_vjp, Rules<mx::Power>::vjp);
  done += replace<Pull>(mx::abs(x, s), "Abs", pull, abs_vjp, Rules<mx::Abs>::vjp);
  done += replace<Pull>(sign, "Sign", pull, sign_vjp, Rules<mx::Sign>::vjp);
  done += replace<Push>(sign, "Sign", push, sign_jvp, Rules<mx::Sign>::jvp);
  done += replace<Pull>(mx::remainder(x, x, s), "Remainder", pull, remainder_vjp, Rules<mx::Remainder>::vjp);
  done += replace_linalg(pull, push);
  return done;
}

#endif

} // namespace

extern "C" int mlx_native_replace_gradients(int* hooked) {
  return guarded("replace_gradients", [&] {
#if defined(__linux__)
    static const int done = replace_all();
    *hooked = done;
#else
    *hooked = 0;
#endif
  });
}

extern "C" int mlx_native_vtable_hooks(void) {
#if defined(__linux__)
  return vtable::n_hooks.load(std::memory_order_relaxed);
#else
  return 0;
#endif
}

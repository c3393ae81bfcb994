//! Mathematical functions of complex numbers, by their definitions.

/// Real and imaginary part.
pub(crate) type Complex = (f64, f64);

pub(crate) fn multiply((a, b): Complex, (c, d): Complex) -> Complex {
    (a * c - b * d, a * d + b * c)
}

pub(crate) fn divide((a, b): Complex, (c, d): Complex) -> Complex {
    let norm = c * c + d * d;
    ((a * c + b * d) / norm, (b * c - a * d) / norm)
}

pub(crate) fn exp((re, im): Complex) -> Complex {
    let size = re.exp();
    (size * im.cos(), size * im.sin())
}

pub(crate) fn ln((re, im): Complex) -> Complex {
    (re.hypot(im).ln(), im.atan2(re))
}

pub(crate) fn sqrt((re, im): Complex) -> Complex {
    let size = re.hypot(im);
    let (half, other) = (((size + re.abs()) / 2.0).sqrt(), im.abs());
    if size == 0.0 {
        return (0.0, im);
    }
    let other = other / (2.0 * half);
    if re >= 0.0 {
        (half, other.copysign(im))
    } else {
        (other, half.copysign(im))
    }
}

pub(crate) fn sin((re, im): Complex) -> Complex {
    (re.sin() * im.cosh(), re.cos() * im.sinh())
}

pub(crate) fn cos((re, im): Complex) -> Complex {
    (re.cos() * im.cosh(), -re.sin() * im.sinh())
}

pub(crate) fn sinh((re, im): Complex) -> Complex {
    (re.sinh() * im.cos(), re.cosh() * im.sin())
}

pub(crate) fn cosh((re, im): Complex) -> Complex {
    (re.cosh() * im.cos(), re.sinh() * im.sin())
}

pub(crate) fn tanh(z: Complex) -> Complex {
    divide(sinh(z), cosh(z))
}

/// `ln(z + sqrt(z^2 + 1))`.
pub(crate) fn asinh(z: Complex) -> Complex {
    let (re, im) = multiply(z, z);
    let (a, b) = sqrt((re + 1.0, im));
    if z.0 < 0.0 {
        let (a, b) = asinh((-z.0, -z.1));
        return (-a, -b);
    }
    ln((z.0 + a, z.1 + b))
}

/// `asin(z) = -i asinh(iz)`.
pub(crate) fn asin((re, im): Complex) -> Complex {
    let (a, b) = asinh((-im, re));
    (b, -a)
}

pub(crate) fn acos(z: Complex) -> Complex {
    let (re, im) = asin(z);
    (std::f64::consts::FRAC_PI_2 - re, -im)
}

/// `ln(z + sqrt(z + 1) sqrt(z - 1))`.
pub(crate) fn acosh(z: Complex) -> Complex {
    let (a, b) = multiply(sqrt((z.0 + 1.0, z.1)), sqrt((z.0 - 1.0, z.1)));
    ln((z.0 + a, z.1 + b))
}

/// `(ln(1 + z) - ln(1 - z)) / 2`.
pub(crate) fn atanh((re, im): Complex) -> Complex {
    let ((a, b), (c, d)) = (ln((1.0 + re, im)), ln((1.0 - re, -im)));
    ((a - c) / 2.0, (b - d) / 2.0)
}

/// `atan(z) = -i atanh(iz)`.
pub(crate) fn atan((re, im): Complex) -> Complex {
    let (a, b) = atanh((-im, re));
    (b, -a)
}

/// `exp(w ln(z))`; zero to any power with a positive real part is zero.
pub(crate) fn pow(base: Complex, exponent: Complex) -> Complex {
    match (base, exponent) {
        ((0.0, 0.0), (0.0, 0.0)) => (1.0, 0.0),
        ((0.0, 0.0), _) => (0.0, 0.0),
        _ => exp(multiply(exponent, ln(base))),
    }
}

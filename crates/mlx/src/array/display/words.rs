//! How elements are written, all of an array alike: as many digits as they need, points below each other.

use std::fmt::Display;

use half::{bf16, f16};

use crate::{Complex64, Element};

/// Above this, and below its counterpart, numbers are written with an exponent.
const LARGE: f64 = 1e8;
const SMALL: f64 = 1e-4;
/// Also with a larger ratio of the largest to the smallest number.
const RATIO: f64 = 1000.0;

/// Writes whole numbers.
pub(super) fn whole<T: Display>(values: &[T]) -> Vec<String> {
    aligned(values.iter().map(ToString::to_string).collect())
}

/// Writes truth values; alone, one needs no room for the other.
pub(super) fn truths(values: &[bool], ndim: usize) -> Vec<String> {
    let width = if ndim == 0 { 0 } else { "False".len() };
    let word = |value: &bool| format!("{:>width$}", if *value { "True" } else { "False" });
    values.iter().map(word).collect()
}

/// Writes real numbers with at most `precision` digits after the point.
pub(super) fn real<T: Real>(values: &[T], precision: usize) -> Vec<String> {
    let style = Style::of(values, precision, false);
    values.iter().map(|value| style.word(*value)).collect()
}

/// Writes complex numbers, each part as the real numbers of an array.
pub(super) fn complex(values: &[Complex64], precision: usize) -> Vec<String> {
    let (re, im): (Vec<f32>, Vec<f32>) = values.iter().map(|value| (value.re, value.im)).unzip();
    let (real, imaginary) = (
        Style::of(&re, precision, false),
        Style::of(&im, precision, true),
    );
    let word = |(re, im): (&f32, &f32)| {
        let im = imaginary.word(*im);
        let number = im.trim_end();
        format!(
            "{}{number}j{}",
            real.word(*re),
            " ".repeat(im.len() - number.len())
        )
    };
    re.iter().zip(&im).map(word).collect()
}

fn aligned(words: Vec<String>) -> Vec<String> {
    let width = words.iter().map(String::len).max().unwrap_or(0);
    words
        .into_iter()
        .map(|word| format!("{word:>width$}"))
        .collect()
}

/// A real element type.
pub(super) trait Real: Element {
    fn wide(self) -> f64;
    /// Returns the number of this type nearest to `wide`.
    fn rounded(wide: f64) -> f64;
    /// Returns the shortest number in scientific notation that reads back as this one.
    fn shortest(self) -> String;
}

macro_rules! native {
    ($($t:ty),*) => {$(impl Real for $t {
        fn wide(self) -> f64 {
            f64::from(self)
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_lossless)]
        fn rounded(wide: f64) -> f64 {
            wide as $t as f64
        }
        fn shortest(self) -> String {
            format!("{self:e}")
        }
    })*};
}
native!(f32, f64);

macro_rules! halves {
    ($($t:ty),*) => {$(impl Real for $t {
        fn wide(self) -> f64 {
            f64::from(self)
        }
        fn rounded(wide: f64) -> f64 {
            f64::from(<$t>::from_f64(wide))
        }
        fn shortest(self) -> String {
            let wide = f64::from(self);
            let digits = |n: usize| format!("{wide:.n$e}");
            let reads_back = |text: &String| text.parse().is_ok_and(|read| <$t>::from_f64(read) == self);
            (0..8).map(digits).find(reads_back).unwrap_or_else(|| format!("{wide:e}"))
        }
    })*};
}
halves!(f16, bf16);

/// How all numbers of an array are written.
struct Style {
    /// Written with an exponent of this many digits, or without.
    exponent: Option<usize>,
    /// Digits after the point at most; with an exponent, exactly.
    precision: usize,
    /// Characters before and after the point.
    left: usize,
    right: usize,
    /// A plus is written too.
    plus: bool,
}

impl Style {
    fn of<T: Real>(values: &[T], precision: usize, plus: bool) -> Self {
        let finite: Vec<T> = values
            .iter()
            .copied()
            .filter(|v| v.wide().is_finite())
            .collect();
        let sizes = || {
            finite
                .iter()
                .map(|v| v.wide().abs())
                .filter(|&size| size != 0.0)
        };
        let (most, least) = (
            sizes().fold(0.0, f64::max),
            sizes().fold(f64::INFINITY, f64::min),
        );
        // Compared in the element type, as NumPy does: 1e-4 as f32 is not below 1e-4.
        let with_exponent = most > 0.0
            && (most >= T::rounded(LARGE)
                || least < T::rounded(SMALL)
                || T::rounded(most / least) > RATIO);
        let mut style = Self {
            exponent: None,
            precision,
            left: 0,
            right: 0,
            plus,
        };
        let (mut needed, mut digits) = (0, 0);
        for value in &finite {
            let (left, right, exponent) = style.parts(*value, with_exponent);
            style.left = style.left.max(left.len());
            needed = needed.max(right.len());
            digits = digits.max(exponent.len().saturating_sub(1));
        }
        if with_exponent {
            style.exponent = Some(digits);
            style.precision = needed;
            needed += digits + 2;
        }
        style.right = needed;
        // Words such as -inf take the room of the point too.
        let special = values
            .iter()
            .filter(|v| !v.wide().is_finite())
            .map(|v| style.special(v.wide()).len());
        style.left = style
            .left
            .max(special.max().unwrap_or(0).saturating_sub(style.right + 1));
        style
    }

    /// Returns what is before the point, after it (without zeros at the end), and the exponent with its sign.
    fn parts<T: Real>(&self, value: T, with_exponent: bool) -> (String, String, String) {
        let (wide, most) = (value.wide(), self.precision);
        let shortest = value.shortest();
        let (digits, power) = shortest.split_once('e').unwrap_or((&shortest, "0"));
        let power: i32 = power.parse().unwrap_or(0);
        let n_fraction = digits
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len());
        let (number, exponent) = if with_exponent {
            let n = match self.exponent {
                // As many digits as the longest has, and not zeros: f32's 0.3 is 3.0000001e-01 beside 1.6777216e+07.
                Some(_) => most,
                None => n_fraction.min(most),
            };
            // Rounding 9.99 to one digit raises the power, so it is read off again.
            let text = if n == n_fraction {
                shortest.clone()
            } else {
                format!("{wide:.n$e}")
            };
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            let power: i32 = power.parse().unwrap_or(0);
            (
                digits.to_owned(),
                format!("{}{:02}", if power < 0 { '-' } else { '+' }, power.abs()),
            )
        } else {
            let wanted = i32::try_from(n_fraction).unwrap_or(i32::MAX) - power;
            match usize::try_from(wanted.max(0)).unwrap_or(0) {
                n if n > most => (format!("{wide:.most$}"), String::new()),
                n => (positional(digits, power, n), String::new()),
            }
        };
        let (left, right) = number.split_once('.').unwrap_or((&number, ""));
        let plus = if self.plus && !left.starts_with('-') {
            "+"
        } else {
            ""
        };
        (
            format!("{plus}{left}"),
            right.trim_end_matches('0').to_owned(),
            exponent,
        )
    }

    fn word<T: Real>(&self, value: T) -> String {
        let width = self.left + 1 + self.right;
        if !value.wide().is_finite() {
            return format!("{:>width$}", self.special(value.wide()));
        }
        let (left, right, exponent) = self.parts(value, self.exponent.is_some());
        match self.exponent {
            None => format!("{left:>0$}.{right:<1$}", self.left, self.right),
            Some(digits) => {
                let (sign, power) = exponent.split_at(1);
                format!(
                    "{left:>0$}.{right:0<1$}e{sign}{power:0>digits$}",
                    self.left, self.precision
                )
            }
        }
    }

    fn special(&self, value: f64) -> String {
        let plus = if self.plus { "+" } else { "" };
        match value {
            value if value.is_nan() => format!("{plus}nan"),
            value if value < 0.0 => "-inf".to_owned(),
            _ => format!("{plus}inf"),
        }
    }
}

/// Writes `digits` (`-1.25`) times ten to `power` with `n` digits after the point, which are all it has.
fn positional(digits: &str, power: i32, n: usize) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let digits = digits.replace('.', "");
    let before = usize::try_from(power + 1).unwrap_or(0);
    let (whole, fraction) = if before == 0 {
        ("0".to_owned(), format!("{digits:0>n$}"))
    } else {
        let padded = format!("{digits:0<before$}");
        let (whole, fraction) = padded.split_at(before);
        (whole.to_owned(), fraction.to_owned())
    };
    format!("{sign}{whole}.{fraction}")
}

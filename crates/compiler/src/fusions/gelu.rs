//! GELU: `x * (1 + erf(x / sqrt(2))) / 2`, and its form with `tanh`.
//!
//! Recognized: the factors in any order and grouping, constants that are right to the rounding of the dtype, and a
//! cube as a power or as a product.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use mlx::{Op, fast};

use super::matcher::{Look, close_in};
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds `x * (1 + erf(x / sqrt(2))) / 2`.
pub(super) fn find_exact(look: &Look<'_>, value: Value) -> Found {
    let Some((x, erf)) = halves(look, value, &Op::Erf) else {
        return near(look, value, &Op::Erf);
    };
    let inner = look.product(erf);
    let fits = inner.factors == [x]
        && inner.divisors.is_empty()
        && close_in(inner.number, FRAC_1_SQRT_2, look.dtype(x));
    if !fits {
        return other_argument("erf", "x / sqrt(2)");
    }
    Some(Ok(Match::new(vec![x], value, |inputs| {
        fast::gelu(&inputs[0])
    })))
}

/// Finds `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
pub(super) fn find_approx(look: &Look<'_>, value: Value) -> Found {
    let Some((x, tanh)) = halves(look, value, &Op::Tanh) else {
        return quick(look, value).or_else(|| near(look, value, &Op::Tanh));
    };
    if !cubic(look, tanh, x) {
        return other_argument("tanh", "sqrt(2 / pi) * (x + 0.044715 * x^3)");
    }
    Some(Ok(Match::new(vec![x], value, |inputs| {
        fast::gelu_approx(&inputs[0])
    })))
}

fn other_argument(function: &str, wanted: &str) -> Found {
    let reason = format!("the argument of {function} is not {wanted}");
    Some(Err(Refusal::new(RefusalKind::Formula, reason)))
}

/// `x * sigmoid(1.702 * x)` has no kernel.
fn quick(look: &Look<'_>, value: Value) -> Found {
    let product = look.product(value);
    product.factors.iter().find_map(|factor| {
        let argument = look.product(look.unary(*factor, &Op::Sigmoid)?);
        let of_x = match argument.factors.as_slice() {
            [x] => argument.divisors.is_empty() && product.factors.contains(x),
            _ => false,
        };
        (of_x && argument.number != 1.0).then(|| {
            let reason = format!(
                "x * sigmoid({} * x) is another approximation, which has no kernel",
                argument.number
            );
            Err(Refusal::new(RefusalKind::Formula, reason))
        })
    })
}

/// A product of something with `1 + op(..)` that is not the formula.
fn near(look: &Look<'_>, value: Value, op: &Op) -> Found {
    let goes_on = look.only_user(value).is_some_and(|user| {
        matches!(
            user.operation.op(),
            Some(Op::Multiply | Op::Divide | Op::Negative)
        )
    });
    let product = look.product(value);
    let sum = product.factors.iter().find(|factor| {
        look.plus_number(**factor)
            .is_some_and(|(function, _)| look.unary(look.uncast(function), op).is_some())
    })?;
    if goes_on || product.factors.len() != 2 {
        return None;
    }
    let at = look.graph.producer(*sum).map(|node| node.site);
    let reason = format!(
        "1 + {}(..) at {} is not multiplied with x / 2, of its shape and dtype",
        op.name(),
        at.unwrap_or_default()
    );
    Some(Err(Refusal::new(RefusalKind::Formula, reason)))
}

/// `x` and the argument of `op`, when a value is `x * (1 + op(..)) / 2`, or has `x` multiplied into the sum.
fn halves(look: &Look<'_>, value: Value, op: &Op) -> Option<(Value, Value)> {
    let product = look.product(value);
    if let ([sum], []) = (product.factors.as_slice(), product.divisors.as_slice()) {
        return expanded(look, *sum, product.number, op);
    }
    if product.number != 0.5 || !product.divisors.is_empty() {
        return None;
    }
    let [a, b] = *product.factors.as_slice() else {
        return None;
    };
    [(a, b), (b, a)].into_iter().find_map(|(x, sum)| {
        let (function, one) = look.plus_number(sum)?;
        let argument = look.unary(function, op)?;
        (one == 1.0 && look.array_type(x) == look.array_type(value)).then_some((x, argument))
    })
}

/// `x` and the argument of `op`, when so many times the sum is `x / 2 + x * op(..) / 2`.
fn expanded(look: &Look<'_>, sum: Value, times: f64, op: &Op) -> Option<(Value, Value)> {
    let orders = look.orders(sum, &Op::Add).into_iter();
    orders
        .filter_map(|[plain, rest]| {
            let rest = look.product(rest);
            match (rest.factors.as_slice(), rest.divisors.as_slice()) {
                ([a, b], []) => Some([
                    (plain, *a, *b, times * rest.number),
                    (plain, *b, *a, times * rest.number),
                ]),
                _ => None,
            }
        })
        .flatten()
        .find_map(|(plain, mut x, function, mut number)| {
            // `half + half * op(..)` with half of `x`, which is used twice.
            let half = look.product(plain);
            if let ([inner], []) = (half.factors.as_slice(), half.divisors.as_slice())
                && x == plain
                && number != 0.5
            {
                number *= half.number;
                x = *inner;
            }
            let before = times * number_before(look, plain, 1, x)?;
            let same = look.array_type(x) == look.array_type(sum);
            (same && number == 0.5 && before == 0.5).then_some((x, look.unary(function, op)?))
        })
}

/// Whether a value is `sqrt(2 / pi) * (x + 0.044715 * x^3)`, or `sqrt(2 / pi) * x * (1 + 0.044715 * x^2)`, also with
/// the root multiplied into both terms.
fn cubic(look: &Look<'_>, value: Value, x: Value) -> bool {
    const CUBE: f64 = 0.044_715;
    let root = (2.0 / PI).sqrt();
    let product = look.product(value);
    if !product.divisors.is_empty() {
        return false;
    }
    let close = |a: f64, b: f64| close_in(a, b, look.dtype(x));
    let fits = |first: f64, cube: f64| {
        let outside = close(product.number, root) && first == 1.0 && close(cube, CUBE);
        outside || product.number == 1.0 && close(first, root) && close(cube, root * CUBE)
    };
    let before = |value: Value, power: u32| number_before(look, value, power, x);
    match *product.factors.as_slice() {
        [sum] => look.orders(sum, &Op::Add).into_iter().any(|[first, cube]| {
            before(first, 1)
                .zip(before(cube, 3))
                .is_some_and(|(first, cube)| fits(first, cube))
        }),
        [a, b] => [(a, b), (b, a)].into_iter().any(|(first, sum)| {
            first == x
                && look.plus_number(sum).is_some_and(|(square, one)| {
                    before(square, 2).is_some_and(|square| fits(one, square))
                })
        }),
        _ => false,
    }
}

/// The number with which a power of `x` is multiplied.
fn number_before(look: &Look<'_>, value: Value, power: u32, x: Value) -> Option<f64> {
    // `x` may itself be a product.
    if value == x && power == 1 {
        return Some(1.0);
    }
    let term = look.product(value);
    let is_power = power_of(look, &term.factors, x) == Some(power);
    (is_power && term.divisors.is_empty()).then_some(term.number)
}

/// The power of `x` that a product of factors is.
fn power_of(look: &Look<'_>, factors: &[Value], x: Value) -> Option<u32> {
    factors.iter().try_fold(0, |power, factor| {
        let one = if *factor == x {
            1
        } else if look.square_of(*factor) == Some(x) {
            2
        } else {
            let (Op::Power, node) = look.node(*factor)? else {
                return None;
            };
            if node.inputs[0] != x {
                return None;
            }
            match look.number(node.inputs[1])? {
                2.0 => 2,
                3.0 => 3,
                _ => return None,
            }
        };
        Some(power + one)
    })
}

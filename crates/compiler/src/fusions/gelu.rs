//! GELU: `x * (1 + erf(x / sqrt(2))) / 2`, and its form with `tanh`.
//!
//! Recognized: the factors in any order and grouping, constants that are right to the rounding of the dtype, and a
//! cube as a power or as a product.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use mlx::{Op, fast};

use super::matcher::{Matcher, approx_eq_in};
use super::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::Value;

/// Matches `x * (1 + erf(x / sqrt(2))) / 2`.
pub(super) fn match_exact(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let Some((x, erf)) = halves(matcher, value, &Op::Erf) else {
        return near(matcher, value, &Op::Erf);
    };
    let inner = matcher.product(erf);
    let fits = inner.factors == [x]
        && inner.divisors.is_empty()
        && approx_eq_in(inner.number, FRAC_1_SQRT_2, matcher.dtype(x));
    if !fits {
        return other_argument("erf", "x / sqrt(2)");
    }
    Some(Ok(Match::new(vec![x], value, |inputs| {
        fast::gelu(&inputs[0])
    })))
}

/// Matches `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
pub(super) fn match_approx(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let Some((x, tanh)) = halves(matcher, value, &Op::Tanh) else {
        return quick(matcher, value).or_else(|| near(matcher, value, &Op::Tanh));
    };
    if !cubic(matcher, tanh, x) {
        return other_argument("tanh", "sqrt(2 / pi) * (x + 0.044715 * x^3)");
    }
    Some(Ok(Match::new(vec![x], value, |inputs| {
        fast::gelu_approx(&inputs[0])
    })))
}

fn other_argument(function: &str, wanted: &str) -> MatchResult {
    let reason = format!("the argument of {function} is not {wanted}");
    Some(Err(Refusal::new(RefusalKind::Formula, reason)))
}

/// `x * sigmoid(1.702 * x)` has no kernel.
fn quick(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let product = matcher.product(value);
    product.factors.iter().find_map(|factor| {
        let argument = matcher.product(matcher.unary(*factor, &Op::Sigmoid)?);
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
fn near(matcher: &Matcher<'_>, value: Value, op: &Op) -> MatchResult {
    let goes_on = matcher.sole_consumer(value).is_some_and(|user| {
        matches!(
            user.operation.op(),
            Some(Op::Multiply | Op::Divide | Op::Negative)
        )
    });
    let product = matcher.product(value);
    let sum = product.factors.iter().find(|factor| {
        matcher
            .plus_number(**factor)
            .is_some_and(|(function, _)| matcher.unary(matcher.strip_casts(function), op).is_some())
    })?;
    if goes_on || product.factors.len() != 2 {
        return None;
    }
    let at = matcher.graph.producer(*sum).map(|node| node.site);
    let reason = format!(
        "1 + {}(..) at {} is not multiplied with x / 2, of its shape and dtype",
        op.name(),
        at.unwrap_or_default()
    );
    Some(Err(Refusal::new(RefusalKind::Formula, reason)))
}

/// `x` and the argument of `op`, when a value is `x * (1 + op(..)) / 2`, or has `x` multiplied into the sum.
fn halves(matcher: &Matcher<'_>, value: Value, op: &Op) -> Option<(Value, Value)> {
    let product = matcher.product(value);
    if let ([sum], []) = (product.factors.as_slice(), product.divisors.as_slice()) {
        return expanded(matcher, *sum, product.number, op);
    }
    if product.number != 0.5 || !product.divisors.is_empty() {
        return None;
    }
    let [a, b] = *product.factors.as_slice() else {
        return None;
    };
    [(a, b), (b, a)].into_iter().find_map(|(x, sum)| {
        let (function, one) = matcher.plus_number(sum)?;
        let argument = matcher.unary(function, op)?;
        (one == 1.0 && matcher.array_type(x) == matcher.array_type(value)).then_some((x, argument))
    })
}

/// `x` and the argument of `op`, when `times` the sum is `x / 2 + x * op(..) / 2`.
fn expanded(matcher: &Matcher<'_>, sum: Value, times: f64, op: &Op) -> Option<(Value, Value)> {
    let both_orders = matcher.both_orders(sum, &Op::Add).into_iter();
    both_orders
        .filter_map(|[plain, rest]| {
            let rest = matcher.product(rest);
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
            let half = matcher.product(plain);
            if let ([inner], []) = (half.factors.as_slice(), half.divisors.as_slice())
                && x == plain
                && number != 0.5
            {
                number *= half.number;
                x = *inner;
            }
            let before = times * number_before(matcher, plain, 1, x)?;
            let same = matcher.array_type(x) == matcher.array_type(sum);
            (same && number == 0.5 && before == 0.5).then_some((x, matcher.unary(function, op)?))
        })
}

/// Whether a value is `sqrt(2 / pi) * (x + 0.044715 * x^3)`, or `sqrt(2 / pi) * x * (1 + 0.044715 * x^2)`, also with
/// the root multiplied into both terms.
fn cubic(matcher: &Matcher<'_>, value: Value, x: Value) -> bool {
    const CUBE: f64 = 0.044_715;
    let root = (2.0 / PI).sqrt();
    let product = matcher.product(value);
    if !product.divisors.is_empty() {
        return false;
    }
    let approx_eq = |a: f64, b: f64| approx_eq_in(a, b, matcher.dtype(x));
    let fits = |first: f64, cube: f64| {
        let outside = approx_eq(product.number, root) && first == 1.0 && approx_eq(cube, CUBE);
        outside || product.number == 1.0 && approx_eq(first, root) && approx_eq(cube, root * CUBE)
    };
    let before = |value: Value, power: u32| number_before(matcher, value, power, x);
    match *product.factors.as_slice() {
        [sum] => matcher
            .both_orders(sum, &Op::Add)
            .into_iter()
            .any(|[first, cube]| {
                before(first, 1)
                    .zip(before(cube, 3))
                    .is_some_and(|(first, cube)| fits(first, cube))
            }),
        [a, b] => [(a, b), (b, a)].into_iter().any(|(first, sum)| {
            first == x
                && matcher.plus_number(sum).is_some_and(|(square, one)| {
                    before(square, 2).is_some_and(|square| fits(one, square))
                })
        }),
        _ => false,
    }
}

/// The number with which a power of `x` is multiplied.
fn number_before(matcher: &Matcher<'_>, value: Value, power: u32, x: Value) -> Option<f64> {
    // `x` may itself be a product.
    if value == x && power == 1 {
        return Some(1.0);
    }
    let term = matcher.product(value);
    let is_power = power_of(matcher, &term.factors, x) == Some(power);
    (is_power && term.divisors.is_empty()).then_some(term.number)
}

/// The power of `x` that a product of factors is.
fn power_of(matcher: &Matcher<'_>, factors: &[Value], x: Value) -> Option<u32> {
    factors.iter().try_fold(0, |power, factor| {
        let one = if *factor == x {
            1
        } else if matcher.square_of(*factor) == Some(x) {
            2
        } else {
            let (Op::Power, node) = matcher.node(*factor)? else {
                return None;
            };
            if node.inputs[0] != x {
                return None;
            }
            match matcher.number(node.inputs[1])? {
                2.0 => 2,
                3.0 => 3,
                _ => return None,
            }
        };
        Some(power + one)
    })
}

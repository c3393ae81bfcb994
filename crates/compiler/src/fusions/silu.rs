//! SiLU, `x * sigmoid(x)`, and the gate of SwiGLU, `silu(gate) * up`.
//!
//! Recognized: `sigmoid`, or `1 / (1 + exp(-x))` written out.

use mlx::{Op, fast};

use super::matcher::Matcher;
use super::{Match, MatchResult};
use crate::graph::Value;

/// Matches `x * sigmoid(x)`.
pub(super) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let x = silu_of(matcher, value)?;
    Some(Ok(Match::new(vec![x], value, |inputs| {
        fast::silu(&inputs[0])
    })))
}

/// Matches `silu(gate) * up`.
pub(super) fn match_gated(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    // The three factors in any grouping.
    let product = matcher.product(value);
    if product.number != 1.0 || matcher.node(value)?.0 == &Op::Negative {
        return None;
    }
    for (gate, rest) in gates(matcher, &product.factors, &product.divisors) {
        let [up] = rest.as_slice() else { continue };
        let same = [gate, *up]
            .iter()
            .all(|v| matcher.array_type(*v) == matcher.array_type(value));
        if same && *up != gate && !matcher.depends(gate, *up) {
            return Some(Ok(Match::new(vec![gate, *up], value, |inputs| {
                fast::swiglu(&inputs[0], &inputs[1])
            })));
        }
    }
    None
}

/// `x` when a value is `x * sigmoid(x)`.
fn silu_of(matcher: &Matcher<'_>, value: Value) -> Option<Value> {
    let product = matcher.product(value);
    let has_number = product.number != 1.0;
    let found = gates(matcher, &product.factors, &product.divisors);
    let (gate, rest) = found.first()?;
    let whole =
        rest.is_empty() && !has_number && matcher.array_type(*gate) == matcher.array_type(value);
    whole.then_some(*gate)
}

/// Each match of `x * sigmoid(x)` in a product, with the other factors.
fn gates(matcher: &Matcher<'_>, factors: &[Value], divisors: &[Value]) -> Vec<(Value, Vec<Value>)> {
    let mut found = Vec::new();
    for (index, factor) in factors.iter().enumerate() {
        if divisors.is_empty()
            && let Some(x) = matcher.unary(*factor, &Op::Sigmoid)
            && let Some(place) = factors.iter().position(|other| *other == x)
        {
            let rest = without(factors, &[index, place]);
            found.push((x, rest));
        }
        if let [divisor] = divisors
            && one_plus_exp(matcher, *divisor) == Some(*factor)
        {
            found.push((*factor, without(factors, &[index])));
        }
    }
    found
}

/// `x` when a value is `1 + exp(-x)`.
fn one_plus_exp(matcher: &Matcher<'_>, value: Value) -> Option<Value> {
    let (exp, one) = matcher.plus_number(value)?;
    let negated = matcher.product(matcher.unary(exp, &Op::Exp)?);
    match (
        one == 1.0,
        negated.number == -1.0,
        negated.factors.as_slice(),
        negated.divisors.as_slice(),
    ) {
        (true, true, [x], []) => Some(*x),
        _ => None,
    }
}

fn without(values: &[Value], places: &[usize]) -> Vec<Value> {
    let kept = values
        .iter()
        .enumerate()
        .filter(|(index, _)| !places.contains(index));
    kept.map(|(_, value)| *value).collect()
}

//! What scans keep on the way.

use std::marker::PhantomData;

use super::Scan;
use crate::rowwise::{Factor, Whole};

macro_rules! scans {
    ($($(#[$doc:meta])* $name:ident<$t:ident: $bound:path> = $state:ty;
        $start:expr; $step:expr; $result:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<$t>(PhantomData<$t>);

        impl<$t: $bound> Scan for $name<$t> {
            type In = $t;
            type State = $state;
            type Out = $t;
            const START: $state = $start;

            #[inline(always)]
            fn step(state: $state, x: $t) -> $state {
                $step(state, x)
            }

            #[inline(always)]
            fn result(state: $state) -> $t {
                $result(state)
            }
        }
    )*};
}

scans! {
    /// Sums of floating numbers.
    ScanSum<T: Factor> = f64; 0.0; |state, x: T| state + x.widen(); T::rounded;
    /// Products of floating numbers.
    ScanProduct<T: Factor> = f64; 1.0; |state, x: T| state * x.widen(); T::rounded;
    /// Maxima of floating numbers; NaN from the first one on.
    ScanMax<T: Factor> = f64; f64::NEG_INFINITY; |state, x: T| max_or_nan(state, x.widen()); T::rounded;
    /// Minima of floating numbers; NaN from the first one on.
    ScanMin<T: Factor> = f64; f64::INFINITY; |state, x: T| min_or_nan(state, x.widen()); T::rounded;
    /// Logarithms of sums of exponentials.
    ScanLogAddExp<T: Factor> = f64; f64::NEG_INFINITY; |state, x: T| log_add_exp(state, x.widen()); T::rounded;
    /// Sums of integers, in their own type.
    ScanIntegerSum<T: Whole> = T; T::ZERO; T::wrapping_sum; |state| state;
    /// Products of integers, in their own type.
    ScanIntegerProduct<T: Whole> = T; T::ONE; T::wrapping_product; |state| state;
    /// Maxima of integers; without an element, the least of their type.
    ScanIntegerMax<T: Whole> = T; T::LEAST; |state: T, x: T| state.max(x); |state| state;
    /// Minima of integers; without an element, the greatest of their type.
    ScanIntegerMin<T: Whole> = T; T::MOST; |state: T, x: T| state.min(x); |state| state;
}

#[inline(always)]
fn max_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() | (a > b) { a } else { b }
}

#[inline(always)]
fn min_or_nan(a: f64, b: f64) -> f64 {
    if a.is_nan() | (a < b) { a } else { b }
}

fn log_add_exp(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let (most, least) = (a.max(b), a.min(b));
    if most.is_infinite() {
        most
    } else {
        most + (least - most).exp().ln_1p()
    }
}

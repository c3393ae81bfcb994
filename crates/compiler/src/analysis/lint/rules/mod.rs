//! The rules: one line for each kind of finding. A new kind is a variant in `finding.rs`, a line here and a function.
//!
//! A rule reports only what the graph proves. It is applied to the graph as written, with formulas as nodes, or as it
//! runs, and to the graphs inside of control flow and gradients.

mod caches;
mod constants;
mod copies;
mod dtypes;
mod formulas;
mod gradients;
mod loops;
mod repeated;
mod selection;
mod traces;

use super::finding::FindingKind as Kind;
use super::scope::{Found, Scope};

/// The graph that a rule is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// As the function was written.
    Traced,
    /// With recognized formulas as nodes.
    Optimized,
    /// As it runs.
    Lowered,
}

/// How a kind is found.
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) stage: Stage,
    pub(super) find: fn(&Scope<'_>) -> Vec<Found>,
    pub(super) instead: &'static str,
}

const fn rule(
    kind: Kind,
    stage: Stage,
    find: fn(&Scope<'_>) -> Vec<Found>,
    instead: &'static str,
) -> Rule {
    Rule {
        kind,
        stage,
        find,
        instead,
    }
}

/// All rules.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    rule(Kind::SilentWidening, Stage::Optimized, dtypes::silent_widening,
        "cast the constant or vector: `.astype(x.dtype()?)`, or write it as a number"),
    rule(Kind::MixedDtypes, Stage::Optimized, dtypes::mixed_dtypes,
        "store both in one dtype, or cast the smaller one"),
    rule(Kind::CastRoundTrip, Stage::Optimized, dtypes::cast_round_trip,
        "leave out both casts"),
    rule(Kind::ConstantWork, Stage::Lowered, constants::constant_work,
        "compute it once outside of the function, and capture it or make it an argument"),
    rule(Kind::ConstantKey, Stage::Optimized, constants::constant_key,
        "make the key an argument, or leave it out: a compiled function then draws other numbers in each call"),
    rule(Kind::ConstantGather, Stage::Optimized, constants::constant_gather,
        "take a slice: `x.i(a..b)`"),
    rule(Kind::TransposedCopy, Stage::Optimized, copies::transposed_copy,
        "leave out `contiguous`: products read transposed operands"),
    rule(Kind::RepeatedCopy, Stage::Optimized, copies::repeated_copy,
        "leave it out: operators broadcast, and attention takes fewer heads of keys than of queries"),
    rule(Kind::DeadResult, Stage::Traced, constants::dead_result,
        "use it, or delete the line"),
    rule(Kind::NearMiss, Stage::Optimized, formulas::near_miss,
        "change that one thing, or call the function of `mlx::fast`"),
    rule(Kind::LogOfSoftmax, Stage::Optimized, formulas::log_of_softmax,
        "subtract the `logsumexp`: `x - x.logsumexp(keepdims(axis))`, or `nn::log_softmax`"),
    rule(Kind::StoppedGradient, Stage::Optimized, gradients::stopped_gradient,
        "leave the argument out of `argnums`, or take the operation off the path"),
    rule(Kind::RepeatedWork, Stage::Optimized, repeated::repeated_work,
        "call it once: `value_and_grad` gives the value and all gradients together"),
    rule(Kind::LoopInvariant, Stage::Optimized, loops::loop_invariant,
        "compute it before the loop"),
    rule(Kind::UnrolledLoop, Stage::Optimized, loops::unrolled_loop,
        "use `nn::{RNN, GRU, LSTM}`, one kernel over all steps, or `scan`, one graph for all steps"),
    rule(Kind::OneHot, Stage::Optimized, selection::one_hot,
        "pick the elements: `take`, `take_along_axis`, or `nn::losses::cross_entropy` of the indices"),
    rule(Kind::SortedExtreme, Stage::Optimized, selection::sorted_extreme,
        "use `min`, `max`, `argmin` or `argmax`"),
    rule(Kind::GrowingCache, Stage::Optimized, caches::growing_cache,
        "allocate the cache once and write with `slice_update` at a position that is an array"),
    rule(Kind::ValueRead, Stage::Optimized, traces::value_read,
        "compute both and choose: `mlx::r#where(condition, a, b)`"),
    rule(Kind::FrozenSize, Stage::Traced, traces::frozen_size,
        "pad to a few sizes, or compile with `shapeless`"),
    rule(Kind::ChangingArgument, Stage::Traced, traces::changing_argument,
        "make the number an array: `Array::from(x)`"),
];

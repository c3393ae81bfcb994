//! The examples of `docs/lint.md`: in each, lint finds what the section is about in the first function, and nothing in
//! the second. The page is generated from this file.

use mlx::random::{self, NormalOptions};
use mlx::transforms::{grad, value_and_grad};
use mlx::tree::{Arguments, Function};
use mlx::{Array, Dtype, Tree, fast, keepdims, ones, ones_with};
use mlx_compiler::{
    CompileOptions, Error, Fallback, FindingKind, ScanOptions, cond, jit, scan, trace,
};
use mlx_testdata::needs;

// ## silent_widening
// `scale` is `float32`, so that each activation behind it has 4 bytes in the place of 2.
// A plain number takes the dtype of the array: `x * 0.5` widens nothing.
// Work that is cast back to the narrow dtype is taken for meant.
fn widened(x: &Array) -> Array {
    let scale = ones([64]);
    (x * scale).exp()
}

fn kept_narrow(x: &Array) -> Array {
    let scale = ones([64]).astype(Dtype::Bfloat16);
    (x * scale).exp()
}

// ## mixed_dtypes
// MLX converts the narrower operand of a product in each call, a copy of all weights.
fn mixed(x: &Array, w_bf16: &Array) -> Array {
    x.matmul(w_bf16)
}

fn one_dtype(x: &Array, w_bf16: &Array) -> Array {
    x.astype(Dtype::Bfloat16).matmul(w_bf16)
}

// ## cast_round_trip
// Nothing is computed between the casts; if they narrow, digits are lost too.
fn there_and_back(x: &Array) -> Array {
    let narrow = x.astype(Dtype::Float16);
    narrow.astype(Dtype::Float32).exp()
}

fn no_cast(x: &Array) -> Array {
    x.exp()
}

// ## constant_work
// A result of constants is stored when the function is compiled, if it takes at most 1 MiB; larger ones are computed in
// each call, so that no copies of weights are kept.
fn in_each_call(x: &Array) -> Array {
    let table = mlx::arange(1024 * 1024).astype(Dtype::Float32).cos();
    x.matmul(table.reshape([1024, 1024]))
}

fn once(x: &Array, table: &Array) -> Array {
    x.matmul(table)
}

// ## constant_key
// A key that is a constant of the function draws the same numbers whenever it is called.
// Without a key, a compiled function takes the next one of its thread.
fn same_noise(x: &Array) -> Array {
    let options = NormalOptions {
        key: Some(random::key(0)),
        ..NormalOptions::default()
    };
    x + random::normal_with([16, 64], options)
}

fn new_noise(x: &Array) -> Array {
    x + random::normal([16, 64])
}

// ## constant_gather
// Consecutive rows by constant indices are copied; a slice of them is a view.
fn gathered(table: &Array) -> Array {
    table.take(mlx::arange(32), 0).exp()
}

fn sliced(table: &Array) -> Array {
    table.i(..32).exp()
}

// ## transposed_copy
// Products read operands that are transposed where they are.
fn copied(x: &Array, w: &Array) -> Array {
    x.matmul(w.t().contiguous())
}

fn in_place(x: &Array, w: &Array) -> Array {
    x.matmul(w.t())
}

// ## repeated_copy
// Operators broadcast axes of size 1, and attention takes fewer heads of keys and values than of queries.
fn repeated_heads(q: &Array, k: &Array) -> Array {
    let k = k.repeat(4, 1);
    fast::scaled_dot_product_attention(q, &k, &k, 0.125, None)
}

fn grouped_heads(q: &Array, k: &Array) -> Array {
    fast::scaled_dot_product_attention(q, k, k, 0.125, None)
}

// ## dead_result
// The compiler drops it, so that it costs nothing in a compiled function, but it is a line that was forgotten.
fn forgotten(x: &Array) -> Array {
    let _activated = x.sigmoid();
    x * 2.0
}

fn used(x: &Array) -> Array {
    x.sigmoid() * 2.0
}

// ## near_miss
// A formula with a fused kernel, and the one thing that keeps it from being used; here, that an intermediate value is returned.
fn nearly_fused(x: &Array, w: &Array) -> (Array, Array) {
    let scale = (x.square().mean(keepdims(-1)) + 1e-5).rsqrt();
    (x * &scale * w, scale)
}

fn fused(x: &Array, w: &Array) -> Array {
    let scale = (x.square().mean(keepdims(-1)) + 1e-5).rsqrt();
    x * &scale * w
}

// ## log_of_softmax
// Probabilities that round to 0 have the logarithm `-inf`, and two passes over the array are one too many.
fn log_of_probabilities(x: &Array) -> Array {
    x.softmax(-1).log()
}

fn log_probabilities(x: &Array) -> Array {
    x - x.logsumexp(keepdims(-1))
}

// ## stopped_gradient
// Every path from the argument to the loss has an operation without a slope, so that the gradient is zero.
fn rounded_loss(w: &Array, x: &Array) -> Array {
    x.matmul((w * 8.0).round() / 8.0).sum(())
}

fn stopped(w: &Array, x: &Array) -> mlx::Result<Array> {
    grad(rounded_loss).call((w, x))
}

fn straight_through_loss(w: &Array, x: &Array) -> Array {
    let error = (w * 8.0).round() / 8.0 - w;
    x.matmul(w + error.stop_gradient()).sum(())
}

fn straight_through(w: &Array, x: &Array) -> mlx::Result<Array> {
    grad(straight_through_loss).call((w, x))
}

// ## repeated_work
// A function that is called beside its gradient runs twice.
// Equal operations on equal values are joined by the compiler; what is inside a transform or a loop is not.
fn loss(w: &Array, x: &Array) -> Array {
    x.matmul(w).square().mean(())
}

fn twice(w: &Array, x: &Array) -> mlx::Result<(Array, Array)> {
    let value = loss(w, x);
    Ok((value, grad(loss).call((w, x))?))
}

fn together(w: &Array, x: &Array) -> mlx::Result<(Array, Array)> {
    value_and_grad(loss).call((w, x))
}

// ## loop_invariant
// What depends on neither the state nor the element of a round is computed before the loop.
fn in_each_round(w: &Array, xs: &Array) -> Result<Array, Error> {
    let step = |h: &Array, x: &Array| {
        let next = (h.matmul(w.softmax(-1)) + x).tanh();
        (next.clone(), next)
    };
    Ok(scan(&xs.i(0), xs, ScanOptions::default(), step)?.1)
}

fn before_the_loop(w: &Array, xs: &Array) -> Result<Array, Error> {
    let w = w.softmax(-1);
    let step = |h: &Array, x: &Array| {
        let next = (h.matmul(&w) + x).tanh();
        (next.clone(), next)
    };
    Ok(scan(&xs.i(0), xs, ScanOptions::default(), step)?.1)
}

// ## unrolled_loop
// A loop of Rust over a sequence becomes a graph of all steps: 16 or more small products with one weight, one after the
// other.
fn unrolled(w: &Array, xs: &Array) -> Array {
    let mut h = xs.i(0);
    for step in 0..20 {
        h = (h.matmul(w) + xs.i(step)).tanh();
    }
    h
}

fn scanned(w: &Array, xs: &Array) -> Result<Array, Error> {
    let step = |h: &Array, x: &Array| {
        let next = (h.matmul(w) + x).tanh();
        (next.clone(), next)
    };
    Ok(scan(&xs.i(0), xs, ScanOptions::default(), step)?.1)
}

// ## one_hot
// A product with rows that have a single 1 reads all of the other side to pick some of it.
fn by_product(table: &Array, tokens: &Array) -> Array {
    let one_hot = mlx::eye(64).take(tokens, 0);
    one_hot.matmul(table)
}

fn by_index(table: &Array, tokens: &Array) -> Array {
    table.take(tokens, 0)
}

// ## sorted_extreme
// The first or last element of a sorted axis is its minimum or maximum.
fn by_sorting(x: &Array) -> Array {
    x.sort(-1).i((.., -1))
}

fn by_maximum(x: &Array) -> Array {
    x.max(-1)
}

// ## growing_cache
// A cache that is one position longer after each call is copied in each, and each length is another trace.
fn grown(cache: &Array, row: &Array, q: &Array) -> (Array, Array) {
    let cache = mlx::concatenate(&[cache, row], 1);
    (q.matmul(cache.swapaxes(1, 2)), cache)
}

fn written(cache: &Array, row: &Array, q: &Array, at: &Array) -> (Array, Array) {
    let cache = cache.slice_update(row, at, 1);
    (q.matmul(cache.swapaxes(1, 2)), cache)
}

// ## value_read
// Which branch of `cond` runs is read from the device, so that the function around it runs node by node.
// Where both branches are cheap, computing both is cheaper.
// `item` and `to_vec` of a value that depends on an argument are errors of the trace, with their line.
fn branched(x: &Array) -> Result<Array, Error> {
    cond(&x.sum(()).less(0.0), x, |x: &Array| -x, |x: &Array| x * 2.0)
}

fn chosen(x: &Array) -> Array {
    mlx::where_(x.sum(()).less(0.0), -x, x * 2.0)
}

// ## frozen_size
// A graph holds for the sizes that it was traced with: a function that is called with ever new ones is traced in each call.
// At least 4 traces, and half of the calls, are a finding; its line is the one that reads a size, or the one with `jit`.
fn sizes(lengths: &[i32]) -> Result<Vec<FindingKind>, Error> {
    let mean = jit(|x: &Array| x.mean(()));
    for length in lengths {
        mean.call(&ones([*length]))?.eval()?;
    }
    let findings = mean.report().unwrap_or_default().lint();
    Ok(findings.into_iter().map(|finding| finding.kind).collect())
}

// ## changing_argument
// A number among the arguments is a constant that the function is compiled for; an array is not.
fn number(rates: &[f32]) -> Result<Vec<FindingKind>, Error> {
    let scaled = jit(|x: &Array, rate: &f32| x * *rate);
    for rate in rates {
        scaled.call((&ones([4]), rate))?.eval()?;
    }
    let findings = scaled.report().unwrap_or_default().lint();
    Ok(findings.into_iter().map(|finding| finding.kind).collect())
}

fn array(rates: &[f32]) -> Result<Vec<FindingKind>, Error> {
    let scaled = jit(|x: &Array, rate: &Array| x * rate);
    for rate in rates {
        let rate = Array::scalar(*rate);
        scaled.call((&ones([4]), &rate))?.eval()?;
    }
    let findings = scaled.report().unwrap_or_default().lint();
    Ok(findings.into_iter().map(|finding| finding.kind).collect())
}

// ## end

fn lint<Args, F>(function: F, args: Args::Refs<'_>) -> Vec<FindingKind>
where
    Args: Arguments,
    F: Function<Args, Output: Tree>,
{
    let options = CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let lowered = trace(function, args).unwrap().lower(&options).unwrap();
    let findings = lowered.report().lint();
    findings.into_iter().map(|finding| finding.kind).collect()
}

fn half(shape: impl Into<mlx::Shape>) -> Array {
    ones_with(shape, Dtype::Bfloat16)
}

#[test]
fn examples_of_dtypes_and_constants() {
    use FindingKind::*;
    let (x, wide) = (half([16, 64]), ones([16, 64]));
    assert_eq!(lint(widened, &x), [SilentWidening]);
    assert_eq!(lint(kept_narrow, &x), []);
    let w = half([64, 64]);
    assert_eq!(lint(mixed, (&wide, &w)), [MixedDtypes]);
    assert_eq!(lint(one_dtype, (&wide, &w)), []);
    assert_eq!(lint(there_and_back, &wide), [CastRoundTrip]);
    assert_eq!(lint(no_cast, &wide), []);
    let (row, table) = (ones([4, 1024]), ones([1024, 1024]));
    assert_eq!(lint(in_each_call, &row), [ConstantWork]);
    assert_eq!(lint(once, (&row, &table)), []);
    assert_eq!(lint(same_noise, &wide), [ConstantKey]);
    let noisy = jit(new_noise);
    let _ = noisy.call(&wide).unwrap();
    assert_eq!(noisy.report().unwrap().lint(), []);
    assert_eq!(lint(gathered, &ones([64, 64])), [ConstantGather]);
    assert_eq!(lint(sliced, &ones([64, 64])), []);
}

#[test]
fn examples_of_copies_and_formulas() {
    use FindingKind::*;
    let (x, w, row) = (ones([16, 64]), ones([64, 64]), ones([64]));
    assert_eq!(lint(copied, (&x, &w)), [TransposedCopy]);
    assert_eq!(lint(in_place, (&x, &w)), []);
    let (q, k) = (ones([1, 8, 16, 64]), ones([1, 2, 16, 64]));
    assert_eq!(lint(repeated_heads, (&q, &k)), [RepeatedCopy]);
    assert_eq!(lint(grouped_heads, (&q, &k)), []);
    assert_eq!(lint(forgotten, &w), [DeadResult]);
    assert_eq!(lint(used, &w), []);
    assert_eq!(lint(nearly_fused, (&x, &row)), [NearMiss]);
    assert_eq!(lint(fused, (&x, &row)), []);
    assert_eq!(lint(log_of_probabilities, &x), [LogOfSoftmax]);
    assert_eq!(lint(log_probabilities, &x), []);
}

#[test]
fn examples_of_gradients_and_loops() {
    use FindingKind::*;
    let (x, w, xs) = (ones([16, 64]), ones([64, 64]), ones([20, 16, 64]));
    assert_eq!(lint(stopped, (&w, &x)), [StoppedGradient]);
    assert_eq!(lint(straight_through, (&w, &x)), []);
    assert_eq!(lint(twice, (&w, &x)), [RepeatedWork]);
    assert_eq!(lint(together, (&w, &x)), []);
    assert_eq!(lint(in_each_round, (&w, &xs)), [LoopInvariant]);
    assert_eq!(lint(before_the_loop, (&w, &xs)), []);
    assert_eq!(lint(unrolled, (&w, &xs)), [UnrolledLoop]);
    assert_eq!(lint(scanned, (&w, &xs)), []);
}

#[test]
fn examples_of_selection_caches_and_traces() {
    use FindingKind::*;
    let (table, tokens) = (ones([64, 32]), mlx::zeros_with([16], Dtype::Int32));
    assert_eq!(lint(by_product, (&table, &tokens)), [OneHot]);
    assert_eq!(lint(by_index, (&table, &tokens)), []);
    assert_eq!(lint(by_sorting, &table), [SortedExtreme]);
    assert_eq!(lint(by_maximum, &table), []);
    let (cache, row, at) = (ones([2, 31, 64]), ones([2, 1, 64]), Array::new([3]));
    assert_eq!(lint(grown, (&cache, &row, &row)), [GrowingCache]);
    assert_eq!(lint(written, (&cache, &row, &row, &at)), []);
    assert_eq!(lint(branched, &table), [ValueRead]);
    assert_eq!(lint(chosen, &table), []);
    let lengths: Vec<i32> = (1..9).collect();
    assert_eq!(sizes(&lengths).unwrap(), [FrozenSize]);
    assert_eq!(sizes(&[1, 2, 1, 2, 1, 2, 1, 2]).unwrap(), []);
    let rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    assert_eq!(number(&rates).unwrap(), [ChangingArgument]);
    assert_eq!(array(&rates).unwrap(), []);
}

/// The part of the page before the kinds.
const HEAD: &str = include_str!("lint_page/head.md");

/// The page: the comments of the sections above as text, and their functions as they are.
fn page() -> String {
    let source = include_str!("lint_page.rs");
    let sections = source.split("\n// ## ").skip(1);
    let mut page = HEAD.to_owned();
    for section in sections.take_while(|section| !section.starts_with("end\n")) {
        let (name, rest) = section.split_once('\n').unwrap();
        let is_text = |line: &&str| line.starts_with("// ");
        let text: Vec<&str> = rest.lines().take_while(is_text).collect();
        let code: Vec<&str> = rest.lines().skip(text.len()).collect();
        let mut sentences = String::new();
        for line in text.iter().map(|line| &line[3..]) {
            // One sentence a line, as in all pages.
            sentences += line;
            sentences.push(if line.ends_with('.') { '\n' } else { ' ' });
        }
        let code = code.join("\n");
        page += &format!(
            "\n## {name}\n\n{sentences}\n```rust,ignore\n{}\n```\n",
            code.trim()
        );
    }
    page
}

#[test]
fn the_page_is_as_generated_and_has_every_kind() {
    needs!(Sources);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lint.md");
    let page = page();
    if std::env::var("MLX_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/lint.md is not as generated: see its second paragraph"
    );
    for (place, kind) in FindingKind::ALL.iter().enumerate() {
        let name = kind.name();
        assert!(
            page.contains(&format!("\n## {name}\n")),
            "no section {name}"
        );
        let others = &FindingKind::ALL[place + 1..];
        assert!(others.iter().all(|other| other.name() != name));
    }
}

//! Lint: each kind is found with its line, and not found in the program that is right.

use std::cell::Cell;

use mlx::random::{self, NormalOptions};
use mlx::transforms::{grad, value_and_grad};
use mlx::tree::{Arguments, Function};
use mlx::{Array, Dtype, Tree, fast, keepdims, ones, ones_with};
use mlx_compiler::{
    CompileOptions, Fallback, Finding, FindingKind, Jit, ScanOptions, cond, jit, scan, trace,
};

thread_local! {
    /// The line that the finding must have.
    static LINE: Cell<u32> = const { Cell::new(0) };
}

/// Marks the line after it.
macro_rules! here {
    () => {
        LINE.set(line!() + 1)
    };
}

fn lint<Args, F>(function: F, args: Args::Refs<'_>) -> Vec<Finding>
where
    Args: Arguments,
    F: Function<Args, Output: Tree>,
{
    let options = CompileOptions {
        fallback: Fallback::Never,
        ..CompileOptions::default()
    };
    let traced = trace(function, args).unwrap();
    traced.lower(&options).unwrap().report().lint()
}

/// Exactly one finding, of this kind, at the line that was marked.
#[track_caller]
fn assert_one(findings: &[Finding], kind: FindingKind) {
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let [finding] = findings else {
        panic!("wanted one {kind}, got {texts:#?}");
    };
    assert_eq!(finding.kind, kind, "{texts:#?}");
    let at = finding.site.at.unwrap();
    assert!(at.file().ends_with("lint.rs"), "{texts:#?}");
    assert_eq!(at.line(), LINE.get(), "{texts:#?}");
}

#[track_caller]
fn assert_none(findings: &[Finding]) {
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{texts:#?}");
}

fn half(shape: impl Into<mlx::Shape>) -> Array {
    ones_with(shape, Dtype::Bfloat16)
}

#[test]
fn a_wide_constant_that_widens_a_half_precision_array_is_found() {
    let scale = ones([64]);
    let findings = lint(
        |x: &Array| {
            here!();
            let y = x * &scale;
            y.exp() + 1.0
        },
        &half([16, 64]),
    );
    assert_one(&findings, FindingKind::SilentWidening);
    let text = findings[0].to_string();
    assert!(
        text.contains(
            "multiply of bfloat16[16, 64] and the constant float32[64] gives float32[16, 64]"
        ),
        "{text}"
    );
    // Three values of 1024 elements, each of two bytes more than needed, written and read.
    assert_eq!(findings[0].cost.bytes % (2 * 2 * 1024), 0, "{text}");
    assert!(findings[0].cost.share > 0.3, "{text}");
}

#[test]
fn a_wide_vector_among_the_arguments_is_found() {
    let findings = lint(
        |x: &Array, bias: &Array| {
            here!();
            x + bias
        },
        (&half([16, 64]), &ones([64])),
    );
    assert_one(&findings, FindingKind::SilentWidening);
}

#[test]
fn numbers_constants_of_the_same_dtype_and_wide_work_that_is_cast_back_widen_nothing() {
    let (own, wide) = (half([64]), ones([64]));
    assert_none(&lint(|x: &Array| x * 2.0 + 1.5, &half([16, 64])));
    assert_none(&lint(|x: &Array| x * &own, &half([16, 64])));
    assert_none(&lint(|x: &Array| x * &wide, &ones([16, 64])));
    let inside = |x: &Array| ((x * &wide).exp() + 1.0).astype(Dtype::Bfloat16);
    assert_none(&lint(inside, &half([16, 64])));
    let meant = |x: &Array| (x.astype(Dtype::Float32) * &wide).sum(());
    assert_none(&lint(meant, &half([16, 64])));
}

#[test]
fn a_product_of_two_dtypes_is_found() {
    let findings = lint(
        |x: &Array, w: &Array| {
            here!();
            x.matmul(w)
        },
        (&ones([4, 64]), &half([64, 32])),
    );
    assert_one(&findings, FindingKind::MixedDtypes);
    // The weight is read in 2 bytes, and written and read in 4.
    assert_eq!(findings[0].cost.bytes, 64 * 32 * (2 + 4));
    assert_none(&lint(
        |x: &Array, w: &Array| x.matmul(w),
        (&half([4, 64]), &half([64, 32])),
    ));
}

#[test]
fn a_cast_there_and_back_is_found() {
    let findings = lint(
        |x: &Array| {
            let narrow = x.astype(Dtype::Bfloat16).reshape([4, 256]);
            here!();
            narrow.astype(Dtype::Float32).exp()
        },
        &ones([16, 64]),
    );
    assert_one(&findings, FindingKind::CastRoundTrip);
    assert_none(&lint(
        |x: &Array| (x.astype(Dtype::Float32).exp()).astype(Dtype::Bfloat16),
        &half([16, 64]),
    ));
    // Rounds towards zero, on purpose.
    assert_none(&lint(
        |x: &Array| x.astype(Dtype::Int32).astype(Dtype::Float32),
        &ones([16, 64]),
    ));
}

#[test]
fn large_work_on_constants_is_found() {
    let weight = half([1024, 1024]);
    let small = half([8, 8]);
    let findings = lint(
        |x: &Array| {
            here!();
            let wide = weight.astype(Dtype::Float32);
            x.matmul(&wide)
        },
        &ones([4, 1024]),
    );
    assert_one(&findings, FindingKind::ConstantWork);
    // Small results are stored when the function is compiled, views and zeros cost nothing.
    let folded = |x: &Array| x.matmul(small.astype(Dtype::Float32));
    assert_none(&lint(folded, &ones([4, 8])));
    let view = |x: &Array| x.matmul(weight.t()) + mlx::zeros_with([4, 1024], Dtype::Bfloat16);
    assert_none(&lint(view, &half([4, 1024])));
}

fn noise(key: &Array) -> Array {
    let options = NormalOptions {
        key: Some(key.clone()),
        ..NormalOptions::default()
    };
    here!();
    random::normal_with([16, 64], options)
}

#[test]
fn random_numbers_of_a_constant_key_are_found() {
    let key = random::key(7);
    let findings = lint(|x: &Array| x + noise(&key), &ones([16, 64]));
    assert_one(&findings, FindingKind::ConstantKey);
    let given = |x: &Array, key: &Array| x + noise(key);
    assert_none(&lint(given, (&ones([16, 64]), &key)));
    let drawn = jit(|x: &Array| x + random::normal([16, 64]));
    let _ = drawn.call(&ones([16, 64])).unwrap();
    assert_none(&drawn.report().unwrap().lint());
}

#[test]
fn rows_gathered_by_a_constant_range_are_found() {
    let (range, some) = (mlx::arange(32), Array::new([3, 1, 2]));
    let findings = lint(
        |x: &Array| {
            here!();
            x.take(&range, 0) * 2.0
        },
        &ones([64, 64]),
    );
    assert_one(&findings, FindingKind::ConstantGather);
    assert_none(&lint(|x: &Array| x.take(&some, 0) * 2.0, &ones([64, 512])));
    assert_none(&lint(
        |x: &Array, at: &Array| x.take(at, 0),
        (&ones([64, 64]), &range),
    ));
}

#[test]
fn a_transposed_copy_for_a_product_is_found() {
    let findings = lint(
        |x: &Array, w: &Array| {
            here!();
            let turned = w.t().contiguous();
            x.matmul(&turned)
        },
        (&ones([4, 64]), &ones([32, 64])),
    );
    assert_one(&findings, FindingKind::TransposedCopy);
    assert_none(&lint(
        |x: &Array, w: &Array| x.matmul(w.t()),
        (&ones([4, 64]), &ones([32, 64])),
    ));
    // Returned too: it is wanted.
    assert_none(&lint(
        |x: &Array, w: &Array| {
            let turned = w.t().contiguous();
            (x.matmul(&turned), turned)
        },
        (&ones([4, 64]), &ones([32, 64])),
    ));
}

#[test]
fn repeated_rows_and_heads_are_found() {
    let findings = lint(
        |x: &Array, row: &Array| {
            here!();
            x + row.tile([16, 1])
        },
        (&ones([16, 128]), &ones([1, 128])),
    );
    assert_one(&findings, FindingKind::RepeatedCopy);
    let attend = |q: &Array, k: &Array| {
        here!();
        let k = k.repeat(4, 1);
        fast::scaled_dot_product_attention(q, &k, &k, 0.125, None)
    };
    let (q, k) = (ones([1, 8, 16, 64]), ones([1, 2, 16, 64]));
    assert_one(&lint(attend, (&q, &k)), FindingKind::RepeatedCopy);
    assert_none(&lint(
        |x: &Array, row: &Array| x + row,
        (&ones([16, 128]), &ones([1, 128])),
    ));
    // Every element twice, which broadcasting does not do.
    assert_none(&lint(
        |x: &Array, row: &Array| x + row.repeat(2, 1),
        (&ones([16, 128]), &ones([1, 64])),
    ));
}

#[test]
fn a_result_without_a_use_is_found() {
    let findings = lint(
        |x: &Array| {
            here!();
            let _forgotten = x.exp();
            x * 2.0
        },
        &ones([64, 64]),
    );
    assert_one(&findings, FindingKind::DeadResult);
    assert_eq!(findings[0].cost.share, 0.0);
    assert_none(&lint(|x: &Array| (x * 2.0, x.exp()), &ones([64, 64])));
}

#[test]
fn a_norm_that_one_use_keeps_from_being_fused_is_found() {
    let findings = lint(
        |x: &Array, w: &Array| {
            let scale = (x.square().mean(keepdims(-1)) + 1e-5).rsqrt();
            here!();
            let y = x * &scale * w;
            (y, scale)
        },
        (&ones([16, 64]), &ones([64])),
    );
    assert_one(&findings, FindingKind::NearMiss);
    assert!(
        findings[0].what.starts_with("rms_norm is not fused: "),
        "{}",
        findings[0]
    );
    assert_none(&lint(
        |x: &Array, w: &Array| x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * w,
        (&ones([16, 64]), &ones([64])),
    ));
}

#[test]
fn the_logarithm_of_a_softmax_is_found() {
    let findings = lint(
        |x: &Array| {
            let p = x.softmax(-1);
            here!();
            p.log()
        },
        &ones([16, 64]),
    );
    assert_one(&findings, FindingKind::LogOfSoftmax);
    assert_none(&lint(
        |x: &Array| x - x.logsumexp(keepdims(-1)),
        &ones([16, 64]),
    ));
    assert_none(&lint(
        |x: &Array| (x.softmax(-1) + 1e-9).log(),
        &ones([16, 64]),
    ));
}

#[test]
fn gradients_that_are_stopped_are_found() {
    fn quantized(w: &Array, x: &Array) -> Array {
        here!();
        let rounded = (w * 8.0).round();
        (x.matmul(&rounded)).sum(())
    }
    let findings = lint(
        |w: &Array, x: &Array| grad(quantized).call((w, x)),
        (&ones([64, 64]), &ones([4, 64])),
    );
    assert_one(&findings, FindingKind::StoppedGradient);
    // Straight through: the rounding is stopped, and another path is left.
    fn straight(w: &Array, x: &Array) -> Array {
        let rounded = w + ((w * 8.0).round() / 8.0 - w).stop_gradient();
        (x.matmul(&rounded)).sum(())
    }
    assert_none(&lint(
        |w: &Array, x: &Array| grad(straight).call((w, x)),
        (&ones([64, 64]), &ones([4, 64])),
    ));
    // The argument that is rounded is not one that the gradient is taken of.
    assert_none(&lint(
        |w: &Array, x: &Array| grad(quantized).argnums(1).call((w, x)),
        (&ones([64, 64]), &ones([4, 64])),
    ));
}

fn loss(w: &Array, x: &Array) -> Array {
    x.matmul(w).square().mean(())
}

#[test]
fn a_loss_beside_its_gradient_is_found() {
    let findings = lint(
        |w: &Array, x: &Array| -> mlx::Result<(Array, Array)> {
            let value = loss(w, x);
            here!();
            let slope = grad(loss).call((w, x))?;
            Ok((value, slope))
        },
        (&ones([64, 64]), &ones([4, 64])),
    );
    assert_one(&findings, FindingKind::RepeatedWork);
    let twice = lint(
        |w: &Array, x: &Array| -> mlx::Result<(Array, Array)> {
            let first = grad(loss).call((w, x))?;
            here!();
            Ok((first, grad(loss).argnums(1).call((w, x))?))
        },
        (&ones([64, 64]), &ones([4, 64])),
    );
    assert_one(&twice, FindingKind::RepeatedWork);
    assert_none(&lint(
        |w: &Array, x: &Array| value_and_grad(loss).call((w, x)),
        (&ones([64, 64]), &ones([4, 64])),
    ));
    let product = lint(
        |w: &Array, x: &Array, by: &Array| -> mlx::Result<(Array, Array)> {
            let value = x.matmul(w).square();
            here!();
            let (_, slope) = mlx::vjp(move |w: &Array| x.matmul(w).square(), w, by)?;
            Ok((value, slope))
        },
        (&ones([64, 64]), &ones([4, 64]), &ones([4, 64])),
    );
    assert_one(&product, FindingKind::RepeatedWork);
    // Another input: another value.
    assert_none(&lint(
        |w: &Array, x: &Array| -> mlx::Result<(Array, Array)> {
            Ok((loss(&(w * 2.0), x), grad(loss).call((w, x))?))
        },
        (&ones([64, 64]), &ones([4, 64])),
    ));
}

#[test]
fn work_that_is_the_same_in_each_round_is_found() {
    let step = |w: &Array, x: &Array, hoisted: bool| {
        let outside = w.square();
        let body = |c: &Array, x: &Array| {
            here!();
            let w = if hoisted { outside.clone() } else { w.square() };
            let next = (c.matmul(&w) + x).tanh();
            (next.clone(), next)
        };
        scan(&x.i(0), x, ScanOptions::default(), body).map(|(last, _)| last)
    };
    let inside = lint(
        move |w: &Array, x: &Array| step(w, x, false),
        (&ones([64, 64]), &ones([10, 4, 64])),
    );
    let kinds: Vec<FindingKind> = inside.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [FindingKind::LoopInvariant, FindingKind::DeadResult]);
    assert_one(&inside[..1], FindingKind::LoopInvariant);
    // Ten rounds, each of which reads and writes the weight.
    assert_eq!(inside[0].cost.bytes, 10 * 2 * 64 * 64 * 4);
    assert_none(&lint(
        move |w: &Array, x: &Array| step(w, x, true),
        (&ones([64, 64]), &ones([10, 4, 64])),
    ));
}

#[test]
fn an_unrolled_recurrence_is_found_and_layers_are_not() {
    let unrolled = |w: &Array, x: &Array| {
        let mut state = x.i(0);
        for step in 0..20 {
            here!();
            state = (state.matmul(w) + x.i(step)).tanh();
        }
        state
    };
    let findings = lint(unrolled, (&ones([32, 32]), &ones([20, 4, 32])));
    assert_one(&findings, FindingKind::UnrolledLoop);
    let layers = |w: &Array, x: &Array| {
        let mut x = x.clone();
        for layer in 0..20 {
            x = x.matmul(w.i(layer)).tanh();
        }
        x
    };
    let weights: Vec<Array> = (0..20).map(|_| ones([32, 32])).collect();
    let own = move |x: &Array| weights.iter().fold(x.clone(), |x, w| x.matmul(w).tanh());
    assert_none(&lint(own, &ones([4, 32])));
    assert_none(&lint(layers, (&ones([20, 32, 32]), &ones([4, 32]))));
}

#[test]
fn one_hot_rows_are_found() {
    let classes = mlx::arange(64);
    let gold = |x: &Array, labels: &Array| {
        let hot = labels
            .expand_dims([-1])
            .equal(&classes)
            .astype(Dtype::Float32);
        here!();
        let picked = x * &hot;
        picked.sum(-1)
    };
    let labels = mlx::zeros_with([16], Dtype::Int32);
    assert_one(&lint(gold, (&ones([16, 64]), &labels)), FindingKind::OneHot);
    let embed = |table: &Array, labels: &Array| {
        let hot = mlx::eye(64).take(labels, 0);
        here!();
        hot.matmul(table)
    };
    assert_one(
        &lint(embed, (&ones([64, 32]), &labels)),
        FindingKind::OneHot,
    );
    let picked = |x: &Array, labels: &Array| x.take_along_axis(&labels.expand_dims([-1]), -1);
    assert_none(&lint(picked, (&ones([16, 64]), &labels)));
    // A mask of several positions in each row.
    let mask = |x: &Array, y: &Array| (x * y.equal(x).astype(Dtype::Float32)).sum(-1);
    assert_none(&lint(mask, (&ones([16, 64]), &ones([16, 1]))));
}

#[test]
fn a_sort_for_its_largest_element_is_found() {
    let largest = |x: &Array| {
        here!();
        let sorted = x.sort(-1);
        sorted.i((.., -1))
    };
    assert_one(&lint(largest, &ones([16, 64])), FindingKind::SortedExtreme);
    assert_none(&lint(|x: &Array| x.sort(-1).i((.., 3)), &ones([16, 64])));
    assert_none(&lint(|x: &Array| x.sort(-1).i((.., ..4)), &ones([16, 64])));
}

#[test]
fn a_cache_that_grows_is_found() {
    let grown = |cache: &Array, k: &Array, q: &Array| {
        here!();
        let cache = mlx::concatenate(&[cache, k], 1);
        (
            q.matmul(cache.swapaxes(1, 2)).softmax(-1).matmul(&cache),
            cache,
        )
    };
    let (cache, k, q) = (ones([2, 31, 64]), ones([2, 1, 64]), ones([2, 1, 64]));
    let findings: Vec<Finding> = lint(grown, (&cache, &k, &q))
        .into_iter()
        .filter(|one| one.kind != FindingKind::NearMiss)
        .collect();
    assert_one(&findings, FindingKind::GrowingCache);
    // Joined and returned, and no cache.
    let joined = |x: &Array, y: &Array| mlx::concatenate(&[x, y], 1);
    assert_none(&lint(joined, (&cache, &k)));
}

/// Calls a compiled function and returns what lint says of it.
fn lint_calls<Args, Output: Tree>(
    f: &Jit<'_, Args, Output>,
    calls: impl Iterator<Item = Array>,
) -> Vec<Finding>
where
    Args: for<'a> Arguments<Refs<'a> = &'a Array>,
{
    for x in calls {
        f.call(&x).unwrap();
    }
    f.report().unwrap().lint()
}

#[test]
fn a_trace_for_each_size_is_found_at_the_line_that_reads_one() {
    let normalized = |x: &Array| -> mlx::Result<Array> {
        here!();
        let n = x.shape()?[0];
        Ok(x / n as f32)
    };
    let sizes = jit(normalized);
    let findings = lint_calls(&sizes, (1..8).map(|n| ones([n])));
    assert_one(&findings, FindingKind::FrozenSize);
    assert_eq!(findings[0].cost.share, 1.0);
    let few = jit(normalized);
    let alternating = (0..20).map(|n| ones([8 + n % 2]));
    assert_none(&lint_calls(&few, alternating));
}

#[test]
fn a_trace_for_each_number_is_found_at_the_line_that_compiles() {
    here!();
    let scaled = jit(|x: &Array, by: &f32| x * *by);
    for step in 0..8 {
        let _ = scaled.call((&ones([4]), &(step as f32))).unwrap();
    }
    assert_one(
        &scaled.report().unwrap().lint(),
        FindingKind::ChangingArgument,
    );
    let steady = jit(|x: &Array, by: &f32| x * *by);
    for _ in 0..8 {
        let _ = steady.call((&ones([4]), &2.0)).unwrap();
    }
    assert_none(&steady.report().unwrap().lint());
}

#[test]
fn a_condition_with_two_cheap_branches_is_found() {
    let chosen = |x: &Array| {
        let negative = x.sum(()).less(0.0);
        here!();
        cond(&negative, x, |x: &Array| x * 2.0, |x: &Array| x * 3.0)
    };
    assert_one(&lint(chosen, &ones([64])), FindingKind::ValueRead);
    let costly = |x: &Array| {
        let square = |x: &Array| x.matmul(x).matmul(x);
        cond(&x.sum(()).less(0.0), x, square, |x: &Array| x * 3.0)
    };
    assert_none(&lint(costly, &ones([256, 256])));
    let both = |x: &Array| mlx::where_(x.sum(()).less(0.0), x * 2.0, x * 3.0);
    assert_none(&lint(both, &ones([64])));
}

//! The gradient of attention against the formula in `f64`, and against differences of the forward pass.

mod reference;

use half::{bf16, f16};
use mlx_kernels::{
    AttentionGradient, AttentionInputs, AttentionShape, Element, Mask, MaskStrides, Strided,
    Strides, attention_gradient,
};
use reference::attention::{Layout, Number, bound, exact, gradient, laid_out};
use reference::random;
use rstest::rstest;

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Causal,
    Boolean,
    Additive,
}

/// Runs the kernel; gradients of queries, keys and values.
fn run<T: Element + Number>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    cotangent: Strided<T>,
) -> [Vec<T>; 3] {
    let nothing = T::narrow(f32::NAN);
    let rows = |heads, rows, dim| vec![nothing; shape.batch * heads * rows * dim];
    let mut out = [
        rows(shape.heads, shape.queries, shape.dim),
        rows(shape.kv_heads, shape.keys, shape.dim),
        rows(shape.kv_heads, shape.keys, shape.value_dim),
    ];
    let [queries, keys, values] = &mut out;
    let target = AttentionGradient {
        queries,
        keys,
        values,
    };
    attention_gradient(shape, inputs, scale, cotangent, target).unwrap();
    out
}

fn check<T: Element + Number>(shape: AttentionShape, kind: Kind, with_sinks: bool, layout: Layout) {
    let [_, heads, queries, keys] = shape.score_sizes();
    let (q, q_strides) = laid_out::<T>(layout, shape.query_sizes(), 2.0, 1);
    let (k, k_strides) = laid_out::<T>(layout, shape.key_sizes(), 2.0, 2);
    let (v, v_strides) = laid_out::<T>(layout, shape.value_sizes(), 1.0, 3);
    let (g, g_strides) = laid_out::<T>(layout, shape.output_sizes(), 1.0, 6);
    let x = random(heads * queries * keys, 4);
    // Query 2 sees nothing.
    let seen = |(i, x): (usize, &f32)| *x > -0.2 && i / keys % queries != 2;
    let booleans: Vec<bool> = x.iter().enumerate().map(seen).collect();
    let number = |x: &f32| if *x > 0.8 { f32::NEG_INFINITY } else { 5.0 * x };
    let numbers: Vec<T> = x.iter().map(|x| T::narrow(number(x))).collect();
    let strides = MaskStrides::contiguous([1, heads, queries, keys]);
    let mask = match kind {
        Kind::None => Mask::None,
        Kind::Causal => Mask::Causal,
        Kind::Boolean => Mask::Boolean {
            values: &booleans,
            strides,
        },
        Kind::Additive => Mask::Additive {
            values: &numbers,
            strides,
        },
    };
    let sinks = random(heads, 5);
    let strided = |values, strides| Strided { values, strides };
    let inputs = AttentionInputs {
        queries: strided(&q, q_strides),
        keys: strided(&k, k_strides),
        values: strided(&v, v_strides),
        mask,
        sinks: with_sinks.then_some(sinks.as_slice()),
    };
    let cotangent = strided(&g, g_strides);
    let out = run(shape, inputs, 0.5, cotangent);
    let wanted = gradient(shape, inputs, 0.5, cotangent);
    let share = bound(shape, inputs, 0.5) + keys as f64 / 16_777_216.0;
    let mut worst = 0.0_f64;
    for (name, (out, wanted)) in ["dq", "dk", "dv"].iter().zip(out.iter().zip(&wanted)) {
        assert_eq!(out.len(), wanted.len());
        for (i, (got, wanted)) in out.iter().zip(wanted).enumerate() {
            let error = (got.wide() - wanted.exact).abs();
            let bound = wanted.size * share;
            let allowed = bound + (wanted.exact.abs() + bound) * T::ROUNDING + T::TINY + 1e-37;
            let got = got.wide();
            assert!(
                error <= allowed,
                "{name} {i} {shape:?} {kind:?} {layout:?}: {got:e} {:e} {allowed:e}",
                wanted.exact
            );
            worst = worst.max(error / allowed);
        }
    }
    println!("{shape:?} {kind:?} {layout:?}: {worst:.3} of the bound");
}

fn shape(heads: (usize, usize), lengths: (usize, usize), dims: (usize, usize)) -> AttentionShape {
    AttentionShape {
        batch: 2,
        heads: heads.0,
        kv_heads: heads.1,
        queries: lengths.0,
        keys: lengths.1,
        dim: dims.0,
        value_dim: dims.1,
    }
}

#[rstest]
fn matches_the_formula(
    #[values(Kind::None, Kind::Causal, Kind::Boolean, Kind::Additive)] kind: Kind,
    #[values(false, true)] sinks: bool,
    #[values((1, 1), (3, 9), (9, 3), (4, 300), (16, 17), (33, 64), (65, 129), (130, 140), (140, 20))]
    lengths: (usize, usize),
) {
    check::<f32>(
        shape((4, 2), lengths, (32, 16)),
        kind,
        sinks,
        Layout::Contiguous,
    );
}

#[rstest]
fn any_dims_and_groups_work(
    #[values((1, 1), (3, 5), (17, 9), (80, 128))] dims: (usize, usize),
    #[values((1, 1), (3, 3), (6, 2), (5, 1))] heads: (usize, usize),
    #[values((1, 70), (40, 30))] lengths: (usize, usize),
) {
    check::<f32>(
        shape(heads, lengths, dims),
        Kind::Causal,
        true,
        Layout::Contiguous,
    );
}

#[rstest]
fn reads_rows_where_they_lie_in_every_type(
    #[values(
        Layout::Contiguous,
        Layout::HeadsInside,
        Layout::Cache,
        Layout::Gaps,
        Layout::OneHead,
        Layout::OneBatch,
        Layout::OneRow
    )]
    layout: Layout,
    #[values((1, 70), (70, 140))] lengths: (usize, usize),
) {
    let shape = shape((4, 2), lengths, (16, 8));
    check::<f32>(shape, Kind::Causal, false, layout);
    check::<f16>(shape, Kind::Additive, false, layout);
    check::<bf16>(shape, Kind::None, true, layout);
}

#[test]
fn is_the_slope_of_the_forward_pass() {
    let shape = AttentionShape {
        batch: 1,
        ..shape((2, 1), (5, 7), (4, 3))
    };
    let (q, k, v, g) = (random(40, 1), random(28, 2), random(21, 3), random(30, 4));
    let strides = Strides::contiguous(2, 5, 3);
    let cotangent = Strided {
        values: g.as_slice(),
        strides,
    };
    let loss = |q: &[f32], k: &[f32], v: &[f32]| -> f64 {
        let inputs = AttentionInputs {
            mask: Mask::Causal,
            ..AttentionInputs::contiguous(shape, q, k, v)
        };
        let out = exact(shape, inputs, 0.5);
        out.iter().zip(&g).map(|(out, g)| out * f64::from(*g)).sum()
    };
    let inputs = AttentionInputs {
        mask: Mask::Causal,
        ..AttentionInputs::contiguous(shape, &q, &k, &v)
    };
    let out = run(shape, inputs, 0.5, cotangent);
    let step = 1.0 / 1024.0;
    for (which, gradient) in out.iter().enumerate() {
        for (i, got) in gradient.iter().enumerate() {
            let at = |step: f32| {
                let mut moved = [q.clone(), k.clone(), v.clone()];
                moved[which][i] += step;
                loss(&moved[0], &moved[1], &moved[2])
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            assert!(
                (f64::from(*got) - slope).abs() < 2e-6,
                "{which} {i}: {got} {slope}"
            );
        }
    }
}

#[test]
fn runs_twice_to_the_same_bits() {
    let shape = shape((4, 2), (150, 200), (64, 64));
    let (q, k) = (random(2 * 4 * 150 * 64, 1), random(2 * 2 * 200 * 64, 2));
    let inputs = AttentionInputs::contiguous(shape, &q, &k, &k);
    let cotangent = inputs.queries;
    let first = run(shape, inputs, 0.125, cotangent);
    for _ in 0..5 {
        assert_eq!(first, run(shape, inputs, 0.125, cotangent));
    }
}

#[test]
fn refuses_what_does_not_fit_and_fills_what_is_empty() {
    let shape = AttentionShape {
        batch: 1,
        ..shape((2, 1), (3, 4), (2, 2))
    };
    let (q, k) = ([0.0; 12], [0.0; 8]);
    let refused = |shape, cotangent: &[f32], sizes: [usize; 3]| {
        let mut out = sizes.map(|size| vec![1.0; size]);
        let [queries, keys, values] = &mut out;
        let target = AttentionGradient {
            queries,
            keys,
            values,
        };
        let strided = Strided {
            values: cotangent,
            strides: Strides::contiguous(2, 3, 2),
        };
        let inputs = AttentionInputs::contiguous(shape, &q, &k, &k);
        let result = attention_gradient(shape, inputs, 1.0, strided, target);
        result.map(|()| out).map_err(|error| error.to_string())
    };
    refused(shape, &q, [12, 8, 8]).unwrap();
    assert_eq!(
        refused(shape, &q, [11, 8, 8]).unwrap_err(),
        "attention_gradient: queries must have 12 elements, got 11"
    );
    assert!(refused(shape, &q, [12, 7, 8]).is_err());
    assert!(refused(shape, &q, [12, 8, 7]).is_err());
    assert_eq!(
        refused(shape, &q[..11], [12, 8, 8]).unwrap_err(),
        "attention_gradient: cotangent must have at least 12 elements for its strides, got 11"
    );
    let empty = AttentionShape { keys: 0, ..shape };
    assert_eq!(refused(empty, &q, [12, 0, 0]).unwrap()[0], [0.0; 12]);
    let empty = AttentionShape {
        queries: 0,
        ..shape
    };
    assert_eq!(refused(empty, &[], [0, 8, 8]).unwrap()[1], [0.0; 8]);
}

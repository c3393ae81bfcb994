//! Each operation with a rule of sharding, applied to small arrays whose sizes two and three ranks divide.

use mlx::compiler_api::MaskMode;
use mlx::{Array, Dtype, Op, PadMode, QuantizationMode, bind_all, random};

/// An operation and the arrays that it is applied to.
pub struct Case(pub Op, pub Vec<Array>);

pub fn normal(shape: &[i32]) -> Array {
    let values = random::normal(shape.to_vec());
    values.eval().unwrap();
    values
}

/// Indices below `n`.
pub fn below(n: i32, shape: &[i32]) -> Array {
    let indices = random::randint(0, n, shape.to_vec());
    let indices = indices.astype(Dtype::Int32);
    indices.eval().unwrap();
    indices
}

fn along_axes() -> Vec<Case> {
    let x = || vec![normal(&[6, 4, 12])];
    let mut cases = Vec::new();
    for (axes, keepdims) in [
        (vec![1], true),
        (vec![0, 2], false),
        (vec![2], false),
        (vec![0, 1, 2], true),
    ] {
        let ops = [
            Op::Sum {
                axes: axes.clone(),
                keepdims,
            },
            Op::Mean {
                axes: axes.clone(),
                keepdims,
            },
            Op::Max {
                axes: axes.clone(),
                keepdims,
            },
            Op::Min {
                axes: axes.clone(),
                keepdims,
            },
            Op::Prod {
                axes: axes.clone(),
                keepdims,
            },
            Op::Var {
                axes: axes.clone(),
                keepdims,
                ddof: 0,
            },
            Op::Std {
                axes: axes.clone(),
                keepdims,
                ddof: 1,
            },
            Op::Logsumexp {
                axes: axes.clone(),
                keepdims,
            },
            Op::Median {
                axes: axes.clone(),
                keepdims,
            },
            Op::CountNonzero {
                axes: axes.clone(),
                keepdims,
            },
            Op::All {
                axes: axes.clone(),
                keepdims,
            },
            Op::Any {
                axes: axes.clone(),
                keepdims,
            },
            Op::Softmax {
                axes: axes.clone(),
                precise: true,
            },
        ];
        cases.extend(ops.into_iter().map(|op| Case(op, x())));
    }
    let norm = Op::NormL2 {
        axes: vec![1],
        keepdims: false,
    };
    cases.push(Case(norm, vec![normal(&[6, 2])]));
    let (axis, reverse, inclusive) = (1, false, true);
    let ops = [
        Op::Argmax {
            axis: 0,
            keepdims: false,
        },
        Op::Argmin {
            axis: 2,
            keepdims: true,
        },
        Op::Argpartition { kth: 1, axis },
        Op::Argsort { axis: -1 },
        Op::Partition { kth: 1, axis },
        Op::Sort { axis },
        Op::Topk { k: 2, axis },
        Op::Cummax {
            axis,
            reverse,
            inclusive,
        },
        Op::Cummin {
            axis,
            reverse,
            inclusive,
        },
        Op::Cumprod {
            axis,
            reverse,
            inclusive,
        },
        Op::Cumsum {
            axis: -1,
            reverse: true,
            inclusive: false,
        },
        Op::Logcumsumexp {
            axis,
            reverse,
            inclusive,
        },
        Op::Diff { n: 1, axis },
        Op::Roll {
            shift: vec![1],
            axes: vec![1],
        },
        Op::Flip { axes: vec![-1] },
    ];
    cases.extend(ops.into_iter().map(|op| Case(op, x())));
    for mode in [PadMode::Constant, PadMode::Edge] {
        let pad = Op::Pad {
            axes: vec![1],
            low: vec![1],
            high: vec![2],
            mode,
        };
        cases.push(Case(pad, vec![normal(&[6, 4, 12]), normal(&[])]));
    }
    cases
}

fn shapes() -> Vec<Case> {
    let x = || vec![normal(&[6, 4, 12])];
    let two = || vec![normal(&[6, 4, 12]), normal(&[6, 4, 12])];
    let reshape = |shape: &[i32]| Op::Reshape {
        shape: shape.to_vec(),
    };
    vec![
        Case(reshape(&[6, 4, 3, 4]), x()),
        Case(reshape(&[6, 48]), x()),
        Case(reshape(&[24, 12]), x()),
        Case(reshape(&[2, 3, 2, 2, 12]), x()),
        Case(reshape(&[-1]), x()),
        Case(reshape(&[4, 6, 12]), x()),
        Case(
            Op::Flatten {
                start_axis: 1,
                end_axis: 2,
            },
            x(),
        ),
        Case(
            Op::Unflatten {
                axis: -1,
                shape: vec![6, 2],
            },
            x(),
        ),
        Case(Op::Squeeze { axes: vec![1] }, vec![normal(&[6, 1, 12])]),
        Case(Op::ExpandDims { axes: vec![0, 2] }, x()),
        Case(Op::Atleast1d, x()),
        Case(Op::Atleast2d, vec![normal(&[6])]),
        Case(Op::Atleast3d, vec![normal(&[6, 12])]),
        Case(
            Op::Transpose {
                axes: vec![2, 0, 1],
            },
            x(),
        ),
        Case(
            Op::Swapaxes {
                axis1: 0,
                axis2: -1,
            },
            x(),
        ),
        Case(
            Op::Moveaxis {
                source: 0,
                destination: 2,
            },
            x(),
        ),
        Case(
            Op::BroadcastTo {
                shape: vec![2, 6, 4, 12],
            },
            vec![normal(&[6, 1, 12])],
        ),
        Case(Op::Concatenate { axis: 1 }, two()),
        Case(Op::Concatenate { axis: 0 }, two()),
        Case(Op::Stack { axis: 1 }, two()),
        Case(
            Op::Split {
                num_splits: 2,
                axis: 0,
            },
            x(),
        ),
        Case(
            Op::SplitSections {
                indices: vec![1, 3],
                axis: 1,
            },
            x(),
        ),
        Case(Op::Unstack { axis: 1 }, x()),
        Case(
            Op::Tile {
                reps: vec![2, 1, 1],
            },
            x(),
        ),
        Case(
            Op::Tile {
                reps: vec![2, 1, 1, 3],
            },
            x(),
        ),
        Case(
            Op::Repeat {
                repeats: 2,
                axis: 0,
            },
            x(),
        ),
        Case(Op::Tril { k: 0 }, x()),
        Case(Op::Triu { k: 1 }, x()),
        Case(
            Op::Contiguous {
                allow_col_major: false,
            },
            x(),
        ),
        Case(Op::Copy, x()),
    ]
}

fn products() -> Vec<Case> {
    let pair = |a: &[i32], b: &[i32]| vec![normal(a), normal(b)];
    let einsum = |text: &str| Op::Einsum {
        subscripts: mlx::compiler_api::OpString::new(text),
    };
    let conv = |groups: i32| Op::Conv {
        stride: vec![1],
        padding_lo: vec![1],
        padding_hi: vec![1],
        kernel_dilation: vec![1],
        input_dilation: vec![1],
        groups,
        flip: false,
    };
    vec![
        Case(Op::Matmul, pair(&[6, 12], &[12, 6])),
        Case(Op::Matmul, pair(&[6, 2, 12], &[12, 6])),
        Case(Op::Matmul, pair(&[6, 1, 2, 12], &[6, 12, 6])),
        Case(Op::Matmul, pair(&[12], &[12, 6])),
        Case(Op::Matmul, pair(&[6, 12], &[12])),
        Case(Op::Matmul, pair(&[12], &[12])),
        Case(Op::Inner, pair(&[6, 12], &[3, 6, 12])),
        Case(Op::Outer, pair(&[6], &[12])),
        Case(
            Op::Tensordot {
                axes_a: vec![1, 2],
                axes_b: vec![2, 0],
            },
            pair(&[6, 12, 2], &[2, 6, 12]),
        ),
        Case(einsum("bik,bkj->bji"), pair(&[6, 2, 12], &[6, 12, 3])),
        Case(einsum("ij,ij->i"), pair(&[6, 12], &[6, 12])),
        Case(
            Op::Addmm {
                alpha: 1.0,
                beta: 1.0,
            },
            vec![normal(&[6]), normal(&[2, 12]), normal(&[12, 6])],
        ),
        Case(
            Op::Addmm {
                alpha: 0.5,
                beta: 2.0,
            },
            vec![normal(&[2, 6]), normal(&[2, 12]), normal(&[12, 6])],
        ),
        Case(conv(1), pair(&[6, 5, 6], &[12, 3, 6])),
        Case(conv(3), pair(&[6, 5, 6], &[12, 3, 2])),
        Case(Op::Linear, pair(&[2, 6], &[12, 6])),
    ]
}

/// Rows that two and three ranks divide, and groups too.
fn packed_weights() -> Vec<Case> {
    let (group_size, bits, mode) = (32, 4, QuantizationMode::Affine);
    let quantize = Op::Quantize {
        group_size,
        bits,
        mode,
    };
    let dequantize = Op::Dequantize {
        group_size,
        bits,
        mode,
        dtype: None,
    };
    let product = |transpose: bool| Op::QuantizedMatmul {
        transpose,
        group_size,
        bits,
        mode,
    };
    let weights = || bind_all(quantize.clone(), &[&normal(&[6, 192])]).unwrap();
    let with = |x: Array| [vec![x], weights()].concat();
    vec![
        Case(quantize.clone(), vec![normal(&[6, 192])]),
        Case(dequantize, weights()),
        Case(product(true), with(normal(&[6, 192]))),
        Case(product(false), with(normal(&[2, 6]))),
    ]
}

fn indexing() -> Vec<Case> {
    let x = || normal(&[6, 4, 12]);
    let slice = |start: &[i32], stop: &[i32]| (start.to_vec(), stop.to_vec(), vec![1; 3]);
    let (start, stop, strides) = slice(&[0, 1, 0], &[6, 3, 12]);
    let update = || vec![x(), normal(&[6, 2, 12])];
    let range = || (start.clone(), stop.clone(), strides.clone());
    let at = || Array::from_slice(&[1_i32], [1]).unwrap();
    let mut cases = vec![
        Case(
            Op::SliceDynamic {
                axes: vec![1],
                slice_size: vec![6, 2, 12],
            },
            vec![x(), at()],
        ),
        Case(
            Op::SliceUpdateDynamic { axes: vec![1] },
            vec![x(), normal(&[6, 2, 12]), at()],
        ),
        Case(Op::Take { axis: 0 }, vec![x(), below(6, &[3, 2])]),
        Case(Op::Take { axis: 1 }, vec![x(), below(4, &[6])]),
        Case(Op::Take { axis: 2 }, vec![x(), below(12, &[])]),
        Case(
            Op::TakeAlongAxis { axis: 1 },
            vec![x(), below(4, &[6, 3, 12])],
        ),
        Case(
            Op::PutAlongAxis { axis: 1 },
            vec![x(), below(4, &[6, 1, 12]), normal(&[6, 1, 12])],
        ),
        Case(
            Op::ScatterAddAxis { axis: 1 },
            vec![x(), below(4, &[6, 3, 12]), normal(&[6, 3, 12])],
        ),
        Case(
            Op::Gather {
                axes: vec![1],
                slice_sizes: vec![6, 1, 12],
            },
            vec![x(), below(4, &[6])],
        ),
        Case(
            Op::Gather {
                axes: vec![0, 1],
                slice_sizes: vec![1, 1, 12],
            },
            vec![x(), below(6, &[3]), below(4, &[3])],
        ),
    ];
    let (a, b, c) = range();
    cases.push(Case(
        Op::Slice {
            start: a,
            stop: b,
            strides: c,
        },
        vec![x()],
    ));
    let (a, b, c) = range();
    cases.push(Case(
        Op::SliceUpdate {
            start: a,
            stop: b,
            strides: c,
        },
        update(),
    ));
    let (a, b, c) = range();
    cases.push(Case(
        Op::SliceUpdateAdd {
            start: a,
            stop: b,
            strides: c,
        },
        update(),
    ));
    let (a, b, c) = range();
    cases.push(Case(
        Op::SliceUpdateMax {
            start: a,
            stop: b,
            strides: c,
        },
        update(),
    ));
    let (a, b, c) = range();
    cases.push(Case(
        Op::SliceUpdateMin {
            start: a,
            stop: b,
            strides: c,
        },
        update(),
    ));
    let (a, b, c) = range();
    cases.push(Case(
        Op::SliceUpdateProd {
            start: a,
            stop: b,
            strides: c,
        },
        update(),
    ));
    cases
}

fn transformers() -> Vec<Case> {
    let attention = |mask: MaskMode, sinks: bool| Op::ScaledDotProductAttention {
        scale: 0.5,
        mask,
        sinks,
        force_fused: false,
    };
    let qkv = || {
        vec![
            normal(&[6, 6, 2, 4]),
            normal(&[6, 6, 3, 4]),
            normal(&[6, 6, 3, 4]),
        ]
    };
    let grouped = || {
        vec![
            normal(&[2, 12, 2, 4]),
            normal(&[2, 6, 3, 4]),
            normal(&[2, 6, 3, 4]),
        ]
    };
    let with = |mut inputs: Vec<Array>, more: Array| {
        inputs.push(more);
        inputs
    };
    let rotation = |freqs: bool| Op::Rope {
        dims: 4,
        traditional: false,
        base: (!freqs).then_some(100.0),
        scale: 1.0,
        freqs,
    };
    let rope = rotation(false);
    let of_frequencies = |offsets: Array| vec![normal(&[6, 12, 3, 4]), offsets, normal(&[2])];
    vec![
        Case(
            Op::RmsNorm { eps: 1e-5 },
            vec![normal(&[6, 12, 4]), normal(&[4])],
        ),
        Case(
            Op::LayerNorm {
                weight: true,
                bias: true,
                eps: 1e-5,
            },
            vec![normal(&[6, 4]), normal(&[4]), normal(&[4])],
        ),
        Case(rope.clone(), vec![normal(&[6, 12, 3, 4]), below(5, &[])]),
        Case(rope, vec![normal(&[6, 12, 3, 4]), below(5, &[6])]),
        Case(rotation(true), of_frequencies(below(5, &[]))),
        Case(rotation(true), of_frequencies(below(5, &[6]))),
        Case(attention(MaskMode::None, false), qkv()),
        Case(attention(MaskMode::Causal, false), grouped()),
        Case(
            attention(MaskMode::Array, false),
            with(qkv(), normal(&[6, 1, 2, 3])),
        ),
        Case(
            attention(MaskMode::Array, false),
            with(qkv(), normal(&[6, 2, 3])),
        ),
        Case(attention(MaskMode::None, true), with(qkv(), normal(&[6]))),
        Case(
            Op::CrossEntropy,
            vec![normal(&[6, 12, 5]), below(5, &[6, 12])],
        ),
        Case(Op::SwiGlu, vec![normal(&[6, 12]), normal(&[6, 12])]),
        Case(Op::Gelu, vec![normal(&[6, 12])]),
        Case(Op::GeluApprox, vec![normal(&[6, 12])]),
        Case(Op::Silu, vec![normal(&[6, 12])]),
    ]
}

fn elementwise() -> Vec<Case> {
    let pair = |a: &[i32], b: &[i32]| vec![normal(a), normal(b)];
    let broadcast = || pair(&[6, 1, 12], &[4, 12]);
    vec![
        Case(Op::Add, broadcast()),
        Case(Op::Subtract, broadcast()),
        Case(Op::Multiply, broadcast()),
        Case(Op::Divide, broadcast()),
        Case(Op::Maximum, broadcast()),
        Case(Op::Add, pair(&[6, 12], &[])),
        Case(Op::Negative, vec![normal(&[6, 12])]),
        Case(Op::Degrees, vec![normal(&[6, 12])]),
        Case(Op::Radians, vec![normal(&[6, 12])]),
        Case(Op::Exp, vec![normal(&[6, 12])]),
        Case(Op::ZerosLike, vec![normal(&[6, 12])]),
        Case(Op::OnesLike, vec![normal(&[6, 12])]),
        Case(Op::StopGradient, vec![normal(&[6, 12])]),
        Case(
            Op::FullLike {
                dtype: Dtype::Float32,
            },
            pair(&[6, 12], &[]),
        ),
        Case(
            Op::Where,
            vec![
                below(2, &[6, 1]).astype(Dtype::Bool),
                normal(&[6, 12]),
                normal(&[12]),
            ],
        ),
        Case(
            Op::Clip {
                min: true,
                max: false,
            },
            pair(&[6, 12], &[6, 12]),
        ),
        Case(Op::Divmod, vec![below(50, &[6, 12]), below(5, &[12]) + 1]),
        Case(
            Op::View {
                dtype: Dtype::Int32,
            },
            vec![normal(&[6, 4])],
        ),
        Case(Op::Add, vec![below(50, &[6, 12]), below(5, &[12])]),
        Case(Op::Multiply, vec![below(50, &[6, 12]), below(5, &[12])]),
    ]
}

pub fn all() -> Vec<Case> {
    random::seed(23);
    [
        elementwise(),
        super::elementwise_cases::elementwise_operations(),
        packed_weights(),
        along_axes(),
        shapes(),
        products(),
        indexing(),
        transformers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

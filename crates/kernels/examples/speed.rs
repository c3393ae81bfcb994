//! How fast each kernel is, next to a plain copy of memory: the minimum time of many rounds.
//!
//! `cargo run --release -p mlx-kernels --example speed [seconds for each row] [part of a row's name]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::f16;
use mlx_kernels::*;

/// Elements of the large arrays: 4096 x 4096.
const LARGE: usize = 4096 * 4096;

/// The minimum time of one call in milliseconds, over at least `budget` of calls.
fn min_time(budget: Duration, mut call: impl FnMut()) -> f64 {
    call();
    let begin = Instant::now();
    let mut min = f64::INFINITY;
    while begin.elapsed() < budget {
        let start = Instant::now();
        call();
        min = min.min(start.elapsed().as_secs_f64());
    }
    min * 1e3
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + 13) % 4093) as f32 / 2046.5 - 1.0)
        .collect()
}

struct Report {
    budget: Duration,
    /// Rows whose name contains this are run.
    only: String,
}

impl Report {
    /// Prints milliseconds, and how much is moved (bytes) or computed (operations) in a second.
    fn row(&self, name: &str, amount: f64, unit: &str, target: &str, call: impl FnMut()) {
        if !name.contains(&self.only) {
            return;
        }
        let milliseconds = min_time(self.budget, call);
        let rate = amount / milliseconds / 1e6;
        println!("{name:<38} {milliseconds:>9.3} ms {rate:>8.1} G{unit}/s   target {target}");
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let report = Report {
        budget: Duration::from_secs_f64(seconds.unwrap_or(0.5)),
        only: arguments.next().unwrap_or_default(),
    };
    println!("{} with {} threads", instruction_set(), threads());
    let (x, mut out) = (numbers(LARGE), vec![0.0; LARGE]);
    report.row(
        "copy 4096x4096, one thread",
        8.0 * LARGE as f64,
        "B",
        "-",
        || {
            out.copy_from_slice(black_box(&x));
        },
    );
    large_rows(&report, &x, &mut out);
    elementwise(&report, &x, &mut out)?;
    small_rows(&report, &x, &mut out);
    rope(&report, &x, &mut out)?;
    for case in [
        ("attention 1x6x1500x64", [1, 6, 1500, 1500], "24.4"),
        ("attention 2x8x128x64", [2, 8, 128, 128], "0.61"),
        ("attention 1x6x1x64, 1500 keys", [1, 6, 1, 1500], "-"),
        ("attention 1x2x32x64, small", [1, 2, 32, 32], "-"),
        ("attention 1x2x64x64, small", [1, 2, 64, 64], "-"),
        ("attention 1x4x64x64, small", [1, 4, 64, 64], "-"),
        ("attention 1x8x64x64, small", [1, 8, 64, 64], "-"),
        ("attention 1x6x1x64, 200 keys, small", [1, 6, 1, 200], "-"),
        ("attention 1x6x1x64, 512 keys, small", [1, 6, 1, 512], "-"),
    ] {
        attention_rows(&report, case, &x, &mut out);
    }
    reductions(&report, &x, &mut out);
    convolutions(&report, &x, &mut out)?;
    dense_products(&report, &x, &mut out);
    quantized_products(&report, &x, &mut out);
    Ok(())
}

fn large_rows(report: &Report, x: &[f32], out: &mut [f32]) {
    let bytes = 8.0 * LARGE as f64;
    let shape = RowMajorShape {
        rows: 4096,
        dim: 4096,
    };
    let weight = Some(&x[..4096]);
    report.row("rms_norm 4096x4096", bytes, "B", "5.6", || {
        rms_norm(shape, black_box(x), weight, 1e-5, out).unwrap();
    });
    report.row("layer_norm 4096x4096", bytes, "B", "7.7", || {
        layer_norm(shape, black_box(x), weight, weight, 1e-5, out).unwrap();
    });
    report.row("softmax 4096x4096", bytes, "B", "7.4", || {
        softmax(shape, black_box(x), out).unwrap();
    });
    let (rows, dim) = (512, 32_768);
    let shape = RowMajorShape { rows, dim };
    let targets: Vec<u32> = (0..512).collect();
    report.row("cross_entropy_gradient 512x32768", bytes, "B", "-", || {
        cross_entropy_gradient(shape, black_box(x), &targets, &x[..512], out).unwrap();
    });
}

fn small_rows(report: &Report, x: &[f32], out: &mut [f32]) {
    let (rows, dim) = (512, 1024);
    let (shape, size) = (RowMajorShape { rows, dim }, rows * dim);
    let (bytes, weight) = (8.0 * size as f64, Some(&x[..dim]));
    report.row("rms_norm 4x128x1024", bytes, "B", "0.12", || {
        let x = black_box(&x[..size]);
        rms_norm(shape, x, weight, 1e-5, &mut out[..size]).unwrap();
    });
    report.row("layer_norm 4x128x1024", bytes, "B", "0.20", || {
        let x = black_box(&x[..size]);
        layer_norm(shape, x, weight, weight, 1e-5, &mut out[..size]).unwrap();
    });
    let (x, gradient) = x.split_at(size);
    let (gx, rest) = out.split_at_mut(size);
    let (gw, gb) = rest.split_at_mut(dim);
    report.row(
        "layer_norm_gradient 4x128x1024",
        1.5 * bytes,
        "B",
        "-",
        || {
            let out = NormGradient {
                x: gx,
                weight: gw,
                bias: &mut gb[..dim],
            };
            layer_norm_gradient(shape, x, weight, 1e-5, black_box(&gradient[..size]), out).unwrap();
        },
    );
}

/// `max(function(x * 0.5 + 1), x) * x - 0.25`, squared.
fn chain(function: UnaryOp) -> Result<ElementwiseProgram> {
    let instructions = [
        Instruction::Input(0),
        Instruction::Constant(0.5),
        Instruction::Constant(1.0),
        Instruction::Constant(0.25),
        Instruction::Binary(BinaryOp::Multiply, 0, 1),
        Instruction::Binary(BinaryOp::Add, 4, 2),
        Instruction::Unary(UnaryOp::Negate, 5),
        Instruction::Unary(function, 6),
        Instruction::Binary(BinaryOp::Maximum, 7, 0),
        Instruction::Binary(BinaryOp::Multiply, 8, 0),
        Instruction::Binary(BinaryOp::Subtract, 9, 3),
        Instruction::Unary(UnaryOp::Square, 10),
    ];
    ElementwiseProgram::new(1, &instructions, &[11])
}

fn elementwise(report: &Report, x: &[f32], out: &mut [f32]) -> Result<()> {
    let bytes = 8.0 * LARGE as f64;
    for (name, function, target) in [
        ("exp", UnaryOp::Exp, "6.1"),
        ("log", UnaryOp::Log, "-"),
        ("sin", UnaryOp::Sin, "-"),
        ("tanh", UnaryOp::Tanh, "-"),
        ("erf", UnaryOp::Erf, "-"),
        ("sigmoid", UnaryOp::Sigmoid, "-"),
    ] {
        report.row(&format!("{name} 4096x4096"), bytes, "B", target, || {
            unary(function, black_box(x), out).unwrap();
        });
    }
    let size = 1500 * 1536;
    report.row("gelu 1500x1536", 8.0 * size as f64, "B", "1.70", || {
        unary(UnaryOp::Gelu, black_box(&x[..size]), &mut out[..size]).unwrap();
    });
    let add = [
        Instruction::Input(0),
        Instruction::Input(1),
        Instruction::Binary(BinaryOp::Add, 0, 1),
    ];
    let add = ElementwiseProgram::new(2, &add, &[2])?;
    let of = |values, strides| StridedInput {
        values: TypedSlice::F32(values),
        strides,
    };
    for (name, program, inputs, arrays) in [
        ("add", &add, vec![of(x, &[4096, 1]), of(x, &[4096, 1])], 3.0),
        (
            "add row",
            &add,
            vec![of(x, &[4096, 1]), of(&x[..4096], &[0, 1])],
            2.0,
        ),
        (
            "region of 8 cheap steps",
            &chain(UnaryOp::Abs)?,
            vec![of(x, &[4096, 1])],
            2.0,
        ),
        (
            "region of 8 steps, one exp",
            &chain(UnaryOp::Exp)?,
            vec![of(x, &[4096, 1])],
            2.0,
        ),
    ] {
        let bytes = 4.0 * arrays * LARGE as f64;
        report.row(&format!("{name} 4096x4096"), bytes, "B", "-", || {
            let out = &mut [TypedSliceMut::F32(out)];
            program.run(&[4096, 4096], black_box(&inputs), out).unwrap();
        });
    }
    Ok(())
}

fn rope(report: &Report, x: &[f32], out: &mut [f32]) -> Result<()> {
    let size = 9 * 512 * 64;
    let shape = RopeShape {
        outer: 9,
        positions: 512,
        dim: 64,
    };
    let rope = Rope {
        dims: 64,
        ..Rope::default()
    };
    let bytes = 8.0 * size as f64;
    report.row("rope 1x9x512x64", bytes, "B", "0.095", || {
        let table = RotaryTable::new(rope, 512).unwrap();
        let x = black_box(&x[..size]);
        table.apply(shape, x, &mut out[..size]).unwrap();
    });
    let table = RotaryTable::new(rope, 512)?;
    report.row("rope 1x9x512x64, table kept", bytes, "B", "0.095", || {
        let x = black_box(&x[..size]);
        table.apply(shape, x, &mut out[..size]).unwrap();
    });
    Ok(())
}

/// Layouts and masks of the same attention.
fn variants<'a>(
    shape: AttentionShape,
    inputs: AttentionInputs<'a>,
    allowed: &'a [bool],
) -> [(&'static str, AttentionInputs<'a>); 4] {
    let AttentionShape {
        heads,
        queries,
        keys,
        ..
    } = shape;
    // `[batch, rows, heads, dim]`, as a linear layer returns it.
    let interleaved = |rows, values| Strided {
        values,
        strides: Strides::heads_inside(heads, rows, 64),
    };
    let heads_inside = AttentionInputs {
        queries: interleaved(queries, inputs.queries.values),
        keys: interleaved(keys, inputs.keys.values),
        values: interleaved(keys, inputs.values.values),
        ..inputs
    };
    let causal = AttentionInputs {
        mask: Mask::Causal,
        ..inputs
    };
    let masked = AttentionInputs {
        mask: Mask::Boolean {
            values: allowed,
            strides: MaskStrides::contiguous([1, 1, queries, keys]),
        },
        ..inputs
    };
    [
        ("", inputs),
        (", heads inside", heads_inside),
        (", causal", causal),
        (", mask", masked),
    ]
}

fn attention_rows(
    report: &Report,
    (name, [batch, heads, queries, keys], target): (&str, [usize; 4], &str),
    x: &[f32],
    out: &mut [f32],
) {
    let shape = AttentionShape {
        batch,
        heads,
        kv_heads: heads,
        queries,
        keys,
        dim: 64,
        value_dim: 64,
    };
    let (n_queries, n_keys) = (batch * heads * queries * 64, batch * heads * keys * 64);
    let (k, v) = x[LARGE / 2..].split_at(n_keys);
    let inputs = AttentionInputs::contiguous(shape, &x[..n_queries], k, &v[..n_keys]);
    let allowed = vec![true; queries * keys];
    let operations = 4.0 * (n_queries * keys) as f64;
    for (variant, inputs) in variants(shape, inputs, &allowed) {
        let row = format!("{name}{variant}");
        report.row(&row, operations, "FLOP", target, || {
            attention(shape, black_box(inputs), 0.125, &mut out[..n_queries]).unwrap();
        });
    }
    let halves: Vec<f16> = x[..n_queries.max(n_keys)]
        .iter()
        .map(|x| f16::from_f32(*x))
        .collect();
    let (q, k) = (&halves[..n_queries], &halves[..n_keys]);
    let half_inputs = AttentionInputs::contiguous(shape, q, k, k);
    let mut half_out = vec![f16::ZERO; n_queries];
    report.row(&format!("{name}, f16"), operations, "FLOP", "-", || {
        attention(shape, black_box(half_inputs), 0.125, &mut half_out).unwrap();
    });
    let (dq, rest) = out.split_at_mut(n_queries);
    let (dk, dv) = rest.split_at_mut(n_keys);
    let row = format!("{name}, gradient");
    report.row(&row, 4.5 * operations, "FLOP", "-", || {
        let gradient = AttentionGradient {
            queries: dq,
            keys: dk,
            values: &mut dv[..n_keys],
        };
        attention_gradient(shape, black_box(inputs), 0.125, inputs.queries, gradient).unwrap();
    });
}

fn reductions(report: &Report, x: &[f32], out: &mut [f32]) {
    for (name, reduction, [outer, reduced, inner]) in [
        ("sum of rows", Reduction::Sum, [4096, 4096, 1]),
        ("sum of columns", Reduction::Sum, [1, 4096, 4096]),
        ("sum of all", Reduction::Sum, [1, LARGE, 1]),
        ("max of rows", Reduction::Max, [4096, 4096, 1]),
    ] {
        let shape = ReduceShape {
            outer,
            reduced,
            inner,
        };
        let name = format!("{name} 4096x4096");
        report.row(&name, 4.0 * LARGE as f64, "B", "-", || {
            let out = &mut out[..outer * inner];
            reduce(reduction, shape, black_box(x), out).unwrap();
        });
    }
}

fn convolutions(report: &Report, x: &[f32], out: &mut [f32]) -> Result<()> {
    for (name, length, channels, stride) in [
        ("conv1d 3000x80 to 384, k3", 3000, 80, 1),
        ("conv1d 3000x384 to 384, k3 s2", 3000, 384, 2),
    ] {
        let shape = Conv1d {
            batch: 1,
            length,
            channels,
            outputs: 384,
            kernel_size: 3,
            stride,
            padding: 1,
            dilation: 1,
            groups: 1,
        };
        let (n_x, n_weight) = (length * channels, 384 * 3 * channels);
        let n_out = shape.out_length()? * 384;
        let operations = 2.0 * (n_out * 3 * channels) as f64;
        report.row(name, operations, "FLOP", "-", || {
            let weight = &x[LARGE / 2..][..n_weight];
            conv1d(shape, black_box(&x[..n_x]), weight, &mut out[..n_out]).unwrap();
        });
    }
    Ok(())
}

fn dense_products(report: &Report, x: &[f32], out: &mut [f32]) {
    let halves: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
    // The second matrix is Whisper's token embedding; 16 of 4096^2 numbers are left over.
    for (rows, columns) in [(4096, 4096), (43_690, 384)] {
        let (shape, count) = (MatrixShape { rows, columns }, rows * columns);
        let vector = &x[..columns];
        let name = format!("matvec {rows}x{columns}");
        report.row(&name, 4.0 * count as f64, "B", "1.45", || {
            let weights = black_box(&x[..count]);
            matmul(shape, 1, weights, vector, &mut out[..rows]).unwrap();
        });
        let name = format!("{name}, f16 weights");
        report.row(&name, 2.0 * count as f64, "B", "-", || {
            let weights = black_box(&halves[..count]);
            matmul(shape, 1, weights, vector, &mut out[..rows]).unwrap();
        });
    }
    let (rows, columns) = (4096, 4096);
    for vectors in [16, 128] {
        let operations = 2.0 * (LARGE * vectors) as f64;
        let name = format!("matmul 4096x4096, {vectors} vectors");
        report.row(&name, operations, "FLOP", "-", || {
            let x = black_box(&x[..4096 * vectors]);
            let shape = MatrixShape { rows, columns };
            matmul(shape, vectors, &halves, x, &mut out[..4096 * vectors]).unwrap();
        });
    }
}

fn quantized_products(report: &Report, x: &[f32], out: &mut [f32]) {
    let packed: Vec<u32> = x
        .iter()
        .map(|x| x.to_bits().wrapping_mul(0x9e37_79b1))
        .collect();
    for (bits, group_size, vectors, target, target_int8) in [
        (4, 64, 1, "1.57", "0.48"),
        (4, 32, 1, "-", "0.48"),
        (2, 64, 1, "-", "-"),
        (3, 64, 1, "-", "-"),
        (6, 64, 1, "-", "-"),
        (8, 64, 1, "-", "-"),
        (4, 64, 4, "-", "-"),
        (4, 64, 8, "-", "-"),
        (4, 64, 16, "-", "-"),
        (6, 64, 16, "-", "-"),
        (4, 64, 64, "-", "-"),
        (4, 64, 512, "-", "-"),
    ] {
        let groups = LARGE / group_size;
        let matrix = Quantized {
            shape: MatrixShape {
                rows: 4096,
                columns: 4096,
            },
            bits,
            group_size,
            weights: &packed[..LARGE * bits / 32],
            scales: &x[..groups],
            biases: &x[groups..2 * groups],
        };
        let operations = 2.0 * (LARGE * vectors) as f64;
        let name = format!("{bits}-bit 4096x4096 g{group_size}, {vectors} vectors");
        report.row(&name, operations, "FLOP", target, || {
            let x = black_box(&x[..4096 * vectors]);
            quantized_matmul(matrix, vectors, x, &mut out[..4096 * vectors]).unwrap();
        });
        let name = format!("{name}, int8");
        report.row(&name, operations, "FLOP", target_int8, || {
            let x = black_box(&x[..4096 * vectors]);
            quantized_matmul_int8(matrix, vectors, x, &mut out[..4096 * vectors]).unwrap();
        });
    }
}

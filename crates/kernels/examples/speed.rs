//! How fast each kernel is, next to a plain copy of memory: the least time of many rounds.
//!
//! `cargo run --release -p mlx-kernels --example speed [seconds for each row] [part of a row's name]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use mlx_kernels::*;

/// The least time of one call, over at least `budget` of calls.
fn least(budget: Duration, mut call: impl FnMut()) -> f64 {
    call();
    let begin = Instant::now();
    let mut least = f64::INFINITY;
    while begin.elapsed() < budget {
        let start = Instant::now();
        call();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least * 1e3
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
    /// Prints milliseconds, and what is moved (bytes) or computed (operations) in a second.
    fn row(&self, name: &str, amount: f64, unit: &str, target: &str, call: impl FnMut()) {
        if !name.contains(&self.only) {
            return;
        }
        let milliseconds = least(self.budget, call);
        let rate = amount / milliseconds / 1e6;
        println!("{name:<34} {milliseconds:>9.3} ms {rate:>8.1} G{unit}/s   target {target}");
    }
}

/// `max(step(x * 0.5 + 1), x) * x - 0.25`, square root of its magnitude.
fn chain(step: Step) -> Result<Program> {
    let steps = [
        Step::Input(0),
        Step::Constant(0.5),
        Step::Constant(1.0),
        Step::Constant(0.25),
        Step::Binary(Binary::Multiply, 0, 1),
        Step::Binary(Binary::Add, 4, 2),
        Step::Simple(Simple::Negate, 5),
        step,
        Step::Binary(Binary::Maximum, 7, 0),
        Step::Binary(Binary::Multiply, 8, 0),
        Step::Binary(Binary::Subtract, 9, 3),
        Step::Simple(Simple::Square, 10),
    ];
    Program::new(1, &steps, &[11])
}

fn main() -> Result<()> {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.5);
    let only = std::env::args().nth(2).unwrap_or_default();
    let report = Report {
        budget: Duration::from_secs_f64(seconds),
        only,
    };
    println!("{} with {} threads", instruction_set(), threads());

    let large = 4096 * 4096;
    let bytes = 8.0 * large as f64;
    let x = numbers(large);
    let mut out = vec![0.0; large];
    report.row("copy 4096x4096, one thread", bytes, "B", "-", || {
        out.copy_from_slice(black_box(&x));
    });
    let shape = Rows {
        rows: 4096,
        dim: 4096,
    };
    let weight = numbers(4096);
    report.row("rms_norm 4096x4096", bytes, "B", "5.6", || {
        rms_norm(shape, black_box(&x), Some(&weight), 1e-5, &mut out).unwrap();
    });
    report.row("layer_norm 4096x4096", bytes, "B", "7.7", || {
        layer_norm(
            shape,
            black_box(&x),
            Some(&weight),
            Some(&weight),
            1e-5,
            &mut out,
        )
        .unwrap();
    });
    report.row("softmax 4096x4096", bytes, "B", "7.4", || {
        softmax(shape, black_box(&x), &mut out).unwrap();
    });
    report.row("exp 4096x4096", bytes, "B", "6.1", || {
        exp(black_box(&x), &mut out).unwrap();
    });
    for (name, function) in [
        ("log", Unary::Log),
        ("sin", Unary::Sin),
        ("tanh", Unary::Tanh),
        ("erf", Unary::Erf),
        ("sigmoid", Unary::Sigmoid),
    ] {
        report.row(&format!("{name} 4096x4096"), bytes, "B", "-", || {
            unary(function, black_box(&x), &mut out).unwrap();
        });
    }

    report.row("add 4096x4096", 1.5 * bytes, "B", "5.6", || {
        let (a, b) = (Operand::Array(black_box(&x[..])), Operand::Array(&x[..]));
        binary(Binary::Add, a, b, &mut out).unwrap();
    });
    report.row("add row 4096x4096", bytes, "B", "-", || {
        let (a, b) = (Operand::Array(black_box(&x[..])), Operand::Row(&weight[..]));
        binary(Binary::Add, a, b, &mut out).unwrap();
    });
    for (name, program) in [
        (
            "region of 8 cheap steps",
            chain(Step::Simple(Simple::Abs, 6))?,
        ),
        (
            "region of 8 steps, one exp",
            chain(Step::Unary(Unary::Exp, 6))?,
        ),
    ] {
        let values = Values::F32(&x);
        report.row(&format!("{name} 4096x4096"), bytes, "B", "-", || {
            let x = RegionInput {
                values: black_box(values),
                strides: &[4096, 1],
            };
            let out = &mut [ValuesMut::F32(&mut out)];
            program.run(&[4096, 4096], &[x], out).unwrap();
        });
    }

    let shape = Rows {
        rows: 512,
        dim: 1024,
    };
    let small = 512 * 1024;
    let bytes = 8.0 * small as f64;
    report.row("rms_norm 4x128x1024", bytes, "B", "0.12", || {
        rms_norm(
            shape,
            black_box(&x[..small]),
            Some(&weight[..1024]),
            1e-5,
            &mut out[..small],
        )
        .unwrap();
    });
    report.row("layer_norm 4x128x1024", bytes, "B", "0.20", || {
        let weight = Some(&weight[..1024]);
        layer_norm(
            shape,
            black_box(&x[..small]),
            weight,
            weight,
            1e-5,
            &mut out[..small],
        )
        .unwrap();
    });
    let size = 1500 * 1536;
    report.row("gelu 1500x1536", 8.0 * size as f64, "B", "1.70", || {
        gelu(black_box(&x[..size]), &mut out[..size]).unwrap();
    });
    let size = 9 * 512 * 64;
    let shape = RopeShape {
        outer: 9,
        positions: 512,
        dim: 64,
    };
    let turns = Rope {
        dims: 64,
        ..Rope::default()
    };
    report.row("rope 1x9x512x64", 8.0 * size as f64, "B", "0.095", || {
        rope(turns, shape, black_box(&x[..size]), &mut out[..size]).unwrap();
    });
    let table = Rotations::new(turns, 512)?;
    report.row(
        "rope 1x9x512x64, table kept",
        8.0 * size as f64,
        "B",
        "0.095",
        || {
            table
                .apply(shape, black_box(&x[..size]), &mut out[..size])
                .unwrap();
        },
    );

    for (name, batch, heads, queries, keys, target) in [
        ("attention 1x6x1500x64", 1, 6, 1500, 1500, "24.4"),
        ("attention 2x8x128x64", 2, 8, 128, 128, "0.61"),
        ("attention 1x6x1x64, 1500 keys", 1, 6, 1, 1500, "-"),
        ("attention 1x2x32x64, small", 1, 2, 32, 32, "-"),
        ("attention 1x2x64x64, small", 1, 2, 64, 64, "-"),
        ("attention 1x4x64x64, small", 1, 4, 64, 64, "-"),
        ("attention 1x8x64x64, small", 1, 8, 64, 64, "-"),
        ("attention 1x6x1x64, 200 keys, small", 1, 6, 1, 200, "-"),
        ("attention 1x6x1x64, 512 keys, small", 1, 6, 1, 512, "-"),
    ] {
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
        let (k, v) = x[large / 2..].split_at(n_keys);
        let inputs = AttentionInputs::contiguous(shape, &x[..n_queries], k, &v[..n_keys]);
        let operations = 4.0 * (n_queries * keys) as f64;
        report.row(name, operations, "FLOP", target, || {
            attention(shape, black_box(inputs), 0.125, &mut out[..n_queries]).unwrap();
        });
        let halves: Vec<half::f16> = x[..n_queries.max(n_keys)]
            .iter()
            .map(|x| half::f16::from_f32(*x))
            .collect();
        let half_inputs = AttentionInputs::contiguous(
            shape,
            &halves[..n_queries],
            &halves[..n_keys],
            &halves[..n_keys],
        );
        let mut half_out = vec![half::f16::ZERO; n_queries];
        report.row(&format!("{name}, f16"), operations, "FLOP", "-", || {
            attention(shape, black_box(half_inputs), 0.125, &mut half_out).unwrap();
        });
        // `[batch, rows, heads, dim]`, as a linear layer leaves it.
        let inside = |rows, values| Strided {
            values,
            strides: Strides::heads_inside(heads, rows, 64),
        };
        let heads_inside = AttentionInputs {
            queries: inside(queries, inputs.queries.values),
            keys: inside(keys, inputs.keys.values),
            values: inside(keys, inputs.values.values),
            ..inputs
        };
        let row = format!("{name}, heads inside");
        report.row(&row, operations, "FLOP", "-", || {
            attention(shape, black_box(heads_inside), 0.125, &mut out[..n_queries]).unwrap();
        });
        let causal = AttentionInputs {
            mask: Mask::Causal,
            ..inputs
        };
        report.row(&format!("{name}, causal"), operations, "FLOP", "-", || {
            attention(shape, black_box(causal), 0.125, &mut out[..n_queries]).unwrap();
        });
        let seen = vec![true; queries * keys];
        let boolean = AttentionInputs {
            mask: Mask::Boolean {
                values: &seen,
                strides: MaskStrides::contiguous([1, 1, queries, keys]),
            },
            ..inputs
        };
        report.row(&format!("{name}, mask"), operations, "FLOP", "-", || {
            attention(shape, black_box(boolean), 0.125, &mut out[..n_queries]).unwrap();
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
            let cotangent = inputs.queries;
            attention_gradient(shape, black_box(inputs), 0.125, cotangent, gradient).unwrap();
        });
    }

    for (name, outer, reduced, inner) in [
        ("sum of rows 4096x4096", 4096, 4096, 1),
        ("sum of columns 4096x4096", 1, 4096, 4096),
        ("sum of all 4096x4096", 1, large, 1),
    ] {
        let shape = ReduceShape {
            outer,
            reduced,
            inner,
        };
        report.row(name, 4.0 * large as f64, "B", "-", || {
            let out = &mut out[..outer * inner];
            reduce(Reduction::Sum, shape, black_box(&x), out).unwrap();
        });
    }
    let shape = ReduceShape {
        outer: 4096,
        reduced: 4096,
        inner: 1,
    };
    report.row(
        "max of rows 4096x4096",
        4.0 * large as f64,
        "B",
        "-",
        || {
            reduce(Reduction::Max, shape, black_box(&x), &mut out[..4096]).unwrap();
        },
    );
    let indices: Vec<u32> = (0..4096).map(|i| i * 7919 % 16_384).collect();
    let shape = Rows {
        rows: 16_384,
        dim: 1024,
    };
    let bytes = 8.0 * (4096 * 1024) as f64;
    report.row("gather 4096 of 16384x1024", bytes, "B", "-", || {
        gather(shape, black_box(&x), &indices, &mut out[..4096 * 1024]).unwrap();
    });
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
            let weight = &x[large / 2..][..n_weight];
            conv1d(shape, black_box(&x[..n_x]), weight, &mut out[..n_out]).unwrap();
        });
    }
    let shape = Rows {
        rows: 512,
        dim: 32_768,
    };
    let targets: Vec<u32> = (0..512).collect();
    report.row(
        "cross_entropy_gradient 512x32768",
        8.0 * large as f64,
        "B",
        "-",
        || {
            let g = &weight[..512];
            cross_entropy_gradient(shape, black_box(&x), &targets, g, &mut out).unwrap();
        },
    );

    let shape = MatrixShape {
        rows: 4096,
        columns: 4096,
    };
    let vector = &weight;
    report.row("matvec 4096x4096", 4.0 * large as f64, "B", "1.45", || {
        matvec(shape, black_box(&x), vector, &mut out[..4096]).unwrap();
    });
    // Whisper's words by its width; 16 of 4096^2 numbers are left over.
    let words = MatrixShape {
        rows: 43_690,
        columns: 384,
    };
    let count = words.rows * words.columns;
    report.row("matvec 43690x384", 4.0 * count as f64, "B", "-", || {
        matvec(
            words,
            black_box(&x[..count]),
            &vector[..384],
            &mut out[..words.rows],
        )
        .unwrap();
    });
    let halves: Vec<half::f16> = x.iter().map(|x| half::f16::from_f32(*x)).collect();
    report.row(
        "matvec 4096x4096, f16 weights",
        2.0 * large as f64,
        "B",
        "-",
        || {
            matvec(shape, black_box(&halves), vector, &mut out[..4096]).unwrap();
        },
    );
    report.row(
        "matvec 43690x384, f16 weights",
        2.0 * count as f64,
        "B",
        "-",
        || {
            let weights = black_box(&halves[..count]);
            matvec(words, weights, &vector[..384], &mut out[..words.rows]).unwrap();
        },
    );
    for vectors in [16, 128] {
        let operations = 2.0 * (large * vectors) as f64;
        report.row(
            &format!("matmul 4096x4096, {vectors} vectors"),
            operations,
            "FLOP",
            "-",
            || {
                let x = black_box(&x[..4096 * vectors]);
                matmul(shape, vectors, &halves, x, &mut out[..4096 * vectors]).unwrap();
            },
        );
    }
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
        let groups = large / group_size;
        let matrix = Quantized {
            shape,
            bits,
            group_size,
            weights: &packed[..large * bits / 32],
            scales: &x[..groups],
            biases: &x[groups..2 * groups],
        };
        let operations = 2.0 * (large * vectors) as f64;
        let name = format!("{bits}-bit 4096x4096 g{group_size}, {vectors} vectors");
        report.row(&name, operations, "FLOP", target, || {
            let x = black_box(&x[..4096 * vectors]);
            quantized_matmul(matrix, vectors, x, &mut out[..4096 * vectors]).unwrap();
        });
        report.row(
            &format!("{name}, int8"),
            operations,
            "FLOP",
            target_int8,
            || {
                let x = black_box(&x[..4096 * vectors]);
                quantized_matmul_int8(matrix, vectors, x, &mut out[..4096 * vectors]).unwrap();
            },
        );
    }
    Ok(())
}

//! Kernels of our own on NVIDIA GPUs: that they run, and give what the composed forms give on the CPU.

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions, composed, cuda_kernel_runs};
use mlx::{Array, Device, Dtype, Quantization, random, vjp, with_device};
use mlx_testdata::needs;
use rstest::rstest;

const FLOATS: [Dtype; 3] = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16];

/// The largest difference allowed, of the largest number: some roundings of the dtype.
fn tolerance(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Float32 => 1e-5,
        Dtype::Float16 => 4e-3,
        _ => 3e-2,
    }
}

fn normal(shape: &[i32], dtype: Dtype) -> Array {
    random::normal(shape).astype(dtype)
}

fn on_cpu<T>(work: impl FnOnce() -> T) -> T {
    with_device(Device::Cpu, work).unwrap()
}

/// The same numbers in `float32`, for the reference.
fn wide(x: &Array) -> Array {
    x.astype(Dtype::Float32)
}

#[track_caller]
fn assert_near(what: &str, got: &Array, want: &Array, tolerance: f32) {
    got.eval().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (got, want) = (
        wide(got).to_vec::<f32>().unwrap(),
        want.to_vec::<f32>().unwrap(),
    );
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-3_f32, |most, x| most.max(x.abs()));
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        let error = (got - want).abs() / largest;
        assert!(
            error <= tolerance,
            "{what}: element {index} is {got}, want {want}; error {error:e} of {tolerance:e} allowed"
        );
    }
}

/// Runs `work`, and asserts that a kernel for MLX's class of this name ran in it.
#[track_caller]
fn counted<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let before = cuda_kernel_runs(name).unwrap();
    let result = work();
    assert!(
        cuda_kernel_runs(name).unwrap() > before,
        "no kernel of ours ran for {name}"
    );
    result
}

#[test]
fn other_names_have_no_runs() {
    assert_eq!(cuda_kernel_runs("no such class").unwrap(), 0);
    assert_eq!(cuda_kernel_runs("a\0b").unwrap(), 0);
}

#[rstest]
fn norms_and_their_gradients(
    #[values(&[3, 5, 96], &[2, 100], &[4, 7], &[2, 3, 4096], &[1, 1, 9000])] shape: &[i32],
) {
    needs!(CudaKernels);
    for dtype in FLOATS {
        let dim = &shape[shape.len() - 1..];
        let (x, g) = (normal(shape, dtype), normal(shape, dtype));
        let (w, b) = (normal(dim, dtype), normal(dim, dtype));
        let layer = |x: &Array, w: &Array, b: &Array| fast::layer_norm(x, w, b, 1e-5);
        let layer_composed = |x: &Array, w: &Array, b: &Array| composed::layer_norm(x, w, b, 1e-5);
        let (y, grads) = counted("LayerNormVJP", || {
            counted("LayerNorm", || {
                let (y, (gx, gw, gb)) = vjp(layer, (&x, &w, &b), &g).unwrap();
                mlx::eval([&y, &gx, &gw, &gb]).unwrap();
                (y, [gx, gw, gb])
            })
        });
        let (want, wants) = on_cpu(|| {
            let (y, (gx, gw, gb)) =
                vjp(layer_composed, (&wide(&x), &wide(&w), &wide(&b)), &wide(&g)).unwrap();
            mlx::eval([&y, &gx, &gw, &gb]).unwrap();
            (y, [gx, gw, gb])
        });
        assert_near("layer_norm", &y, &want, tolerance(dtype));
        for (k, (got, want)) in grads.iter().zip(&wants).enumerate() {
            let what = format!("layer_norm's gradient {k}, {dtype}{shape:?}");
            assert_near(&what, got, want, 4.0 * tolerance(dtype));
        }

        let rms = |x: &Array, w: &Array| fast::rms_norm(x, w, 1e-5);
        // The gradient is left to MLX.
        let (y, grads) = counted("RMSNorm", || {
            let (y, (gx, gw)) = vjp(rms, (&x, &w), &g).unwrap();
            mlx::eval([&y, &gx, &gw]).unwrap();
            (y, [gx, gw])
        });
        let rms_composed = |x: &Array, w: &Array| composed::rms_norm(x, w, 1e-5);
        let (want, wants) = on_cpu(|| {
            let (y, (gx, gw)) = vjp(rms_composed, (&wide(&x), &wide(&w)), &wide(&g)).unwrap();
            mlx::eval([&y, &gx, &gw]).unwrap();
            (y, [gx, gw])
        });
        assert_near("rms_norm", &y, &want, tolerance(dtype));
        for (k, (got, want)) in grads.iter().zip(&wants).enumerate() {
            let what = format!("rms_norm's gradient {k}, {dtype}{shape:?}");
            assert_near(&what, got, want, 4.0 * tolerance(dtype));
        }
    }
}

#[test]
fn norms_of_views_and_in_place() {
    needs!(CudaKernels);
    let x = normal(&[4, 6, 8], Dtype::Float32);
    for (what, view) in [("swapped", x.swapaxes(0, 1)), ("columns", x.swapaxes(1, 2))] {
        let y = counted("LayerNorm", || {
            let y = fast::layer_norm(&(&view * 2.0), None, None, 1e-5);
            y.eval().unwrap();
            y
        });
        let want = on_cpu(|| composed::layer_norm(&(&view * 2.0), None, None, 1e-5));
        assert_near(what, &y, &want, 1e-5);
        let direct = fast::layer_norm(&view, None, None, 1e-5);
        let want = on_cpu(|| composed::layer_norm(&view, None, None, 1e-5));
        assert_near(what, &direct, &want, 1e-5);
    }
}

#[rstest]
fn products_with_packed_weights(
    #[values(4, 8)] bits: i32,
    #[values(32, 64, 128)] group_size: i32,
    #[values(
        [1, 64, 256], [1, 50, 1024], [1, 2500, 5120], [1, 17, 14_336], [5, 96, 896], [16, 100, 512], [3, 33, 384],
        [17, 96, 512], [64, 200, 768], [130, 50, 256]
    )]
    sizes: [i32; 3],
) {
    needs!(CudaKernels);
    let [n_x, rows, size] = sizes;
    for dtype in FLOATS {
        let weights = normal(&[rows, size], dtype);
        let packed = weights
            .quantize(Quantization {
                group_size,
                bits,
                ..Quantization::default()
            })
            .unwrap();
        let x = normal(&[n_x, size], dtype);
        let product = || {
            let y = x.quantized_matmul(&packed, true);
            y.eval().unwrap();
            y
        };
        // Of few rows as they are, of many after they are unpacked.
        let y = counted("QuantizedMatmul", product);
        let want = on_cpu(|| {
            let scales = wide(&packed.scales);
            let biases = packed.biases.as_ref().map(wide);
            let packed = mlx::Quantized {
                weight: packed.weight.clone(),
                scales,
                biases,
                quantization: packed.quantization,
            };
            wide(&x).matmul(&packed.dequantize(None).t())
        });
        let what = format!("{dtype}, {bits} bits in groups of {group_size}, {sizes:?}");
        assert_near(&what, &y, &want, tolerance(dtype));
    }
}

#[rstest]
fn attention_of_few_queries(
    #[values([1, 4, 4, 1, 1, 64], [2, 8, 2, 3, 77, 128], [1, 6, 1, 16, 300, 80], [1, 2, 2, 5, 1000, 96], [1, 4, 2, 2, 33, 256])]
    sizes: [i32; 6],
    #[values("none", "causal", "bool", "added", "sinks")] kind: &str,
) {
    needs!(CudaKernels);
    let [batch, heads, kv_heads, queries, keys, dim] = sizes;
    if kind == "causal" && keys < queries {
        return;
    }
    for dtype in FLOATS {
        let q = normal(&[batch, heads, queries, dim], dtype);
        // As a cache has them: heads behind positions.
        let cached = |_| normal(&[batch, keys, kv_heads, dim], dtype).swapaxes(1, 2);
        let [k, v] = [0, 1].map(cached);
        let mask = match kind {
            "causal" => AttentionMask::causal(),
            "bool" => normal(&[queries, keys], Dtype::Float32).gt(-1.0).into(),
            "added" => normal(&[batch, 1, queries, keys], dtype).into(),
            _ => AttentionMask::default(),
        };
        let options = AttentionOptions {
            mask,
            sinks: (kind == "sinks").then(|| normal(&[heads], dtype)),
            ..AttentionOptions::default()
        };
        let y = counted("ScaledDotProductAttention", || {
            let y = fast::scaled_dot_product_attention_with(&q, &k, &v, &options);
            y.eval().unwrap();
            y
        });
        let want = on_cpu(|| {
            composed::scaled_dot_product_attention(&wide(&q), &wide(&k), &wide(&v), &options)
        });
        let what = format!("attention {dtype} {sizes:?} {kind}");
        assert_near(&what, &y, &want, 2.0 * tolerance(dtype));
    }
}

#[test]
fn attention_has_gradients() {
    needs!(CudaKernels);
    let [q, k, v] =
        [[1, 4, 2, 64], [1, 2, 9, 64], [1, 2, 9, 64]].map(|s| normal(&s, Dtype::Float32));
    let g = normal(&[1, 4, 2, 64], Dtype::Float32);
    let fused = |q: &Array, k: &Array, v: &Array| {
        fast::scaled_dot_product_attention(q, k, v, 0.1, "causal")
    };
    let (y, (gq, gk, gv)) = vjp(fused, (&q, &k, &v), &g).unwrap();
    let options = AttentionOptions {
        scale: Some(0.1),
        mask: AttentionMask::causal(),
        ..AttentionOptions::default()
    };
    let plain =
        |q: &Array, k: &Array, v: &Array| composed::scaled_dot_product_attention(q, k, v, &options);
    let (want, wants) = on_cpu(|| {
        let (y, (gq, gk, gv)) = vjp(plain, (&q, &k, &v), &g).unwrap();
        mlx::eval([&y, &gq, &gk, &gv]).unwrap();
        (y, [gq, gk, gv])
    });
    assert_near("value", &y, &want, 2e-5);
    for (got, want) in [gq, gk, gv].iter().zip(&wants) {
        assert_near("gradient", got, want, 5e-5);
    }
}

#[rstest]
fn rope_of_all_layouts(
    #[values(([2, 3, 5, 64], 64), ([2, 3, 5, 64], 32), ([1, 9, 1, 80], 80), ([1, 2, 3, 10], 6), ([3, 1, 2, 9], 4))]
    sizes: ([i32; 4], i32),
    #[values(true, false)] traditional: bool,
    #[values(0, 7, -3)] offset: i32,
) {
    needs!(CudaKernels);
    let (shape, dims) = sizes;
    for dtype in FLOATS {
        let x = normal(&shape, dtype);
        let g = normal(&shape, dtype);
        let options = RopeOptions {
            dims: Some(dims),
            traditional,
            scale: 0.5,
            offset: offset.into(),
            ..RopeOptions::default()
        };
        let fused = |x: &Array| fast::rope(x, &options);
        let (y, gx) = counted("RoPE", || {
            let (y, gx) = vjp(fused, &x, &g).unwrap();
            mlx::eval([&y, &gx]).unwrap();
            (y, gx)
        });
        let plain = |x: &Array| composed::rope(x, &options);
        let (want, want_gx) = on_cpu(|| {
            let (y, gx) = vjp(plain, &wide(&x), &wide(&g)).unwrap();
            mlx::eval([&y, &gx]).unwrap();
            (y, gx)
        });
        let what = format!("rope {dtype} {shape:?} {dims} {traditional} {offset}");
        assert_near(&what, &y, &want, tolerance(dtype));
        assert_near(
            &format!("{what}, gradient"),
            &gx,
            &want_gx,
            tolerance(dtype),
        );
        let swapped = x.swapaxes(2, 3).contiguous().swapaxes(2, 3);
        assert_near(
            &format!("{what}, columns"),
            &fast::rope(&swapped, &options),
            &want,
            tolerance(dtype),
        );
    }
}

type Activation = fn(&Array) -> Array;

#[test]
fn activations_in_one_pass() {
    needs!(CudaKernels);
    let functions: [(&str, Activation, Activation); 3] = [
        ("Gelu", fast::gelu, composed::gelu),
        ("GeluApprox", fast::gelu_approx, composed::gelu_approx),
        ("Silu", fast::silu, composed::silu),
    ];
    for dtype in FLOATS {
        for shape in [&[1][..], &[7, 33], &[64, 128]] {
            let (x, g) = (normal(shape, dtype) * 3.0, normal(shape, dtype));
            for (name, fused, plain) in functions {
                let (y, gx) = counted(name, || {
                    let (y, gx) = vjp(fused, &x, &g).unwrap();
                    mlx::eval([&y, &gx]).unwrap();
                    (y, gx)
                });
                let (want, want_gx) = on_cpu(|| {
                    let (y, gx) = vjp(plain, &wide(&x), &wide(&g)).unwrap();
                    mlx::eval([&y, &gx]).unwrap();
                    (y, gx)
                });
                // Below 0 the formulas take two numbers near 1 from each other: the error is a share of x.
                let largest = |x: &Array| wide(x).abs().max(()).item::<f32>().unwrap();
                let share = (largest(&x) / largest(&want)).max(1.0);
                assert_near(name, &y, &want, share * tolerance(dtype));
                assert_near(name, &gx, &want_gx, 4.0 * share * tolerance(dtype));
            }
            let y = counted("SwiGlu", || {
                let y = fast::swiglu(&x, &g);
                y.eval().unwrap();
                y
            });
            let want = on_cpu(|| composed::swiglu(&wide(&x), &wide(&g)));
            assert_near("SwiGlu", &y, &want, tolerance(dtype));
        }
    }
}

#[rstest]
fn products_of_one_row(
    #[values((1024, 2048), (3072, 1024), (128, 7), (40, 5), (16384, 64), (1024, 151_936), (36, 12))]
    sizes: (i32, i32),
) {
    needs!(CudaKernels);
    let (k, n) = sizes;
    for dtype in FLOATS {
        let (x, w) = (normal(&[1, k], dtype), normal(&[n, k], dtype));
        let y = x.matmul(&w.t());
        let bytes = k * if dtype == Dtype::Float32 { 4 } else { 2 };
        // Whole loads, and no more than a block has.
        if bytes % 16 == 0 && bytes <= 16 * 2048 {
            counted("Matmul", || y.eval().unwrap());
        }
        let want = on_cpu(|| wide(&x).matmul(&wide(&w).t()));
        assert_near(&format!("{dtype} {k} x {n}"), &y, &want, tolerance(dtype));
        let batched = x.reshape([1, 1, 1, k]).matmul(&w.t());
        assert_near("axes in front", &batched, &want, tolerance(dtype));
    }
}

#[test]
fn updates_in_place_from_a_position_on_the_device() {
    needs!(CudaKernels);
    for dtype in [
        Dtype::Float32,
        Dtype::Bfloat16,
        Dtype::Uint8,
        Dtype::Int64,
        Dtype::Complex64,
    ] {
        for (shape, part, axes) in [
            (&[2, 3, 16, 64][..], &[2, 3, 2, 64][..], &[2][..]),
            (&[5, 7], &[2, 3], &[0, 1]),
            (&[9], &[1], &[0]),
            (&[4, 1, 6], &[4, 1, 1], &[2]),
        ] {
            let memory = (normal(shape, Dtype::Float32) * 50.0).astype(dtype);
            let new = (normal(part, Dtype::Float32) * 50.0).astype(dtype);
            let starts: Vec<i32> = axes.iter().map(|_| 1).collect();
            let start = Array::from_slice(&starts, [starts.len() as i32]).unwrap();
            mlx::eval([&memory, &new]).unwrap();
            let want = on_cpu(|| memory.slice_update(&new, &start, axes.to_vec()).numbers());
            // Nothing else holds the copy, which is written in place.
            let written = counted("DynamicSliceUpdate", || {
                let copy = &memory + Array::scalar(0).astype(dtype);
                let written = copy.slice_update(&new, &start, axes.to_vec());
                drop(copy);
                written.eval().unwrap();
                written
            });
            assert_eq!(written.numbers(), want, "{dtype} {shape:?}");
        }
    }
}

#[test]
fn rows_that_indices_name() {
    needs!(CudaKernels);
    for dtype in [
        Dtype::Float32,
        Dtype::Bfloat16,
        Dtype::Uint8,
        Dtype::Complex64,
        Dtype::Bool,
    ] {
        for shape in [
            &[50, 64][..],
            &[7, 3, 5],
            &[9],
            &[4, 1],
            &[300, 1000],
            &[5, 6],
        ] {
            let table = (normal(shape, Dtype::Float32) * 50.0).astype(dtype);
            let places = [0, shape[0] - 1, -1, -shape[0], 2, 2];
            for index in [
                Array::from_slice(&places, [2, 3]).unwrap(),
                Array::from_slice(&[3_u32], [1]).unwrap(),
                Array::scalar(1),
            ] {
                mlx::eval([&table, &index]).unwrap();
                let rows = counted("Gather", || {
                    let rows = table.take(&index, 0);
                    rows.eval().unwrap();
                    rows
                });
                let want = on_cpu(|| table.take(&index, 0));
                assert_eq!(rows.shape().unwrap(), want.shape().unwrap());
                assert_eq!(rows.numbers(), want.numbers(), "{dtype} {shape:?}");
            }
            // Not in order, and of another axis.
            let turned = table.t();
            let last = turned.take(Array::from_slice(&[1], [1]).unwrap(), 0);
            let want = on_cpu(|| table.t().take(Array::from_slice(&[1], [1]).unwrap(), 0));
            if shape.len() > 1 && shape[shape.len() - 1] > 1 {
                assert_eq!(last.numbers(), want.numbers(), "{dtype} {shape:?}");
            }
        }
    }
}

#[test]
fn sums_of_rows_in_half_precision() {
    needs!(CudaKernels);
    for dtype in [Dtype::Float16, Dtype::Bfloat16] {
        for (shape, axes) in [
            (&[100, 64][..], &[-1][..]),
            (&[65, 1000], &[1]),
            (&[3, 5, 7], &[2]),
            (&[3, 5, 7], &[1, 2]),
            (&[3, 5, 7], &[0, 1, 2]),
            (&[70, 5000], &[-1]),
            (&[2, 30, 4096], &[-1]),
        ] {
            let x = normal(shape, dtype) + 1.0;
            let axes = axes.to_vec();
            let sum = counted("Sum", || {
                let sum = x.sum(axes.clone());
                sum.eval().unwrap();
                sum
            });
            let want = on_cpu(|| wide(&x).sum(axes.clone()));
            assert_near(&format!("{dtype} {shape:?}"), &sum, &want, tolerance(dtype));
        }
        let ones = mlx::ones([70, 1000]).astype(dtype);
        assert_eq!(ones.sum(-1).numbers(), [1000.0; 70]);
        // Other axes, and arrays that are not in order, are right without it.
        let first = ones.sum(0);
        assert_eq!(first.numbers(), [70.0; 1000]);
        assert_eq!(ones.t().sum(-1).numbers(), [70.0; 1000]);
    }
}

/// Numbers of any dtype, and the imaginary parts of complex ones behind the real ones.
trait Numbers {
    fn numbers(&self) -> Vec<f32>;
}

impl Numbers for Array {
    fn numbers(&self) -> Vec<f32> {
        if self.dtype().unwrap() != Dtype::Complex64 {
            return self.astype(Dtype::Float32).to_vec::<f32>().unwrap();
        }
        let mut numbers = self.real().to_vec::<f32>().unwrap();
        numbers.extend(self.imag().to_vec::<f32>().unwrap());
        numbers
    }
}

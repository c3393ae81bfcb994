//! Keys and values in 8 bits: rows against MLX's own quantization, attention in `f64` over the same numbers, refusals.

use mlx::fast::{
    AttentionMask, dequantize_rows, host_kernel_runs_of, quantize_rows,
    quantized_scaled_dot_product_attention as quantized_attention, scaled_dot_product_attention,
};
use mlx::{Array, Dtype, Quantization, QuantizationMode, grad, random};
use mlx_testdata::{needs, slack};
use rstest::rstest;

const NAME: &str = "fast.quantized_scaled_dot_product_attention";

fn normal(seed: u64, shape: [i32; 4]) -> Array {
    random::normal_with(shape, &random::key(seed))
}

fn largest(x: &Array) -> f32 {
    x.abs().max(()).astype(Dtype::Float32).item().unwrap()
}

#[rstest]
fn rows_are_quantized_as_mlx_does(
    #[values(32, 64, 128)] group_size: i32,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) {
    // A view with other strides, too.
    let x = normal(1, [2, 9, 3, 128])
        .transpose([0, 2, 1, 3])
        .astype(dtype);
    let rows = quantize_rows(&x, group_size);
    let bytes = 128 + 8 * (128 / group_size);
    assert_eq!(
        rows.array_type().unwrap().to_string(),
        format!("uint8[2, 3, 9, {bytes}]")
    );
    let quantization = Quantization {
        group_size,
        bits: 8,
        mode: QuantizationMode::Affine,
    };
    let x = x.astype(Dtype::Float32);
    let mlx = x.quantize(quantization).unwrap().dequantize(Dtype::Float32);
    let back = dequantize_rows(&rows, group_size, mlx::float32);
    // Numbers in the middle between two multiples of a scale may go to either: some of a hundred in `bfloat16`.
    let scale = largest(&(x.max(()) - x.min(()))) / 254.0;
    assert!(largest(&(&back - &mlx)) <= 1.001 * scale);
    let same = (&back - &mlx)
        .abs()
        .less_equal(1e-5)
        .astype(Dtype::Float32)
        .mean(());
    assert!(same.item::<f32>().unwrap() > 0.95);
    assert_eq!(
        dequantize_rows(&rows, group_size, dtype).dtype().unwrap(),
        dtype
    );
}

/// Softmax of the scores and the mean of the values in `f64`; query `i` sees the keys up to `i + offset`.
fn exact(q: &[f32], k: &[f32], v: &[f32], sizes: [usize; 5], offset: usize) -> Vec<f64> {
    let [heads, kv_heads, queries, keys, dim] = sizes;
    let mut out = Vec::new();
    for row in 0..heads * queries {
        let (head, query) = (row / queries, row % queries);
        let at = head / (heads / kv_heads) * keys;
        let q = &q[row * dim..][..dim];
        let dot = |k: &[f32]| -> f64 {
            let products = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k));
            products.sum::<f64>() / (dim as f64).sqrt()
        };
        let seen = keys.min(query + offset + 1);
        let weights: Vec<f64> = (at..at + seen)
            .map(|key| dot(&k[key * dim..][..dim]).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        out.extend((0..dim).map(|d| {
            let values = (at..at + seen).map(|key| f64::from(v[key * dim + d]));
            values.zip(&weights).map(|(v, w)| v * w).sum::<f64>() / sum
        }));
    }
    out
}

#[rstest]
fn attention_is_that_over_the_rows_numbers(
    #[values((64, 64), (64, 32), (128, 128))] sizes: (i32, i32),
    #[values(1, 3, 40)] queries: i32,
    #[values(false, true)] by_array: bool,
    #[values((Dtype::Float32, 2e-6), (Dtype::Float16, 2e-3), (Dtype::Bfloat16, 1e-2))] precision: (
        Dtype,
        f64,
    ),
) {
    let ((dim, group_size), (dtype, eps)) = (sizes, precision);
    let (filled, capacity) = (50 + queries, 100);
    let q = normal(1, [1, 6, queries, dim]).astype(dtype);
    let [keys, values] =
        [2, 3].map(|seed| quantize_rows(&normal(seed, [1, 2, capacity, dim]), group_size));
    let numbers = |rows: &Array| {
        let numbers = dequantize_rows(rows, group_size, mlx::float32);
        numbers.to_vec::<f32>().unwrap()
    };
    let wide = q.astype(Dtype::Float32).to_vec::<f32>().unwrap();
    let usizes = [6, 2, queries as usize, capacity as usize, dim as usize];
    let wanted = exact(&wide, &numbers(&keys), &numbers(&values), usizes, 50);
    let got = match by_array {
        // All of the cache, through a mask.
        true => {
            let mask = AttentionMask::causal().offset(Array::scalar(50_i32));
            quantized_attention(&q, &keys, &values, &mask)
        }
        false => {
            let part = |rows: &Array| rows.i((.., .., 0..filled));
            quantized_attention(&q, &part(&keys), &part(&values), &AttentionMask::causal())
        }
    };
    assert_eq!(got.dtype().unwrap(), dtype);
    assert_eq!(got.shape().unwrap(), [1, 6, queries, dim]);
    let got = got.astype(Dtype::Float32).to_vec::<f32>().unwrap();
    for (got, wanted) in got.iter().zip(&wanted) {
        let off = (f64::from(*got) - wanted).abs();
        assert!(off < eps * slack!(), "{got} {wanted}");
    }
}

#[test]
fn additive_masks_and_gradients_are_those_of_the_numbers() {
    let q = normal(1, [2, 4, 3, 64]);
    let [keys, values] = [2, 3].map(|seed| quantize_rows(&normal(seed, [2, 2, 20, 64]), 64));
    let bias = normal(4, [1, 1, 3, 20]);
    let [k, v] = [&keys, &values].map(|rows| dequantize_rows(rows, 64, mlx::float32));
    let exact = |q: &Array| scaled_dot_product_attention(q, &k, &v, 0.125, &bias);
    let rounded =
        |q: &Array| quantized_attention(q, &keys, &values, &AttentionMask::additive(&bias));
    assert!(largest(&(exact(&q) - rounded(&q))) < 1e-5);
    let slope = |attend: &dyn Fn(&Array) -> Array| {
        grad(|q: &Array| attend(q).square().sum(()))(&q).unwrap()
    };
    assert!(largest(&(slope(&exact) - slope(&rounded))) < 1e-4);
    // A query that sees nothing gives zeros, and no keys do.
    let none = AttentionMask::bool(&mlx::zeros_with([1, 1, 3, 20], mlx::bool_));
    assert_eq!(
        largest(&quantized_attention(&q, &keys, &values, &none)),
        0.0
    );
    let no_keys = keys.i((.., .., 0..0));
    let result = quantized_attention(&q, &no_keys, &no_keys, &AttentionMask::none());
    assert_eq!(largest(&result), 0.0);
}

#[test]
fn one_kernel_computes_it_on_the_cpu() {
    needs!(CpuKernels);
    let rows = quantize_rows(&normal(2, [1, 1, 4, 64]), 64);
    let runs = || {
        let before = host_kernel_runs_of(NAME);
        let result = quantized_attention(
            &normal(1, [1, 1, 1, 64]),
            &rows,
            &rows,
            &AttentionMask::none(),
        );
        result.eval().unwrap();
        host_kernel_runs_of(NAME) - before
    };
    // Tests beside this one may run the kernel in between.
    assert!((0..50).any(|_| runs() == 1));
}

#[test]
fn what_does_not_fit_is_refused() {
    let text = |result: Array| result.eval().unwrap_err().to_string();
    let x = normal(1, [1, 2, 4, 64]);
    let refusals = [
        (
            quantize_rows(&x, 48),
            "fast.quantize_rows: group_size must be 32, 64 or 128, got 48",
        ),
        (
            quantize_rows(&x, 128),
            "rows of x must be whole groups of 128 numbers, got float32[1, 2, 4, 64]",
        ),
        (
            quantize_rows(&x.astype(Dtype::Int32), 64),
            "x must be rows of float32, float16 or bfloat16, got int32",
        ),
        (
            dequantize_rows(&x, 64, mlx::float32),
            "fast.dequantize_rows: wanted uint8 rows of groups of 64",
        ),
        (
            dequantize_rows(&quantize_rows(&x, 64), 32, mlx::float32),
            "wanted uint8 rows of groups of 32 numbers with a scale and a bias, got uint8[1, 2, 4, 72]",
        ),
    ];
    for (result, says) in refusals {
        let text = text(result);
        assert!(text.contains(says), "{text}");
    }
    let rows = quantize_rows(&x, 64);
    let attend = |q: &Array, k: &Array, v: &Array| {
        text(quantized_attention(q, k, v, &AttentionMask::none()))
    };
    let q = normal(1, [1, 3, 1, 64]);
    for (text, says) in [
        (
            attend(&q, &rows, &rows),
            "keys must have batch 1 and a divisor of 3 heads to match q",
        ),
        (
            attend(&x, &x, &rows),
            "keys must be uint8 [batch, kv_heads, keys, bytes], got float32",
        ),
        (
            attend(&x, &rows, &rows.i((.., .., 0..2))),
            "values must be uint8[1, 2, 4, 72] as the keys",
        ),
        (
            attend(&x.i((.., .., .., 0..32)), &rows, &rows),
            "keys must be rows of 32 numbers in groups",
        ),
        (
            attend(&x.i(0), &rows, &rows),
            "q must be [batch, heads, queries, dim]",
        ),
    ] {
        assert!(text.starts_with(NAME) && text.contains(says), "{text}");
    }
}

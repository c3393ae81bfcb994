//! Keys and values in 8 bits: what rows become, and attention over them against the formula in `f64` over the same numbers.

mod reference;

use mlx_kernels::{
    AttentionInputs, AttentionShape, Mask, MaskStrides, QuantizedRows, Strided, Strides,
    dequantize_rows, quantize_rows, quantized_attention, quantized_row_bytes,
};
use reference::attention::{bound, exact};
use reference::random;
use rstest::rstest;

/// Rows with `gap` bytes behind each, and the numbers that they stand for.
fn quantized(x: &[f32], dim: usize, group_size: usize, gap: usize) -> (Vec<u8>, Vec<f32>) {
    let bytes = quantized_row_bytes(dim, group_size).unwrap();
    let mut packed = vec![0; x.len() / dim * bytes];
    quantize_rows(dim, group_size, x, &mut packed).unwrap();
    let mut back = vec![f32::NAN; x.len()];
    dequantize_rows(dim, group_size, &packed, &mut back).unwrap();
    let rows = packed.chunks_exact(bytes);
    let spaced = rows.flat_map(|row| row.iter().copied().chain(vec![255; gap]));
    (spaced.collect(), back)
}

#[rstest]
fn a_number_is_off_by_half_a_scale_or_one_at_the_far_end(
    #[values((64, 64), (64, 32), (128, 64), (128, 128), (96, 32), (6, 3))] sizes: (usize, usize),
    #[values(0.0, 0.3, -0.9, 7.0, -100.0)] middle: f32,
) {
    let (dim, group_size) = sizes;
    let x: Vec<f32> = random(500 * dim, 1).iter().map(|x| x + middle).collect();
    let (_, back) = quantized(&x, dim, group_size, 0);
    let groups = x
        .chunks_exact(group_size)
        .zip(back.chunks_exact(group_size));
    for (x, back) in groups {
        let [least, most] = [f32::min, f32::max].map(|f| x.iter().copied().reduce(f).unwrap());
        let scale = (most - least) / 254.0;
        let rounding = 4.0 * f32::EPSILON * least.abs().max(most.abs());
        for (x, back) in x.iter().zip(back) {
            let is_end = (x - least).min(most - x) < 2.0 * scale;
            let allowed = scale * if is_end { 1.0 } else { 0.502 } + rounding;
            assert!((x - back).abs() <= allowed, "{x} {back} {scale}");
        }
        let far = if least.abs() > most.abs() {
            least
        } else {
            most
        };
        assert!(back.contains(&far), "{far} is exact");
    }
}

#[test]
fn zeros_constants_and_numbers_that_are_none() {
    let rows = [
        0.0,
        0.0,
        5.0,
        5.0,
        1e30,
        -1e30,
        f32::NAN,
        1.0,
        f32::INFINITY,
        1.0,
        1e38,
        -1e38,
    ];
    let (_, back) = quantized(&rows, 2, 2, 0);
    assert_eq!(back[..4], [0.0, 0.0, 5.0, 5.0]);
    assert!((back[4] / 1e30 - 1.0).abs() < 0.01 && (back[5] / 1e30 + 1.0).abs() < 0.01);
    assert!(back[6..10].iter().all(|x| x.is_nan()));
    assert!(
        back[10..]
            .iter()
            .all(|x| (x.abs() / 1e38 - 1.0).abs() < 0.01)
    );
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Causal,
    Boolean,
    Additive,
}

#[rstest]
fn attention_is_that_over_the_rows_numbers(
    #[values(1, 4, 5, 70)] queries: usize,
    #[values(1, 31, 130, 600)] keys: usize,
    #[values((64, 64), (64, 32), (128, 128), (96, 32))] sizes: (usize, usize),
    #[values((4, 4), (6, 2))] heads: (usize, usize),
    #[values(Kind::None, Kind::Causal, Kind::Boolean, Kind::Additive)] kind: Kind,
) {
    let (dim, group_size) = sizes;
    let shape = AttentionShape {
        batch: 2,
        heads: heads.0,
        kv_heads: heads.1,
        queries,
        keys,
        dim,
        value_dim: dim,
    };
    let gap = 5;
    let q = random(shape.query_sizes().iter().product(), 1);
    let k = random(shape.key_sizes().iter().product(), 2);
    let v = random(shape.value_sizes().iter().product(), 3);
    let (k_bytes, k) = quantized(&k, dim, group_size, gap);
    let (v_bytes, v) = quantized(&v, dim, group_size, gap);
    let scores = [1, 1, queries, keys];
    let noise = random(queries * keys, 4);
    let hidden: Vec<bool> = (0..queries * keys)
        .map(|i| i % keys == 0 || noise[i] > -0.2)
        .collect();
    let mask = match kind {
        Kind::None => Mask::None,
        Kind::Causal => Mask::Causal,
        Kind::Boolean => Mask::Boolean {
            values: &hidden,
            strides: MaskStrides::contiguous(scores),
        },
        Kind::Additive => Mask::Additive {
            values: &noise,
            strides: MaskStrides::contiguous(scores),
        },
    };
    let exact_inputs = AttentionInputs {
        mask,
        ..AttentionInputs::contiguous(shape, &q, &k, &v)
    };
    let rows = |bytes| QuantizedRows {
        bytes,
        strides: Strides::contiguous(
            heads.1,
            keys,
            quantized_row_bytes(dim, group_size).unwrap() + gap,
        ),
        group_size,
    };
    let inputs = AttentionInputs {
        queries: Strided {
            values: &q,
            strides: Strides::contiguous(heads.0, queries, dim),
        },
        keys: rows(&k_bytes),
        values: rows(&v_bytes),
        mask,
        sinks: None,
    };
    let mut out = vec![f32::NAN; shape.output_sizes().iter().product()];
    quantized_attention(shape, inputs, 0.2, &mut out).unwrap();
    let bound = bound(shape, exact_inputs, 0.2);
    for (got, wanted) in out.iter().zip(exact(shape, exact_inputs, 0.2)) {
        assert!((f64::from(*got) - wanted).abs() <= bound, "{got} {wanted}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let text = |result: mlx_kernels::Result<()>| result.unwrap_err().to_string();
    let mut bytes = [0; 80];
    assert_eq!(
        text(quantize_rows(64, 48, &[0.0; 64], &mut bytes)),
        "quantized_rows: group_size must be a divisor of dim, got 48"
    );
    assert!(quantize_rows(64, 0, &[0.0; 64], &mut bytes).is_err());
    assert!(quantize_rows(64, 32, &[0.0; 65], &mut bytes).is_err());
    assert_eq!(
        text(quantize_rows(64, 64, &[0.0; 64], &mut bytes)),
        "quantize_rows: out must have 72 elements, got 80"
    );
    assert!(dequantize_rows(64, 32, &bytes[1..], &mut [0.0; 64]).is_err());
    let shape = AttentionShape {
        batch: 1,
        heads: 2,
        kv_heads: 1,
        queries: 1,
        keys: 2,
        dim: 64,
        value_dim: 64,
    };
    let attend = |bytes: &[u8], group_size, heads| {
        let rows = QuantizedRows {
            bytes,
            strides: Strides::contiguous(1, 2, 72),
            group_size,
        };
        let inputs = AttentionInputs {
            queries: Strided {
                values: &[0.0; 192],
                strides: Strides::contiguous(heads, 1, 64),
            },
            keys: rows,
            values: rows,
            mask: Mask::None,
            sinks: None,
        };
        let shape = AttentionShape { heads, ..shape };
        quantized_attention(shape, inputs, 1.0, &mut vec![0.0; heads * 64])
    };
    assert!(attend(&[0; 144], 64, 2).is_ok());
    assert_eq!(
        text(attend(&[0; 143], 64, 2)),
        "quantized_attention: keys must have at least 144 elements for its strides, got 143"
    );
    assert!(text(attend(&[0; 144], 30, 2)).contains("group_size must be a divisor of dim, got 30"));
    assert!(attend(&[0; 144], 32, 2).is_err());
}

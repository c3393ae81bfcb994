//! Blocks of few bits against two other answers: the `gguf` package, and formulas in `f64` written here from the
//! format; unpacked, and packed as MLX packs them.

#[path = "support/gguf_file.rs"]
mod gguf_file;

use std::sync::Arc;

use gguf_file::GgufWriter;
use half::f16;
use mlx::io::Source;
use mlx::io::gguf::{GgmlType, Gguf, GgufTensor};
use rstest::rstest;

/// A matrix of blocks with bytes from a seed, and those bytes.
fn random(kind: GgmlType, rows: usize, seed: u64) -> (GgufTensor, Vec<u8>) {
    let blocks_in_row = if kind.block_len() == 32 { 4 } else { 2 };
    let n_blocks = rows * blocks_in_row;
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    let mut bytes: Vec<u8> = (0..n_blocks * kind.block_bytes()).map(|_| next()).collect();
    for block in bytes.chunks_exact_mut(kind.block_bytes()) {
        for &at in halves(kind) {
            // Not too large, and never infinite.
            block[at + 1] = block[at + 1] & 0x83 | 0x2c;
        }
    }
    let shape = [rows as u64, (blocks_in_row * kind.block_len()) as u64];
    let file = GgufWriter::default().tensor("x", &shape, kind, bytes.clone());
    let gguf = Gguf::read(&Arc::new(Source::from_bytes(file.finish()))).unwrap();
    (gguf.tensor("x").unwrap().clone(), bytes)
}

/// Where the half-precision floats of a block are.
fn halves(kind: GgmlType) -> &'static [usize] {
    match kind {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4_K | GgmlType::Q5_K => &[0, 2],
        GgmlType::Q2_K => &[80, 82],
        GgmlType::Q3_K => &[108],
        _ => &[208],
    }
}

fn half(block: &[u8], at: usize) -> f64 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f64()
}

/// The values of a block, as llama.cpp's reference walks it.
fn reference(kind: GgmlType, b: &[u8]) -> Vec<f64> {
    let n = |byte: u8| f64::from(byte);
    match kind {
        GgmlType::Q4_0 => {
            let low = b[2..].iter().map(|q| (n(q & 15) - 8.0) * half(b, 0));
            low.chain(b[2..].iter().map(|q| (n(q >> 4) - 8.0) * half(b, 0)))
                .collect()
        }
        GgmlType::Q4_1 => {
            let low = b[4..].iter().map(|q| n(q & 15) * half(b, 0) + half(b, 2));
            low.chain(b[4..].iter().map(|q| n(q >> 4) * half(b, 0) + half(b, 2)))
                .collect()
        }
        GgmlType::Q5_0 | GgmlType::Q5_1 => {
            let at = if kind == GgmlType::Q5_0 { 2 } else { 4 };
            let high = u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            let codes = &b[at + 4..];
            let one = |i: usize| {
                let nibble = if i < 16 {
                    codes[i] & 15
                } else {
                    codes[i - 16] >> 4
                };
                let q = f64::from(u32::from(nibble) + 16 * (high >> i & 1));
                match kind {
                    GgmlType::Q5_0 => (q - 16.0) * half(b, 0),
                    _ => q * half(b, 0) + half(b, 2),
                }
            };
            (0..32).map(one).collect()
        }
        GgmlType::Q8_0 => b[2..]
            .iter()
            .map(|&q| f64::from(q as i8) * half(b, 0))
            .collect(),
        GgmlType::Q2_K => {
            let mut y = Vec::new();
            let mut is = 0;
            for q in b[16..80].chunks(32) {
                for shift in [0, 2, 4, 6] {
                    for part in q.chunks(16) {
                        let (dl, ml) = (half(b, 80) * n(b[is] & 15), half(b, 82) * n(b[is] >> 4));
                        is += 1;
                        y.extend(part.iter().map(|q| dl * n(q >> shift & 3) - ml));
                    }
                }
            }
            y
        }
        GgmlType::Q3_K => {
            let scales = sixteen_scales(&b[96..108]);
            let mut y = Vec::new();
            let (mut is, mut m) = (0, 1_u8);
            for q in b[32..96].chunks(32) {
                for shift in [0, 2, 4, 6] {
                    for part in 0..2 {
                        let dl = half(b, 108) * f64::from(scales[is]);
                        is += 1;
                        for l in 16 * part..16 * part + 16 {
                            let missing = if b[l] & m == 0 { 4.0 } else { 0.0 };
                            y.push(dl * (n(q[l] >> shift & 3) - missing));
                        }
                    }
                    m = m.wrapping_shl(1);
                }
            }
            y
        }
        GgmlType::Q4_K | GgmlType::Q5_K => {
            let scales = &b[4..16];
            let codes = if kind == GgmlType::Q4_K {
                &b[16..]
            } else {
                &b[48..]
            };
            let mut y = Vec::new();
            for (pair, q) in codes.chunks(32).enumerate() {
                for upper in 0..2 {
                    let (sc, m) = scale_and_min(2 * pair + upper, scales);
                    for (l, &byte) in q.iter().enumerate() {
                        let nibble = if upper == 0 { byte & 15 } else { byte >> 4 };
                        let bit = 1_u8 << (2 * pair + upper);
                        let fifth = kind == GgmlType::Q5_K && b[16 + l] & bit != 0;
                        let q = n(nibble) + if fifth { 16.0 } else { 0.0 };
                        y.push(half(b, 0) * sc * q - half(b, 2) * m);
                    }
                }
            }
            y
        }
        GgmlType::Q6_K => {
            let mut y = vec![0.0; 256];
            for h in 0..2 {
                let (ql, qh) = (&b[64 * h..64 * h + 64], &b[128 + 32 * h..160 + 32 * h]);
                let sc = |i: usize| f64::from(b[192 + 8 * h + i] as i8) * half(b, 208);
                for l in 0..32 {
                    let q = |low: u8, high: u8| f64::from(low | (high & 3) << 4) - 32.0;
                    y[128 * h + l] = sc(l / 16) * q(ql[l] & 15, qh[l]);
                    y[128 * h + l + 32] = sc(l / 16 + 2) * q(ql[l + 32] & 15, qh[l] >> 2);
                    y[128 * h + l + 64] = sc(l / 16 + 4) * q(ql[l] >> 4, qh[l] >> 4);
                    y[128 * h + l + 96] = sc(l / 16 + 6) * q(ql[l + 32] >> 4, qh[l] >> 6);
                }
            }
            y
        }
        _ => unreachable!(),
    }
}

/// The four words of llama.cpp's unpacking.
fn sixteen_scales(packed: &[u8]) -> Vec<i32> {
    let word = |i: usize| u32::from_le_bytes(packed[4 * i..4 * i + 4].try_into().unwrap());
    let (low, high) = (0x0f0f_0f0f, 0x0303_0303);
    let words = [
        word(0) & low | (word(2) & high) << 4,
        word(1) & low | (word(2) >> 2 & high) << 4,
        word(0) >> 4 & low | (word(2) >> 4 & high) << 4,
        word(1) >> 4 & low | (word(2) >> 6 & high) << 4,
    ];
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.map(|byte| i32::from(byte) - 32).collect()
}

fn scale_and_min(j: usize, q: &[u8]) -> (f64, f64) {
    let (sc, m) = if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        (
            (q[j + 4] & 0xf) | ((q[j - 4] >> 6) << 4),
            (q[j + 4] >> 4) | ((q[j] >> 6) << 4),
        )
    };
    (sc.into(), m.into())
}

#[rstest]
#[case(GgmlType::Q4_0)]
#[case(GgmlType::Q4_1)]
#[case(GgmlType::Q5_0)]
#[case(GgmlType::Q5_1)]
#[case(GgmlType::Q8_0)]
#[case(GgmlType::Q2_K)]
#[case(GgmlType::Q3_K)]
#[case(GgmlType::Q4_K)]
#[case(GgmlType::Q5_K)]
#[case(GgmlType::Q6_K)]
fn unpacked_values_are_the_reference_rounded_once(#[case] kind: GgmlType) {
    for seed in 0..20 {
        let (tensor, bytes) = random(kind, 3, seed);
        let blocks = bytes.chunks_exact(kind.block_bytes());
        let wanted: Vec<f32> = blocks
            .flat_map(|block| reference(kind, block))
            .map(|value| value as f32)
            .collect();
        assert_eq!(tensor.to_f32().unwrap(), wanted, "seed {seed}");
    }
}

#[rstest]
#[case(GgmlType::Q4_0, 4)]
#[case(GgmlType::Q4_1, 4)]
#[case(GgmlType::Q4_K, 4)]
#[case(GgmlType::Q5_0, 5)]
#[case(GgmlType::Q5_1, 5)]
#[case(GgmlType::Q5_K, 5)]
#[case(GgmlType::Q8_0, 8)]
fn packed_values_are_the_same_numbers(#[case] kind: GgmlType, #[case] bits: i32) {
    let (tensor, _) = random(kind, 5, 7);
    let packed = tensor.to_quantized().unwrap().expect("packed");
    assert_eq!(
        (packed.quantization.bits, packed.quantization.group_size),
        (bits, 32)
    );
    assert_eq!(packed.weight.dtype().unwrap(), mlx::Dtype::Uint32);
    let values = packed.dequantize(None).to_vec::<f32>().unwrap();
    let wanted = tensor.to_f32().unwrap();
    for (i, (got, wanted)) in values.iter().zip(&wanted).enumerate() {
        // MLX multiplies, rounds and adds.
        let most = f32::EPSILON * 300.0 * 0.1;
        assert!(
            (got - wanted).abs() <= most.max(wanted.abs() * 1e-6),
            "{i}: {got} {wanted}"
        );
    }
    let x = mlx::random::normal_with([2, tensor.shape[1] as i32], &mlx::random::key(3));
    let fused = x.quantized_matmul(&packed, true);
    let plain = x.matmul(&tensor.to_array().unwrap().t());
    let most = (fused - &plain).abs().max(()).item::<f32>().unwrap();
    assert!(
        most < 1e-4 * plain.abs().max(()).item::<f32>().unwrap(),
        "{most}"
    );
}

#[rstest]
#[case(GgmlType::Q2_K)]
#[case(GgmlType::Q3_K)]
#[case(GgmlType::Q6_K)]
fn groups_of_sixteen_are_not_packed(#[case] kind: GgmlType) {
    assert!(random(kind, 1, 0).0.to_quantized().unwrap().is_none());
}

#[test]
fn blocks_mean_what_the_gguf_package_says() {
    let lines = include_str!("golden/gguf_blocks.txt").lines().skip(1);
    let mut n = 0;
    for line in lines {
        let [name, bytes, values] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let kind = GgmlType::all()
            .find(|kind| format!("{kind:?}") == name)
            .unwrap();
        let wanted: Vec<f32> = hex(values)
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let file = GgufWriter::default().tensor("x", &[wanted.len() as u64], kind, hex(bytes));
        let gguf = Gguf::read(&Arc::new(Source::from_bytes(file.finish()))).unwrap();
        for (got, wanted) in gguf
            .tensor("x")
            .unwrap()
            .to_f32()
            .unwrap()
            .iter()
            .zip(&wanted)
        {
            // That package rounds in between.
            assert!(
                (got - wanted).abs() <= 1e-6 * wanted.abs().max(0.1),
                "{name}: {got} {wanted}"
            );
        }
        n += 1;
    }
    assert_eq!(n, 10);
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

//! Random calls of kernels that multiply matrices or rotate rows.

use half::f16;
use mlx_kernels::*;

use crate::cases::{Checked, close, went};
use crate::dice::{Dice, Guarded};

const GUARD: f32 = 12_345.0;

pub fn attention_case(dice: &mut Dice) -> Checked {
    let kv_heads = 1 + dice.below(3);
    let keys = dice.length(300);
    let shape = AttentionShape {
        batch: 1 + dice.below(2),
        heads: kv_heads * (1 + dice.below(3)),
        kv_heads,
        queries: dice.length(140),
        keys,
        dim: dice.size(70),
        value_dim: dice.size(70),
    };
    // A cache has room for more keys than there are.
    let capacity = keys + dice.below(5);
    let AttentionShape {
        batch,
        heads,
        queries,
        dim,
        value_dim,
        ..
    } = shape;
    let q = dice.numbers(batch * heads * queries * dim);
    let k = dice.numbers(batch * kv_heads * capacity * dim);
    let v = dice.numbers(batch * kv_heads * capacity * value_dim);
    let (per_batch, per_head) = (dice.chance(2), dice.chance(2));
    let masks = if per_batch { batch } else { 1 } * if per_head { heads } else { 1 };
    let truth: Vec<bool> = (0..masks * queries * keys)
        .map(|_| !dice.chance(3))
        .collect();
    let added: Vec<f32> = truth
        .iter()
        .map(|seen| if *seen { 0.5 } else { f32::NEG_INFINITY })
        .collect();
    let (mask_batch, mask_heads) = (
        if per_batch { batch } else { 1 },
        if per_head { heads } else { 1 },
    );
    let strides = MaskStrides::contiguous([mask_batch, mask_heads, queries, keys]);
    let mask = match dice.below(4) {
        0 => Mask::None,
        1 => Mask::Causal,
        2 => Mask::Boolean {
            values: &truth,
            strides,
        },
        _ => Mask::Additive {
            values: &added,
            strides,
        },
    };
    let score = |row: usize, kv: usize, j: usize| -> f64 {
        let (b, h, i) = (row / queries / heads, row / queries % heads, row % queries);
        let n_heads = if per_head { heads } else { 1 };
        let mask_row = usize::from(per_batch) * b * n_heads + usize::from(per_head) * h;
        let at = (mask_row * queries + i) * keys + j;
        let (q, k) = (&q[row * dim..][..dim], &k[(kv + j) * dim..][..dim]);
        let dot: f64 = q
            .iter()
            .zip(k)
            .map(|(q, k)| f64::from(*q) * f64::from(*k))
            .sum();
        match mask {
            Mask::Causal if j + queries > i + keys => f64::NEG_INFINITY,
            Mask::Boolean { values, .. } if !values[at] => f64::NEG_INFINITY,
            Mask::Additive { values, .. } => dot * 0.3 + f64::from(values[at]),
            _ => dot * 0.3,
        }
    };
    let mut wanted = Vec::new();
    for row in 0..batch * heads * queries {
        let (b, h) = (row / queries / heads, row / queries % heads);
        let kv = (b * kv_heads + h / (heads / kv_heads)) * capacity;
        let powers: Vec<f64> = (0..keys).map(|j| score(row, kv, j).exp()).collect();
        let total: f64 = powers.iter().sum();
        let value = |column: usize| {
            let of = |j: usize| powers[j] * f64::from(v[(kv + j) * value_dim + column]);
            let sum: f64 = (0..keys).map(of).sum();
            if total == 0.0 { 0.0 } else { sum / total }
        };
        wanted.extend((0..value_dim).map(value));
    }
    let inputs = AttentionInputs {
        queries: Strided {
            values: &q,
            strides: Strides::contiguous(heads, queries, dim),
        },
        keys: Strided {
            values: &k,
            strides: Strides::contiguous(kv_heads, capacity, dim),
        },
        values: Strided {
            values: &v,
            strides: Strides::contiguous(kv_heads, capacity, value_dim),
        },
        mask,
        sinks: None,
    };
    let mut out = Guarded::new(dice, wanted.len(), GUARD);
    let what = format!("{shape:?}");
    went(attention(shape, inputs, 0.3, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-5, &what)
}

/// `x * transpose(weights)`, and the same of magnitudes.
fn product(rows: usize, columns: usize, weights: &[f64], x: &[f32]) -> Vec<f64> {
    let vectors = x.len() / columns.max(1);
    let element = |vector: usize, row: usize| -> f64 {
        let (w, x) = (
            &weights[row * columns..][..columns],
            &x[vector * columns..][..columns],
        );
        w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum()
    };
    (0..vectors * rows)
        .map(|i| element(i / rows, i % rows))
        .collect()
}

pub fn matmul_case(dice: &mut Dice) -> Checked {
    let (rows, columns, vectors) = (dice.length(150), dice.size(600), 1 + dice.below(20));
    let shape = MatrixShape { rows, columns };
    let (weights, x) = (
        dice.numbers(rows * columns),
        dice.numbers(vectors * columns),
    );
    let what = format!("{shape:?} {vectors}");
    let wide: Vec<f64> = weights.iter().map(|x| f64::from(*x)).collect();
    let wanted = product(rows, columns, &wide, &x);
    let mut out = Guarded::new(dice, vectors * rows, GUARD);
    went(matmul(shape, vectors, &weights, &x, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-4, &what)?;
    let mut out = Guarded::new(dice, rows, GUARD);
    went(matmul(shape, 1, &weights, &x[..columns], out.get()), &what)?;
    close(out.checked()?, &wanted[..rows], 1e-4, &what)?;
    let narrow: Vec<f16> = weights.iter().map(|x| f16::from_f32(*x)).collect();
    let wide: Vec<f64> = narrow.iter().map(|x| x.to_f64()).collect();
    let wanted = product(rows, columns, &wide, &x);
    let mut out = Guarded::new(dice, vectors * rows, GUARD);
    went(matmul(shape, vectors, &narrow, &x, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-4, &what)
}

pub fn quantized_case(dice: &mut Dice) -> Checked {
    let (bits, group_size) = (dice.pick(&[2, 3, 4, 6, 8]), dice.pick(&[32, 64, 128]));
    let (rows, columns) = (dice.length(60), group_size * (1 + dice.below(6)));
    let vectors = 1 + dice.below(12);
    let (words, groups) = (rows * columns * bits / 32, rows * columns / group_size);
    let packed: Vec<u32> = (0..words).map(|_| dice.below(1 << 32) as u32).collect();
    let (scales, biases) = (dice.numbers(groups), dice.numbers(groups));
    let x = dice.numbers(vectors * columns);
    let weight = |index: usize| {
        // Numbers follow each other bit by bit, and may begin in one word and end in the next.
        let (word, bit) = (index * bits / 32, index * bits % 32);
        let next = packed.get(word + 1).copied().unwrap_or(0);
        let both = u64::from(packed[word]) | u64::from(next) << 32;
        let number = (both >> bit) as u32 & ((1 << bits) - 1);
        let group = index / group_size;
        f64::from(scales[group]) * f64::from(number) + f64::from(biases[group])
    };
    let weights: Vec<f64> = (0..rows * columns).map(weight).collect();
    let wanted = product(rows, columns, &weights, &x);
    let matrix = Quantized {
        shape: MatrixShape { rows, columns },
        bits,
        group_size,
        weights: &packed,
        scales: &scales,
        biases: &biases,
    };
    let mut out = Guarded::new(dice, vectors * rows, GUARD);
    let what = format!("{bits} bits, groups of {group_size}, {rows}x{columns}, {vectors}");
    went(quantized_matmul(matrix, vectors, &x, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-3, &what)
}

pub fn conv_case(dice: &mut Dice) -> Checked {
    let groups = 1 + dice.below(3);
    let shape = Conv1d {
        batch: 1 + dice.below(3),
        length: dice.length(90),
        channels: groups * dice.length(20),
        outputs: groups * dice.length(40),
        kernel_size: dice.below(6),
        stride: dice.below(4),
        padding: dice.below(6),
        dilation: dice.below(4),
        groups,
    };
    let what = format!("{shape:?}");
    let Ok(out_length) = shape.out_length() else {
        let mut out = Guarded::new(dice, 7, GUARD);
        return match conv1d(shape, &[], &[], out.get()) {
            Ok(()) => Err(format!("{what}: done although there is no length")),
            Err(_) => out.untouched(),
        };
    };
    let (c, o) = (shape.channels / groups, shape.outputs / groups);
    let x = dice.numbers(shape.batch * shape.length * shape.channels);
    let weight = dice.numbers(shape.outputs * shape.kernel_size * c);
    let element = |index: usize| {
        let (window, output) = (index / shape.outputs, index % shape.outputs);
        let (n, t) = (window / out_length, window % out_length);
        let mut sum = 0.0;
        for k in 0..shape.kernel_size {
            let place = (t * shape.stride + k * shape.dilation).checked_sub(shape.padding);
            let Some(place) = place.filter(|place| *place < shape.length) else {
                continue;
            };
            for channel in 0..c {
                let at = (n * shape.length + place) * shape.channels + output / o * c + channel;
                sum += f64::from(x[at])
                    * f64::from(weight[(output * shape.kernel_size + k) * c + channel]);
            }
        }
        sum
    };
    let count = shape.batch * out_length * shape.outputs;
    let wanted: Vec<f64> = (0..count).map(element).collect();
    let mut out = Guarded::new(dice, count, GUARD);
    went(conv1d(shape, &x, &weight, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-5, &what)
}

pub fn rope_case(dice: &mut Dice) -> Checked {
    let dims = 2 * dice.size(40);
    let turn = Rope {
        dims,
        traditional: dice.chance(2),
        offset: dice.below(1000) as i64 - 300,
        ..Rope::default()
    };
    let shape = RopeShape {
        outer: dice.length(5),
        positions: dice.length(50),
        dim: dims + dice.below(9),
    };
    let x = dice.numbers(shape.outer * shape.positions * shape.dim);
    let mut wanted: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    for (row, out) in wanted.chunks_exact_mut(shape.dim).enumerate() {
        let position = (row % shape.positions) as f64 + turn.offset as f64;
        for pair in 0..dims / 2 {
            let (a, b) = match turn.traditional {
                true => (2 * pair, 2 * pair + 1),
                false => (pair, pair + dims / 2),
            };
            let angle = position * 10_000_f64.powf(-2.0 * pair as f64 / dims as f64);
            let (sin, cos) = angle.sin_cos();
            (out[a], out[b]) = (out[a] * cos - out[b] * sin, out[a] * sin + out[b] * cos);
        }
    }
    let mut out = Guarded::new(dice, x.len(), GUARD);
    let what = format!("{turn:?} {shape:?}");
    let table = went(RotaryTable::new(turn, shape.positions), &what)?;
    went(table.apply(shape, &x, out.get()), &what)?;
    close(out.checked()?, &wanted, 1e-3, &what)
}

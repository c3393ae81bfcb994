//! Prints how long attention of one query takes over keys and values in `f32` and in 8 bits. Run it with `--release`.
//!
//! Each call has the cache of another layer, as in a network, so that it is read from memory.

use std::time::Instant;

use mlx_kernels::{
    AttentionInputs, AttentionShape, Mask, QuantizedRows, Strided, Strides, attention,
    quantize_rows, quantized_attention, quantized_row_bytes,
};

/// Heads, heads of keys and values, numbers of a head.
const SHAPES: [[usize; 3]; 4] = [[9, 3, 64], [32, 8, 64], [32, 8, 128], [8, 8, 128]];
const KEYS: [usize; 3] = [512, 2048, 8192];
const GROUP_SIZE: usize = 64;
/// The memory of all layers in `f32`.
const BYTES: usize = 1 << 28;
const ROUNDS: usize = 7;

fn main() -> mlx_kernels::Result<()> {
    for [heads, kv_heads, dim] in SHAPES {
        for keys in KEYS {
            let shape = AttentionShape {
                batch: 1,
                heads,
                kv_heads,
                queries: 1,
                keys,
                dim,
                value_dim: dim,
            };
            let [plain, int8] = microseconds(shape)?;
            println!(
                "{heads} heads, {kv_heads} of keys, of {dim}; {keys} keys: {plain:.0} microseconds, int8 {int8:.0}"
            );
        }
    }
    Ok(())
}

/// The time of a call in the best round.
fn microseconds(shape: AttentionShape) -> mlx_kernels::Result<[f64; 2]> {
    let AttentionShape {
        heads,
        kv_heads,
        keys,
        dim,
        ..
    } = shape;
    let size = kv_heads * keys * dim;
    let layers = BYTES.div_ceil(8 * size);
    let number = |i: usize| (i * 7919 % 1009) as f32 / 1009.0 - 0.5;
    let numbers = |count: usize| (0..count).map(number).collect::<Vec<f32>>();
    let queries = numbers(heads * dim);
    let plain = numbers(2 * layers * size);
    let row = quantized_row_bytes(dim, GROUP_SIZE)?;
    let mut bytes = vec![0; plain.len() / dim * row];
    quantize_rows(dim, GROUP_SIZE, &plain, &mut bytes)?;
    let bytes_of_part = kv_heads * keys * row;
    let mut out = vec![0.0; heads * dim];
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for layer in plain.chunks_exact(2 * size) {
            let (k, v) = layer.split_at(size);
            let inputs = AttentionInputs::contiguous(shape, &queries, k, v);
            attention(shape, inputs, 0.1, &mut out)?;
        }
        best[0] = best[0].min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        for layer in bytes.chunks_exact(2 * bytes_of_part) {
            let (k, v) = layer.split_at(bytes_of_part);
            let rows = |bytes| QuantizedRows {
                bytes,
                strides: Strides::contiguous(kv_heads, keys, row),
                group_size: GROUP_SIZE,
            };
            let inputs = AttentionInputs {
                queries: Strided {
                    values: &queries,
                    strides: Strides::contiguous(heads, 1, dim),
                },
                keys: rows(k),
                values: rows(v),
                mask: Mask::None,
                sinks: None,
            };
            quantized_attention(shape, inputs, 0.1, &mut out)?;
        }
        best[1] = best[1].min(started.elapsed().as_secs_f64());
    }
    Ok(best.map(|seconds| seconds * 1e6 / layers as f64))
}

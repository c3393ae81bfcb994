//! Rotary positions.

use std::sync::{Arc, Mutex, PoisonError};

use mlx_kernels::{Rope, RopeShape, RotaryTable};

use super::layout::{error_text, input, output, size};
use super::{Stored, by_dtype};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let &Op::Rope {
        dims,
        traditional,
        base,
        scale,
        freqs,
    } = op
    else {
        return Err(format!("wanted fast.rope, got {op}"));
    };
    let (x, offsets) = (input(inputs, 0)?, input(inputs, 1)?);
    let offsets = offsets.to_contiguous::<i32>()?;
    let frequencies = freqs.then(|| input(inputs, 2)?.to_contiguous::<f32>());
    let frequencies = frequencies.transpose()?;
    let &[batch, .., positions, dim] = x.shape() else {
        return Err(format!("x must have at least 3 axes, got {:?}", x.shape()));
    };
    let positions = size(positions);
    // All sequences at one offset are turned together.
    let groups = offsets.len().max(1);
    let outer: usize = x
        .shape()
        .iter()
        .rev()
        .skip(2)
        .map(|&axis| size(axis))
        .product();
    let shape = RopeShape {
        outer: outer / groups,
        positions,
        dim: size(dim),
    };
    if groups > 1 && groups != size(batch) {
        return Err(format!("offset must be one or {batch}, got {groups}"));
    }
    let mut tables = Vec::with_capacity(groups);
    for &offset in offsets.iter() {
        let rope = Rope {
            dims: size(dims),
            traditional,
            base: base.unwrap_or(0.0),
            scale,
            offset: i64::from(offset),
        };
        tables.push(table(rope, positions, frequencies.as_deref())?);
    }
    by_dtype!(x.dtype(), turn(&tables, shape, x, output(outputs, 0)?))
}

/// Tables that were asked for last, of up to `KEPT_NUMBERS` each: all heads, layers, queries and keys of a step want
/// the same one.
static KEPT: Mutex<Vec<(Key, Arc<RotaryTable>)>> = Mutex::new(Vec::new());
const KEPT_TABLES: usize = 4;
const KEPT_NUMBERS: usize = 1 << 20;

/// What a table depends on, by its bits.
#[derive(PartialEq)]
struct Key {
    sizes: [usize; 2],
    is_traditional: bool,
    numbers: [u32; 2],
    offset: i64,
    frequencies: Option<Vec<u32>>,
}

/// Returns the table of a run of positions, made or found.
fn table(
    rope: Rope,
    positions: usize,
    frequencies: Option<&[f32]>,
) -> Result<Arc<RotaryTable>, String> {
    let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect();
    let key = Key {
        sizes: [rope.dims, positions],
        is_traditional: rope.traditional,
        numbers: [rope.base.to_bits(), rope.scale.to_bits()],
        offset: rope.offset,
        frequencies: frequencies.map(bits),
    };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, table)) = kept.iter().find(|(other, _)| *other == key) {
        return Ok(Arc::clone(table));
    }
    drop(kept);
    let table = match frequencies {
        Some(frequencies) => RotaryTable::with_frequencies(rope, positions, frequencies),
        None => RotaryTable::new(rope, positions),
    };
    let table = Arc::new(table.map_err(error_text)?);
    if positions.saturating_mul(rope.dims) <= KEPT_NUMBERS {
        kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT_TABLES - 1);
        kept.insert(0, (key, Arc::clone(&table)));
    }
    Ok(table)
}

fn turn<T: Stored>(
    tables: &[Arc<RotaryTable>],
    shape: RopeShape,
    x: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let (x, out) = (x.to_contiguous::<T>()?, out.as_mut_slice::<T>()?);
    let sequence = x.len() / tables.len().max(1);
    if sequence == 0 {
        return Ok(());
    }
    let parts = x.chunks_exact(sequence).zip(out.chunks_exact_mut(sequence));
    for (table, (x, out)) in tables.iter().zip(parts) {
        table.apply(shape, x, out).map_err(error_text)?;
    }
    Ok(())
}

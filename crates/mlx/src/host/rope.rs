//! Rotary positions.

use mlx_kernels::{Rope, RopeShape, Rotations};

use super::layout::{input, output, said, size};
use super::{Kernel, Stored, by_dtype};
use crate::ffi::host::{HostInput, HostOutput};

pub(super) fn run(
    kernel: &Kernel,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let &Kernel::Rope {
        dims,
        is_traditional,
        has_frequencies,
        base,
        scale,
    } = kernel
    else {
        return Err(format!("wanted rope, got {kernel:?}"));
    };
    let (x, offsets) = (input(inputs, 0)?, input(inputs, 1)?);
    let offsets = offsets.in_rows::<i32>()?;
    let frequencies = has_frequencies.then(|| input(inputs, 2)?.in_rows::<f32>());
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
            dims,
            traditional: is_traditional,
            base,
            scale,
            offset: i64::from(offset),
        };
        tables.push(
            match &frequencies {
                Some(frequencies) => Rotations::with_frequencies(rope, positions, frequencies),
                None => Rotations::new(rope, positions),
            }
            .map_err(said)?,
        );
    }
    by_dtype!(x.dtype(), turn(&tables, shape, x, output(outputs, 0)?))
}

fn turn<T: Stored>(
    tables: &[Rotations],
    shape: RopeShape,
    x: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let (x, out) = (x.in_rows::<T>()?, out.as_mut_slice::<T>()?);
    let sequence = x.len() / tables.len().max(1);
    if sequence == 0 {
        return Ok(());
    }
    let parts = x.chunks_exact(sequence).zip(out.chunks_exact_mut(sequence));
    for (table, (x, out)) in tables.iter().zip(parts) {
        table.apply(shape, x, out).map_err(said)?;
    }
    Ok(())
}

//! Moving parameters into a few large buffers.

use mlx::Array;

use super::{Module, ParameterVisitor};

/// Parameters at least this large are not moved by [`Module::compact`].
const MIN_LARGE_BYTES: usize = 4 << 20;
/// Bytes at which [`Module::compact`] begins another buffer.
const MAX_BATCH_BYTES: usize = 60 << 20;

/// See [`Module::compact`].
#[track_caller]
pub(super) fn compact(module: &mut impl Module) -> mlx::Result<()> {
    let mut small: Vec<(&mut Array, usize)> = Vec::new();
    for part in ParameterVisitor::of(module).parts {
        let bytes = part.array.nbytes()?;
        if bytes < MIN_LARGE_BYTES {
            small.push((part.array, bytes));
        }
    }
    let mut rest = small.as_mut_slice();
    while !rest.is_empty() {
        let mut total = 0;
        let count = rest.iter().take_while(|(_, bytes)| {
            let fits = total < MAX_BATCH_BYTES;
            total += bytes;
            fits
        });
        let (some, later) = rest.split_at_mut(count.count());
        let moved = mlx::memory::compact(some.iter().map(|(parameter, _)| &**parameter))?;
        for ((parameter, _), moved) in some.iter_mut().zip(moved) {
            **parameter = moved;
        }
        rest = later;
    }
    Ok(())
}

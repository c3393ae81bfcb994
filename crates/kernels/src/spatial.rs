//! What convolutions, pooling and interpolation have in common: up to three axes of space, and their checks.

use crate::error::{Error, Result, product};

/// The axes, with such of one element before them if there are fewer than three.
pub(crate) fn three_axes<Axis: Copy>(axes: &[Axis], one: Axis) -> [Axis; 3] {
    let mut three = [one; 3];
    three[3 - axes.len()..].copy_from_slice(axes);
    three
}

/// Refuses another number of axes than one to three.
pub(crate) fn check_axes<Axis>(op: &'static str, axes: &[Axis]) -> Result<()> {
    if (1..=3).contains(&axes.len()) {
        return Ok(());
    }
    Err(Error::Parameter {
        op,
        what: "the number of axes",
        wanted: "1 to 3",
        got: axes.len(),
    })
}

/// Refuses sizes that are 0, by their names.
pub(crate) fn check_positive(op: &'static str, sizes: &[(&'static str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some(&(what, got)) => Err(Error::Parameter {
            op,
            what,
            wanted: "at least 1",
            got,
        }),
        None => Ok(()),
    }
}

/// The elements of an array of these axes, and of two others.
pub(crate) fn elements<Axis>(
    op: &'static str,
    others: [usize; 2],
    axes: &[Axis],
    of: impl Fn(&Axis) -> usize,
) -> Result<usize> {
    let sizes: Vec<usize> = others.into_iter().chain(axes.iter().map(of)).collect();
    product(op, &sizes)
}

//! Operations that are another view of the same elements: shape arithmetic, no computation.

use super::View;
use crate::op::Op;
use crate::shape::{ArrayType, axis_index, is_row_major, row_major_strides};

/// Returns the input seen as the operation says; `None` if it must be made row-contiguous first.
pub(crate) fn view(op: &Op, input: &View, output: &ArrayType) -> Option<View> {
    let ndim = input.array_type.shape.len();
    let permuted = |axes: &[usize]| {
        let strides = axes.iter().map(|&axis| input.strides.get(axis).copied());
        Some(View {
            strides: strides.collect::<Option<_>>()?,
            array_type: output.clone(),
            ..input.clone()
        })
    };
    match op {
        Op::StopGradient => Some(input.clone()),
        Op::Transpose { axes } => {
            let axes: Option<Vec<usize>> = axes
                .iter()
                .map(|&number| axis_index(number, ndim))
                .collect();
            permuted(&axes?)
        }
        Op::Swapaxes { axis1, axis2 } => {
            let mut axes: Vec<usize> = (0..ndim).collect();
            axes.swap(axis_index(*axis1, ndim)?, axis_index(*axis2, ndim)?);
            permuted(&axes)
        }
        Op::Moveaxis {
            source,
            destination,
        } => {
            let mut axes: Vec<usize> = (0..ndim).collect();
            let moved = axes.remove(axis_index(*source, ndim)?);
            axes.insert(axis_index(*destination, ndim)?, moved);
            permuted(&axes)
        }
        Op::BroadcastTo { .. } => broadcast(input, &output.shape),
        Op::Slice { start, strides, .. } => {
            let mut sliced = input.clone();
            for (axis, stride) in sliced.strides.iter_mut().enumerate() {
                let (&first, &step) = (start.get(axis)?, strides.get(axis)?);
                let length = *input.array_type.shape.get(axis)?;
                // As Python counts: from the end below zero, and cut to the axis.
                let first = if first < 0 {
                    first.saturating_add(length)
                } else {
                    first
                };
                let first = usize::try_from(first.clamp(0, length)).ok()?;
                if *output.shape.get(axis)? > 0 {
                    let skipped = first.checked_mul(usize::try_from(*stride).ok()?)?;
                    sliced.offset = sliced.offset.checked_add(skipped)?;
                }
                *stride = stride.checked_mul(i64::from(step))?;
            }
            sliced.array_type = output.clone();
            Some(sliced)
        }
        // The others keep the elements and their order.
        _ => Some(View {
            strides: reshaped(&input.array_type.shape, &input.strides, &output.shape)?,
            array_type: output.clone(),
            ..input.clone()
        }),
    }
}

/// The strides of the same elements in another shape; `None` if one stride is not enough for each axis.
fn reshaped(shape: &[i32], strides: &[i64], to: &[i32]) -> Option<Vec<i64>> {
    if to.contains(&0) || is_row_major(shape, strides) {
        return Some(row_major_strides(to));
    }
    // Axes joined to runs that one stride goes through: how many elements, and how far apart.
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (&size, &stride) in shape.iter().zip(strides) {
        let size = i64::from(size);
        match runs.last_mut() {
            _ if size == 1 => {}
            Some((count, step)) if *step == stride * size => {
                (*count, *step) = (*count * size, stride)
            }
            _ => runs.push((size, stride)),
        }
    }
    // Each axis divides what is left of a run, from the last run on.
    let mut made = vec![1; to.len()];
    let mut run = (1, 1);
    for (made, &size) in made.iter_mut().zip(to).rev() {
        let size = i64::from(size);
        if run.0 == 1 && size > 1 {
            run = runs.pop()?;
        }
        *made = run.1;
        if run.0 % size != 0 {
            return None;
        }
        run = (run.0 / size, run.1 * size);
    }
    Some(made)
}

/// Repeats axes of one element without copying; `None` if the shapes do not fit.
pub(crate) fn broadcast(input: &View, shape: &[i32]) -> Option<View> {
    let mut strides = vec![0; shape.len()];
    let lead = shape.len().checked_sub(input.strides.len())?;
    for (axis, (&size, &stride)) in input
        .array_type
        .shape
        .iter()
        .zip(&input.strides)
        .enumerate()
    {
        match size {
            1 => {}
            size if size == shape[lead + axis] => strides[lead + axis] = stride,
            _ => return None,
        }
    }
    Some(View {
        strides,
        array_type: ArrayType {
            shape: shape.to_vec(),
            dtype: input.array_type.dtype,
        },
        ..input.clone()
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// What NumPy's `reshape` gives without a copy.
    #[rstest]
    #[case::rows(&[2, 3, 4], &[12, 4, 1], &[6, 4], Some(vec![4, 1]))]
    #[case::gaps_between_rows(&[6, 4], &[8, 1], &[2, 3, 2, 2], Some(vec![24, 8, 2, 1]))]
    #[case::gaps_are_not_joined(&[6, 4], &[8, 1], &[24], None)]
    #[case::across_a_gap(&[6, 4], &[8, 1], &[3, 8], None)]
    #[case::transposed(&[4, 6], &[1, 4], &[2, 2, 3, 2], Some(vec![2, 1, 8, 4]))]
    #[case::transposed_joined(&[4, 6], &[1, 4], &[24], None)]
    #[case::heads(&[3, 1, 8, 5, 2], &[16, 240, 2, 48, 1], &[3, 8, 5, 2], Some(vec![16, 2, 48, 1]))]
    #[case::repeated(&[4, 6], &[0, 0], &[8, 3], Some(vec![0, 0]))]
    #[case::odd_division(&[6, 4], &[8, 1], &[4, 6], None)]
    fn a_shape_is_a_view_where_one_stride_goes_through(
        #[case] shape: &[i32],
        #[case] strides: &[i64],
        #[case] to: &[i32],
        #[case] wanted: Option<Vec<i64>>,
    ) {
        assert_eq!(reshaped(shape, strides, to), wanted);
    }
}

//! Axes that are stepped through as one.

/// An axis, or several in one: its size, and how far apart neighbours are in each of `K` arrays, in elements. Negative
/// strides are stored as `usize` too: sums wrap around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergedAxis<const K: usize> {
    pub(crate) size: usize,
    pub(crate) strides: [usize; K],
}

/// The axes that are longer than 1, neighbours merged where each array steps through both with one stride. There is a stride
/// for each size in each array.
pub(crate) fn merge_axes<const K: usize>(
    shape: &[usize],
    strides: [&[isize]; K],
) -> Vec<MergedAxis<K>> {
    let mut axes: Vec<MergedAxis<K>> = Vec::with_capacity(shape.len());
    for (axis, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
        let strides = strides.map(|strides| strides[axis] as usize);
        let follows = |outer: &MergedAxis<K>| {
            let mut pairs = outer.strides.iter().zip(&strides);
            pairs.all(|(outer, inner)| *outer == inner.wrapping_mul(size))
        };
        match axes.last_mut() {
            Some(last) if follows(last) => {
                last.size *= size;
                last.strides = strides;
            }
            _ => axes.push(MergedAxis { size, strides }),
        }
    }
    axes
}

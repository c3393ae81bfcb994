//! Where the rows of a strided array start, one after the other.

/// The offsets of rows, in row-major order of the axes before the last.
pub(crate) struct RowOffsets<'a> {
    sizes: &'a [usize],
    /// Negative strides are stored as `usize` too: sums wrap around.
    strides: &'a [usize],
    index: Vec<usize>,
    current: usize,
}

impl<'a> RowOffsets<'a> {
    /// Starts at the row with this index. There is a stride for each size, and no size is 0.
    pub(crate) fn from_row(sizes: &'a [usize], strides: &'a [usize], row: usize) -> Self {
        let mut offsets = Self {
            sizes,
            strides,
            index: vec![0; sizes.len()],
            current: 0,
        };
        let mut rest = row;
        for (axis, size) in sizes.iter().enumerate().rev() {
            offsets.index[axis] = rest % size;
            rest /= size;
            let offset = offsets.index[axis].wrapping_mul(strides[axis]);
            offsets.current = offsets.current.wrapping_add(offset);
        }
        offsets
    }

    /// The offset of the current row.
    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// How many rows follow along the last of these axes, the current one included.
    pub(crate) fn rows_left(&self) -> usize {
        match (self.sizes.last(), self.index.last()) {
            (Some(size), Some(index)) => size - index,
            _ => 1,
        }
    }

    /// Advances by `rows`, at most [`rows_left`](Self::rows_left).
    pub(crate) fn advance(&mut self, rows: usize) {
        let mut step = rows;
        for (axis, size) in self.sizes.iter().enumerate().rev() {
            let stride = self.strides[axis];
            self.index[axis] += step;
            self.current = self.current.wrapping_add(step.wrapping_mul(stride));
            if self.index[axis] < *size {
                return;
            }
            self.index[axis] = 0;
            self.current = self.current.wrapping_sub(size.wrapping_mul(stride));
            step = 1;
        }
    }
}

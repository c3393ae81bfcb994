//! Where the rows of a strided array begin, one after the other.

/// A walk over rows in row-major order of the axes before the last.
pub(crate) struct Walk<'a> {
    sizes: &'a [usize],
    /// Backward strides are stored as `usize` too: sums wrap around.
    strides: &'a [usize],
    index: Vec<usize>,
    place: usize,
}

impl<'a> Walk<'a> {
    /// Starts at the row of this number. There is a stride for each size, and no size is 0.
    pub(crate) fn from_row(sizes: &'a [usize], strides: &'a [usize], row: usize) -> Self {
        let mut walk = Self {
            sizes,
            strides,
            index: vec![0; sizes.len()],
            place: 0,
        };
        let mut rest = row;
        for (axis, size) in sizes.iter().enumerate().rev() {
            walk.index[axis] = rest % size;
            rest /= size;
            let offset = walk.index[axis].wrapping_mul(strides[axis]);
            walk.place = walk.place.wrapping_add(offset);
        }
        walk
    }

    /// Where the current row begins.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// How many rows follow along the last of these axes, the current one included.
    pub(crate) fn rows_left(&self) -> usize {
        match (self.sizes.last(), self.index.last()) {
            (Some(size), Some(index)) => size - index,
            _ => 1,
        }
    }

    /// Goes on by so many rows, at most [`rows_left`](Self::rows_left).
    pub(crate) fn advance(&mut self, rows: usize) {
        let mut step = rows;
        for (axis, size) in self.sizes.iter().enumerate().rev() {
            let stride = self.strides[axis];
            self.index[axis] += step;
            self.place = self.place.wrapping_add(step.wrapping_mul(stride));
            if self.index[axis] < *size {
                return;
            }
            self.index[axis] = 0;
            self.place = self.place.wrapping_sub(size.wrapping_mul(stride));
            step = 1;
        }
    }
}

//! Elements of an array that are any distances apart.

use std::borrow::Cow;

use pulp::bytemuck::Pod;

use super::copy::check_reach;
use crate::error::{Result, length, product};

/// The elements of an array with strides, which are within the slice: kernels do not check that again.
#[derive(Clone, Debug)]
pub struct StridedView<'a, T> {
    pub(crate) elements: &'a [T],
    pub(crate) start: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<isize>,
}

impl<'a, T: Pod> StridedView<'a, T> {
    /// The array whose first element is `elements[start]`.
    ///
    /// # Errors
    /// When there is not a stride for each axis, or an element would be outside of `elements`.
    pub fn new(
        elements: &'a [T],
        start: usize,
        shape: &[usize],
        strides: &[isize],
    ) -> Result<Self> {
        const OP: &str = "strided";
        length(OP, "strides", shape.len(), strides.len())?;
        if product(OP, shape)? > 0 {
            check_reach((OP, "from"), elements.len(), start, shape, strides)?;
        }
        Ok(Self {
            elements,
            start,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        })
    }

    /// Copies the elements in row-major order, as [`copy_strided`](super::copy_strided) does.
    ///
    /// # Errors
    /// When `out` has another length.
    pub fn copy_to(&self, out: &mut [T]) -> Result<()> {
        super::copy_strided(self.elements, self.start, &self.shape, &self.strides, out)
    }

    /// The elements in row-major order: as they are, or copied.
    ///
    /// # Errors
    /// When there are too many to copy.
    pub fn contiguous(&self) -> Result<Cow<'a, [T]>> {
        let size = self.size();
        if self.strides == super::row_major(&self.shape) {
            return Ok(Cow::Borrowed(
                self.elements
                    .get(self.start..self.start + size)
                    .unwrap_or(&[]),
            ));
        }
        let mut copy = vec![T::zeroed(); size];
        self.copy_to(&mut copy)?;
        Ok(Cow::Owned(copy))
    }

    /// Copies the elements in row-major order to bytes.
    ///
    /// # Errors
    /// When `out` has another length.
    pub fn copy_to_bytes(&self, out: &mut [u8]) -> Result<()> {
        let bytes = product("copy_strided", &[self.size(), size_of::<T>()])?;
        length("copy_strided", "out", bytes, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let from = pulp::bytemuck::cast_slice(self.elements);
        let layout = (self.shape.as_slice(), self.strides.as_slice());
        super::copy::copy_bytes(size_of::<T>(), from, self.start, layout, out)
    }

    /// Everything from the lowest element on, whatever is between.
    pub fn elements(&self) -> &'a [T] {
        self.elements
    }

    /// The number of elements.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How far apart the elements of some axes begin, which are then stepped through together with a block of the axes below.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    sizes: Vec<usize>,
    steps: Vec<usize>,
    inner: Vec<super::block::Axis>,
}

impl Rows {
    /// The rows of an array, over its first `n_outer` axes; each is a block of the others, which is written with the strides
    /// `to`.
    pub(crate) fn new(shape: &[usize], strides: &[isize], n_outer: usize, to: &[isize]) -> Self {
        use super::block::Block;
        let (outer, inner) = shape.split_at(n_outer);
        let (outer_strides, inner_strides) = strides.split_at(n_outer);
        let outer = Block::new(outer, outer_strides, &super::copy::row_major(outer)).axes;
        Self {
            sizes: outer.iter().map(|axis| axis.size).collect(),
            steps: outer.iter().map(|axis| axis.from).collect(),
            inner: Block::new(inner, inner_strides, to).axes,
        }
    }

    /// Copies `rows` rows from the row `first` on, to `at` and then `step` apart.
    pub(crate) fn copy<const N: usize>(
        &self,
        from: (&[[u8; N]], usize),
        (first, rows): (usize, usize),
        out: &mut [[u8; N]],
        at: usize,
        step: usize,
    ) {
        use super::block::{Axis, Block};
        let (from, start) = from;
        let mut offsets = super::RowOffsets::from_row(&self.sizes, &self.steps, first);
        let row_step = self.steps.last().copied().unwrap_or(0);
        let mut done = 0;
        while done < rows {
            let n = offsets.rows_left().min(rows - done);
            let mut axes = Vec::with_capacity(1 + self.inner.len());
            if n > 1 {
                axes.push(Axis {
                    size: n,
                    from: row_step,
                    to: step,
                });
            }
            axes.extend_from_slice(&self.inner);
            let mut block = Block { axes };
            block.order_for_tiles();
            let start = start.wrapping_add(offsets.current());
            block.copy(from, start, out, at + done * step);
            offsets.advance(n);
            done += n;
        }
    }
}

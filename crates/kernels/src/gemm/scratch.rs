//! Scratch memory that a thread keeps for its next product, because fresh memory costs a page fault for each 4 KiB.

use std::cell::Cell;

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

/// The longest buffer that is kept, in numbers.
const MAX_KEPT_LEN: usize = 6 << 20;
/// How many buffers a thread keeps.
const MAX_KEPT: usize = 4;
/// The numbers of a cache line.
const LINE: usize = 16;

thread_local! {
    static KEPT: Cell<Vec<Vec<f32>>> = const { Cell::new(Vec::new()) };
}

/// Memory that starts at a cache line; its numbers are unspecified.
pub(crate) struct Scratch {
    numbers: Vec<f32>,
    start: usize,
    len: usize,
}

impl Scratch {
    pub(crate) fn new(len: usize) -> Self {
        if len == 0 {
            // Takes no kept buffer from who needs one.
            return Self {
                numbers: Vec::new(),
                start: 0,
                len,
            };
        }
        let mut kept = KEPT.take();
        let fits = |numbers: &Vec<f32>| numbers.len() >= len + LINE;
        let numbers = match kept.iter().position(fits) {
            Some(at) => kept.remove(at),
            None => vec![0.0; len + LINE],
        };
        KEPT.set(kept);
        let start = numbers.as_ptr().align_offset(LINE * size_of::<f32>());
        Self {
            numbers,
            start: start.min(LINE),
            len,
        }
    }

    /// Memory for at least `len` numbers of a type that is no larger than `f32`.
    pub(crate) fn of<N: Pod>(len: usize) -> Self {
        Self::new((len * size_of::<N>()).div_ceil(size_of::<f32>()))
    }

    pub(crate) fn as_slice_of<N: Pod>(&self) -> &[N] {
        cast_slice(self.as_slice())
    }

    pub(crate) fn as_mut_slice_of<N: Pod>(&mut self) -> &mut [N] {
        cast_slice_mut(self.as_mut_slice())
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.numbers[self.start..][..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.numbers[self.start..][..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.numbers.is_empty() || self.numbers.len() > MAX_KEPT_LEN {
            return;
        }
        // In order of length, so that the shortest that fits is taken; the shortest gives way.
        let mut kept = KEPT.take();
        kept.push(std::mem::take(&mut self.numbers));
        kept.sort_by_key(Vec::len);
        if kept.len() > MAX_KEPT {
            kept.remove(0);
        }
        KEPT.set(kept);
    }
}

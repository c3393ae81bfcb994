//! Sums of a tile of columns for all rows of a task: what a blocked product does with a packed tile.

use pulp::Simd;

use super::factors::{Place, Runs, SCRATCH_STRIDE};
use super::microkernel::{add_dot_tile, has_16_registers};

/// Parts of rows of a left factor.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) source: &'a [f32],
    pub(super) scratch: &'a [f32],
    pub(super) places: &'a [Place],
    pub(super) runs: Runs<'a>,
}

impl<'a> Rows<'a> {
    /// Whether all rows from `first` on, `height` of them, are zeros.
    #[inline(always)]
    fn are_zeros(&self, first: usize, height: usize) -> bool {
        let places = self.places[first..].iter().take(height);
        places
            .into_iter()
            .all(|place| matches!(place, Place::Zeros))
    }

    /// `HEIGHT` rows; the last one again where there are not enough.
    #[inline(always)]
    fn group<const HEIGHT: usize>(&self, first: usize) -> [&'a [f32]; HEIGHT] {
        let last = self.places.len() - 1;
        let reach = self.runs.offsets.last().map_or(0, |last| *last) + self.runs.length;
        // Closures of `array::from_fn` are not always inlined.
        let mut rows = [&[][..]; HEIGHT];
        for (i, row) in rows.iter_mut().enumerate() {
            let (from, at) = match self.places[(first + i).min(last)] {
                Place::Source(at) => (self.source, at),
                Place::Scratch(at) => (self.scratch, at),
                Place::Zeros => (self.scratch, (last + 1) * SCRATCH_STRIDE),
            };
            *row = &from[at..][..reach];
        }
        rows
    }

    /// The products of `HEIGHT` rows with a packed tile.
    #[inline(always)]
    fn dot<S: Simd, const HEIGHT: usize, const REGISTERS: usize>(
        &self,
        simd: S,
        first: usize,
        panel: &[[S::f32s; REGISTERS]],
    ) -> [[S::f32s; REGISTERS]; HEIGHT] {
        let rows = self.group::<HEIGHT>(first);
        let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; HEIGHT];
        let length = self.runs.length;
        for (offset, panel) in self.runs.offsets.iter().zip(panel.chunks_exact(length)) {
            let mut parts = rows;
            for part in &mut parts {
                *part = &part[*offset..][..length];
            }
            sums = add_dot_tile(simd, sums, parts, panel);
        }
        sums
    }
}

/// Sums of a tile of columns.
pub(super) struct Sums<'a> {
    /// Rows that are `stride` apart.
    pub(super) numbers: &'a mut [f32],
    pub(super) stride: usize,
    /// Whether there are no sums yet.
    pub(super) is_first: bool,
}

impl Sums<'_> {
    /// Adds the products of rows with a packed tile that is `REGISTERS` wide.
    #[inline(always)]
    pub(super) fn add<S: Simd, const REGISTERS: usize>(
        self,
        simd: S,
        rows: Rows<'_>,
        panel: &[f32],
    ) {
        if has_16_registers::<S>() {
            self.add_rows::<S, 4, REGISTERS>(simd, rows, panel);
        } else {
            self.add_rows::<S, 8, REGISTERS>(simd, rows, panel);
        }
    }

    #[inline(always)]
    fn add_rows<S: Simd, const HEIGHT: usize, const REGISTERS: usize>(
        self,
        simd: S,
        rows: Rows<'_>,
        panel: &[f32],
    ) {
        let panel = S::as_simd_f32s(panel).0.as_chunks::<REGISTERS>().0;
        let n_rows = rows.places.len();
        for first in (0..n_rows).step_by(HEIGHT) {
            let are_zeros = rows.are_zeros(first, HEIGHT);
            if are_zeros && !self.is_first {
                continue;
            }
            let sums = if are_zeros {
                [[simd.splat_f32s(0.0); REGISTERS]; HEIGHT]
            } else {
                rows.dot::<S, HEIGHT, REGISTERS>(simd, first, panel)
            };
            for (i, sums) in sums.iter().enumerate().take(n_rows - first) {
                let target = &mut self.numbers[(first + i) * self.stride..];
                let target = S::as_mut_simd_f32s(&mut target[..REGISTERS * S::F32_LANES]).0;
                for (target, sum) in target.iter_mut().zip(sums) {
                    *target = if self.is_first {
                        *sum
                    } else {
                        simd.add_f32s(*target, *sum)
                    };
                }
            }
        }
    }
}

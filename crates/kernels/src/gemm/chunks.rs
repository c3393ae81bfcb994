//! The rows of a task in chunks for matrix tiles: rows that start equally far apart, with gaps where a line of windows ends.

use crate::simd::amx::STRIP;

/// Rows that are multiplied together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Where the first row starts.
    pub(super) at: usize,
    /// The rows of its tiles, gaps included: at most [`STRIP`].
    pub(super) height: usize,
    /// The rows of the task, and the first of them.
    pub(super) first: usize,
    pub(super) count: usize,
}

/// All rows of a task.
pub(super) struct Chunks {
    pub(super) chunks: Vec<Chunk>,
    /// For each row of the task, its row in its chunk.
    pub(super) places: Vec<u8>,
}

impl Chunks {
    /// Of rows that start there, in ascending order, where neighbours are mostly `stride` apart.
    pub(super) fn of(starts: impl Iterator<Item = usize>, stride: usize) -> Self {
        let (mut chunks, mut places) = (Vec::<Chunk>::new(), Vec::new());
        for (row, start) in starts.enumerate() {
            let place = chunks.last().and_then(|chunk| {
                let distance = start.checked_sub(chunk.at)?;
                let place = distance / stride;
                (place < STRIP && distance.is_multiple_of(stride)).then_some(place)
            });
            match (chunks.last_mut(), place) {
                (Some(chunk), Some(place)) => {
                    chunk.height = place + 1;
                    chunk.count += 1;
                }
                _ => chunks.push(Chunk {
                    at: start,
                    height: 1,
                    first: row,
                    count: 1,
                }),
            }
            places.push(place.unwrap_or(0) as u8);
        }
        Self { chunks, places }
    }

    /// Parts of the chunks, about equally long and at most `most`.
    pub(super) fn parts(&self, most: usize) -> std::slice::Chunks<'_, Chunk> {
        let count = self.chunks.len();
        let parts = count.div_ceil(most.max(1)).max(1);
        self.chunks.chunks(count.div_ceil(parts).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_kept_and_lines_of_other_distances_begin_anew() {
        // Lines of three rows, 10 apart, of which each begins 40 behind the one before; then one that fits no distance.
        let starts = [0, 10, 20, 40, 50, 60, 325, 335];
        let chunks = Chunks::of(starts.into_iter(), 10);
        assert_eq!(chunks.places, [0, 1, 2, 4, 5, 6, 0, 1]);
        let found = chunks.chunks.iter();
        let found: Vec<_> = found.map(|c| (c.at, c.height, c.first, c.count)).collect();
        assert_eq!(found, [(0, 7, 0, 6), (325, 2, 6, 2)]);
    }

    #[test]
    fn a_chunk_has_no_more_rows_than_its_tiles() {
        let chunks = Chunks::of((0..70).map(|row| row * 8), 8);
        let heights: Vec<_> = chunks.chunks.iter().map(|chunk| chunk.height).collect();
        assert_eq!(heights, [32, 32, 6]);
        let parts: Vec<_> = chunks.parts(2).map(<[Chunk]>::len).collect();
        assert_eq!(parts, [2, 1]);
    }
}

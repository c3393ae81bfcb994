//! Pairwise summation of parts as they come.

use super::Reduction;

/// Sums of 1, 2, 4, ... parts, as in pairwise summation: the error grows with the logarithm of the number of parts.
pub(super) struct Pairwise {
    reduction: Reduction,
    partial_sums: [f32; usize::BITS as usize],
    parts: usize,
}

impl Pairwise {
    pub(super) fn new(reduction: Reduction) -> Self {
        Self {
            reduction,
            partial_sums: [0.0; usize::BITS as usize],
            parts: 0,
        }
    }

    pub(super) fn add(&mut self, mut part: f32) {
        let mut level = 0;
        // A set bit of the number of parts is a pending sum.
        while self.parts >> level & 1 == 1 {
            part = self.reduction.combine(self.partial_sums[level], part);
            level += 1;
        }
        self.partial_sums[level] = part;
        self.parts += 1;
    }

    /// The combination of all parts; 0 of none.
    pub(super) fn total(&self) -> f32 {
        let is_pending = |level: &usize| self.parts >> level & 1 == 1;
        let sums = (0..self.partial_sums.len()).filter(is_pending);
        let combined = sums
            .map(|level| self.partial_sums[level])
            .reduce(|small, large| self.reduction.combine(large, small));
        combined.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_parts_is_added_once_each() {
        for count in 0..70_i32 {
            let mut sum = Pairwise::new(Reduction::Sum);
            (0..count).for_each(|i| sum.add(i as f32));
            assert_eq!(sum.total(), (count * (count - 1) / 2) as f32);
        }
    }
}

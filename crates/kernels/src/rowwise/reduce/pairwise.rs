//! Adding parts as they come, each sum of two parts made of equally many.

use super::Reduction;

/// Sums of 1, 2, 4, ... parts that wait for their partner: the error grows with the logarithm of the number of parts.
pub(super) struct Pairwise {
    reduction: Reduction,
    waiting: [f32; usize::BITS as usize],
    parts: usize,
}

impl Pairwise {
    pub(super) fn new(reduction: Reduction) -> Self {
        Self {
            reduction,
            waiting: [0.0; usize::BITS as usize],
            parts: 0,
        }
    }

    pub(super) fn add(&mut self, mut part: f32) {
        let mut level = 0;
        // A set bit of the number of parts is a sum that waits.
        while self.parts >> level & 1 == 1 {
            part = self.reduction.join(self.waiting[level], part);
            level += 1;
        }
        self.waiting[level] = part;
        self.parts += 1;
    }

    /// All parts together; 0 of none.
    pub(super) fn total(&self) -> f32 {
        let waits = |level: &usize| self.parts >> level & 1 == 1;
        let sums = (0..self.waiting.len()).filter(waits);
        let joined = sums
            .map(|level| self.waiting[level])
            .reduce(|small, large| self.reduction.join(large, small));
        joined.unwrap_or(0.0)
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

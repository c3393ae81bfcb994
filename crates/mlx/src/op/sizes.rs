//! The attributes of an operation that may be sizes, in one order.

use super::Op;

/// A number among the attributes of an operation.
enum Slot<'a> {
    Whole(&'a mut i32),
    Real(&'a mut f64),
}

impl Op {
    /// Puts other sizes into the attributes, each at its place: the places of a shape; or those of starts, then of stops.
    ///
    /// Returns false where there is no such place.
    #[must_use]
    pub fn set_sizes(&mut self, sizes: impl IntoIterator<Item = (usize, i64)>) -> bool {
        let mut slots = self.size_slots();
        sizes
            .into_iter()
            .all(|(place, size)| match slots.get_mut(place) {
                Some(Slot::Whole(slot)) => {
                    **slot = i32::try_from(size).unwrap_or(i32::MIN);
                    true
                }
                #[allow(clippy::cast_precision_loss)]
                Some(Slot::Real(slot)) => {
                    **slot = size as f64;
                    true
                }
                None => false,
            })
    }

    fn size_slots(&mut self) -> Vec<Slot<'_>> {
        match self {
            Op::Reshape { shape }
            | Op::Unflatten { shape, .. }
            | Op::BroadcastTo { shape }
            | Op::Zeros { shape, .. }
            | Op::Ones { shape, .. }
            | Op::Full { shape, .. }
            | Op::RandomBernoulli { shape }
            | Op::RandomBits { shape, .. }
            | Op::RandomGumbel { shape, .. }
            | Op::RandomLaplace { shape, .. }
            | Op::RandomNormal { shape, .. }
            | Op::RandomRandint { shape, .. }
            | Op::RandomTruncatedNormal { shape, .. }
            | Op::RandomUniform { shape, .. } => shape.iter_mut().map(Slot::Whole).collect(),
            Op::Slice { start, stop, .. }
            | Op::SliceUpdate { start, stop, .. }
            | Op::SliceUpdateAdd { start, stop, .. }
            | Op::SliceUpdateMax { start, stop, .. }
            | Op::SliceUpdateMin { start, stop, .. }
            | Op::SliceUpdateProd { start, stop, .. } => {
                start.iter_mut().chain(stop).map(Slot::Whole).collect()
            }
            Op::SplitSections { indices, .. } => indices.iter_mut().map(Slot::Whole).collect(),
            Op::Arange { start, stop, .. } => vec![Slot::Real(start), Slot::Real(stop)],
            Op::Gather { slice_sizes, .. } => slice_sizes.iter_mut().map(Slot::Whole).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_to_their_places() {
        let mut slice = Op::Slice {
            start: vec![0, 0],
            stop: vec![2, 3],
            strides: vec![1, 1],
        };
        assert!(slice.set_sizes([(1, 4), (3, 7)]));
        let text = "slice start=[0, 4] stop=[2, 7] strides=[1, 1]";
        assert_eq!(slice.to_string(), text);
        assert!(!slice.set_sizes([(4, 1)]));
        assert!(!Op::Add.set_sizes([(0, 1)]));
    }
}

//! Which part of a dimension each rank has: of each of its sections, a run of whole units.

/// How a dimension is cut: into sections one after the other, of each of which every rank has a run of whole units.
///
/// A dimension of one section, whose units the ranks divide, is cut into equal parts in the order of the ranks. Where
/// they do not divide the units, the first ranks have one unit more. Of a matrix for queries, keys and values there are
/// three sections: a rank has its part of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DimLayout {
    sections: Vec<Section>,
}

/// Some neighbouring elements of a dimension that are cut by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) size: usize,
    pub(super) units: usize,
}

impl DimLayout {
    pub(super) fn of(sections: Vec<Section>) -> Self {
        Self { sections }
    }

    /// Returns the sizes of the sections.
    pub fn sections(&self) -> Vec<usize> {
        self.sections.iter().map(|section| section.size).collect()
    }

    /// Returns the runs of elements that one of `ranks` has, in their order: the first and the number of each.
    pub fn runs(&self, rank: usize, ranks: usize) -> Vec<(usize, usize)> {
        let mut start = 0;
        let mut runs = Vec::new();
        for section in &self.sections {
            let (first, n) = part_of_section(section, rank, ranks);
            runs.push((start + first, n));
            start += section.size;
        }
        runs
    }

    /// Returns the number of elements that one of `ranks` has.
    pub fn size(&self, rank: usize, ranks: usize) -> usize {
        self.runs(rank, ranks).iter().map(|(_, n)| n).sum()
    }

    /// Returns the number of elements of the rank that has most of them: the first.
    pub(super) fn greatest(&self, ranks: usize) -> usize {
        self.size(0, ranks)
    }

    /// Returns whether every rank has as many elements.
    pub fn is_even(&self, ranks: usize) -> bool {
        let divides = |section: &Section| section.units.is_multiple_of(ranks.max(1));
        self.sections.iter().all(divides)
    }

    /// Returns whether the parts of all ranks in their order are the whole.
    pub fn is_contiguous(&self) -> bool {
        self.sections.len() == 1
    }
}

/// The first element in a section that a rank has, and their number.
fn part_of_section(section: &Section, rank: usize, ranks: usize) -> (usize, usize) {
    let ranks = ranks.max(1);
    let unit = section.size / section.units.max(1);
    let (each, more) = (section.units / ranks, section.units % ranks);
    let first = rank * each + rank.min(more);
    let n = each + usize::from(rank < more);
    (first * unit, n * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sections: &[(usize, usize)]) -> DimLayout {
        let section = |&(size, units): &(usize, usize)| Section { size, units };
        DimLayout::of(sections.iter().map(section).collect())
    }

    #[test]
    fn the_first_ranks_have_a_unit_more() {
        let ten = layout(&[(10, 10)]);
        let runs = |rank| ten.runs(rank, 4)[0];
        assert_eq!([0, 1, 2, 3].map(runs), [(0, 3), (3, 3), (6, 2), (8, 2)]);
        assert!(!ten.is_even(4) && ten.is_even(5) && ten.is_contiguous());
    }

    #[test]
    fn ranks_have_a_part_of_each_section() {
        // Nine heads of queries in threes, and three of keys and of values.
        let fused = layout(&[(36, 3), (12, 3), (12, 3)]);
        assert_eq!(fused.runs(0, 2), [(0, 24), (36, 8), (48, 8)]);
        assert_eq!(fused.runs(1, 2), [(24, 12), (44, 4), (56, 4)]);
        assert_eq!(fused.greatest(2) + fused.size(1, 2), 60);
        assert!(!fused.is_contiguous());
    }
}

//! Classes of dimensions that are cut alike: a union-find, in which a class may be made of sections of other classes.

use super::layout::{DimLayout, Section};

/// The class of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassId(usize);

/// Dimensions that ranks must cut at the same fractions of their sizes.
#[derive(Clone, Debug)]
struct Class {
    parent: ClassId,
    /// The greatest number of units into which all its dimensions can be cut: it divides their sizes.
    units: usize,
    /// What [`Part`]s are of.
    whole: usize,
    /// The sections, if the class has some.
    parts: Vec<Part>,
}

/// A section of a class, which is cut as another class is.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    stop: usize,
    class: ClassId,
}

/// All classes, and what may be cut at all.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    all: Vec<Class>,
    ranks: usize,
    /// Whether ranks may have parts of different sizes.
    uneven: bool,
}

impl Classes {
    pub(super) fn new(ranks: usize, uneven: bool) -> Self {
        let all = Vec::new();
        Self { all, ranks, uneven }
    }

    /// Returns whether `units` units can be distributed, one for each rank at least.
    pub(super) fn fits(&self, units: usize) -> bool {
        match self.uneven {
            true => units >= self.ranks,
            false => units > 0 && units.is_multiple_of(self.ranks),
        }
    }

    /// Returns a new class for a dimension of this size.
    pub(super) fn add(&mut self, size: usize) -> ClassId {
        let id = ClassId(self.all.len());
        self.all.push(Class {
            parent: id,
            units: size,
            whole: size,
            parts: Vec::new(),
        });
        id
    }

    pub(super) fn root(&self, mut id: ClassId) -> ClassId {
        while self.all[id.0].parent != id {
            id = self.all[id.0].parent;
        }
        id
    }

    /// Makes one class of two. Does not where no cut is at the same fractions of both: then ranks cannot have parts of both.
    pub(super) fn unify(&mut self, a: ClassId, b: ClassId) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return true;
        }
        if self.is_inside(a, b) || self.is_inside(b, a) {
            return false;
        }
        let (units_a, units_b) = (self.all[a.0].units, self.all[b.0].units);
        let (parts_a, parts_b) = (self.all[a.0].parts.clone(), self.all[b.0].parts.clone());
        let done = match (parts_a.is_empty(), parts_b.is_empty()) {
            (true, true) => self.fits(gcd(units_a, units_b)),
            (false, true) => self.refine(a, units_b),
            (true, false) => self.refine(b, units_a),
            (false, false) => {
                self.same_cuts(a, b) && {
                    let pairs = parts_a.iter().zip(&parts_b);
                    // All of them, so that what is left to do is the same whatever fails.
                    let results: Vec<bool> =
                        pairs.map(|(a, b)| self.unify(a.class, b.class)).collect();
                    results.into_iter().all(|done| done)
                }
            }
        };
        // What was done to sections may have made the two one.
        let (a, b) = (self.root(a), self.root(b));
        if !done || a == b {
            return done;
        }
        if self.is_inside(a, b) || self.is_inside(b, a) {
            return false;
        }
        let (kept, gone) = if parts_a.is_empty() { (b, a) } else { (a, b) };
        self.all[gone.0].parent = kept;
        self.all[kept.0].units = gcd(units_a, units_b);
        true
    }

    /// Whether a class is a section of another one, or of one of its sections.
    fn is_inside(&self, inner: ClassId, outer: ClassId) -> bool {
        self.all[outer.0].parts.iter().any(|part| {
            let class = self.root(part.class);
            class == inner || self.is_inside(inner, class)
        })
    }

    /// Whether two classes have sections at the same fractions.
    fn same_cuts(&self, a: ClassId, b: ClassId) -> bool {
        let (a, b) = (&self.all[a.0], &self.all[b.0]);
        let same = |(x, y): (&Part, &Part)| {
            x.start * b.whole == y.start * a.whole && x.stop * b.whole == y.stop * a.whole
        };
        a.parts.len() == b.parts.len() && a.parts.iter().zip(&b.parts).all(same)
    }

    /// Takes a dimension of `units` units into a class: its cuts are between units.
    fn refine(&mut self, id: ClassId, units: usize) -> bool {
        let id = self.root(id);
        let Class { whole, parts, .. } = self.all[id.0].clone();
        if parts.is_empty() {
            let units = gcd(self.all[id.0].units, units);
            if !self.fits(units) {
                return false;
            }
            self.all[id.0].units = units;
            return true;
        }
        let is_cut = |part: &Part| (part.start * units).is_multiple_of(whole);
        parts.iter().all(is_cut)
            && parts.iter().all(|part| {
                let units = (part.stop - part.start) * units / whole;
                self.refine(part.class, units)
            })
    }

    /// Cuts a class into sections, at intervals of one of its dimensions of this size. Returns the class of each interval;
    /// none where intervals overlap, or sections cannot be distributed.
    pub(super) fn cut(
        &mut self,
        id: ClassId,
        size: usize,
        intervals: &[(usize, usize)],
    ) -> Option<Vec<ClassId>> {
        let id = self.root(id);
        let bounds = bounds(size, intervals)?;
        let Class { units, whole, .. } = self.all[id.0];
        if self.all[id.0].parts.is_empty() {
            let scaled = |at: usize| {
                let units_before = at * units;
                units_before
                    .is_multiple_of(size)
                    .then(|| units_before / size)
            };
            let bounds: Vec<usize> = bounds.iter().map(|at| scaled(*at)).collect::<Option<_>>()?;
            let sizes = bounds.windows(2).map(|pair| pair[1] - pair[0]);
            if !sizes.into_iter().all(|units| self.fits(units)) {
                return None;
            }
            let mut parts = Vec::new();
            for pair in bounds.windows(2) {
                let class = self.add(pair[1] - pair[0]);
                let (start, stop) = (pair[0] * whole / units, pair[1] * whole / units);
                parts.push(Part { start, stop, class });
            }
            self.all[id.0].parts = parts;
        }
        let found = intervals
            .iter()
            .map(|interval| self.section(id, size, *interval));
        found.collect()
    }

    /// Returns the class of a section of a class, by where it is in a dimension of this size.
    pub(super) fn section(
        &self,
        id: ClassId,
        size: usize,
        (start, stop): (usize, usize),
    ) -> Option<ClassId> {
        self.place_of_section(id, size, (start, stop))
            .map(|place| self.all[self.root(id).0].parts[place].class)
    }

    /// Returns the number of a section of a class, by where it is in a dimension of this size.
    pub(super) fn place_of_section(
        &self,
        id: ClassId,
        size: usize,
        (start, stop): (usize, usize),
    ) -> Option<usize> {
        let class = &self.all[self.root(id).0];
        let whole = class.whole;
        let is_it =
            |part: &Part| part.start * size == start * whole && part.stop * size == stop * whole;
        class.parts.iter().position(is_it)
    }

    /// Returns the layout of each section of a class, for a dimension of this size; of the whole, if it has none.
    pub(super) fn layouts(&self, id: ClassId, size: usize) -> Vec<DimLayout> {
        let class = &self.all[self.root(id).0];
        if class.parts.is_empty() {
            return vec![DimLayout::of(self.sections(id, size))];
        }
        let of = |part: &Part| {
            let size = (part.stop - part.start) * size / class.whole;
            DimLayout::of(self.sections(part.class, size))
        };
        class.parts.iter().map(of).collect()
    }

    /// Returns how a dimension of this size is cut.
    pub(super) fn layout(&self, id: ClassId, size: usize) -> DimLayout {
        DimLayout::of(self.sections(id, size))
    }

    fn sections(&self, id: ClassId, size: usize) -> Vec<Section> {
        let class = &self.all[self.root(id).0];
        if class.parts.is_empty() {
            let units = class.units;
            return vec![Section { size, units }];
        }
        let of = |part: &Part| {
            let size = (part.stop - part.start) * size / class.whole;
            self.sections(part.class, size)
        };
        class.parts.iter().flat_map(of).collect()
    }

    /// Returns whether the dimensions of a class can be distributed.
    pub(super) fn is_distributed(&self, id: ClassId) -> bool {
        let class = &self.all[self.root(id).0];
        !class.parts.is_empty() || self.fits(class.units)
    }
}

/// The ends of intervals and what is between them, from 0 to the size; none where two different ones overlap.
fn bounds(size: usize, intervals: &[(usize, usize)]) -> Option<Vec<usize>> {
    let overlap = |a: &(usize, usize), b: &(usize, usize)| a != b && a.0 < b.1 && b.0 < a.1;
    let is_bad = |one: &(usize, usize)| {
        one.0 >= one.1 || one.1 > size || intervals.iter().any(|other| overlap(one, other))
    };
    if intervals.iter().any(is_bad) {
        return None;
    }
    let ends = intervals.iter().flat_map(|one| [one.0, one.1]);
    let mut bounds: Vec<usize> = ends.chain([0, size]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    Some(bounds)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_share_keys_stay_together() {
        let mut classes = Classes::new(2, true);
        let [rows, heads, kv_heads] = [36, 9, 3].map(|size| classes.add(size));
        assert!(classes.unify(rows, heads) && classes.unify(heads, kv_heads));
        assert_eq!(classes.layout(rows, 36).runs(0, 2), [(0, 24)]);
        assert_eq!(classes.layout(heads, 9).runs(1, 2), [(6, 3)]);
        let one = classes.add(1);
        assert!(!classes.unify(rows, one) && !classes.is_distributed(one));
    }

    #[test]
    fn sections_are_cut_as_what_they_become() {
        let mut classes = Classes::new(2, true);
        let fused = classes.add(60);
        let cuts = [(0, 36), (36, 48), (48, 60)];
        let sections = classes.cut(fused, 60, &cuts).unwrap();
        let heads = classes.add(3);
        for section in &sections {
            assert!(classes.unify(*section, heads));
        }
        assert_eq!(
            classes.layout(fused, 60).runs(1, 2),
            [(24, 12), (44, 4), (56, 4)]
        );
        // Words of a packed matrix, at the same fractions.
        let words = classes.add(20);
        assert!(
            !classes.unify(fused, words),
            "the first section would be cut in its words"
        );
        let packed = classes.add(30);
        assert!(classes.unify(fused, packed));
        assert!(classes.cut(fused, 60, &[(0, 40)]).is_none());
        assert!(classes.cut(fused, 60, &[(0, 40), (20, 60)]).is_none());
    }

    #[test]
    fn without_uneven_parts_ranks_divide_all() {
        let mut classes = Classes::new(2, false);
        let [rows, heads] = [36, 9].map(|size| classes.add(size));
        assert!(!classes.unify(rows, heads) && classes.is_distributed(rows));
        assert!(classes.cut(rows, 36, &[(0, 9), (9, 36)]).is_none());
        assert!(classes.cut(rows, 36, &[(0, 12), (12, 36)]).is_some());
    }
}

//! What an index is made of, and which Rust values can be one.

use std::iter::StepBy;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use crate::{Array, Size};

/// One part of an index.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Index {
    /// A position; its axis goes away.
    At(i64),
    /// A range of positions.
    Slice(Slice),
    /// An array of positions, or a boolean mask.
    Array(Array),
    /// A new axis of size 1: Python's `None`.
    NewAxis,
    /// All axes that the other parts leave: Python's `...`.
    Ellipsis,
}

/// A new axis of size 1 in an index, as in `x.i((NewAxis, ..))`; `new` in [`s!`](crate::s).
#[derive(Clone, Copy, Debug)]
pub struct NewAxis;

/// [`NewAxis`] under Python's name.
#[allow(non_upper_case_globals)]
pub const newaxis: NewAxis = NewAxis;

/// All axes that the other parts of an index leave, as in `x.i((Ellipsis, 0))`; `...` in [`s!`](crate::s).
#[derive(Clone, Copy, Debug)]
pub struct Ellipsis;

/// A range of positions with a step: `Slice::from(..).by(-1)` is Python's `::-1`, and `..;-1` in [`s!`](crate::s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    start: Option<i64>,
    stop: Option<i64>,
    inclusive: bool,
    step: i64,
}

/// A whole index: parts for the axes from the first on.
///
/// Made from one part, a tuple of up to eight, an array or vector of [`Index`], or `()` for none.
#[derive(Clone, Debug)]
pub struct Indices(pub(super) Vec<Index>);

impl Slice {
    /// Returns the slice that Python writes `start:stop:step`.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([0, 1, 2, 3, 4]);
    /// let slice = mlx::index::Slice::new(None, Some(-1), 2);
    /// assert_eq!(x.i(slice).to_vec::<i32>()?, [0, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        start: impl Into<Option<i64>>,
        stop: impl Into<Option<i64>>,
        step: impl Into<i64>,
    ) -> Self {
        Self {
            start: start.into(),
            stop: stop.into(),
            inclusive: false,
            step: step.into(),
        }
    }

    /// Returns the same range in steps of `step`; a negative one goes from its start down to its end.
    ///
    /// As in Python, and unlike `ndarray`, a range that goes down is written from high to low: `5..2` by -1 is 5, 4, 3.
    #[must_use]
    pub fn by(self, step: impl Into<i64>) -> Self {
        Self {
            step: step.into(),
            ..self
        }
    }

    /// Returns the first position, the position after the last in the direction of the step (-1 where that is before
    /// the first element), the step and the number of positions on an axis of `size`; nothing when the step is 0.
    pub(super) fn on(self, size: &Size) -> Option<(Size, Size, i64, Size)> {
        let step = self.step;
        if step == 0 {
            return None;
        }
        let (least, most) = match step > 0 {
            true => (Size::from(0), size.clone()),
            false => (Size::from(-1), size - 1),
        };
        // No comparisons: the same terms hold for all sizes.
        let clamp = |position: Size| position.max(&least).min(&most);
        let wrap = |position: i64| match position < 0 {
            true => size + position,
            false => Size::from(position),
        };
        let start = match self.start {
            Some(start) => clamp(wrap(start)),
            None if step > 0 => least.clone(),
            None => most.clone(),
        };
        let stop = match self.stop {
            Some(stop) if self.inclusive => clamp(wrap(stop) + step.signum()),
            Some(stop) => clamp(wrap(stop)),
            None if step > 0 => most.clone(),
            None => least.clone(),
        };
        let span = if step > 0 {
            &stop - &start
        } else {
            &start - &stop
        };
        let len = ((span - 1) / step.saturating_abs() + 1).max(0);
        Some((start, stop, step, len))
    }

    /// Returns whether it is `..`, which is the whole of an axis of any size.
    pub(super) fn is_whole(self) -> bool {
        self == Slice::from(..)
    }
}

/// Conversions from a Rust integer type and the ranges over it; `$wide` makes an `i64` of it.
macro_rules! positions {
    ($($t:ty => $wide:expr),* $(,)?) => {$(
        impl From<$t> for Index {
            fn from(position: $t) -> Self {
                Index::At($wide(position))
            }
        }
        impl From<Range<$t>> for Slice {
            fn from(range: Range<$t>) -> Self {
                Slice::new($wide(range.start), $wide(range.end), 1)
            }
        }
        impl From<RangeFrom<$t>> for Slice {
            fn from(range: RangeFrom<$t>) -> Self {
                Slice::new($wide(range.start), None, 1)
            }
        }
        impl From<RangeTo<$t>> for Slice {
            fn from(range: RangeTo<$t>) -> Self {
                Slice::new(None, $wide(range.end), 1)
            }
        }
        impl From<RangeInclusive<$t>> for Slice {
            fn from(range: RangeInclusive<$t>) -> Self {
                Slice { inclusive: true, ..Slice::new($wide(*range.start()), $wide(*range.end()), 1) }
            }
        }
        impl From<RangeToInclusive<$t>> for Slice {
            fn from(range: RangeToInclusive<$t>) -> Self {
                Slice { inclusive: true, ..Slice::new(None, $wide(range.end), 1) }
            }
        }
        impl From<StepBy<Range<$t>>> for Slice {
            fn from(range: StepBy<Range<$t>>) -> Self {
                stepped(range, $wide)
            }
        }
        impl From<StepBy<RangeInclusive<$t>>> for Slice {
            fn from(range: StepBy<RangeInclusive<$t>>) -> Self {
                stepped(range, $wide)
            }
        }
        slices!(Range<$t>, RangeFrom<$t>, RangeTo<$t>, RangeInclusive<$t>, RangeToInclusive<$t>);
        slices!(StepBy<Range<$t>>, StepBy<RangeInclusive<$t>>);
    )*};
}

/// Returns the slice of the positions that a range in steps goes through.
fn stepped<T>(mut range: impl Iterator<Item = T>, wide: impl Fn(T) -> i64) -> Slice {
    let Some(first) = range.next().map(&wide) else {
        return Slice::new(0, 0, 1);
    };
    let Some(second) = range.next().map(&wide) else {
        return stepped_to(first, first, 1);
    };
    // The last is computed: going there can take as many steps.
    let step = second.saturating_sub(first);
    let n_more = i64::try_from(range.size_hint().0).unwrap_or(i64::MAX);
    let last = second.saturating_add(step.saturating_mul(n_more));
    stepped_to(first, last, step)
}

fn stepped_to(first: i64, last: i64, step: i64) -> Slice {
    Slice {
        inclusive: true,
        ..Slice::new(first, last, step)
    }
}

/// What becomes a [`Slice`] becomes an [`Index`].
macro_rules! slices {
    ($($t:ty),*) => {$(
        impl From<$t> for Index {
            fn from(range: $t) -> Self {
                Index::Slice(Slice::from(range))
            }
        }
    )*};
}

// A number that no i64 holds is beyond every axis, and stays so as the largest i64.
positions!(
    i8 => i64::from, i16 => i64::from, i32 => i64::from, i64 => i64::from,
    u8 => i64::from, u16 => i64::from, u32 => i64::from,
    u64 => |n| i64::try_from(n).unwrap_or(i64::MAX),
    usize => |n| i64::try_from(n).unwrap_or(i64::MAX),
    isize => |n| i64::try_from(n).unwrap_or(i64::MAX),
);

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Self {
        Slice::new(None, None, 1)
    }
}
slices!(RangeFull);

/// Steps on Rust's ranges, as [`Slice::by`]: `x.i((0..10).step(2))` is Python's `x[0:10:2]`. `(0..10).step_by(2)` is one
/// too.
///
/// ```
/// use mlx::{RangeExt, array};
///
/// # fn main() -> mlx::Result<()> {
/// let x = array!([0, 1, 2, 3, 4]);
/// assert_eq!(x.i((1..).step(2)).to_vec::<i32>()?, [1, 3]);
/// assert_eq!(x.i((..).step(-1)).to_vec::<i32>()?, [4, 3, 2, 1, 0]);
/// # Ok(())
/// # }
/// ```
pub trait RangeExt: Into<Slice> {
    /// Returns the same range in steps of `step`; a negative one goes from its start down to its end.
    fn step(self, step: impl Into<i64>) -> Slice {
        self.into().by(step)
    }
}

impl<T: Into<Slice>> RangeExt for T {}

/// `None` is a new axis, as in Python.
impl From<Option<NewAxis>> for Index {
    fn from(_: Option<NewAxis>) -> Self {
        Index::NewAxis
    }
}

impl From<Slice> for Index {
    fn from(slice: Slice) -> Self {
        Index::Slice(slice)
    }
}

impl From<NewAxis> for Index {
    fn from(_: NewAxis) -> Self {
        Index::NewAxis
    }
}

impl From<Ellipsis> for Index {
    fn from(_: Ellipsis) -> Self {
        Index::Ellipsis
    }
}

impl From<&Array> for Index {
    fn from(array: &Array) -> Self {
        Index::Array(array.clone())
    }
}

impl From<Array> for Index {
    fn from(array: Array) -> Self {
        Index::Array(array)
    }
}

/// Lists of positions, and masks: what `Array::from_slice` makes of them.
macro_rules! lists {
    ($($t:ty as $element:ty: $convert:expr;)*) => {$(
        impl<const N: usize> From<[$t; N]> for Index {
            #[track_caller]
            fn from(list: [$t; N]) -> Self {
                Index::from(&list[..])
            }
        }
        impl From<Vec<$t>> for Index {
            #[track_caller]
            fn from(list: Vec<$t>) -> Self {
                Index::from(&list[..])
            }
        }
        impl From<&Vec<$t>> for Index {
            #[track_caller]
            fn from(list: &Vec<$t>) -> Self {
                Index::from(&list[..])
            }
        }
        impl From<&[$t]> for Index {
            #[track_caller]
            fn from(list: &[$t]) -> Self {
                let len = i32::try_from(list.len()).unwrap_or(i32::MAX);
                let list: Vec<$element> = list.iter().map(|&one| $convert(one)).collect();
                Index::Array(Array::from_result(Array::from_slice(&list, len)))
            }
        }
    )*};
}
// A position that no i64 holds is beyond every axis, as above.
lists! {
    bool as bool: |one| one;
    i32 as i32: |one| one;
    i64 as i64: |one| one;
    u8 as u8: |one| one;
    u32 as u32: |one| one;
    usize as i64: |one| i64::try_from(one).unwrap_or(i64::MAX);
}

impl<T: Into<Index>> From<T> for Indices {
    #[track_caller]
    fn from(part: T) -> Self {
        Indices(vec![part.into()])
    }
}

impl From<()> for Indices {
    fn from((): ()) -> Self {
        Indices(Vec::new())
    }
}

impl From<Vec<Index>> for Indices {
    fn from(parts: Vec<Index>) -> Self {
        Indices(parts)
    }
}

impl<const N: usize> From<[Index; N]> for Indices {
    fn from(parts: [Index; N]) -> Self {
        Indices(parts.into())
    }
}

macro_rules! tuples {
    ($($name:ident $field:tt),*) => {
        impl<$($name: Into<Index>),*> From<($($name,)*)> for Indices {
            #[track_caller]
            fn from(parts: ($($name,)*)) -> Self {
                Indices(vec![$(parts.$field.into()),*])
            }
        }
    };
}
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
#[allow(clippy::reversed_empty_ranges)]
mod tests {
    use super::*;
    use rstest::rstest;

    // What Python's `range(5)[start:stop:step]` has, for the first and last position and the number of them.
    #[rstest]
    #[case(Slice::from(..), (0, 5))]
    #[case(Slice::from(1..4), (1, 3))]
    #[case(Slice::from(-2..), (3, 2))]
    #[case(Slice::from(..-1), (0, 4))]
    #[case(Slice::from(0..=-1), (0, 5))]
    #[case(Slice::from(..=2), (0, 3))]
    #[case(Slice::from(-100..100), (0, 5))]
    #[case(Slice::from(4..1), (4, 0))]
    #[case(Slice::from(..).by(2), (0, 3))]
    #[case(Slice::from(..).by(-1), (4, 5))]
    #[case(Slice::from(..).by(-2), (4, 3))]
    #[case(Slice::from(4..1).by(-1), (4, 3))]
    #[case(Slice::from(4..=1).by(-1), (4, 4))]
    #[case(Slice::from(2..=0).by(-1), (2, 3))]
    #[case(Slice::from(..=-3).by(-1), (4, 3))]
    #[case(Slice::from(..).by(i64::MIN), (4, 1))]
    #[case(Slice::from(..=i64::MAX).by(i64::MAX), (0, 1))]
    #[case(Slice::from(usize::MAX..), (5, 0))]
    fn a_slice_has_the_positions_it_has_in_python(#[case] slice: Slice, #[case] want: (i64, i64)) {
        let (start, _, _, len) = slice.on(&Size::from(5)).unwrap();
        assert_eq!((start.get(), len.get()), want);
    }

    #[test]
    fn a_step_of_zero_goes_nowhere() {
        assert!(Slice::from(..).by(0).on(&Size::from(5)).is_none());
    }

    #[test]
    fn an_empty_axis_has_no_positions() {
        for step in [1, -1, 3] {
            let found = Slice::from(..).by(step).on(&Size::from(0));
            assert_eq!(found.map(|found| found.3.get()), Some(0));
        }
    }
}

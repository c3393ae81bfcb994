//! Sizes that a function computes with: numbers that know which axes they come from.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Div, Mul, Rem, Sub};
use std::panic::Location;
use std::rc::Rc;

use super::Integer;

/// The size of an axis, or what was computed of several: [`Array::axis_size`](crate::Array::axis_size).
///
/// It computes like a number, and goes where sizes go: into shapes, ranges of positions, [`iota`](crate::iota). While a function
/// is traced it also knows where it comes from. So a function that is compiled for all sizes computes it again for those
/// of each call; and what a comparison gave is kept as a *guard*, which must hold for sizes that are to run the same trace.
///
/// Sums and products that no `i64` holds stop at its ends. Division leaves a remainder that is not negative; what is divided
/// by 0 is 0, and so is the least number divided by -1. What is computed of axes in more than 256 steps counts as read.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::ones([2, 6]);
/// let half = x.axis_size(-1)? / 2;
/// assert_eq!(x.reshape((-1, &half)).shape()?, [4, 3]);
/// assert!(half > 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Size {
    value: i64,
    term: Option<Rc<SizeTerm>>,
    /// The number of axes and steps in the term, each as often as it is there.
    steps: usize,
}

/// The most steps of a term that is kept: it is computed without sharing, and on the stack.
const MAX_STEPS: usize = 256;

/// How a size follows from axes of traced arrays.
#[doc(hidden)]
pub enum SizeTerm {
    /// It is always this.
    Number(i64),
    /// An axis.
    Axis(Rc<dyn SizeSource>),
    /// Computed of two others.
    Of(SizeOp, Rc<SizeTerm>, Rc<SizeTerm>),
}

/// What is computed of two sizes.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SizeOp {
    /// The sum.
    Add,
    /// The difference.
    Subtract,
    /// The product.
    Multiply,
    /// The quotient that leaves a remainder which is not negative.
    Divide,
    /// That remainder.
    Remainder,
    /// The less.
    Min,
    /// The greater.
    Max,
}

/// How two sizes compare.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// The left one is less.
    Less,
    /// The left one is less or equal.
    LessEqual,
    /// The left one is greater.
    Greater,
    /// The left one is greater or equal.
    GreaterEqual,
    /// The left one is equal, or 1, and so broadcasts.
    Broadcasts,
    /// The left one is neither equal nor 1.
    NotBroadcasts,
}

/// What a comparison of sizes gave in a trace.
#[doc(hidden)]
pub struct SizeGuard<'a> {
    /// What was compared.
    pub left: &'a Size,
    /// What held.
    pub relation: Relation,
    /// What it was compared with.
    pub right: &'a Size,
    /// The line that compared.
    pub at: &'static Location<'static>,
}

/// An axis of a traced array.
#[doc(hidden)]
pub trait SizeSource {
    /// Told that a comparison depends on this axis.
    fn guard(&self, guard: &SizeGuard<'_>);

    /// Told that the number was read.
    fn read(&self, op: &'static str, at: &'static Location<'static>);

    /// Returns itself as its own type.
    fn as_any(&self) -> &dyn Any;
}

impl SizeOp {
    /// Computes it.
    pub fn of(self, a: i64, b: i64) -> i64 {
        match self {
            SizeOp::Add => a.saturating_add(b),
            SizeOp::Subtract => a.saturating_sub(b),
            SizeOp::Multiply => a.saturating_mul(b),
            SizeOp::Divide => a.checked_div_euclid(b).unwrap_or(0),
            SizeOp::Remainder => a.checked_rem_euclid(b).unwrap_or(0),
            SizeOp::Min => a.min(b),
            SizeOp::Max => a.max(b),
        }
    }

    /// Returns its sign in text.
    pub fn sign(self) -> &'static str {
        match self {
            SizeOp::Add => "+",
            SizeOp::Subtract => "-",
            SizeOp::Multiply => "*",
            SizeOp::Divide => "/",
            SizeOp::Remainder => "%",
            SizeOp::Min => "min",
            SizeOp::Max => "max",
        }
    }
}

impl Relation {
    /// Returns whether it holds.
    pub fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Relation::Equal => a == b,
            Relation::NotEqual => a != b,
            Relation::Less => a < b,
            Relation::LessEqual => a <= b,
            Relation::Greater => a > b,
            Relation::GreaterEqual => a >= b,
            Relation::Broadcasts => a == b || a == 1,
            Relation::NotBroadcasts => a != b && a != 1,
        }
    }

    /// Returns its sign in text.
    pub fn sign(self) -> &'static str {
        match self {
            Relation::Equal => "==",
            Relation::NotEqual => "!=",
            Relation::Less => "<",
            Relation::LessEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterEqual => ">=",
            Relation::Broadcasts => "broadcasts to",
            Relation::NotBroadcasts => "does not broadcast to",
        }
    }

    /// What holds where this does not.
    fn opposite(self) -> Self {
        match self {
            Relation::Equal => Relation::NotEqual,
            Relation::NotEqual => Relation::Equal,
            Relation::Less => Relation::GreaterEqual,
            Relation::LessEqual => Relation::Greater,
            Relation::Greater => Relation::LessEqual,
            Relation::GreaterEqual => Relation::Less,
            Relation::Broadcasts => Relation::NotBroadcasts,
            Relation::NotBroadcasts => Relation::Broadcasts,
        }
    }
}

impl Size {
    /// Returns the size that an axis of a traced array has.
    pub(crate) fn of_axis(value: i32, source: Rc<dyn SizeSource>) -> Self {
        Self {
            value: i64::from(value),
            term: Some(Rc::new(SizeTerm::Axis(source))),
            steps: 1,
        }
    }

    /// Returns the number. In a function that is being traced this is as good as [`Array::dim`](crate::Array::dim): a function
    /// for all sizes is refused.
    #[track_caller]
    pub fn get(&self) -> i64 {
        self.note_read("size", Location::caller());
        self.value
    }

    /// Tells the recorders of all axes that it depends on that its number was read.
    pub(crate) fn note_read(&self, op: &'static str, at: &'static Location<'static>) {
        fn visit(term: &SizeTerm, op: &'static str, at: &'static Location<'static>) {
            match term {
                SizeTerm::Number(_) => {}
                SizeTerm::Axis(source) => source.read(op, at),
                SizeTerm::Of(_, a, b) => {
                    visit(a, op, at);
                    visit(b, op, at);
                }
            }
        }
        if let Some(term) = &self.term {
            visit(term, op, at);
        }
    }

    /// Returns the number, and keeps that it is this one as a guard: a trace that it is in holds where the size is the same, and
    /// others are traced anew. For what a size can be no part of: a factor, the number of heads.
    #[track_caller]
    pub fn fixed(&self) -> i32 {
        self.fixed_at(Location::caller())
    }

    /// Returns what [`fixed`](Self::fixed) does, for a line.
    pub(crate) fn fixed_at(&self, at: &'static Location<'static>) -> i32 {
        let fixed = Size::from(self.value);
        self.compare(Relation::Equal, &fixed, at);
        self.number()
    }

    /// Returns whether an axis of this size broadcasts to one of another: whether it is equal or 1. One comparison, so that one trace
    /// holds for both.
    #[track_caller]
    pub fn broadcasts_to(&self, other: &Size) -> bool {
        self.compare(Relation::Broadcasts, other, Location::caller())
    }

    /// Returns the less of two sizes. It is no comparison: whichever it is, the trace is the same.
    #[must_use]
    #[track_caller]
    pub fn min(&self, other: impl Into<Size>) -> Size {
        self.with(SizeOp::Min, &other.into())
    }

    /// Returns the greater of two sizes. It is no comparison: whichever it is, the trace is the same.
    #[must_use]
    #[track_caller]
    pub fn max(&self, other: impl Into<Size>) -> Size {
        self.with(SizeOp::Max, &other.into())
    }

    /// Returns the number as MLX takes it, for an attribute whose term is recorded, or for a message.
    pub(crate) fn number(&self) -> i32 {
        self.value.to_i32()
    }

    /// Returns the number as attributes that are real numbers take it.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn real(&self) -> f64 {
        self.value as f64
    }

    /// Returns the number, for one that does not depend on traced arrays or whose term is recorded.
    pub(crate) fn value(&self) -> i64 {
        self.value
    }

    /// Returns whether it depends on an axis of a traced array.
    pub(crate) fn is_traced(&self) -> bool {
        self.term.is_some()
    }

    /// Returns how it follows from axes of traced arrays.
    #[doc(hidden)]
    pub fn term(&self) -> Rc<SizeTerm> {
        match &self.term {
            Some(term) => Rc::clone(term),
            None => Rc::new(SizeTerm::Number(self.value)),
        }
    }

    /// Returns an axis that it depends on.
    fn source(&self) -> Option<&dyn SizeSource> {
        fn first(term: &SizeTerm) -> Option<&dyn SizeSource> {
            match term {
                SizeTerm::Number(_) => None,
                SizeTerm::Axis(source) => Some(source.as_ref()),
                SizeTerm::Of(_, a, b) => first(a).or_else(|| first(b)),
            }
        }
        first(self.term.as_ref()?)
    }

    #[track_caller]
    fn with(&self, op: SizeOp, other: &Size) -> Size {
        let value = op.of(self.value, other.value);
        if !self.is_traced() && !other.is_traced() {
            return Size::from(value);
        }
        if let Some(joined) = self.joined(op, other) {
            return joined;
        }
        let steps = self.steps.saturating_add(other.steps).saturating_add(1);
        if steps > MAX_STEPS {
            let at = Location::caller();
            self.note_read("a size of many steps", at);
            other.note_read("a size of many steps", at);
            return Size::from(value);
        }
        Size {
            value,
            term: Some(Rc::new(SizeTerm::Of(op, self.term(), other.term()))),
            steps,
        }
    }

    /// Returns `x + (1 + 2)` for `x + 1` and 2: numbers that are counted up stay one step.
    fn joined(&self, op: SizeOp, other: &Size) -> Option<Size> {
        let (SizeOp::Add, None, SizeTerm::Of(SizeOp::Add, axis, number)) =
            (op, &other.term, self.term.as_deref()?)
        else {
            return None;
        };
        let SizeTerm::Number(first) = number.as_ref() else {
            return None;
        };
        // Of one sign, so that stopping at an end comes out the same.
        let sum = first.checked_add(other.value)?;
        let is_one_sign = (*first >= 0) == (other.value >= 0);
        is_one_sign.then(|| Size {
            value: op.of(self.value, other.value),
            term: Some(Rc::new(SizeTerm::Of(
                op,
                Rc::clone(axis),
                Rc::new(SizeTerm::Number(sum)),
            ))),
            steps: self.steps,
        })
    }

    /// Returns whether a relation holds, and has that kept.
    fn compare(&self, asked: Relation, other: &Size, at: &'static Location<'static>) -> bool {
        let holds = asked.holds(self.value, other.value);
        if let Some(source) = self.source().or_else(|| other.source()) {
            source.guard(&SizeGuard {
                left: self,
                relation: if holds { asked } else { asked.opposite() },
                right: other,
                at,
            });
        }
        holds
    }
}

impl<T: Integer> From<T> for Size {
    fn from(number: T) -> Self {
        Self {
            value: number.to_i64(),
            term: None,
            steps: 1,
        }
    }
}

impl From<&Size> for Size {
    fn from(size: &Size) -> Self {
        size.clone()
    }
}

// The standard `ne` would give its own line to the guard.
#[allow(clippy::partialeq_ne_impl)]
impl PartialEq for Size {
    #[track_caller]
    fn eq(&self, other: &Self) -> bool {
        self.compare(Relation::Equal, other, Location::caller())
    }

    #[track_caller]
    fn ne(&self, other: &Self) -> bool {
        self.compare(Relation::NotEqual, other, Location::caller())
    }
}

#[allow(clippy::partialeq_ne_impl)]
impl<T: Integer> PartialEq<T> for Size {
    #[track_caller]
    fn eq(&self, other: &T) -> bool {
        self.compare(Relation::Equal, &Size::from(*other), Location::caller())
    }

    #[track_caller]
    fn ne(&self, other: &T) -> bool {
        self.compare(Relation::NotEqual, &Size::from(*other), Location::caller())
    }
}

impl<T: Integer> PartialOrd<T> for Size {
    #[track_caller]
    fn partial_cmp(&self, other: &T) -> Option<Ordering> {
        self.partial_cmp(&Size::from(*other))
    }

    #[track_caller]
    fn lt(&self, other: &T) -> bool {
        self.compare(Relation::Less, &Size::from(*other), Location::caller())
    }

    #[track_caller]
    fn le(&self, other: &T) -> bool {
        self.compare(Relation::LessEqual, &Size::from(*other), Location::caller())
    }

    #[track_caller]
    fn gt(&self, other: &T) -> bool {
        self.compare(Relation::Greater, &Size::from(*other), Location::caller())
    }

    #[track_caller]
    fn ge(&self, other: &T) -> bool {
        self.compare(
            Relation::GreaterEqual,
            &Size::from(*other),
            Location::caller(),
        )
    }
}

impl PartialOrd for Size {
    #[track_caller]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let at = Location::caller();
        Some(if self.compare(Relation::Less, other, at) {
            Ordering::Less
        } else if self.compare(Relation::Equal, other, at) {
            Ordering::Equal
        } else {
            Ordering::Greater
        })
    }

    #[track_caller]
    fn lt(&self, other: &Self) -> bool {
        self.compare(Relation::Less, other, Location::caller())
    }

    #[track_caller]
    fn le(&self, other: &Self) -> bool {
        self.compare(Relation::LessEqual, other, Location::caller())
    }

    #[track_caller]
    fn gt(&self, other: &Self) -> bool {
        self.compare(Relation::Greater, other, Location::caller())
    }

    #[track_caller]
    fn ge(&self, other: &Self) -> bool {
        self.compare(Relation::GreaterEqual, other, Location::caller())
    }
}

/// The number alone: it prints, and that is no reading of it.
impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident;)*) => {$(
        impl<T: Into<Size>> $trait<T> for &Size {
            type Output = Size;

            #[track_caller]
            fn $method(self, other: T) -> Size {
                self.with(SizeOp::$op, &other.into())
            }
        }

        impl<T: Into<Size>> $trait<T> for Size {
            type Output = Size;

            #[track_caller]
            fn $method(self, other: T) -> Size {
                self.with(SizeOp::$op, &other.into())
            }
        }
    )*};
}
operators! {
    Add add Add;
    Sub sub Subtract;
    Mul mul Multiply;
    Div div Divide;
    Rem rem Remainder;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// An axis that keeps what is asked of it.
    #[derive(Default)]
    struct Axis(RefCell<Vec<String>>);

    impl SizeSource for Axis {
        fn guard(&self, guard: &SizeGuard<'_>) {
            let (left, sign, right) = (guard.left, guard.relation.sign(), guard.right);
            self.0.borrow_mut().push(format!("{left} {sign} {right}"));
        }

        fn read(&self, op: &'static str, _: &'static Location<'static>) {
            self.0.borrow_mut().push(op.to_owned());
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    #[test]
    fn what_a_comparison_gave_is_a_guard() {
        let axis = Rc::new(Axis::default());
        let size = Size::of_axis(6, axis.clone());
        assert!(size > 5 && size != 7);
        assert!((&size + 1) % 2 == 1);
        let (two, three) = (Size::from(2), Size::from(3));
        assert!(two < three);
        let _ = size.get();
        let told = axis.0.borrow();
        assert_eq!(*told, ["6 > 5", "6 != 7", "1 == 1", "size"]);
    }

    #[test]
    fn what_no_number_can_be_is_one_all_the_same() {
        assert_eq!((Size::from(i64::MAX) + 1).get(), i64::MAX);
        assert_eq!((Size::from(3) / 0).get(), 0);
        assert_eq!((Size::from(i64::MIN) / -1).get(), 0);
        assert_eq!((Size::from(-1) / 2).get(), -1);
        assert_eq!(Size::from(7).min(3).get(), 3);
    }
}

//! Axes of the arguments of a mapped function, as numbers, lists and tuples.

/// An axis, or none: `0` or `Some(0)`, or `None`.
pub trait InAxis {
    /// Returns the axis.
    fn axis(self) -> Option<i32>;
}

impl InAxis for i32 {
    fn axis(self) -> Option<i32> {
        Some(self)
    }
}

impl InAxis for Option<i32> {
    fn axis(self) -> Option<i32> {
        self
    }
}

/// An axis for all arguments, or one for each, none for those that stay as they are: `0`, `[0, 1]`, `(Some(0), None)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an axis for each argument",
    label = "wanted `0`, `(0, 1)` or `[Some(0), None]`"
)]
pub trait InAxes {
    /// Returns them as a list.
    fn into_axes(self) -> Vec<Option<i32>>;
}

impl InAxes for i32 {
    fn into_axes(self) -> Vec<Option<i32>> {
        vec![Some(self)]
    }
}

impl<A: InAxis, const N: usize> InAxes for [A; N] {
    fn into_axes(self) -> Vec<Option<i32>> {
        self.into_iter().map(A::axis).collect()
    }
}

impl<A: InAxis> InAxes for Vec<A> {
    fn into_axes(self) -> Vec<Option<i32>> {
        self.into_iter().map(A::axis).collect()
    }
}

impl<A: InAxis + Copy> InAxes for &[A] {
    fn into_axes(self) -> Vec<Option<i32>> {
        self.iter().map(|axis| axis.axis()).collect()
    }
}

macro_rules! tuples {
    ($(($($axis:ident $index:tt),*);)*) => {$(
        impl<$($axis: InAxis),*> InAxes for ($($axis,)*) {
            fn into_axes(self) -> Vec<Option<i32>> {
                vec![$(self.$index.axis()),*]
            }
        }
    )*};
}
tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
}

//! The macros for users. Everything they do has a plain function too.

/// Returns an array of nested lists, bare decimals being `float32` and bare whole numbers `int32`, as in Python MLX.
///
/// The same as [`Array::new`](crate::Array::new), and with a dtype as [`Array::new_with`](crate::Array::new_with):
/// `array!([1, 2], mlx::int8)`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([[1.0, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.array_type()?.to_string(), "float32[2, 2]");
/// assert_eq!(mlx::array!([1, 2, 3]).dtype()?, mlx::Dtype::Int32);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! array {
    ($nested:expr) => {
        $crate::Array::new($nested)
    };
    ($nested:expr, $dtype:expr) => {
        $crate::Array::new_with($nested, $dtype)
    };
}

/// Returns an index as an array of [`Index`](crate::index::Index): `x.i(s![0..10;2, -1, ..., new])`.
///
/// Parts are divided by commas. Each is
/// - a position, `-1`;
/// - a range, `..`, `2..`, `..-1`, `0..=3`, with a step after a semicolon: `..;-1`, `0..10;2`;
/// - an array, or a list of positions or of `bool`: `&rows`, `[0, 2]`;
/// - `...`, all axes that the other parts leave;
/// - `new`, a new axis of size 1 (a variable of that name is written `(new)`);
/// - any other expression that is an [`Index`](crate::index::Index), such as a
///   [`Slice`](crate::index::Slice).
///
/// Without the macro the same is a tuple of [`Slice::from(0..10).by(2)`](crate::index::Slice::by), `-1`,
/// [`Ellipsis`](crate::index::Ellipsis) and [`NewAxis`](crate::index::NewAxis).
///
/// ```
/// use mlx::{array, s};
///
/// # fn main() -> mlx::Result<()> {
/// let x = array!([[0, 1, 2, 3], [4, 5, 6, 7]]);
/// assert_eq!(x.i(s![.., ..;-1]).to_vec::<i32>()?, [3, 2, 1, 0, 7, 6, 5, 4]);
/// assert_eq!(x.i(s![..., new, 1..3]).shape()?, [2, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! s {
    ($($index:tt)*) => {
        $crate::__index!([] $($index)*)
    };
}

/// Takes the parts of an index off one by one; [`s!`] is its face.
#[doc(hidden)]
#[macro_export]
macro_rules! __index {
    ([$($done:expr,)*]) => {
        [$($done),*] as [$crate::index::Index; _]
    };
    ([$($done:expr,)*] ... $(, $($rest:tt)*)?) => {
        $crate::__index!([$($done,)* $crate::index::Index::Ellipsis,] $($($rest)*)?)
    };
    ([$($done:expr,)*] new $(, $($rest:tt)*)?) => {
        $crate::__index!([$($done,)* $crate::index::Index::NewAxis,] $($($rest)*)?)
    };
    ([$($done:expr,)*] $range:expr; $step:expr $(, $($rest:tt)*)?) => {
        $crate::__index!(
            [$($done,)* {
                // Clippy takes `5..2` and `1..-1` for empty ranges.
                #[allow(clippy::reversed_empty_ranges)]
                let range = $crate::index::Slice::from($range);
                $crate::index::Index::from(range.by($step))
            },]
            $($($rest)*)?
        )
    };
    ([$($done:expr,)*] $part:expr $(, $($rest:tt)*)?) => {
        $crate::__index!(
            [$($done,)* {
                #[allow(clippy::reversed_empty_ranges)]
                let part = $crate::index::Index::from($part);
                part
            },]
            $($($rest)*)?
        )
    };
}

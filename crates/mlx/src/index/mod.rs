//! Indexing as NumPy and Python MLX do it: the parts of an index, reading with one, updating where it points.
//!
//! [`Array::i`](crate::Array::i) reads and [`Array::at`](crate::Array::at) updates. An index is a number, a range, an
//! integer array, a tuple of those, or what [`s!`](crate::s) makes, which also has steps, `...` and `new`.
//!
//! ```
//! use mlx::{array, s};
//!
//! # fn main() -> mlx::Result<()> {
//! let x = array!([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]);
//! assert_eq!(x.i((1, ..2)).to_vec::<i32>()?, [4, 5]);
//! assert_eq!(x.i(s![..;-2, -1]).to_vec::<i32>()?, [11, 3]);
//! assert_eq!(x.i(s![[0, 2], 1..3]).to_vec::<i32>()?, [1, 2, 9, 10]);
//! assert_eq!(x.at((0, ..)).add(100).i(0).to_vec::<i32>()?, [100, 101, 102, 103]);
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//! - Negative positions count from the end, in ranges too: `-3..` are the last three, `1..-1` all but the first and
//!   the last. Clippy takes such a literal for an empty range, unless it is in [`s!`](crate::s).
//! - A position must exist; a range is cut to the axis, as in Python. Both are checked when the graph is built.
//! - Positions in index arrays are checked when they are known, at the latest by `eval` (on a GPU, where nothing can
//!   report, they are brought into range).
//! - Index arrays are broadcast against each other, and their axes take the place of the axes they index; when
//!   something else stands between them they come first. A number beside an index array counts as one.
//! - Without index arrays an index is one `slice`, and a `squeeze` or `expand_dims` where axes go or come.
//! - A boolean mask selects for [`at`](crate::Array::at). It cannot read, because the shape would depend on values:
//!   keep the shape with [`where_`](crate::where_), or read the positions with [`nonzero`](crate::Array::nonzero).

mod entry;
mod functions;
mod mask;
mod plan;
mod read;
mod take;
mod unique;
mod update;

pub use entry::{Ellipsis, Index, Indices, NewAxis, RangeExt, Slice, newaxis};
pub use functions::{put_along_axis, slice, slice_update, take, take_along_axis};
pub use unique::Unique;
pub use update::ArrayAt;

//! The same elements in another shape or order of axes.

use crate::bind::bind_shape;
use crate::op::Op;
use crate::{Array, Axes, Integer, Result, Shape, bind, bind_all};

/// How [`split`](Array::split) cuts: `3` for equal parts, `[2, 5]` before these indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sections {
    /// This many parts of one size.
    Equal(i32),
    /// Before each of these indices.
    At(Vec<i32>),
}

impl<T: Integer> From<T> for Sections {
    fn from(parts: T) -> Self {
        Sections::Equal(parts.to_i32())
    }
}

macro_rules! section_lists {
    ($([$($bound:tt)*] $list:ty;)*) => {$(
        impl<T: Integer $($bound)*> From<$list> for Sections {
            fn from(indices: $list) -> Self {
                Sections::At(Shape::from(indices).into_numbers())
            }
        }
    )*};
}
section_lists! {
    [, const N: usize] [T; N];
    [, const N: usize] &[T; N];
    [] &[T];
    [] Vec<T>;
    [] &Vec<T>;
}

impl Array {
    /// Returns the elements in another shape; one size may be -1, which the others determine.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Array {
        bind_shape(shape, |shape| Op::Reshape { shape }, &[self])
    }

    /// Returns the array with the axes from `start_axis` to `end_axis`, both included, made one.
    #[track_caller]
    pub fn flatten(&self, start_axis: impl Integer, end_axis: impl Integer) -> Array {
        let (start_axis, end_axis) = (start_axis.to_i32(), end_axis.to_i32());
        bind(
            Op::Flatten {
                start_axis,
                end_axis,
            },
            &[self],
        )
    }

    /// Returns the array with `axis` split into axes of these sizes, one of which may be -1.
    #[track_caller]
    pub fn unflatten(&self, axis: impl Integer, shape: impl Into<Shape>) -> Array {
        let axis = axis.to_i32();
        bind_shape(shape, |shape| Op::Unflatten { axis, shape }, &[self])
    }

    /// Returns the array without these axes of size 1; `()` removes all of them.
    #[track_caller]
    pub fn squeeze(&self, axes: impl Into<Axes>) -> Array {
        let axes = match axes.into() {
            Axes::Some(axes) => axes,
            Axes::All => {
                // Which axes go depends on the sizes.
                let sizes = self.sizes().unwrap_or_default();
                (0_i32..)
                    .zip(sizes)
                    .filter(|(_, size)| *size == 1)
                    .map(|(axis, _)| axis)
                    .collect()
            }
        };
        bind(Op::Squeeze { axes }, &[self])
    }

    /// Returns the array with axes of size 1 put in, so that they are at these positions in the result.
    #[track_caller]
    pub fn expand_dims(&self, axes: impl Into<Shape>) -> Array {
        bind(
            Op::ExpandDims {
                axes: axes.into().into_numbers(),
            },
            &[self],
        )
    }

    /// Returns the array with its axes in this order; `()` reverses them.
    #[track_caller]
    pub fn transpose(&self, axes: impl Into<Axes>) -> Array {
        let axes = match axes.into() {
            Axes::Some(axes) => axes,
            Axes::All => {
                let mut axes = self.axes_list(Axes::All);
                axes.reverse();
                axes
            }
        };
        bind(Op::Transpose { axes }, &[self])
    }

    /// Returns what [`transpose`](Self::transpose) does.
    #[track_caller]
    pub fn permute_dims(&self, axes: impl Into<Axes>) -> Array {
        self.transpose(axes)
    }

    /// Returns the array with its last two axes exchanged: the transposes of a batch of matrices.
    #[track_caller]
    pub fn matrix_transpose(&self) -> Array {
        self.swapaxes(-1, -2)
    }

    /// Returns the array with its axes reversed, the transpose of a matrix.
    #[doc(alias = "T")]
    #[track_caller]
    pub fn t(&self) -> Array {
        self.transpose(())
    }

    /// Returns the array with two axes exchanged.
    #[track_caller]
    pub fn swapaxes(&self, axis1: impl Integer, axis2: impl Integer) -> Array {
        let (axis1, axis2) = (axis1.to_i32(), axis2.to_i32());
        bind(Op::Swapaxes { axis1, axis2 }, &[self])
    }

    /// Returns the array with the axis `source` moved to `destination`, the others keeping their order.
    #[track_caller]
    pub fn moveaxis(&self, source: impl Integer, destination: impl Integer) -> Array {
        let (source, destination) = (source.to_i32(), destination.to_i32());
        bind(
            Op::Moveaxis {
                source,
                destination,
            },
            &[self],
        )
    }

    /// Returns the array repeated along axes of size 1, and new leading ones, to this shape. Nothing is copied.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Array {
        bind_shape(shape, |shape| Op::BroadcastTo { shape }, &[self])
    }

    /// Returns the same values in row-major memory without gaps, copied if they are not.
    #[track_caller]
    pub fn contiguous(&self) -> Array {
        self.contiguous_with(false)
    }

    /// Returns the same values in memory without gaps: row-major, or also column-major if that is allowed; copied if
    /// they are not.
    #[track_caller]
    pub fn contiguous_with(&self, allow_col_major: bool) -> Array {
        bind(Op::Contiguous { allow_col_major }, &[self])
    }

    /// Returns a view with these strides (in elements) and offset into the array's elements in row-major order.
    ///
    /// A view that reaches outside them is an error, so this is safe, unlike in other libraries.
    #[track_caller]
    pub fn as_strided(
        &self,
        shape: impl Into<Shape>,
        strides: impl Into<Vec<i64>>,
        offset: usize,
    ) -> Array {
        bind(
            Op::AsStrided {
                shape: shape.into().into_numbers(),
                strides: strides.into(),
                offset,
            },
            &[self],
        )
    }

    /// Returns the array with at least one axis.
    #[track_caller]
    pub fn atleast_1d(&self) -> Array {
        bind(Op::Atleast1d, &[self])
    }

    /// Returns the array with at least two axes.
    #[track_caller]
    pub fn atleast_2d(&self) -> Array {
        bind(Op::Atleast2d, &[self])
    }

    /// Returns the array with at least three axes.
    #[track_caller]
    pub fn atleast_3d(&self) -> Array {
        bind(Op::Atleast3d, &[self])
    }

    /// Returns the elements with their order along these axes reversed.
    #[track_caller]
    pub fn flip(&self, axes: impl Into<Axes>) -> Array {
        let axes = self.axes_list(axes.into());
        bind(Op::Flip { axes }, &[self])
    }

    /// Returns the elements moved along `axes` by `shift`, those that fall off coming in at the other end.
    #[track_caller]
    pub fn roll(&self, shift: impl Into<Shape>, axes: impl Into<Axes>) -> Array {
        let axes = axes.into();
        let shift = shift.into().into_numbers();
        if axes == Axes::All {
            // As in NumPy: the array is rolled as one row.
            let shape = match self.sizes() {
                Ok(shape) => shape,
                Err(error) => return Array::failed(error),
            };
            return bind(
                Op::Roll {
                    shift,
                    axes: vec![0],
                },
                &[&self.flatten(0, -1)],
            )
            .reshape(shape);
        }
        let axes = self.axes_list(axes);
        bind(Op::Roll { shift, axes }, &[self])
    }

    /// Returns the array cut along `axis`: into a number of equal parts, or before each of several indices, given as an array,
    /// a vector or a slice.
    ///
    /// # Errors
    /// When the size does not divide, there is no such axis, or the array carries an error.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::arange(6);
    /// assert_eq!(x.split(3, 0)?[1].to_vec::<i32>()?, [2, 3]);
    /// assert_eq!(x.split([1, 4], 0)?[1].to_vec::<i32>()?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn split(&self, sections: impl Into<Sections>, axis: impl Integer) -> Result<Vec<Array>> {
        let axis = axis.to_i32();
        let op = match sections.into() {
            Sections::Equal(num_splits) => Op::Split { num_splits, axis },
            Sections::At(indices) => Op::SplitSections { indices, axis },
        };
        bind_all(op, &[self])
    }

    /// Returns the array cut along `axis` before each of these indices.
    ///
    /// # Errors
    /// When there is no such axis, or the array carries an error.
    #[track_caller]
    pub fn split_at(&self, indices: impl Into<Shape>, axis: impl Integer) -> Result<Vec<Array>> {
        self.split(Sections::At(indices.into().into_numbers()), axis)
    }

    /// Returns the slices along `axis`, without that axis.
    ///
    /// # Errors
    /// When there is no such axis, or the array carries an error.
    #[track_caller]
    pub fn unstack(&self, axis: impl Integer) -> Result<Vec<Array>> {
        let axis = axis.to_i32();
        bind_all(Op::Unstack { axis }, &[self])
    }

    /// Returns the array repeated `reps` times along each axis.
    #[track_caller]
    pub fn tile(&self, reps: impl Into<Shape>) -> Array {
        bind(
            Op::Tile {
                reps: reps.into().into_numbers(),
            },
            &[self],
        )
    }

    /// Returns the array with each element along an axis repeated; `()` reads the array as one row.
    #[track_caller]
    pub fn repeat(&self, repeats: impl Integer, axis: impl Into<Axes>) -> Array {
        let repeats = repeats.to_i32();
        self.along("repeat", axis.into(), |axis| Op::Repeat { repeats, axis })
    }
}

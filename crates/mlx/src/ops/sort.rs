//! Orders and positions along one axis: sorting, extremes, the place where a value belongs.
//!
//! An axis is `-1`, or `()` for the array read as one row, which is Python's `axis=None`.

use crate::op::{Op, SearchSide};
use crate::{Array, Axes, Error, Integer, Operand, Reduction, Result, bind};

impl Array {
    /// Returns the index of the maximum along an axis, as `uint32`; the first of equal ones.
    ///
    /// `()` gives the position in the array read as one row; [`keepdims(-1)`](crate::keepdims) keeps the axis.
    /// The first NaN, if there is one, as in NumPy.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([[1.0, 5.0], [7.0, 2.0]]);
    /// assert_eq!(x.argmax(-1).to_vec::<u32>()?, [1, 0]);
    /// assert_eq!(x.argmax(()).item::<u32>()?, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn argmax(&self, axis: impl Into<Reduction>) -> Array {
        self.position("argmax", axis.into(), |axis, keepdims| Op::Argmax {
            axis,
            keepdims,
        })
    }

    /// Returns the index of the minimum along an axis, as `uint32`; the first of equal ones.
    ///
    /// See [`argmax`](Self::argmax).
    #[track_caller]
    pub fn argmin(&self, axis: impl Into<Reduction>) -> Array {
        self.position("argmin", axis.into(), |axis, keepdims| Op::Argmin {
            axis,
            keepdims,
        })
    }

    /// Returns the elements in ascending order along an axis, NaN last.
    #[track_caller]
    pub fn sort(&self, axis: impl Into<Axes>) -> Array {
        self.along("sort", axis.into(), |axis| Op::Sort { axis })
    }

    /// Returns the positions that sort the elements along an axis, as `uint32`; equal elements keep their order.
    #[track_caller]
    pub fn argsort(&self, axis: impl Into<Axes>) -> Array {
        self.along("argsort", axis.into(), |axis| Op::Argsort { axis })
    }

    /// Returns the elements with the `kth` smallest in its place along an axis, smaller ones before it and greater
    /// ones after it, each in any order. A negative `kth` counts from the end.
    #[track_caller]
    pub fn partition(&self, kth: impl Integer, axis: impl Into<Axes>) -> Array {
        let kth = kth.to_i32();
        self.along("partition", axis.into(), |axis| Op::Partition { kth, axis })
    }

    /// Returns the positions that [`partition`](Self::partition) the elements along an axis, as `uint32`.
    #[track_caller]
    pub fn argpartition(&self, kth: impl Integer, axis: impl Into<Axes>) -> Array {
        let kth = kth.to_i32();
        self.along("argpartition", axis.into(), |axis| Op::Argpartition {
            kth,
            axis,
        })
    }

    /// Returns the `k` largest elements along the last axis, in any order; along another with
    /// [`topk_with`](Self::topk_with).
    #[track_caller]
    pub fn topk(&self, k: impl Integer) -> Array {
        self.topk_with(k, -1)
    }

    /// Returns the `k` largest elements along an axis, in any order.
    #[track_caller]
    pub fn topk_with(&self, k: impl Integer, axis: impl Into<Axes>) -> Array {
        let k = k.to_i32();
        self.along("topk", axis.into(), |axis| Op::Topk { k, axis })
    }

    /// Returns for each of `values` the position where it belongs in this sorted one-dimensional array, before elements
    /// equal to it, as `uint32`.
    #[track_caller]
    pub fn searchsorted(&self, values: impl Into<Operand>) -> Array {
        self.searchsorted_with(values, SearchSide::Left)
    }

    /// Returns for each of `values` the position where it belongs in this sorted one-dimensional array, as `uint32`:
    /// before elements equal to it with [`SearchSide::Left`], after them with [`SearchSide::Right`].
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let edges = mlx::array!([1.0, 2.0, 2.0, 3.0]);
    /// assert_eq!(edges.searchsorted(2.0).item::<u32>()?, 1);
    /// assert_eq!(edges.searchsorted_with(2.0, mlx::SearchSide::Right).item::<u32>()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn searchsorted_with(&self, values: impl Into<Operand>, side: SearchSide) -> Array {
        bind(
            Op::Searchsorted { side },
            &[self, &values.into().beside(self)],
        )
    }

    /// Returns the differences of neighbours along the last axis, which gets one shorter.
    #[track_caller]
    pub fn diff(&self) -> Array {
        self.diff_with(1, -1)
    }

    /// Returns the differences of neighbours along `axis`, taken `n` times: the axis gets `n` shorter.
    #[track_caller]
    pub fn diff_with(&self, n: i32, axis: impl Integer) -> Array {
        let axis = axis.to_i32();
        bind(Op::Diff { n, axis }, &[self])
    }

    #[track_caller]
    fn position(&self, name: &'static str, over: Reduction, op: fn(i32, bool) -> Op) -> Array {
        if let Axes::Some(axes) = &over.axes {
            return match single(name, axes) {
                Ok(axis) => bind(op(axis, over.keepdims), &[self]),
                Err(error) => Array::failed(error),
            };
        }
        let found = bind(op(0, false), &[&self.flatten(0, -1)]);
        match self.ndim() {
            Ok(ndim) if over.keepdims => found.reshape(vec![1; ndim]),
            _ => found,
        }
    }

    /// Binds an operation along one axis, or on the array read as one row.
    #[track_caller]
    pub(super) fn along(&self, name: &'static str, axes: Axes, op: impl Fn(i32) -> Op) -> Array {
        match axes {
            Axes::All => bind(op(0), &[&self.flatten(0, -1)]),
            Axes::Some(axes) => match single(name, &axes) {
                Ok(axis) => bind(op(axis), &[self]),
                Err(error) => Array::failed(error),
            },
        }
    }
}

/// Returns the only axis of a list.
#[track_caller]
fn single(op: &'static str, axes: &[i32]) -> Result<i32> {
    match axes {
        [axis] => Ok(*axis),
        _ => Err(Error::op(
            op,
            format!("wanted one axis, or () for all, got {axes:?}"),
        )),
    }
}

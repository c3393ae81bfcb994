//! Two trees as one: `mlx.utils.tree_merge`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::Tree;
use crate::{Array, Error, Result};

/// What [`tree_merge_with`] makes of two arrays at one place.
pub type MergeArrays<'a> = &'a mut dyn FnMut(&Array, &Array) -> Result<Array>;

/// Trees of which two can be one: maps have the entries of both, lists the elements of the longer one.
pub trait MergeTree: Tree + Clone {
    /// Returns the tree with the arrays of both; `merge` is asked where both have one.
    ///
    /// # Errors
    /// Those of `merge`.
    fn merge(&self, other: &Self, merge: MergeArrays<'_>) -> Result<Self>;
}

impl MergeTree for Array {
    fn merge(&self, other: &Self, merge: MergeArrays<'_>) -> Result<Self> {
        merge(self, other)
    }
}

impl<T: MergeTree> MergeTree for Option<T> {
    fn merge(&self, other: &Self, merge: MergeArrays<'_>) -> Result<Self> {
        match (self, other) {
            (Some(one), Some(other)) => one.merge(other, merge).map(Some),
            (one, other) => Ok(one.as_ref().or(other.as_ref()).cloned()),
        }
    }
}

impl<T: MergeTree> MergeTree for Vec<T> {
    fn merge(&self, other: &Self, merge: MergeArrays<'_>) -> Result<Self> {
        let mut merged = Vec::with_capacity(self.len().max(other.len()));
        for (one, other) in self.iter().zip(other) {
            merged.push(one.merge(other, merge)?);
        }
        let longer = if self.len() > other.len() {
            self
        } else {
            other
        };
        merged.extend(longer.iter().skip(merged.len()).cloned());
        Ok(merged)
    }
}

impl<K: Ord + Clone + Debug, T: MergeTree> MergeTree for BTreeMap<K, T> {
    fn merge(&self, other: &Self, merge: MergeArrays<'_>) -> Result<Self> {
        let mut merged = other.clone();
        for (key, tree) in self {
            let tree = match other.get(key) {
                Some(other) => tree.merge(other, merge)?,
                None => tree.clone(),
            };
            merged.insert(key.clone(), tree);
        }
        Ok(merged)
    }
}

/// Returns a tree with the arrays of two, which have none at the same place, as Python's `mlx.utils.tree_merge`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use std::collections::BTreeMap;
/// let a = BTreeMap::from([("weight", mlx::array!([1.0]))]);
/// let b = BTreeMap::from([("bias", mlx::array!([2.0]))]);
/// assert_eq!(mlx::tree_merge(&a, &b)?.len(), 2);
/// assert!(mlx::tree_merge(&a, &a).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When both have an array at one place.
#[track_caller]
pub fn tree_merge<T: MergeTree>(tree_a: &T, tree_b: &T) -> Result<T> {
    let message = "wanted trees with no array at the same place, got two at one place: merge them by tree_merge_with";
    let error = Error::op("tree_merge", message);
    tree_a.merge(tree_b, &mut |_, _| Err(error.clone()))
}

/// Returns a tree with the arrays of two, and what `merge` gives where both have one: `tree_merge(a, b, merge_fn)` in
/// Python.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (a, b) = (vec![mlx::array!(1.0)], vec![mlx::array!(2.0), mlx::array!(3.0)]);
/// let sums = mlx::tree_merge_with(&a, &b, |a, b| a + b);
/// assert_eq!((sums[0].item::<f32>()?, sums.len()), (3.0, 2));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn tree_merge_with<T: MergeTree>(
    tree_a: &T,
    tree_b: &T,
    mut merge: impl FnMut(&Array, &Array) -> Array,
) -> T {
    let merged = tree_a.merge(tree_b, &mut |a, b| Ok(merge(a, b)));
    // The function gives no error.
    merged.unwrap_or_else(|_| tree_a.clone())
}

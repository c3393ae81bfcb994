//! Arrays of trees by their paths: the tree functions of `mlx.utils`.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display, Write};

use super::{Tree, arrays};
use crate::{Array, Error, Result};

/// The path to a place in a tree: names, keys and indices with dots between them.
#[derive(Clone, Debug, Default)]
pub struct TreePath(String);

impl TreePath {
    /// Returns the path as text, `layers.0.weight`; that of a tree that is one array is empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Calls a function with the path of a part of this place.
    pub fn within<T>(&mut self, part: impl Display, visit: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.0.len();
        let dot = if outer == 0 { "" } else { "." };
        // A `Display` that fails leaves its name out.
        let _ = write!(self.0, "{dot}{part}");
        let result = visit(self);
        self.0.truncate(outer);
        result
    }

    /// Calls a function with the path of the entry with this key: its `Debug` text without quotation marks.
    pub fn within_key<T>(&mut self, key: &impl Debug, visit: impl FnOnce(&mut Self) -> T) -> T {
        let text = format!("{key:?}");
        let inner = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        self.within(inner.unwrap_or(&text), visit)
    }
}

/// Returns the arrays of a tree with their paths, in its order, as Python's `mlx.utils.tree_flatten`.
///
/// ```
/// use mlx::{array, tree_flatten};
/// let tree = (vec![array!([1.0]), array!([2.0])], array!(3.0));
/// let paths: Vec<String> = tree_flatten(&tree).into_iter().map(|(path, _)| path).collect();
/// assert_eq!(paths, ["0.0", "0.1", "1"]);
/// ```
pub fn tree_flatten<T: Tree + ?Sized>(tree: &T) -> Vec<(String, Array)> {
    let mut flat = Vec::new();
    tree.visit_paths(&mut TreePath::default(), &mut |path, array| {
        flat.push((path.to_owned(), array.clone()));
    });
    flat
}

/// Returns a tree like another one with these arrays in it, each at its path, in any order.
///
/// Python's `tree_unflatten` makes a tree of the paths alone; here `like` has the type.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::{array, tree_flatten, tree_unflatten};
/// let tree = (array!([1.0]), array!([2.0]));
/// let mut flat = tree_flatten(&tree);
/// flat.reverse();
/// let (a, b) = tree_unflatten(&tree, flat)?;
/// assert_eq!((a.item::<f32>()?, b.item::<f32>()?), (1.0, 2.0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When a path of the tree has no array, or there is an array with another path.
#[track_caller]
pub fn tree_unflatten<T: Tree, P: Into<String>>(
    like: &T,
    flat: impl IntoIterator<Item = (P, Array)>,
) -> Result<T> {
    let flat = flat.into_iter().map(|(path, array)| (path.into(), array));
    let mut flat: BTreeMap<String, Array> = flat.collect();
    let mut missing = Vec::new();
    let unflattened = tree_map_with_path(
        |path, array| {
            flat.remove(path).unwrap_or_else(|| {
                missing.push(path.to_owned());
                // Thrown away below.
                array.clone()
            })
        },
        like,
    );
    if let Some(path) = missing.first() {
        let n = missing.len();
        let message = format!("wanted an array for each path, got none for `{path}` ({n} missing)");
        return Err(Error::op("tree_unflatten", message));
    }
    if let Some(path) = flat.keys().next() {
        let message = format!("wanted paths of the tree, got `{path}`");
        return Err(Error::op("tree_unflatten", message));
    }
    Ok(unflattened)
}

/// Returns the tree with each array replaced by what `map` gives for it, as Python's `mlx.utils.tree_map`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (a, b) = mlx::tree_map(|x| x * 2.0, &(mlx::array!(1.0), mlx::array!(2.0)));
/// assert_eq!((a.item::<f32>()?, b.item::<f32>()?), (2.0, 4.0));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn tree_map<T: Tree>(mut map: impl FnMut(&Array) -> Array, tree: &T) -> T {
    tree.map(&mut map)
}

/// Returns the tree with each array replaced by what `map` gives for it and for the arrays of other trees at its path:
/// Python's `tree_map(f, tree, *rest)`.
///
/// The other trees may be of other types and may have more arrays.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::{array, tree_map_with_rest};
/// let (weights, gradients) = (vec![array!(1.0)], vec![array!(0.5)]);
/// let stepped = tree_map_with_rest(|w, [g]| w - g * 0.1, &weights, [&gradients])?;
/// assert_eq!(stepped[0].item::<f32>()?, 0.95);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When another tree has no array at a path of the first.
#[track_caller]
pub fn tree_map_with_rest<T: Tree, const N: usize>(
    mut map: impl FnMut(&Array, [&Array; N]) -> Array,
    tree: &T,
    rest: [&dyn Tree; N],
) -> Result<T> {
    let rest = rest.map(|tree| {
        let mut by_path = BTreeMap::new();
        tree.visit_paths(&mut TreePath::default(), &mut |path, array| {
            by_path.insert(path.to_owned(), array);
        });
        by_path
    });
    let mut missing = None;
    let mapped = tree_map_with_path(
        |path, array| {
            let mut at_path = [array; N];
            for (place, by_path) in at_path.iter_mut().zip(&rest) {
                match by_path.get(path) {
                    Some(found) => *place = found,
                    None => missing = Some(path.to_owned()),
                }
            }
            match missing {
                None => map(array, at_path),
                Some(_) => array.clone(),
            }
        },
        tree,
    );
    match missing {
        None => Ok(mapped),
        Some(path) => {
            let message =
                format!("wanted trees with all paths of the first, got none for `{path}`");
            Err(Error::op("tree_map_with_rest", message))
        }
    }
}

/// Returns the tree with each array replaced by what `map` gives for its path and itself, as Python's
/// `mlx.utils.tree_map_with_path`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::{array, tree_map_with_path};
/// let zeroed = |path: &str, x: &mlx::Array| if path == "1" { x * 0.0 } else { x.clone() };
/// let (a, b) = tree_map_with_path(zeroed, &(array!(1.0), array!(2.0)));
/// assert_eq!((a.item::<f32>()?, b.item::<f32>()?), (1.0, 0.0));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn tree_map_with_path<T: Tree>(mut map: impl FnMut(&str, &Array) -> Array, tree: &T) -> T {
    let mut paths = Vec::new();
    tree.visit_paths(&mut TreePath::default(), &mut |path, _| {
        paths.push(path.to_owned());
    });
    let mut paths = paths.into_iter();
    tree.map(&mut |array| {
        let path = paths.next().unwrap_or_default();
        map(&path, array)
    })
}

/// Returns what `reduce` makes of an initial value and each array in turn, as Python's `mlx.utils.tree_reduce`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let tree = (mlx::array!([1.0, 2.0]), mlx::array!([3.0]));
/// let sizes = mlx::tree_reduce(|sum, x| sum + x.shape().map_or(0, |shape| shape[0]), &tree, 0);
/// assert_eq!(sizes, 3);
/// # Ok(())
/// # }
/// ```
pub fn tree_reduce<T: Tree + ?Sized, A>(
    reduce: impl FnMut(A, &Array) -> A,
    tree: &T,
    initializer: A,
) -> A {
    arrays(tree).into_iter().fold(initializer, reduce)
}

//! Values made of arrays: what transforms and compiled functions take and give.
//!
//! An [`Array`] is a tree; so are tuples, vectors, options and maps of trees, and a struct or an enum by
//! `#[derive(Tree)]`. A [`Function`] takes trees by reference and gives one.

mod function;
mod list;
mod merge;
mod numbers;
mod outcome;
mod paths;
mod standard;
mod structure;

pub use function::{Arguments, Callee, Function};
pub use list::ArrayList;
pub use merge::{MergeArrays, MergeTree, tree_merge, tree_merge_with};
pub use outcome::{BoxedError, Outcome};
pub use paths::{
    TreePath, tree_flatten, tree_map, tree_map_with_path, tree_map_with_rest, tree_reduce,
    tree_unflatten,
};
pub use standard::Static;
pub use structure::Structure;

use crate::{Array, Error, Result};

/// A value made of arrays: an array, tuples, vectors, options, maps of trees, or a struct by derive.
///
/// The order of the arrays, and everything written to the structure, must depend on nothing but the value: two trees
/// of one type with the same structure have the same number of arrays, in the same places.
///
/// ```
/// use mlx::{Array, Tree, array, tree};
///
/// #[derive(Tree)]
/// struct Linear {
///     weight: Array,
///     bias: Option<Array>,
///     #[tree(static)]
///     name: String,
/// }
///
/// # fn main() -> mlx::Result<()> {
/// let layer = Linear { weight: array!([1.0, 2.0]), bias: None, name: "first".into() };
/// let twice = layer.map(&mut |array| array * 2.0);
/// assert_eq!(twice.weight.to_vec::<f32>()?, [2.0, 4.0]);
/// assert_eq!(tree::arrays(&layer).len(), 1);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tree of arrays",
    label = "neither an array nor made of arrays",
    note = "derive `mlx::Tree` for a struct; mark a field that is a setting with `#[tree(static)]`, or wrap it in `mlx::tree::Static`"
)]
pub trait Tree {
    /// Calls `visit` with each array, always in the same order.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Array));

    /// Returns the same tree with each array replaced by what `map` gives for it, in the order of `visit`.
    #[must_use]
    fn map(&self, map: &mut dyn FnMut(&Array) -> Array) -> Self
    where
        Self: Sized;

    /// Calls `visit` with each array and its path, in the order of [`Tree::visit`]: names of fields, keys of maps and
    /// places in lists, with dots between them, as `layers.0.weight`.
    ///
    /// Unless the type says otherwise its arrays are numbered.
    fn visit_paths<'a>(&'a self, path: &mut TreePath, visit: &mut dyn FnMut(&str, &'a Array)) {
        let mut index = 0_usize;
        self.visit(&mut |array| {
            path.within(index, |path| visit(path.as_str(), array));
            index += 1;
        });
    }

    /// Writes what tells this tree from others of its type besides its arrays: lengths, keys, which options are set,
    /// settings.
    fn structure(&self, structure: &mut Structure);

    /// Calls `visit` with each array, in the order of [`Tree::visit`], and whether a gradient is taken of it.
    ///
    /// All arrays are trainable, unless the type says otherwise, as a module with frozen parameters does.
    fn visit_trainable<'a>(&'a self, visit: &mut dyn FnMut(&'a Array, bool)) {
        self.visit(&mut |array| visit(array, true));
    }
}

/// Returns the arrays of a tree, in its order.
///
/// ```
/// let (x, y) = (mlx::array!([1.0]), mlx::array!([2.0, 3.0]));
/// assert_eq!(mlx::tree::arrays(&(x, vec![y])).len(), 2);
/// ```
pub fn arrays<T: Tree + ?Sized>(tree: &T) -> Vec<&Array> {
    let mut arrays = Vec::new();
    tree.visit(&mut |array| arrays.push(array));
    arrays
}

/// Returns the tree with its arrays replaced by `arrays`, in its order.
///
/// # Errors
/// When there are more or fewer of them than the tree has.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::{array, tree};
/// let (a, b) = tree::rebuild(&(array!([0.0]), array!([0.0])), [array!([1.0]), array!([2.0])])?;
/// assert_eq!((a + b).item::<f32>()?, 3.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn rebuild<T: Tree>(tree: &T, arrays: impl IntoIterator<Item = Array>) -> Result<T> {
    let mut arrays = arrays.into_iter();
    let (mut wanted, mut got) = (0_usize, 0_usize);
    let rebuilt = tree.map(&mut |array| {
        wanted += 1;
        match arrays.next() {
            Some(next) => {
                got += 1;
                next
            }
            // Thrown away below.
            None => array.clone(),
        }
    });
    got += arrays.count();
    if wanted == got {
        Ok(rebuilt)
    } else {
        let message = format!("the tree has {wanted} arrays, got {got}");
        Err(Error::op("rebuild", message))
    }
}

/// Returns what tells a tree from others of its type besides its arrays.
///
/// ```
/// # let x = mlx::array!([1.0]);
/// use mlx::tree::structure;
/// assert_eq!(structure(&vec![x.clone()]), structure(&vec![x.clone()]));
/// assert_ne!(structure(&vec![x.clone()]), structure(&vec![x.clone(), x]));
/// ```
pub fn structure<T: Tree + ?Sized>(tree: &T) -> Structure {
    let mut structure = Structure::default();
    tree.structure(&mut structure);
    structure
}

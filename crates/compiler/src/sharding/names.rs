//! What the inputs and outputs of a traced function are called.

use mlx::tree::TreePath;
use mlx::{Array, Tree};

/// The paths of a traced function's inputs and outputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct TracedNames {
    /// The number of the argument, then the path in it: `0.layers.3.weight`.
    pub(crate) inputs: Vec<String>,
    /// The path in what it returns: that of the only array is empty.
    pub(crate) outputs: Vec<String>,
}

impl TracedNames {
    /// Returns the names of arguments and of what a function returned.
    pub(crate) fn of(args: &impl Tree, output: &impl Tree) -> Self {
        Self {
            inputs: paths(args),
            outputs: paths(output),
        }
    }
}

fn paths(tree: &impl Tree) -> Vec<String> {
    let mut paths = Vec::new();
    tree.visit_paths(&mut TreePath::default(), &mut |path: &str, _: &Array| {
        paths.push(path.to_owned());
    });
    paths
}

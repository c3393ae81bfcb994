//! The switch of the process that compiles nothing, in a process of its own.

use mlx::{Array, ones};
use mlx_compiler::{Autotune, disable_compile, jit};

#[test]
fn a_function_that_is_not_compiled_is_not_timed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("autotune.json");
    let f = jit(|x: &Array| x * mlx::sigmoid(x))
        .autotune(Autotune::Measure)
        .autotune_cache(&file);
    disable_compile();
    f(&ones([3, 5])).unwrap().eval().unwrap();
    assert!(f.report().is_none());
    assert!(!file.exists());
}

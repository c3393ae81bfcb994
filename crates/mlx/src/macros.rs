//! The macros for users. Everything they do has a plain function too.

/// Returns an array of nested lists, bare decimals being `float32` and bare whole numbers `int32`, as in Python MLX.
///
/// The same as [`Array::new`](crate::Array::new) with numbers that say their type.
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
        $crate::Array::literal($nested)
    };
}

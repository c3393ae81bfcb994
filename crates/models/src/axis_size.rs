//! Sizes of axes in the integer type of MLX.

/// Returns a size as MLX has it; sizes of checked configurations are far below `i32::MAX`.
pub(crate) fn axis_size(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

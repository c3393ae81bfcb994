//! Tests that need a pinned file, and skip where there is none.

use crate::Result;

/// Returns the asset, or prints why a test is skipped.
///
/// # Panics
/// When there is no asset and `MLX_REQUIRE_ASSETS` is set, as in CI.
#[track_caller]
pub fn if_available<T>(asset: Result<T>) -> Option<T> {
    match asset {
        Ok(asset) => Some(asset),
        Err(error) if std::env::var_os("MLX_REQUIRE_ASSETS").is_some() => {
            panic!("a needed asset: {error}")
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

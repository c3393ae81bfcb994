//! A pinned file that a test needs.

/// Returns the asset, or says that the test is skipped; with `MLX_REQUIRE_ASSETS` set, as in CI, it must be there.
pub fn asset<T>(asset: mlx_models::Result<T>) -> Option<T> {
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

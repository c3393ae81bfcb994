//! mlx-sys

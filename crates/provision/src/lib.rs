//! mlx-provision

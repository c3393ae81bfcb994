//! Stages MLX and the native library if they are missing, and generates the bindings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let out = PathBuf::from(std::env::var("OUT_DIR").context("OUT_DIR is set by cargo")?);
    let staged = mlx_provision::stage(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    println!(
        "cargo:rustc-env=MLX_SYS_STAGE_ROOT={}",
        staged.root.display()
    );
    println!("cargo:rustc-env=MLX_SYS_NATIVE={}", staged.native.display());
    println!("cargo:rustc-env=MLX_SYS_MLX_VERSION={}", "0.32.2");
    println!("cargo:rustc-env=MLX_SYS_MLXC_VERSION={}", "0.7.0");
    println!("cargo:rerun-if-changed=native");
    println!("cargo:rerun-if-env-changed=MLX_BUILD_DIR");
    bindings(&staged, &out.join("bindings.rs"))
}

fn bindings(staged: &mlx_provision::Staged, to: &Path) -> Result<()> {
    // SAFETY: a build script has one thread here.
    unsafe { std::env::set_var("LIBCLANG_PATH", &staged.libclang) };
    let gcc = std::process::Command::new("gcc")
        .arg("-print-file-name=include")
        .output()?;
    let gcc = String::from_utf8(gcc.stdout)?;
    bindgen::Builder::default()
        .header("native/include/mlx_native.h")
        .clang_arg(format!("-I{}", staged.mlxc.display()))
        .clang_arg(format!("-isystem{}", gcc.trim()))
        .allowlist_item("_?mlx_.*|MLX_.*")
        .blocklist_item("mlx_array_empty")
        .dynamic_library_name("Api")
        .dynamic_link_require_all(true)
        .layout_tests(false)
        .generate_comments(false)
        .generate()?
        .write_to_file(to)
        .context("writing the bindings")
}

//! Stages MLX and builds the native library where they are missing, and generates the bindings.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mlx_provision::{Settings, Staged, environment, pins, places, setup};

/// What documentation builds get: no C functions, but everything around them.
const EMPTY: &str = "
pub const MLX_NATIVE_VERSION: u32 = 0;
/// Every C function as a method; left empty where documentation is built without the C headers.
pub struct Api { _library: ::libloading::Library }
impl Api {
    pub unsafe fn from_library<L: Into<::libloading::Library>>(library: L) -> Result<Self, ::libloading::Error> {
        Ok(Self { _library: library.into() })
    }
}
";

fn main() -> Result<()> {
    // First of all: this process may be the child that runs CMake.
    mlx_provision::run_cmake_child_if_requested();
    environment::rerun_if_changed();
    println!("cargo:rerun-if-changed=native");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=MLX_SYS_MLX_VERSION={}", pins::MLX_VERSION);
    println!(
        "cargo:rustc-env=MLX_SYS_MLXC_VERSION={}",
        pins::MLXC_VERSION
    );
    let out = PathBuf::from(std::env::var("OUT_DIR").context("OUT_DIR is set by cargo")?);
    let bindings = out.join("bindings.rs");

    if environment::value(environment::DOCS_RS).is_some() {
        bake(Path::new(""), Path::new(""));
        println!("cargo:rustc-env=MLX_SYS_SET_UP=cargo build");
        return std::fs::write(bindings, EMPTY).context("writing empty bindings");
    }
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("native");
    let settings = Settings::from_env(&native);
    let staged = setup(&settings)?;
    bake(&staged.root, &staged.native);
    println!(
        "cargo:rustc-env=MLX_SYS_SET_UP={}",
        set_up_command(&settings, &native)
    );
    // For the test that compares headers and bindings.
    println!(
        "cargo:rustc-env=MLX_SYS_MLXC_SOURCE={}",
        staged.mlxc.display()
    );
    for file in &staged.watch {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    generate(&staged, &bindings)
}

/// Tells the loader where things are.
fn bake(root: &Path, native: &Path) {
    println!("cargo:rustc-env=MLX_SYS_STAGE_ROOT={}", root.display());
    println!("cargo:rustc-env=MLX_SYS_NATIVE={}", native.display());
}

/// What stages the native files again. The command of a checkout is of no use to a program that has this crate as a
/// dependency: there this build script must run once more.
fn set_up_command(settings: &Settings, native: &Path) -> &'static str {
    match places::workspace(native).filter(|dir| !dir.starts_with(&settings.cargo_home)) {
        Some(_) => "cargo xtask setup",
        None => "cargo clean -p mlx-sys && cargo build",
    }
}

fn generate(staged: &Staged, to: &Path) -> Result<()> {
    if let Some(libclang) = &staged.libclang {
        // SAFETY: this build script has one thread.
        unsafe { std::env::set_var(environment::LIBCLANG_PATH, libclang) };
    }
    let mut builder = bindgen::Builder::default()
        .header("native/include/mlx_native.h")
        .clang_arg(format!("-I{}", staged.mlxc.display()))
        .allowlist_item("_?mlx_.*|MLX_.*")
        // A constant with internal linkage, which no library exports.
        .blocklist_item("mlx_array_empty")
        .dynamic_library_name("Api")
        .dynamic_link_require_all(true)
        .layout_tests(false)
        .generate_comments(false);
    if let Some(headers) = &staged.c_headers {
        builder = builder.clang_arg(format!("-isystem{}", headers.display()));
    }
    builder
        .generate()
        .context("bindgen cannot read the headers of mlx-c")?
        .write_to_file(to)
        .context("writing the bindings")
}

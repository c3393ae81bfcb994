//! A library that is missing, broken or of another version is an error value, and libraries may lie in one folder.
#![cfg(target_os = "linux")]

mod support;

use std::path::Path;
use std::process::Command;

use support::in_own_process;

/// Says what loading gives, in the process that the other tests start.
#[test]
fn load() {
    if !support::is_own_process() {
        return;
    }
    match mlx_sys::loaded() {
        Ok(loaded) => println!("loaded {} from {}", loaded.versions.mlx, loaded.place),
        Err(error) => println!("refused: {error}"),
    }
}

fn load_from(dir: &Path) -> String {
    let (ok, said) = in_own_process("load", &[("MLX_LIB_DIR", dir.to_str().unwrap())]);
    assert!(ok, "the process ended badly: {said}");
    said
}

/// A folder with copies of the libraries, as a program is shipped.
fn shipped() -> tempfile::TempDir {
    let loaded = mlx_sys::loaded().unwrap_or_else(|error| panic!("{error}"));
    let dir = tempfile::tempdir().unwrap();
    let own = loaded.mlxc.parent().unwrap();
    let wheel = loaded.mlx.ancestors().nth(3).unwrap();
    let mut files = vec![loaded.mlx.clone()];
    for folder in [own.to_owned(), wheel.join("mlx_cpu.libs")] {
        files.extend(
            std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    if let mlx_sys::Blas::OpenBlas { path, .. } = &loaded.blas {
        files.push(path.clone());
    }
    for file in files {
        std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    dir
}

#[test]
fn loads_libraries_that_lie_in_one_folder() {
    let said = load_from(shipped().path());
    assert!(said.contains("loaded 0.32.4 from MLX_LIB_DIR"), "{said}");
}

#[test]
fn says_where_it_looked_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let said = load_from(dir.path());
    assert!(said.contains("refused: no MLX libraries found"), "{said}");
    assert!(
        said.contains(dir.path().to_str().unwrap()) && said.contains("cargo xtask setup"),
        "{said}"
    );
}

#[test]
fn refuses_a_file_that_is_no_library() {
    let dir = shipped();
    std::fs::write(dir.path().join("libmlx.so"), "text").unwrap();
    let said = load_from(dir.path());
    assert!(
        said.contains("refused: cannot load") && said.contains("libmlx.so"),
        "{said}"
    );
    assert!(
        said.contains("file too short") || said.contains("invalid ELF header"),
        "{said}"
    );
}

#[test]
fn refuses_a_library_without_our_functions() {
    let dir = shipped();
    std::fs::copy(
        dir.path().join("libmlxguard.so"),
        dir.path().join("libmlxc.so"),
    )
    .unwrap();
    let said = load_from(dir.path());
    assert!(said.contains("does not match the bindings"), "{said}");
    assert!(said.contains("mlx_native_compiled_mlx_version"), "{said}");
}

#[test]
fn refuses_another_version() {
    let dir = shipped();
    let source = dir.path().join("other.cpp");
    let text = r#"extern "C" {
        const char* mlx_native_compiled_mlx_version() { return "0.32.4"; }
        const char* mlx_native_compiled_mlxc_version() { return "0.7.0"; }
        int mlx_native_version() { return 1; }
        struct text { void* p; };
        int mlx_version(text* t) { t->p = (void*)"0.31.0"; return 0; }
        const char* mlx_string_data(text t) { return (const char*)t.p; }
        int mlx_string_free(text) { return 0; }
    }"#;
    std::fs::write(&source, text).unwrap();
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let output = Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .arg(dir.path().join("libmlxc.so"))
        .arg(&source)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: no C++ compiler");
        return;
    };
    assert!(output.status.success());
    let said = load_from(dir.path());
    assert!(
        said.contains("has MLX 0.31.0, but this program was built for 0.32.4"),
        "{said}"
    );
}

#[test]
fn goes_on_with_the_bundled_blas_when_openblas_does_not_load() {
    let dir = shipped();
    std::fs::write(dir.path().join("libscipy_openblas.so"), "text").unwrap();
    let said = load_from(dir.path());
    assert!(said.contains("loaded 0.32.4"), "{said}");
}

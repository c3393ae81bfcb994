//! On Linux the BLAS and LAPACK names that MLX imports are bound to OpenBLAS before its own.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libloading::os::unix::Library;
use mlx_sys::{Blas, Loaded};
use support::{Array, api, checked, cpu, in_own_process};

fn loaded() -> &'static Loaded {
    mlx_sys::loaded().unwrap_or_else(|error| panic!("{error}"))
}

fn forwarders() -> std::path::PathBuf {
    loaded().mlxc.with_file_name("libmlxblas.so")
}

#[test]
fn binds_openblas_first() {
    let Blas::OpenBlas { config, .. } = &loaded().blas else {
        panic!("{:?}", loaded().blas);
    };
    assert!(config.contains("OpenBLAS 0.3"), "{config}");
    // SAFETY: both libraries are loaded already; only addresses are compared.
    unsafe {
        let everywhere = Library::this();
        let ours = Library::open(Some(forwarders()), libloading::os::unix::RTLD_NOW).unwrap();
        for name in ["cblas_sgemm", "sgesdd_", "cheevd_"] {
            let first = everywhere
                .get::<unsafe extern "C" fn()>(name.as_bytes())
                .unwrap();
            let forward = ours.get::<unsafe extern "C" fn()>(name.as_bytes()).unwrap();
            assert_eq!(*first as usize, *forward as usize, "{name}");
        }
    }
}

#[test]
fn forwards_every_name_that_mlx_imports() {
    let (Some(wanted), Some(offered)) = (names(&loaded().mlx, "U"), names(&forwarders(), "T"))
    else {
        eprintln!("skipped: no `nm` on this machine");
        return;
    };
    let is_blas = |name: &&String| {
        let is_lapack = name.ends_with('_') && name.len() > 4 && "sdcz".contains(&name[..1]);
        name.starts_with("cblas_")
            || (is_lapack && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let wanted: BTreeSet<_> = wanted.iter().filter(is_blas).collect();
    assert!(wanted.len() >= 24, "{wanted:?}");
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !offered.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Returns the dynamic symbols of one kind.
fn names(library: &Path, kind: &str) -> Option<BTreeSet<String>> {
    let output = Command::new("nm").arg("-D").arg(library).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(
        text.lines()
            .map(|line| line.split_whitespace().rev().collect::<Vec<_>>())
            .filter(|words| words.get(1) == Some(&kind))
            .map(|words| words[0].split('@').next().unwrap_or_default().to_owned())
            .collect(),
    )
}

#[test]
fn decomposes_through_the_forwarders() {
    // [[2, 0], [0, 3]]: singular values 3 and 2.
    let flat = Array::vector(&[2.0, 0.0, 0.0, 3.0]);
    let mut matrix = Array::empty();
    // SAFETY: the handles are alive, the result slots are empty or a list.
    let values = unsafe {
        checked(api().mlx_reshape(&raw mut matrix.0, flat.0, [2, 2].as_ptr(), 2, cpu())).unwrap();
        let mut parts = api().mlx_vector_array_new();
        checked(api().mlx_linalg_svd(&raw mut parts, matrix.0, false, cpu())).unwrap();
        support::item(parts, 0).values()
    };
    assert_eq!(values, [3.0, 2.0]);
}

/// The measure of the next test, in the process that it starts.
#[test]
fn time_of_a_product() {
    if !support::is_own_process() {
        return;
    }
    println!("nanoseconds {}", product(512).as_nanos());
}

#[test]
fn multiplies_much_faster_than_the_bundled_blas() {
    let time = |blas: &str| -> u128 {
        // One thread, so that a busy machine disturbs both alike.
        let variables = [("MLX_BLAS", blas), ("OPENBLAS_NUM_THREADS", "1")];
        let (ok, said) = in_own_process("time_of_a_product", &variables);
        assert!(ok, "{said}");
        let line = said
            .lines()
            .find_map(|line| line.split("nanoseconds ").nth(1));
        line.unwrap().trim().parse().unwrap()
    };
    let (bound, bundled) = (time("openblas"), time("bundled"));
    println!(
        "512 x 512: {} us bound, {} us bundled",
        bound / 1000,
        bundled / 1000
    );
    // It is about 20 times on an idle machine.
    assert!(bound * 3 < bundled, "{bound} {bundled}");
}

/// The best of ten.
fn product(n: i32) -> Duration {
    let mut ones = Array::empty();
    // SAFETY: the handles are alive, the result slots are empty.
    unsafe {
        let shape = [n, n];
        let dtype = mlx_sys::mlx_dtype__MLX_FLOAT32;
        checked(api().mlx_ones(&raw mut ones.0, shape.as_ptr(), 2, dtype, cpu())).unwrap();
        ones.eval().unwrap();
        let one = || {
            let start = Instant::now();
            let mut product = Array::empty();
            checked(api().mlx_matmul(&raw mut product.0, ones.0, ones.0, cpu())).unwrap();
            product.eval().unwrap();
            start.elapsed()
        };
        (0..10).map(|_| one()).min().unwrap()
    }
}

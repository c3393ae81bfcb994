//! Which build of MLX, and which file of it, for every machine.

use mlx_provision::backend::{Backend, choose};
use mlx_provision::{Os, Platform, pins};
use rstest::rstest;

#[rstest]
#[case("linux", "x86_64", None, Backend::Cpu)]
#[case("linux", "x86_64", Some(""), Backend::Cpu)]
#[case("linux", "x86_64", Some("cpu"), Backend::Cpu)]
#[case("linux", "x86_64", Some("cuda12"), Backend::Cuda12)]
#[case("linux", "x86_64", Some("cuda13"), Backend::Cuda13)]
#[case("linux", "aarch64", None, Backend::Cpu)]
#[case("linux", "aarch64", Some("cuda13"), Backend::Cuda13)]
#[case("macos", "aarch64", None, Backend::Metal)]
#[case("macos", "aarch64", Some("metal"), Backend::Metal)]
fn chooses_a_backend_that_is_pinned(
    #[case] os: &str,
    #[case] arch: &str,
    #[case] requested: Option<&str>,
    #[case] wanted: Backend,
) {
    let choice = choose(os, arch, requested).unwrap();
    assert_eq!(choice.backend, wanted);
    let platform = Platform::named(os, arch);
    let pin = pins::mlx(choice.backend, &platform).unwrap();
    assert_eq!(pin.version, pins::MLX_VERSION);
    let (system, processor) = match (os, arch) {
        ("macos", _) => ("macosx", "arm64"),
        _ => ("manylinux", arch),
    };
    assert!(
        pin.file.contains(system) && pin.file.contains(processor),
        "{}",
        pin.file
    );
}

#[rstest]
#[case("macos", "x86_64", None, "Apple silicon only")]
#[case("windows", "x86_64", None, "no build for windows")]
#[case("linux", "riscv64", None, "no build for linux on riscv64")]
#[case(
    "linux",
    "x86_64",
    Some("metal"),
    "does not exist for linux on x86_64, which has: cpu, cuda13, cuda12"
)]
#[case(
    "macos",
    "aarch64",
    Some("cpu"),
    "the metal build also runs on the CPU"
)]
#[case("macos", "aarch64", Some("cuda13"), "does not exist for macos")]
#[case("linux", "x86_64", Some("tpu"), "unknown backend `tpu`")]
fn refuses_what_does_not_exist(
    #[case] os: &str,
    #[case] arch: &str,
    #[case] requested: Option<&str>,
    #[case] why: &str,
) {
    let refusal = choose(os, arch, requested).unwrap_err();
    assert!(refusal.contains(why), "{refusal}");
}

#[rstest]
#[case(13, None)]
#[case(14, Some("macosx_14_0"))]
#[case(15, Some("macosx_15_0"))]
#[case(16, Some("macosx_15_0"))]
#[case(26, Some("macosx_26_0"))]
#[case(27, Some("macosx_26_0"))]
fn takes_the_metal_kernels_for_the_version_of_macos(
    #[case] version: u32,
    #[case] wanted: Option<&str>,
) {
    let platform = Platform {
        os: Os::Macos(version),
        arch: "aarch64".into(),
    };
    let found = pins::mlx(Backend::Metal, &platform).map(|pin| pin.file);
    match wanted {
        Some(tag) => assert!(found.as_ref().unwrap().contains(tag), "{found:?}"),
        None => assert_eq!(found, None),
    }
}

#[rstest]
#[case("linux", "x86_64")]
#[case("linux", "aarch64")]
#[case("macos", "aarch64")]
fn pins_every_tool_for_every_machine(#[case] os: &str, #[case] arch: &str) {
    let platform = Platform::named(os, arch);
    for role in ["mlx-c", "cmake", "ninja", "libclang"] {
        assert!(
            pins::find(role, &platform).is_some(),
            "{role} on {platform}"
        );
    }
    assert_eq!(pins::find("openblas", &platform).is_some(), os == "linux");
}

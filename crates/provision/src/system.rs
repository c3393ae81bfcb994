//! Whether this system can run what is staged: its C library, and its folder for temporary files.

use std::fs::{self, File};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::pins::Pin;
use crate::process::{self, command, output};
use crate::{Error, Platform, Result, Settings};

/// The C library of a Linux system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Libc {
    Glibc(u32, u32),
    Musl,
    Unknown,
}

/// Fails when wheels for Linux are wanted, which are built for glibc, and the system has none or an older one.
pub(crate) fn check_libc(settings: &Settings, pins: &[&Pin]) -> Result<()> {
    let host = Platform::host();
    if settings.platform.os_name() != "linux" || host.os_name() != "linux" {
        return Ok(());
    }
    let found = libc(settings);
    for pin in pins {
        let Some(wanted) = oldest_glibc(pin) else {
            continue;
        };
        let got = match found {
            Libc::Glibc(major, minor) if (major, minor) < wanted => {
                format!("glibc {major}.{minor}")
            }
            Libc::Musl => {
                "musl (as in Alpine, or a target such as x86_64-unknown-linux-musl)".into()
            }
            _ => continue,
        };
        return Err(Error::Libc {
            package: format!("{} {}", pin.package, pin.version),
            wanted: format!("{}.{}", wanted.0, wanted.1),
            got,
        });
    }
    Ok(())
}

/// Returns the oldest glibc that a wheel's tags name; `None` for other files.
fn oldest_glibc(pin: &Pin) -> Option<(u32, u32)> {
    let of_tag = |tag: &str| {
        let mut parts = tag.strip_prefix("manylinux_")?.split('_').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    pin.platform_tags().into_iter().filter_map(of_tag).min()
}

/// Returns the C library that programs built here use.
fn libc(settings: &Settings) -> Libc {
    // Cargo says which one the program will have; outside of build scripts this program's own counts.
    let built_for = std::env::var("CARGO_CFG_TARGET_ENV").ok();
    let is_musl = match &built_for {
        Some(name) => name == "musl",
        None => cfg!(target_env = "musl"),
    };
    if is_musl {
        return Libc::Musl;
    }
    let asked = [("getconf", "GNU_LIBC_VERSION"), ("ldd", "--version")];
    let said = asked.into_iter().filter_map(|(program, argument)| {
        let program = process::find(program.as_ref(), &settings.path)?;
        let said = output(command(&program, settings).arg(argument)).ok()?;
        let both = [said.stdout, said.stderr].concat();
        Some(String::from_utf8_lossy(&both).into_owned())
    });
    said.map(|text| libc_in(&text))
        .find(|libc| *libc != Libc::Unknown)
        .unwrap_or(Libc::Unknown)
}

/// Reads `glibc 2.36`, `ldd (Debian GLIBC 2.36-9) 2.36` or `musl libc (x86_64)`.
fn libc_in(text: &str) -> Libc {
    let first = text.lines().next().unwrap_or_default();
    if first.contains("musl") {
        return Libc::Musl;
    }
    let is_glibc = ["glibc", "GLIBC", "GNU libc"]
        .iter()
        .any(|name| first.contains(name));
    let version = first.split_whitespace().next_back().and_then(|word| {
        let mut parts = word.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    match version {
        Some((major, minor)) if is_glibc => Libc::Glibc(major, minor),
        _ => Libc::Unknown,
    }
}

/// Fails when no file can be made where compilers and pip make theirs.
pub(crate) fn check_temp_dir() -> Result<()> {
    // Tests do this on several threads at once.
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let dir = std::env::temp_dir();
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let file = dir.join(format!(".mlx-set-up.{}.{number}", std::process::id()));
    let made = File::options().write(true).create_new(true).open(&file);
    let _ = fs::remove_file(&file);
    made.map(drop).map_err(|source| Error::Setting {
        name: "TMPDIR",
        value: dir.to_string_lossy().into_owned(),
        reason: format!("no file can be made there, which the compiler and pip need: {source}"),
        fix: "set TMPDIR to a folder that can be written".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::pins;
    use rstest::rstest;

    #[rstest]
    #[case("glibc 2.36\n", Libc::Glibc(2, 36))]
    #[case(
        "ldd (Debian GLIBC 2.36-9+deb12u14) 2.36\nCopyright",
        Libc::Glibc(2, 36)
    )]
    #[case("ldd (Ubuntu GLIBC 2.31-0ubuntu9.16) 2.31\n", Libc::Glibc(2, 31))]
    #[case("ldd (GNU libc) 2.34\n", Libc::Glibc(2, 34))]
    #[case("musl libc (x86_64)\nVersion 1.2.4\n", Libc::Musl)]
    #[case("getconf: GNU_LIBC_VERSION: unknown variable\n", Libc::Unknown)]
    #[case("", Libc::Unknown)]
    fn reads_what_systems_say(#[case] text: &str, #[case] wanted: Libc) {
        assert_eq!(libc_in(text), wanted);
    }

    #[test]
    fn reads_the_oldest_glibc_of_a_wheel() {
        let linux = Platform::named("linux", "x86_64");
        let of_mlx = pins::mlx(Backend::Cpu, &linux).and_then(|pin| oldest_glibc(&pin));
        assert_eq!(of_mlx, Some((2, 35)));
        let of_openblas = pins::find("openblas", &linux).and_then(|pin| oldest_glibc(&pin));
        assert_eq!(of_openblas, Some((2, 27)));
        let macos = Platform::named("macos", "aarch64");
        assert_eq!(
            pins::mlx(Backend::Metal, &macos).and_then(|pin| oldest_glibc(&pin)),
            None
        );
    }
}

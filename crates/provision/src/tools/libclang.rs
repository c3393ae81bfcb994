//! libclang, with which bindgen reads C headers: the machine's own, or a staged wheel.

use std::path::{Path, PathBuf};

use crate::pins::{self, Pin};
use crate::{Error, Result, Settings, environment, process, stage_archive};

/// Where distributions put libclang; a `*` at the end matches any version.
const PLACES: &[&str] = &[
    "/usr/lib/llvm-*/lib",
    "/usr/lib64/llvm*/lib64",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
    "/opt/homebrew/opt/llvm/lib",
    "/Library/Developer/CommandLineTools/usr/lib",
    "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
];

/// Returns the folder of the machine's own libclang.
pub(crate) fn own(settings: &Settings) -> Option<PathBuf> {
    if let Some(given) = &settings.libclang {
        return Some(given.clone());
    }
    let by_llvm = process::find("llvm-config".as_ref(), &settings.path).and_then(|program| {
        let said = process::output(process::command(&program, settings).arg("--libdir")).ok()?;
        Some(PathBuf::from(String::from_utf8(said.stdout).ok()?.trim()))
    });
    by_llvm
        .into_iter()
        .chain(PLACES.iter().flat_map(|place| expand(place)))
        .find(|dir| holds_libclang(dir))
}

/// Fails when `LIBCLANG_PATH` leads to no libclang, of which bindgen would tell by a panic.
pub(crate) fn check_given(settings: &Settings) -> Result<()> {
    match &settings.libclang {
        Some(given) if !given.is_file() && !holds_libclang(given) => Err(Error::Setting {
            name: environment::LIBCLANG_PATH,
            value: given.to_string_lossy().into_owned(),
            reason: "no libclang is there".into(),
            fix: "set it to the folder of libclang.so or libclang.dylib, or unset it".into(),
        }),
        _ => Ok(()),
    }
}

/// Returns the pin of libclang when the machine has none.
pub(crate) fn lacking(settings: &Settings) -> Option<Pin> {
    match own(settings) {
        Some(_) => None,
        None => pins::find("libclang", &settings.platform),
    }
}

/// Returns the folder of libclang, staging it when the machine has none.
pub(crate) fn ready(settings: &Settings) -> Result<Option<PathBuf>> {
    let Some(pin) = lacking(settings) else {
        return Ok(own(settings));
    };
    let dir = stage_archive(settings, &pin)?;
    let native = format!("{}-{}.data/platlib/clang/native", pin.package, pin.version);
    Ok(Some(dir.join(native)))
}

/// Returns the folders that a pattern with at most one `*` matches, the highest names first.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once('*') else {
        return vec![PathBuf::from(place)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut dirs: Vec<_> = entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect();
    dirs.sort();
    dirs.reverse();
    dirs
}

/// Returns whether bindgen would find libclang in this folder, by the names it searches.
fn holds_libclang(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return false;
    };
    entries.filter_map(std::result::Result::ok).any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name == "libclang.so"
            || name == "libclang.dylib"
            || name.starts_with("libclang.so.")
            || (name.starts_with("libclang-")
                && name.contains(".so")
                && !name.starts_with("libclang-cpp"))
    })
}

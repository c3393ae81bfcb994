//! The C++ compiler: which one, and what it can do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::process::{self, command, output, tail};
use crate::{Error, Result, Settings};

/// A C++ compiler.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    pub(crate) path: PathBuf,
    /// The first line of what `--version` prints.
    pub(crate) version: String,
}

/// Uses a bit of what MLX's headers use of C++20.
const CXX20: &str = "#include <concepts>\n#include <span>\n#include <vector>\n\
    template <std::integral T> T sum(std::span<const T> all) { T s = 0; for (T a : all) s += a; return s; }\n\
    int main() { std::vector<int> v{1, 2}; return sum(std::span<const int>(v)) == 3 ? 0 : 1; }\n";

const FORMAT: &str = "#include <format>\n#include <string>\n\
    int main() { return std::format(\"{}\", 1) == \"1\" ? 0 : 1; }\n";

/// Finds the C++ compiler.
pub(crate) fn find(settings: &Settings) -> Result<Compiler> {
    let names: Vec<OsString> = match &settings.cxx {
        Some(name) => vec![name.clone()],
        None => ["c++", "g++", "clang++"].map(OsString::from).into(),
    };
    for name in &names {
        let Some(path) = process::find(name, &settings.path) else {
            continue;
        };
        let Ok(said) = output(command(&path, settings).arg("--version")) else {
            continue;
        };
        let text = String::from_utf8_lossy(&said.stdout);
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        return Ok(Compiler { path, version });
    }
    Err(Error::NoCompiler {
        tried: names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect(),
    })
}

impl Compiler {
    /// Fails when the compiler does not know C++20.
    pub(crate) fn check_cxx20(&self, settings: &Settings, temp: &Path) -> Result<()> {
        self.compile(CXX20, settings, temp)?
            .map_err(|said| Error::OldCompiler {
                compiler: format!("{} ({})", self.path.display(), self.version),
                tail: tail(&said, 4),
            })
    }

    /// Returns whether the standard library has `<format>`.
    pub(crate) fn has_format(&self, settings: &Settings, temp: &Path) -> Result<bool> {
        Ok(self.compile(FORMAT, settings, temp)?.is_ok())
    }

    /// Compiles a text without keeping the result; the inner error is what the compiler said.
    fn compile(
        &self,
        text: &str,
        settings: &Settings,
        temp: &Path,
    ) -> Result<std::result::Result<(), String>> {
        let source = temp.join(format!("probe.{}.cpp", std::process::id()));
        std::fs::write(&source, text).map_err(|error| Error::io("write", &source, error))?;
        let flags = settings.cxxflags.to_string_lossy().into_owned();
        let said = output(
            command(&self.path, settings)
                .args(flags.split_whitespace())
                .args(["-std=c++20", "-fsyntax-only"])
                .arg(&source),
        );
        let _ = std::fs::remove_file(&source);
        let said = said?;
        if said.status.success() {
            return Ok(Ok(()));
        }
        Ok(Err(String::from_utf8_lossy(&said.stderr).into_owned()))
    }

    /// Returns the folder of the compiler's own C headers (`stddef.h` and its like).
    pub(crate) fn include_dir(&self, settings: &Settings) -> Option<PathBuf> {
        let said = output(command(&self.path, settings).arg("-print-file-name=include")).ok()?;
        let dir = PathBuf::from(String::from_utf8(said.stdout).ok()?.trim());
        dir.is_absolute().then_some(dir)
    }
}

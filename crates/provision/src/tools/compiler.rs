//! The C++ compiler: which one, and what it can do.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, command, output, tail};
use crate::shell_words::{self, quoted};
use crate::{Error, Result, Settings, environment};

/// A C++ compiler.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// The program: the compiler, or one that starts it, as ccache does.
    pub(crate) path: PathBuf,
    /// What follows the program in `CXX`: `-m64`, or the compiler that ccache starts.
    pub(crate) args: Vec<String>,
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
    if let Some(given) = &settings.cxx {
        return given_by_cxx(given, settings);
    }
    let names = ["c++", "g++", "clang++"];
    let found = names.iter().find_map(|name| {
        let path = process::find(name.as_ref(), &settings.path)?;
        Compiler::of(path, Vec::new(), settings).ok()
    });
    found.ok_or_else(|| Error::NoCompiler {
        tried: names.map(str::to_owned).into(),
    })
}

/// The compiler that `CXX` names, which may have arguments, and may be started by another program.
fn given_by_cxx(given: &OsStr, settings: &Settings) -> Result<Compiler> {
    let value = given.to_string_lossy().into_owned();
    let refuse = |reason| {
        Error::Setting {
        name: environment::CXX,
        value: value.clone(),
        reason,
        fix: "set CXX to a C++20 compiler, with its arguments if it needs some: `clang++`, `ccache g++ -m64`".into(),
    }
    };
    // A path with spaces that is a program is no list of words.
    if let Some(path) = process::find(given, &settings.path) {
        return Compiler::of(path, Vec::new(), settings).map_err(refuse);
    }
    let words = shell_words::split(&value).ok_or_else(|| refuse("a quote is not closed".into()))?;
    let mut words = words.into_iter();
    let path = words
        .next()
        .and_then(|name| process::find(name.as_ref(), &settings.path));
    let Some(path) = path else {
        return Err(Error::NoCompiler { tried: vec![value] });
    };
    Compiler::of(path, words.collect(), settings).map_err(refuse)
}

impl Compiler {
    /// Asks a program for its version; the error is what it said instead.
    fn of(
        path: PathBuf,
        args: Vec<String>,
        settings: &Settings,
    ) -> std::result::Result<Self, String> {
        let mut compiler = Self {
            path,
            args,
            version: String::new(),
        };
        let mut ask = compiler.command(settings);
        let said = output(ask.arg("--version")).map_err(|error| error.to_string())?;
        if !said.status.success() {
            let errors = String::from_utf8_lossy(&said.stderr);
            let shown = compiler.to_string();
            return Err(format!("`{shown} --version` fails: {}", tail(&errors, 3)));
        }
        let text = String::from_utf8_lossy(&said.stdout);
        compiler.version = text.lines().next().unwrap_or_default().trim().to_owned();
        Ok(compiler)
    }

    /// Returns a command that begins with the compiler and its own arguments.
    fn command(&self, settings: &Settings) -> Command {
        let mut command = command(&self.path, settings);
        command.args(&self.args);
        command
    }

    /// Fails when the compiler does not know C++20, or the flags do not suit it.
    pub(crate) fn check_cxx20(&self, settings: &Settings, temp: &Path) -> Result<()> {
        let flags = flags(settings)?;
        let Err(said) = self.compile(CXX20, &flags, settings, temp)? else {
            return Ok(());
        };
        if !flags.is_empty() && self.compile(CXX20, &[], settings, temp)?.is_ok() {
            return Err(Error::Setting {
                name: environment::CXXFLAGS,
                value: settings.cxxflags.to_string_lossy().into_owned(),
                reason: format!("{self} cannot compile C++20 with them: {}", tail(&said, 4)),
                fix: "remove what it complains about".into(),
            });
        }
        Err(Error::OldCompiler {
            compiler: format!("{self} ({})", self.version),
            tail: tail(&said, 4),
        })
    }

    /// Returns whether the standard library has `<format>`.
    pub(crate) fn has_format(&self, settings: &Settings, temp: &Path) -> Result<bool> {
        let flags = flags(settings)?;
        Ok(self.compile(FORMAT, &flags, settings, temp)?.is_ok())
    }

    /// Compiles a text without keeping the result; the inner error is what the compiler said.
    fn compile(
        &self,
        text: &str,
        flags: &[String],
        settings: &Settings,
        temp: &Path,
    ) -> Result<std::result::Result<(), String>> {
        let source = temp.join("probe.cpp");
        std::fs::write(&source, text).map_err(|error| Error::io("write", &source, error))?;
        let said = output(
            self.command(settings)
                .args(flags)
                .args(["-std=c++20", "-fsyntax-only"])
                .arg(&source),
        )?;
        if said.status.success() {
            return Ok(Ok(()));
        }
        Ok(Err(String::from_utf8_lossy(&said.stderr).into_owned()))
    }

    /// Returns the one program that CMake is told of: the compiler, or a script in `temp` that adds its arguments and
    /// the flags of `CXXFLAGS`.
    ///
    /// CMake knows compilers with arguments and programs that start compilers, each in its own way and not in all
    /// versions, and flags with quotes, `$` or `#` do not survive the way through its cache and make.
    pub(crate) fn as_one_program(&self, settings: &Settings, temp: &Path) -> Result<PathBuf> {
        let flags = flags(settings)?;
        if self.args.is_empty() && flags.is_empty() {
            return Ok(self.path.clone());
        }
        let file = temp.join("cxx");
        let flags = shell_words::join(flags.iter().map(String::as_str));
        let text = format!("#!/bin/sh\nexec {self} {flags} \"$@\"\n");
        write_program(&file, &text).map_err(|error| Error::io("write", &file, error))?;
        Ok(file)
    }

    /// Returns the folder of the compiler's own C headers (`stddef.h` and its like).
    pub(crate) fn include_dir(&self, settings: &Settings) -> Option<PathBuf> {
        let said = output(self.command(settings).arg("-print-file-name=include")).ok()?;
        let dir = PathBuf::from(String::from_utf8(said.stdout).ok()?.trim());
        dir.is_absolute().then_some(dir)
    }
}

/// The words to type into a shell.
impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.path))?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", shell_words::quote(arg)))
    }
}

/// Returns the flags of `CXXFLAGS`, which may be quoted as in a shell.
pub(crate) fn flags(settings: &Settings) -> Result<Vec<String>> {
    let value = settings.cxxflags.to_string_lossy().into_owned();
    shell_words::split(&value).ok_or_else(|| Error::Setting {
        name: environment::CXXFLAGS,
        value,
        reason: "a quote is not closed".into(),
        fix: "quote flags as in a shell: `-DNAME='two words'`".into(),
    })
}

#[cfg(unix)]
fn write_program(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn write_program(_: &Path, _: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

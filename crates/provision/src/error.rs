//! What can go wrong while staging, each with the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::pins::MLX_VERSION;
use crate::shell_words::{self, quoted};

/// The result of staging.
pub type Result<T> = std::result::Result<T, Error>;

/// A file that is needed and not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFile {
    /// Its name, as it must be in `downloads/` of the stage folder.
    pub file: String,
    /// A command that fetches it.
    pub command: String,
}

impl fmt::Display for MissingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {}\n    {}", self.file, self.command)
    }
}

/// Why the native files could not be staged.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason. Not called `source`: its text is part of this one.
        reason: io::Error,
    },
    /// The disk is full.
    #[error(
        "no space left while staging into {}; free about 1 GB there and in the folder for temporary files ({}), or \
         point MLX_BUILD_DIR and TMPDIR at a larger disk, and run the same command again",
        quoted(path),
        quoted(&std::env::temp_dir())
    )]
    NoSpace {
        /// The file that did not fit.
        path: PathBuf,
    },
    /// A fetched file is not the pinned one.
    #[error(
        "{} has sha256 {got}, but {wanted} is pinned: the file was damaged or changed on the way; \
         delete it if it is in `downloads/`, and run the same command again",
        file.display()
    )]
    Hash {
        /// The file.
        file: PathBuf,
        /// The pinned hash.
        wanted: String,
        /// The file's hash.
        got: String,
    },
    /// Files are missing and the network is forbidden.
    #[error(
        "{reason} forbids the network, and these files are not in {}:{}\nrun the commands on a machine with a network, \
         put the files there, and run the same command again",
        quoted(downloads),
        list(missing)
    )]
    Offline {
        /// The variable that forbids it.
        reason: &'static str,
        /// Where the files may be put.
        downloads: PathBuf,
        /// What is missing.
        missing: Vec<MissingFile>,
    },
    /// pip may not use an index.
    #[error(
        "{forbidden} forbids pip to use a package index, and {file} is not where pip may look{}; unset it, or point \
         PIP_FIND_LINKS at a folder that has the file, or put the file into {}, and run the same command again; on a \
         machine with a network this fetches it:\n  {command}",
        said(tail),
        quoted(downloads)
    )]
    NoIndex {
        /// The setting of pip that forbids it.
        forbidden: &'static str,
        /// The file.
        file: String,
        /// The end of what pip said; empty when it was not asked.
        tail: String,
        /// A command to run by hand elsewhere.
        command: String,
        /// Where the file may be put.
        downloads: PathBuf,
    },
    /// A download failed.
    #[error(
        "cannot fetch {file}: {tail}\ncheck the network or the proxy settings and run the same command again, or run \
         this by hand and put the file into {}:\n  {command}",
        quoted(downloads)
    )]
    Fetch {
        /// The file.
        file: String,
        /// The end of what the client said.
        tail: String,
        /// A command to run by hand.
        command: String,
        /// Where the file may be put.
        downloads: PathBuf,
    },
    /// There is no Python.
    #[error("no Python found (tried {}); install Python 3.9 or newer with pip, or set MLX_PYTHON", tried.join(", "))]
    NoPython {
        /// What was tried.
        tried: Vec<String>,
    },
    /// Python is too old.
    #[error(
        "{} is Python {version}, but 3.9 or newer is needed; install a newer one and put it first in PATH, or set \
         MLX_PYTHON",
        path.display()
    )]
    OldPython {
        /// The interpreter.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// Python has no pip.
    #[error(
        "{} has no pip; install it (Debian and Ubuntu: `apt install python3-pip`; elsewhere: `python3 -m ensurepip`)",
        path.display()
    )]
    NoPip {
        /// The interpreter.
        path: PathBuf,
    },
    /// pip is there and does not run.
    #[error(
        "{} does not run: {tail}\nmend pip or its configuration (`{} config list` shows it, the variables that begin \
         with PIP_ among it), or set MLX_PYTHON to another Python",
        pip_of(path),
        pip_of(path)
    )]
    BrokenPip {
        /// The interpreter.
        path: PathBuf,
        /// The end of what it said.
        tail: String,
    },
    /// There is no npm.
    #[error(
        "cannot fetch {file}: no npm found; install Node.js with npm, or put the file into {}, which this fetches:\n  \
         {command}",
        quoted(downloads)
    )]
    NoNpm {
        /// The file.
        file: String,
        /// A command to run by hand elsewhere.
        command: String,
        /// Where the file may be put.
        downloads: PathBuf,
    },
    /// A Python environment is not made, and the network is forbidden.
    #[error("{reason} forbids the network, which makes the Python environment {}; unset it and run the same command again", folder.display())]
    OfflineEnvironment {
        /// The variable that forbids it.
        reason: &'static str,
        /// The folder of the environment.
        folder: PathBuf,
    },
    /// A Python environment could not be made.
    #[error("cannot make the Python environment {}: {tail}\nthe whole log is {}", folder.display(), log.display())]
    Environment {
        /// The folder of the environment.
        folder: PathBuf,
        /// The end of what the program wrote.
        tail: String,
        /// All that it wrote.
        log: PathBuf,
    },
    /// There is no C++ compiler.
    #[error(
        "no C++ compiler found (tried {}); install one (Debian and Ubuntu: `apt install g++`; Fedora: \
         `dnf install gcc-c++`; macOS: `xcode-select --install`), or set CXX",
        tried.join(", ")
    )]
    NoCompiler {
        /// What was tried.
        tried: Vec<String>,
    },
    /// The C++ compiler does not know C++20.
    #[error(
        "{compiler} cannot compile C++20, which MLX's headers need: {tail}\ninstall g++ 11 or clang 14 or newer, or \
         set CXX to one"
    )]
    OldCompiler {
        /// The compiler and its version.
        compiler: String,
        /// The end of what it said.
        tail: String,
    },
    /// The native build failed.
    #[error("the native build failed: {tail}\nthe whole log is {}; {fix}", log.display())]
    Native {
        /// The end of the log.
        tail: String,
        /// The log.
        log: PathBuf,
        /// What may help.
        fix: &'static str,
    },
    /// A program could not be started.
    #[error("cannot run {}: {reason}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's reason. Not called `source`: its text is part of this one.
        reason: io::Error,
    },
    /// An archive is not what it should be.
    #[error("cannot unpack {}: {reason}; run the same command again to fetch it anew", file.display())]
    Archive {
        /// The archive.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's C library is too old, or not glibc.
    #[error(
        "{package} is built for Linux with glibc {wanted} or newer (Ubuntu 22.04, Debian 12, Fedora 36), this is \
         {got}; build and run on such a system or in a container of one{}",
        or_own_mlx(got)
    )]
    Libc {
        /// The package that needs it.
        package: String,
        /// The oldest version that works.
        wanted: String,
        /// What there is.
        got: String,
    },
    /// MLX has no build for this machine or choice.
    #[error("{0}; set MLX_DIR to an existing MLX of version {version}, if there is one", version = MLX_VERSION)]
    NoBackend(String),
    /// Building for another machine than this one.
    #[error(
        "cannot build the native library for {target} on {host}: stage it on such a machine and set MLX_BUILD_DIR"
    )]
    CrossCompiling {
        /// The machine to build for.
        target: String,
        /// This machine.
        host: String,
    },
    /// A variable or an option has a value that cannot be used.
    #[error("{name}={} cannot be used: {reason}; {fix}", shell_words::quote(value))]
    Setting {
        /// The variable, or the option.
        name: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: String,
        /// What to set.
        fix: String,
    },
    /// The stage folder cannot be written.
    #[error(
        "cannot write into {} ({why}): {reason}; point MLX_BUILD_DIR at a folder that can be written",
        quoted(path)
    )]
    StageFolder {
        /// The folder.
        path: PathBuf,
        /// Why this one.
        why: &'static str,
        /// The system's reason. Not called `source`: its text is part of this one.
        reason: io::Error,
    },
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Returns the error of a failed file operation.
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace { path },
            _ => Error::Io {
                action,
                path,
                reason: source,
            },
        }
    }
}

fn said(tail: &str) -> String {
    match tail {
        "" => String::new(),
        tail => format!(" ({tail})"),
    }
}

fn pip_of(python: &Path) -> String {
    format!("{} -m pip", quoted(python))
}

/// With musl even an MLX of the user's own lacks its BLAS.
fn or_own_mlx(got: &str) -> String {
    match got.contains("musl") {
        true => String::new(),
        false => format!(", or set MLX_DIR to an MLX {MLX_VERSION} that was built here"),
    }
}

fn list(missing: &[MissingFile]) -> String {
    missing.iter().map(MissingFile::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_the_text_and_the_chain_repeats_nothing() {
        let system = || io::Error::new(io::ErrorKind::PermissionDenied, "not yours");
        let file = Error::io("read", Path::new("a"), system());
        let folder = Error::StageFolder {
            path: PathBuf::from("b"),
            why: "of this test",
            reason: system(),
        };
        for error in [file, folder] {
            assert_eq!(format!("{error:?}"), error.to_string());
            assert_eq!(error.to_string().matches("not yours").count(), 1);
            assert!(std::error::Error::source(&error).is_none());
        }
    }
}

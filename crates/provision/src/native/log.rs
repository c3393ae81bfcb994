//! What to say of a failed native build: the compiler's first complaints, not make's last words.

use std::path::Path;

use crate::{Error, Settings, process};

/// Returns the error for a build whose log is in `path`.
pub(super) fn error(path: &Path, settings: &Settings) -> Error {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if text.contains("No space left on device") {
        return Error::NoSpace {
            path: settings.root.path.clone(),
        };
    }
    Error::Native {
        tail: complaint(&text),
        log: path.to_owned(),
        fix: fix(&text),
    }
}

fn complaint(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let is_complaint = |line: &&str| {
        line.contains("error:")
            || line.contains("CMake Error")
            || line.contains("undefined reference")
    };
    match lines.iter().position(is_complaint) {
        Some(at) => lines[at..lines.len().min(at + 6)].join("\n  "),
        None => process::tail(text, 8),
    }
}

fn fix(text: &str) -> &'static str {
    if text.contains("Killed") || text.contains("out of memory") {
        return "the compiler ran out of memory: run it again with CARGO_BUILD_JOBS=1";
    }
    if text.contains("CMake Error") {
        return "the compiler or CMake does not work: try another with CXX or CMAKE";
    }
    "try another compiler with CXX (g++ 11 or clang 14 or newer)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_first_complaint_of_the_compiler() {
        let log = "[ 1%] Building\na.cpp:1: error: no\n  x\n  ^\ngmake: *** Error 1\nthread 'main' panicked\n";
        assert!(complaint(log).starts_with("a.cpp:1: error: no"));
        assert!(fix("cc1plus: Killed").contains("memory"));
    }
}

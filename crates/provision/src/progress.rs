//! What people see meanwhile: steps, and bars on a terminal.

use std::io::{IsTerminal, Write};

/// Tells how staging goes, on the error stream.
#[derive(Clone, Debug)]
pub struct Progress {
    terminal: bool,
    quiet: bool,
}

const WIDTH: usize = 30;

impl Progress {
    /// Returns one that draws bars on a terminal and writes plain lines elsewhere.
    #[must_use]
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            quiet: false,
        }
    }

    /// Returns one that says nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            terminal: false,
            quiet: true,
        }
    }

    /// Returns whether bars are drawn, so that other programs may draw theirs too.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Says what begins.
    pub fn step(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Draws a bar; on anything but a terminal nothing is drawn.
    pub(crate) fn bar(&self, label: &str, percent: u32) {
        if self.terminal {
            eprint!("\r{}", drawn(label, percent));
            let _ = std::io::stderr().flush();
        }
    }

    /// Ends a bar's line.
    pub(crate) fn bar_done(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn drawn(label: &str, percent: u32) -> String {
    let percent = percent.min(100);
    let full = WIDTH * percent as usize / 100;
    format!(
        "{label} [{}{}] {percent:3}%",
        "#".repeat(full),
        ".".repeat(WIDTH - full)
    )
}

/// Returns how far a build is, from a line of make (`[ 12%] Building`) or ninja (`[3/25] Building`).
pub(crate) fn percent(line: &str) -> Option<u32> {
    let inner = line.trim_start().strip_prefix('[')?.split(']').next()?;
    if let Some(percent) = inner.strip_suffix('%') {
        return percent.trim().parse().ok();
    }
    let (done, all) = inner.split_once('/')?;
    let (done, all): (u32, u32) = (done.trim().parse().ok()?, all.trim().parse().ok()?);
    (all > 0).then(|| done * 100 / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_progress_of_make_and_ninja() {
        assert_eq!(percent("[ 12%] Building CXX object"), Some(12));
        assert_eq!(percent("[3/25] Building"), Some(12));
        assert_eq!(percent("-- Configuring done"), None);
        assert_eq!(percent("[x] odd"), None);
    }

    #[test]
    fn draws_an_empty_and_a_full_bar() {
        assert!(drawn("a", 0).ends_with("..]   0%"));
        assert!(drawn("a", 250).ends_with("##] 100%"));
    }
}

//! Progress on the error stream: lines for what begins, and bars and spinners while standard error is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const SPINNER: &str = "{spinner} {elapsed} {msg}";
const BAR: &str = "{prefix} [{bar:30}] {percent:>3} % {msg}";

/// Where progress is shown. Bars are drawn on a terminal only; lines are written everywhere.
#[derive(Clone, Debug)]
pub struct Progress {
    terminal: bool,
    quiet: bool,
}

impl Progress {
    /// Returns one that draws bars on a terminal and writes plain lines elsewhere.
    #[must_use]
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            quiet: false,
        }
    }

    /// Returns one that writes nothing.
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

    /// Writes a line that says what begins.
    pub fn step(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Writes a line that says what begins; below it, on a terminal, a spinner with the time so far.
    #[must_use]
    pub fn task(&self, text: &str) -> Bar {
        self.step(text);
        self.spinner("")
    }

    /// Returns a spinner with the time so far and a text, drawn on a terminal only.
    #[must_use]
    pub fn spinner(&self, text: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(None, self.target());
        bar.set_style(style(SPINNER));
        bar.set_message(text.to_owned());
        if self.terminal {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Bar(bar)
    }

    /// Returns a bar from 0 to `length`, drawn on a terminal only.
    #[must_use]
    pub fn bar(&self, label: &str, length: u64) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(length), self.target());
        bar.set_style(style(BAR).progress_chars("##."));
        bar.set_prefix(label.to_owned());
        Bar(bar)
    }

    fn target(&self) -> ProgressDrawTarget {
        match self.terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// A bar or a spinner; it disappears when it is dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Moves the bar to a position.
    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Moves the bar one step further.
    pub fn advance(&self) {
        self.0.inc(1);
    }

    /// Shows a short text beside the bar.
    pub fn message(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }

    /// Removes the bar while `write` writes to the terminal, and draws it again below.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The templates are constants of this file; one that does not parse gives indicatif's own style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Returns the percentage in a line of make (`[ 12%] Building`) or ninja (`[3/25] Building`).
pub(crate) fn percent(line: &str) -> Option<u64> {
    let inner = line.trim_start().strip_prefix('[')?.split(']').next()?;
    if let Some(percent) = inner.strip_suffix('%') {
        return percent.trim().parse().ok();
    }
    let (done, all) = inner.split_once('/')?;
    let (done, all): (u64, u64) = (done.trim().parse().ok()?, all.trim().parse().ok()?);
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
    fn nothing_is_drawn_where_there_is_no_terminal() {
        let bar = Progress::quiet().bar("a", 4);
        bar.advance();
        assert!(bar.0.is_hidden());
        assert_eq!(bar.0.position(), 1);
    }

    #[test]
    fn every_template_parses() {
        for template in [SPINNER, BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}

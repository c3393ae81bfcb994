//! Printing: as other Unix tools do, a command ends quietly when the reader of its output closes it.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit status of a program that a closed pipe ended: 128 and SIGPIPE.
const CLOSED_PIPE: i32 = 128 + 13;

/// Whether another rank prints what this one would.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Prints nothing from here on, but errors.
pub fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Returns whether nothing is printed.
pub fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

/// Prints a line to the standard output, at once.
pub fn line(text: Arguments<'_>) {
    write(format_args!("{text}\n"));
}

/// Prints to the standard output, at once.
pub fn write(text: Arguments<'_>) {
    if is_silent() {
        return;
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        failed(&error);
    }
}

/// Prints a line to the standard error. One that cannot be written is lost.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Ends the program because the standard output cannot be written: silently when its reader has closed it.
pub fn failed(error: &std::io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(CLOSED_PIPE);
    }
    note(format_args!("error: standard output: {error}"));
    std::process::exit(1);
}

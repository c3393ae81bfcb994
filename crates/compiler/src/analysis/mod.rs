//! What the compiler knows of a function, told to the user: strict checks, lint, the report as HTML and JSON.

mod display;
mod lint;
mod strict;

pub use lint::{Cost, Finding, FindingKind};
pub(crate) use strict::{check_strict, interpreted};

//! What the compiler knows of a function, told to the user: strict checks, lint, profiles, memory, the report as HTML and JSON.

mod display;
mod lint;
pub(crate) mod memory;
mod profile;
mod strict;

pub use lint::{Cost, Finding, FindingKind};
pub(crate) use profile::profile;
pub use profile::{MachineLimits, Profile, ProfileRow};
pub(crate) use strict::{check_strict, interpreted};

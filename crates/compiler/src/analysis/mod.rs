//! What the compiler knows of a function, told to the user: strict checks, lint, profiles, the report as HTML and JSON.

mod display;
mod lint;
mod profile;
mod strict;

pub use lint::{Cost, Finding, FindingKind};
pub(crate) use profile::profile;
pub use profile::{MachineLimits, Profile, ProfileRow};
pub(crate) use strict::{check_strict, interpreted};

//! The fence: the only place that calls the native library, and the only `unsafe` in this crate.
//!
//! Rules, each kept by one file:
//! - a handle is owned by exactly one Rust value and freed by its `Drop` (`handle`, `vector`, `stream`, `closure`);
//! - every status is checked, and the text of a failure taken, by the same call (`call`);
//! - data is read only after evaluation and only as the type it has (`data`);
//! - no panic crosses into C, and none is lost (`closure`, `host`);
//! - everything here works on handles; shapes, names and policy are the callers' business.
#![allow(unsafe_code)]

pub(crate) mod call;
pub(crate) mod closure;
pub(crate) mod data;
pub(crate) mod eval;
pub(crate) mod handle;
pub(crate) mod host;
mod main_thread;
pub(crate) mod memory;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod vector;

pub(crate) use call::{Fault, api};
pub(crate) use handle::Handle;
pub(crate) use vector::Vector;

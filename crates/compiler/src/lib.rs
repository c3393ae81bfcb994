//! Compiles Rust functions over arrays: traces them, fuses what is proven, keeps the rest as it was written.
//!
//! The guide [what the compiler does to your function](guide) shows each stage.
//!
//! [`jit`] compiles an ordinary function. What it recognized, what it rejected and why is in the
//! [`Report`]; the graphs of all stages print as text.
//!
//! ```text
//! function ── trace ──► Traced ── passes, fusions ──► Lowered, Report ── compile ──► Compiled
//! ```
#![forbid(unsafe_code)]

mod analysis;
mod control;
mod cpu_kernels;
mod error;
mod execute;
mod export;
mod fusions;
pub mod graph;
pub mod guide;
mod jit;
mod memory;
mod options;
mod passes;
mod report;
mod shapeless;
pub mod sharding;
mod sizes;
mod stages;
mod switch;
mod trace;

pub use analysis::{Cost, Finding, FindingKind, MachineLimits, Profile, ProfileRow};
pub use control::{ScanOptions, cond, scan, while_loop};
pub use error::{Error, Result};
pub use export::{FunctionExporter, ImportedFunction, export_function, exporter, import_function};
pub use fusions::{Refusal, RefusalKind};
pub use graph::{Fusion, Graph};
pub use jit::{CacheStats, Jit, jit, jit_with};
pub use memory::{LargeValue, Memory, Moment, Rematerialization};
#[allow(deprecated)]
pub use options::{Autotune, CompileOptions, Fallback, KernelFusion, Regions};
pub use passes::{AutotuneCache, autotune_cache};
#[allow(deprecated)]
pub use report::{
    AppliedFusion, Choice, Difference, Expected, Fired, FormTiming, PassGraph, Refused,
    RejectedFusion, Report, TimingSource, TunedSite,
};
pub use stages::{Compiled, Lowered, Traced, trace};
pub use switch::{disable_compile, enable_compile};

/// The pages of `docs` whose examples are tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/memory.md")]
    mod memory {}
    #[doc = include_str!("../../../docs/export.md")]
    mod export {}
    #[doc = include_str!("../../../docs/sizes.md")]
    mod sizes {}
    #[doc = include_str!("../../../docs/lint.md")]
    mod lint {}
    #[doc = include_str!("../../../docs/distributed.md")]
    mod distributed {}
    #[doc = include_str!("../../../docs/autotune.md")]
    mod autotune {}
    #[doc = include_str!("../../../docs/profile.md")]
    mod profile {}
}

/// The name of [`guide`] before.
#[deprecated(note = "renamed to guide")]
#[doc(hidden)]
pub mod chapter {}

//! Modules: layers and models with named parameters, that are trees of arrays.

mod buffer;
mod compact;
mod definition;
mod info;
mod pattern;
mod report;
mod standard;
mod state;
mod summary;
mod visitor;
mod weights;

use std::collections::BTreeMap;

use mlx::Array;

pub use buffer::Buffer;
pub(crate) use definition::copy;
pub use definition::{Module, visit_trainable};
pub use info::{ModuleInfo, ParameterInfo};
pub use pattern::Patterns;
pub use report::{LoadError, LoadReport};
pub use state::ModuleState;
pub use summary::Summary;
pub use visitor::ParameterVisitor;
pub(crate) use visitor::{Part, Role};
pub use weights::IntoWeights;

/// Weights by name, such as `layers.0.attn.query_proj.weight`.
pub type WeightMap = BTreeMap<String, Array>;

/// The former name of [`ParameterVisitor`].
#[deprecated(note = "renamed to ParameterVisitor")]
pub type Parts<'a> = ParameterVisitor<'a>;

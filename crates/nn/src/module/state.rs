//! What a module remembers besides its arrays: whether it trains, and which of its parameters are frozen.

use std::collections::BTreeSet;

use mlx::tree::Structure;
use mlx::{Array, Tree};

use super::{Module, ParameterVisitor};

/// Whether a module is in training mode, and which of its own parameters are frozen.
///
/// A layer has one as a field; so does a struct with parameters of its own that are to be frozen. Modules start in
/// training mode with nothing frozen.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::{Module, ModuleState};
///
/// #[derive(Clone, Module)]
/// struct Scale {
///     weight: Array,
///     state: ModuleState,
/// }
///
/// # fn main() -> mlx::Result<()> {
/// let mut scale = Scale { weight: mlx::array!([1.0]), state: ModuleState::default() };
/// assert!(scale.training());
/// scale.freeze()?;
/// assert!(scale.trainable_parameters().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleState {
    training: bool,
    frozen: BTreeSet<String>,
}

impl Default for ModuleState {
    fn default() -> Self {
        Self {
            training: true,
            frozen: BTreeSet::new(),
        }
    }
}

impl ModuleState {
    /// Returns whether the module is in training mode.
    pub fn training(&self) -> bool {
        self.training
    }

    /// Returns whether a parameter is frozen, by its name in the module.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.frozen.contains(name)
    }

    /// Freezes a parameter, or lets it train again, by its name in the module.
    pub fn set_frozen(&mut self, name: &str, frozen: bool) {
        if frozen {
            self.frozen.insert(name.to_owned());
        } else {
            self.frozen.remove(name);
        }
    }

    pub(crate) fn set_training(&mut self, training: bool) {
        self.training = training;
    }
}

impl Module for ModuleState {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.state(self);
    }

    fn type_label() -> Option<&'static str> {
        None
    }
}

/// No arrays: a setting.
impl Tree for ModuleState {
    fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a Array)) {}
    fn map(&self, _: &mut dyn FnMut(&Array) -> Array) -> Self {
        self.clone()
    }
    fn structure(&self, structure: &mut Structure) {
        structure.tag(u8::from(self.training));
        structure.len(self.frozen.len());
        self.frozen.iter().for_each(|name| structure.text(name));
    }
}

//! What a module is made of: its modules with their paths, and the parameters of each.

use mlx::{Array, ArrayType};

use super::visitor::ParameterVisitor;
use super::{Module, Role, copy};

/// A parameter or buffer of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// The full name: `layers.0.attn.query_proj.weight`.
    pub name: String,
    /// Shape and dtype; `None` when the array carries an error.
    pub array_type: Option<ArrayType>,
    /// Whether a gradient is taken of it.
    pub trainable: bool,
    /// Whether it is a buffer, which is saved and loaded, and never trained.
    pub buffer: bool,
}

impl ParameterInfo {
    /// Returns the number of elements.
    pub fn size(&self) -> usize {
        let shape = self.array_type.iter().flat_map(|array| &array.shape);
        shape
            .map(|&size| usize::try_from(size).unwrap_or(0))
            .product::<usize>()
            * usize::from(self.array_type.is_some())
    }

    /// Returns the size in bytes.
    pub fn nbytes(&self) -> usize {
        let itemsize = self.array_type.as_ref().map(|array| array.dtype.size());
        self.size() * itemsize.unwrap_or(0)
    }
}

/// A module in a module: where it is, what it is, and what it holds itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The path: `layers.0.attn`, or nothing for the whole.
    pub name: String,
    /// The name of its type, without generics: `Linear`.
    pub kind: &'static str,
    /// Its own parameters and buffers, without those of the modules in it.
    pub parameters: Vec<ParameterInfo>,
    /// Whether it is in training mode; `None` for a type without a [`ModuleState`](crate::ModuleState).
    pub training: Option<bool>,
    /// The number of modules that it holds directly.
    pub n_children: usize,
    /// The place of the module that holds it in [`Module::named_modules`]; `None` for the whole.
    pub parent: Option<usize>,
}

impl ModuleInfo {
    /// Returns the number of elements of its own parameters.
    pub fn num_parameters(&self) -> usize {
        let own = self.parameters.iter().filter(|own| !own.buffer);
        own.map(ParameterInfo::size).sum()
    }

    /// Returns whether it is in training mode, in which modules without a state are too.
    pub fn training(&self) -> bool {
        self.training != Some(false)
    }
}

/// Returns all modules, the whole first, each before those in it.
pub(super) fn modules(module: &impl Module) -> Vec<ModuleInfo> {
    let mut copy = copy(module);
    let visitor = ParameterVisitor::of(&mut copy);
    let mut infos: Vec<ModuleInfo> = visitor
        .modules
        .iter()
        .map(|part| ModuleInfo {
            name: part.path.trim_end_matches('.').to_owned(),
            kind: part.label,
            parameters: Vec::new(),
            training: part.state.as_ref().map(|state| state.training()),
            n_children: 0,
            parent: part.parent,
        })
        .collect();
    for part in &visitor.parts {
        if let Some(info) = infos.get_mut(part.owner) {
            info.parameters.push(ParameterInfo {
                name: part.name.clone(),
                array_type: Array::array_type(part.array).ok(),
                trainable: part.is_trainable(&visitor.modules),
                buffer: part.role == Role::Buffer,
            });
        }
    }
    for index in 0..infos.len() {
        if let Some(parent) = infos[index].parent {
            infos[parent].n_children += 1;
        }
    }
    infos
}

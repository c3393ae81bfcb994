//! What walks through a module: the visitor collects parameters, buffers, states and settings with their paths.

use std::any::Any;

use mlx::Array;

use super::{Buffer, Module, ModuleState};
use crate::FastOps;

/// What an array is to the module that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is trained, unless it is frozen.
    Parameter,
    /// It is packed, or belongs to packed weights: it is never trained.
    Packed,
    /// It is no parameter: saved and loaded, and never trained.
    Buffer,
}

/// One array of a module.
pub(crate) struct Part<'a> {
    pub(crate) name: String,
    /// The module that holds it, an index of [`ParameterVisitor::modules`].
    pub(crate) owner: usize,
    pub(crate) role: Role,
    pub(crate) array: &'a mut Array,
}

/// One module in a module.
pub(crate) struct ModulePart<'a> {
    /// The path with a dot at its end, or nothing for the whole.
    pub(crate) path: String,
    pub(crate) label: &'static str,
    pub(crate) parent: Option<usize>,
    pub(crate) state: Option<&'a mut ModuleState>,
}

/// Called with the path of each module and the module.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&str, &mut dyn Any);

/// The visitor that collects what [`Module::visit_parameters`] passes to it.
#[derive(Default)]
pub struct ParameterVisitor<'a> {
    path: String,
    owner: Option<usize>,
    /// What all arrays are that are visited now.
    role: Option<Role>,
    pub(crate) parts: Vec<Part<'a>>,
    pub(crate) modules: Vec<ModulePart<'a>>,
    pub(crate) kernels: Vec<&'a mut FastOps>,
    each: Option<Each<'a>>,
}

impl<'a> ParameterVisitor<'a> {
    pub(crate) fn of<M: Module>(module: &'a mut M) -> Self {
        let mut visitor = ParameterVisitor::default();
        visitor.enter_root(module);
        visitor
    }

    /// Calls `each` with every module, the whole first.
    pub(crate) fn each<M: Module>(module: &'a mut M, each: Each<'a>) {
        let mut visitor = ParameterVisitor {
            each: Some(each),
            ..ParameterVisitor::default()
        };
        visitor.enter_root(module);
    }

    /// Arrays outside of any struct, as in a tuple of arrays, belong to the whole.
    fn enter_root<M: Module>(&mut self, module: &'a mut M) {
        if M::type_label().is_none() {
            self.push_module("");
        }
        self.flatten(module);
    }

    fn push_module(&mut self, label: &'static str) -> Option<usize> {
        let owner = self.owner.replace(self.modules.len());
        self.modules.push(ModulePart {
            path: self.path.clone(),
            label,
            parent: owner,
            state: None,
        });
        owner
    }

    /// Visits an array whose name is the path so far.
    pub(crate) fn array(&mut self, array: &'a mut Array) {
        let role = self.role.unwrap_or(Role::Parameter);
        self.parts.push(Part {
            name: self.path.trim_end_matches('.').to_owned(),
            owner: self.owner.unwrap_or(0),
            role,
            array,
        });
    }

    fn named(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        let outer = self.path.len();
        self.path.push_str(name);
        self.path.push('.');
        visit(self);
        self.path.truncate(outer);
    }

    /// Visits a parameter.
    pub fn parameter(&mut self, name: &str, array: &'a mut Array) {
        self.named(name, |visitor| visitor.array(array));
    }

    /// Visits a parameter that this module may lack.
    pub fn optional(&mut self, name: &str, array: &'a mut Option<Array>) {
        if let Some(array) = array {
            self.parameter(name, array);
        }
    }

    /// Visits arrays that belong to packed weights: they are loaded and saved like parameters, and never trained.
    pub fn packed(&mut self, name: &str, arrays: &'a mut impl Module) {
        self.with_role(Role::Packed, |visitor| visitor.module(name, arrays));
    }

    /// Visits a buffer: what is loaded and saved, and never trained.
    pub fn buffer(&mut self, buffer: &'a mut Buffer) {
        self.with_role(Role::Buffer, |visitor| visitor.array(buffer.get_mut()));
    }

    /// Visits arrays, or a module, that are not trained.
    pub fn buffers(&mut self, name: &str, module: &'a mut impl Module) {
        self.with_role(Role::Buffer, |visitor| visitor.module(name, module));
    }

    fn with_role(&mut self, role: Role, visit: impl FnOnce(&mut Self)) {
        let outer = self.role.replace(role);
        visit(self);
        self.role = outer;
    }

    /// Visits a sub-module.
    pub fn module(&mut self, name: &str, module: &'a mut impl Module) {
        self.named(name, |visitor| visitor.flatten(module));
    }

    /// Visits a sub-module whose parameters have no name in front.
    pub fn flatten<M: Module>(&mut self, module: &'a mut M) {
        let Some(label) = M::type_label() else {
            module.visit_parameters(self);
            return;
        };
        let outer = self.push_module(label);
        if let Some(each) = &mut self.each {
            each(self.path.trim_end_matches('.'), module as &mut dyn Any);
        }
        module.visit_parameters(self);
        self.owner = outer;
    }

    /// Visits a list of sub-modules: `name.0`, `name.1`, ...
    pub fn list(&mut self, name: &str, modules: &'a mut [impl Module]) {
        self.named(name, |visitor| visitor.items(modules));
    }

    /// Visits modules under their numbers.
    pub(crate) fn items<M: Module>(&mut self, modules: &'a mut [M]) {
        for (index, module) in modules.iter_mut().enumerate() {
            self.module(&index.to_string(), module);
        }
    }

    /// Visits the module's choice between composed formulas and fused kernels.
    pub fn kernels(&mut self, kernels: &'a mut FastOps) {
        self.kernels.push(kernels);
    }

    /// Visits the state of the module that is being visited: whether it trains, and what of it is frozen.
    pub fn state(&mut self, state: &'a mut ModuleState) {
        let owner = self.owner.and_then(|owner| self.modules.get_mut(owner));
        if let Some(owner) = owner {
            owner.state = Some(state);
        }
    }
}

impl Part<'_> {
    /// Returns whether a gradient is taken of the array.
    pub(crate) fn is_trainable(&self, modules: &[ModulePart]) -> bool {
        let is_frozen = || {
            modules.get(self.owner).is_some_and(|owner| {
                let state = owner.state.as_ref();
                state.is_some_and(|state| state.is_frozen(self.local_name(owner)))
            })
        };
        self.role == Role::Parameter
            && self.array.dtype().is_ok_and(mlx::Dtype::is_inexact)
            && !is_frozen()
    }

    /// Returns the name in the module that holds the array.
    pub(crate) fn local_name(&self, owner: &ModulePart) -> &str {
        self.name.strip_prefix(&owner.path).unwrap_or(&self.name)
    }
}

//! The trait of layers and models.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;

use mlx::{Array, Dtype, Error, Result, Tree};

use super::visitor::ParameterVisitor;
use super::{
    Buffer, IntoWeights, LoadReport, ModuleInfo, Part, Patterns, Role, Summary, WeightMap, compact,
    info, pattern, weights,
};
use crate::FastOps;

/// A layer or a model: something with named parameters. Derive it: `#[derive(Module)]`.
///
/// A field that is a module or an array gives its parameters its name: `layers.0.attn.weight`. Derived modules are
/// also trees of arrays ([`mlx::Tree`]), so that functions of them can be differentiated, vectorized and compiled, and
/// `mlx::eval(&model)` evaluates all of them. What a module computes is its [`Forward`](crate::Forward).
///
/// A copy shares its arrays and is cheap; derive `Clone` too for modules that are to be copied.
///
/// ```
/// use mlx::Array;
/// use mlx_nn::{Linear, Module, relu};
///
/// #[derive(Clone, Module)]
/// struct Mlp {
///     layers: Vec<Linear>,
///     scale: f32,
/// }
///
/// impl Mlp {
///     fn forward(&self, x: &Array) -> Array {
///         self.layers.iter().fold(x * self.scale, |x, layer| relu(&layer.forward(&x)))
///     }
/// }
///
/// # fn main() -> mlx::Result<()> {
/// let mut mlp = Mlp { layers: vec![Linear::new(2, 8), Linear::new(8, 1)], scale: 0.5 };
/// assert_eq!(mlp.parameters().len(), 4);
/// assert_eq!(mlp.parameters()["layers.0.weight"].shape()?, [8, 2]);
/// mlp.freeze_matching("layers.0")?;
/// assert_eq!(mlp.trainable_parameters().into_keys().collect::<Vec<_>>(), ["layers.1.bias", "layers.1.weight"]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module: neither an array nor made of arrays and layers",
    label = "not a module",
    note = "derive it: `#[derive(Module)]` with `use mlx_nn::Module`; `forward` is a method of your own, or of `impl Forward for ..`",
    note = "mark a field that is a setting with `#[module(static)]`, or `#[module(skip)]` if compiled functions need not see it"
)]
pub trait Module: Tree + Sized + 'static {
    /// Passes each parameter and sub-module to the visitor with its name. Derived.
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>);

    /// Passes each [`Buffer`] to `visit`. Derived.
    fn visit_buffers<'a>(&'a self, visit: &mut dyn FnMut(&'a Buffer)) {
        let _ = visit;
    }

    /// Returns the name of the type, as [`Module::summary`] shows it; `None` for arrays and containers, which are no
    /// modules of their own.
    fn type_label() -> Option<&'static str> {
        Some(short_name(std::any::type_name::<Self>()))
    }

    /// Returns all parameters by their full names: `layers.0.attn.query_proj.weight`.
    fn parameters(&self) -> WeightMap {
        arrays(self, |visitor, part| {
            let _ = visitor;
            part.role != Role::Buffer
        })
    }

    /// Returns the parameters that gradients are taken of: floating, and neither frozen nor packed.
    fn trainable_parameters(&self) -> WeightMap {
        arrays(self, |visitor, part| part.is_trainable(&visitor.modules))
    }

    /// Returns the number of elements of all parameters; packed weights count by their 32-bit words.
    #[doc(alias = "numel")]
    fn num_parameters(&self) -> usize {
        self.summary().n_parameters()
    }

    /// Returns the number of elements of the parameters that are trained.
    fn num_trainable_parameters(&self) -> usize {
        self.summary().n_trainable()
    }

    /// Returns the buffers: arrays that are saved and loaded, and never trained.
    fn buffers(&self) -> WeightMap {
        arrays(self, |_, part| part.role == Role::Buffer)
    }

    /// Returns parameters and buffers: all that a file of weights holds.
    fn state(&self) -> WeightMap {
        arrays(self, |_, _| true)
    }

    /// Returns parameters and buffers with their names, as Python's `tree_flatten`: `model.parameters().flatten()`.
    ///
    /// ```
    /// use mlx_nn::{Linear, Module};
    ///
    /// # fn main() -> mlx::Result<()> {
    /// for (name, weight) in Linear::new(2, 1).parameters().flatten() {
    ///     assert!(["bias", "weight"].contains(&name.as_str()));
    ///     assert!(weight.size()? <= 2);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "tree_flatten")]
    fn flatten(&self) -> Vec<(String, Array)> {
        self.state().into_iter().collect()
    }

    /// Replaces parameters and buffers by those of the same name, and reports what did not match.
    ///
    /// A weight of another shape than the parameter is left out. Parameters take the dtype of their weight.
    fn load(&mut self, mut weights: WeightMap) -> LoadReport {
        let mut report = LoadReport::default();
        for Part { name, array, .. } in ParameterVisitor::of(self).parts {
            let Some(weight) = weights.remove(&name) else {
                report.missing.push(name);
                continue;
            };
            match (array.sizes(), weight.sizes()) {
                (Ok(wanted), Ok(got)) if wanted != got => {
                    let shape = |array: &Array| array.shape().unwrap_or_default();
                    let (wanted, got) = (shape(array), shape(&weight));
                    report.shape_mismatches.push((name, wanted, got));
                }
                _ => {
                    *array = weight;
                    report.loaded += 1;
                }
            }
        }
        report.unused.extend(weights.into_keys());
        report
    }

    /// Loads parameters and buffers from a file, safetensors or npz; every weight must have its parameter.
    ///
    /// # Errors
    /// When the file cannot be read, or weights are missing, unused or of the wrong shape; the error lists them, and the
    /// module is unchanged.
    #[track_caller]
    fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<LoadReport> {
        weights::load(self, path.as_ref(), true)
    }

    /// Loads what a file, safetensors or npz, has for this module: `load_weights(.., strict=False)` in Python.
    ///
    /// # Errors
    /// When the file cannot be read, or a weight has the wrong shape; the module is unchanged.
    #[track_caller]
    fn load_weights_partial(&mut self, path: impl AsRef<Path>) -> Result<LoadReport> {
        weights::load(self, path.as_ref(), false)
    }

    /// Loads weights with Python's `strict`: true for [`load_weights`](Self::load_weights), false for
    /// [`load_weights_partial`](Self::load_weights_partial).
    ///
    /// # Errors
    /// As for the one of both.
    #[track_caller]
    fn load_weights_with(&mut self, path: impl AsRef<Path>, strict: bool) -> Result<LoadReport> {
        weights::load(self, path.as_ref(), strict)
    }

    /// Saves parameters and buffers to a file, safetensors or npz by its ending.
    ///
    /// # Errors
    /// When an array cannot be computed, or the file cannot be written.
    #[track_caller]
    fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        weights::write(self, path.as_ref())
    }

    /// Replaces parameters and buffers by those of the same name; those without one are kept.
    ///
    /// # Errors
    /// When there is a name that no parameter has, or a shape is not the parameter's; the module is unchanged.
    #[track_caller]
    fn update(&mut self, parameters: impl IntoWeights) -> Result<()> {
        *self = replaced(self, parameters.into_weights(), "update")?;
        Ok(())
    }

    /// Returns the module with parameters replaced by those of the same name; parameters without one are kept.
    ///
    /// # Errors
    /// As [`Module::update`].
    #[track_caller]
    fn with_parameters(&self, parameters: &WeightMap) -> Result<Self> {
        replaced(self, parameters.clone(), "with_parameters")
    }

    /// Freezes all parameters: gradients are not taken of them.
    ///
    /// # Errors
    /// When a struct has parameters of its own and no [`ModuleState`](crate::ModuleState), where that would be kept.
    #[track_caller]
    fn freeze(&mut self) -> Result<()> {
        set_frozen(self, &|_| true, true, "freeze").map(drop)
    }

    /// Lets all parameters train again, but those of packed weights.
    ///
    /// # Errors
    /// None; it returns a `Result` as [`Module::freeze`] does.
    #[track_caller]
    fn unfreeze(&mut self) -> Result<()> {
        set_frozen(self, &|_| true, false, "unfreeze").map(drop)
    }

    /// Freezes the parameters that patterns name: `"layers.0"`, `["*.bias", "embed*"]`.
    ///
    /// # Errors
    /// When a pattern names nothing, or as [`Module::freeze`].
    #[track_caller]
    fn freeze_matching(&mut self, patterns: impl Patterns) -> Result<()> {
        set_frozen_matching(self, &patterns.patterns(), true, "freeze_matching")
    }

    /// Lets the parameters that patterns name train again.
    ///
    /// # Errors
    /// When a pattern names nothing.
    #[track_caller]
    fn unfreeze_matching(&mut self, patterns: impl Patterns) -> Result<()> {
        set_frozen_matching(self, &patterns.patterns(), false, "unfreeze_matching")
    }

    /// Puts all modules into training mode, in which they start: dropout drops, batch norms take their statistics from
    /// the batch.
    fn train(&mut self) {
        self.set_training(true);
    }

    /// Puts all modules into evaluation mode.
    fn eval(&mut self) {
        self.set_training(false);
    }

    /// Puts all modules into training or evaluation mode.
    fn set_training(&mut self, training: bool) {
        for module in ParameterVisitor::of(self).modules {
            if let Some(state) = module.state {
                state.set_training(training);
            }
        }
    }

    /// Returns whether the module is in training mode: whether the first of its modules that knows is.
    fn training(&self) -> bool {
        let mut copy = copy(self);
        let modules = ParameterVisitor::of(&mut copy).modules;
        let mut states = modules.into_iter().filter_map(|module| module.state);
        states.next().is_none_or(|state| state.training())
    }

    /// Replaces each parameter and buffer by what `map` gives for it: another dtype, another device.
    fn apply(&mut self, mut map: impl FnMut(&Array) -> Array) {
        self.apply_named(|_, array| map(array));
    }

    /// Replaces each parameter and buffer by what `map` gives for its name and itself.
    fn apply_named(&mut self, mut map: impl FnMut(&str, &Array) -> Array) {
        for Part { name, array, .. } in ParameterVisitor::of(self).parts {
            *array = map(&name, array);
        }
    }

    /// Casts the floating parameters and buffers, but those of packed weights.
    fn set_dtype(&mut self, dtype: Dtype) {
        for Part { array, role, .. } in ParameterVisitor::of(self).parts {
            if role != Role::Packed && array.dtype().is_ok_and(Dtype::is_floating) {
                *array = array.astype(dtype);
            }
        }
    }

    /// Returns what `map` gives for the parameters and buffers that `filter` takes, by name.
    fn filter_and_map<T>(
        &self,
        mut filter: impl FnMut(&str, &Array) -> bool,
        mut map: impl FnMut(&Array) -> T,
    ) -> BTreeMap<String, T> {
        let wanted = self.state().into_iter();
        let wanted = wanted.filter(|(name, array)| filter(name, array));
        wanted.map(|(name, array)| (name, map(&array))).collect()
    }

    /// Describes all modules with their paths, the whole first, each before those in it:
    /// `for (name, module) in model.named_modules()`.
    fn named_modules(&self) -> Vec<(String, ModuleInfo)> {
        let modules = info::modules(self).into_iter();
        modules
            .map(|module| (module.name.clone(), module))
            .collect()
    }

    /// Describes the modules that the whole holds directly.
    fn children(&self) -> Vec<ModuleInfo> {
        let modules = info::modules(self).into_iter();
        modules.filter(|module| module.parent == Some(0)).collect()
    }

    /// Describes the modules that hold no others.
    fn leaf_modules(&self) -> Vec<ModuleInfo> {
        let modules = info::modules(self).into_iter();
        modules.filter(|module| module.n_children == 0).collect()
    }

    /// Returns all modules of one type, by name; they share their arrays with those of the model.
    fn modules<M: Module>(&self) -> Vec<(String, M)> {
        let mut found = Vec::new();
        copy(self)
            .apply_to_modules::<M>(|name, module| found.push((name.to_owned(), copy(module))));
        found
    }

    /// Changes all modules of one type, which are given by name.
    fn apply_to_modules<M: Module>(&mut self, mut change: impl FnMut(&str, &mut M)) {
        self.apply_to_any_module(|name, module| {
            if let Some(module) = module.downcast_mut() {
                change(name, module);
            }
        });
    }

    /// Changes modules of any type, which are given by name, each before those in it.
    fn apply_to_any_module(&mut self, mut change: impl FnMut(&str, &mut dyn Any)) {
        ParameterVisitor::each(self, &mut change);
    }

    /// Replaces modules of one type by others of that type, by name: `model.update_modules([("head", Linear::new(8, 2))])`.
    ///
    /// # Errors
    /// When there is no module of that name and type; the module is unchanged.
    #[track_caller]
    fn update_modules<N: Into<String>, M: Module>(
        &mut self,
        modules: impl IntoIterator<Item = (N, M)>,
    ) -> Result<()> {
        let named = modules.into_iter().map(|(name, new)| (name.into(), new));
        let mut named: BTreeMap<String, M> = named.collect();
        let mut updated = copy(self);
        updated.apply_to_modules::<M>(|name, module| {
            if let Some(new) = named.remove(name) {
                *module = new;
            }
        });
        if let Some(name) = named.into_keys().next() {
            let kind = M::type_label().unwrap_or("module");
            let message = format!("there is no {kind} `{name}`");
            return Err(Error::op("update_modules", message));
        }
        *self = updated;
        Ok(())
    }

    /// Moves the parameters into a few large buffers, in the order in which they are visited.
    ///
    /// Decoding reads every weight once for each token, which is faster from there: see
    /// [`compact`](mlx::memory::compact). Parameters are evaluated first; at most 64 MiB are copied at a time.
    ///
    /// # Errors
    /// When a parameter could not be computed, or there is no memory.
    #[track_caller]
    fn compact(&mut self) -> Result<()> {
        compact::compact(self)
    }

    /// Makes every norm, attention and quantized product inside use composed formulas or fused kernels.
    fn set_kernels(&mut self, kernels: FastOps) {
        for choice in ParameterVisitor::of(self).kernels {
            *choice = kernels;
        }
    }

    /// Returns a table of the modules with their parameters, shapes, counts and bytes.
    ///
    /// ```
    /// use mlx_nn::{Linear, Module};
    /// let text = Linear::new(4, 2).summary().to_string();
    /// assert!(text.contains("weight float32[2, 4], bias float32[2]"), "{text}");
    /// ```
    fn summary(&self) -> Summary {
        Summary::of(self)
    }
}

/// Calls `visit` with each array of a module and whether it is trained: what `#[derive(Module)]` makes
/// [`Tree::visit_trainable`] of.
pub fn visit_trainable<'a, M: Module>(module: &'a M, visit: &mut dyn FnMut(&'a Array, bool)) {
    let mut copy = copy(module);
    let visitor = ParameterVisitor::of(&mut copy);
    let parts = visitor.parts.iter();
    let mut trainable = parts.map(|part| part.is_trainable(&visitor.modules));
    module.visit(&mut |array| visit(array, trainable.next().unwrap_or(false)));
}

/// Returns a module that shares the arrays of this one.
pub(crate) fn copy<M: Module>(module: &M) -> M {
    module.map(&mut Array::clone)
}

/// Returns a type's name without path and generics.
fn short_name(full: &'static str) -> &'static str {
    let plain = full.split('<').next().unwrap_or(full);
    plain.rsplit("::").next().unwrap_or(plain)
}

fn arrays(module: &impl Module, is_wanted: impl Fn(&ParameterVisitor, &Part) -> bool) -> WeightMap {
    let mut copy = copy(module);
    let visitor = ParameterVisitor::of(&mut copy);
    let wanted = visitor
        .parts
        .iter()
        .filter(|part| is_wanted(&visitor, part));
    wanted
        .map(|part| (part.name.clone(), part.array.clone()))
        .collect()
}

#[track_caller]
fn replaced<M: Module>(module: &M, parameters: WeightMap, op: &'static str) -> Result<M> {
    let mut module = copy(module);
    let report = module.load(parameters);
    if report.unused.is_empty() && report.shape_mismatches.is_empty() {
        return Ok(module);
    }
    let message = LoadReport {
        missing: Vec::new(),
        ..report
    };
    Err(Error::op(op, message.to_string()))
}

/// Freezes what `is_wanted` takes, or lets it train again.
#[track_caller]
fn set_frozen<M: Module>(
    module: &mut M,
    is_wanted: &dyn Fn(&str) -> bool,
    frozen: bool,
    op: &'static str,
) -> Result<()> {
    let visitor = ParameterVisitor::of(module);
    let mut modules = visitor.modules;
    let mut changes = Vec::new();
    for part in &visitor.parts {
        if part.role != Role::Parameter || !is_wanted(&part.name) {
            continue;
        }
        let Some(owner) = modules.get(part.owner) else {
            continue;
        };
        if owner.state.is_some() {
            changes.push((part.owner, part.local_name(owner).to_owned()));
        } else if frozen && part.array.dtype().is_ok_and(Dtype::is_inexact) {
            let (name, label) = (&part.name, owner.label);
            let message = format!(
                "`{name}` is a parameter of `{label}`, which must have a field `state: ModuleState` to keep that it is frozen"
            );
            return Err(Error::op(op, message));
        }
    }
    for (owner, name) in changes {
        if let Some(state) = modules
            .get_mut(owner)
            .and_then(|owner| owner.state.as_mut())
        {
            state.set_frozen(&name, frozen);
        }
    }
    Ok(())
}

#[track_caller]
fn set_frozen_matching<M: Module>(
    module: &mut M,
    patterns: &[String],
    frozen: bool,
    op: &'static str,
) -> Result<()> {
    let names: Vec<String> = module.parameters().into_keys().collect();
    for one in patterns {
        if !names.iter().any(|name| pattern::names(one, name)) {
            let also = format!("*.{one}");
            let hint = match names.iter().any(|name| pattern::names(&also, name)) {
                true => format!(": wanted a full name, or `{also}`"),
                false => String::new(),
            };
            let message = format!("no parameter is named by `{one}`{hint}");
            return Err(Error::op(op, message));
        }
    }
    let is_wanted = |name: &str| patterns.iter().any(|one| pattern::names(one, name));
    set_frozen(module, &is_wanted, frozen, op)
}

//! Parameters as a named tree: reading, replacing, and loading them with a report.

use std::collections::BTreeMap;
use std::fmt;

use mlx::Array;

use crate::FastOps;

/// Weights by name, such as `layers.0.attn.query_proj.weight`.
pub type WeightMap = BTreeMap<String, Array>;

/// A layer or a model: something with named parameters.
///
/// Cloning a module shares its arrays and is cheap.
pub trait Module: Clone {
    /// Passes each parameter and sub-module to the visitor with its name.
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>);

    /// Returns all parameters by their full names: `layers.0.attn.query_proj.weight`.
    fn parameters(&self) -> WeightMap {
        let mut module = self.clone();
        let parameters = ParameterVisitor::of(&mut module).parameters;
        parameters
            .into_iter()
            .map(|(name, array)| (name, array.clone()))
            .collect()
    }

    /// Replaces parameters by those of the same name, and reports what did not match.
    ///
    /// A weight of another shape than the parameter is left out. Parameters take the dtype of their weight.
    fn load(&mut self, mut weights: WeightMap) -> LoadReport {
        let mut report = LoadReport::default();
        for (name, parameter) in ParameterVisitor::of(self).parameters {
            let Some(weight) = weights.remove(&name) else {
                report.missing.push(name);
                continue;
            };
            match (parameter.shape(), weight.shape()) {
                (Ok(wanted), Ok(got)) if wanted != got => {
                    report.shape_mismatches.push((name, wanted, got))
                }
                _ => {
                    *parameter = weight;
                    report.loaded += 1;
                }
            }
        }
        report.unused.extend(weights.into_keys());
        report
    }

    /// Returns the module with parameters replaced by those of the same name; parameters without one are kept.
    ///
    /// # Errors
    /// When there is a name that no parameter has, or a shape is not the parameter's.
    #[track_caller]
    fn with_parameters(&self, parameters: &WeightMap) -> mlx::Result<Self> {
        let mut module = self.clone();
        let report = module.load(parameters.clone());
        if report.unused.is_empty() && report.shape_mismatches.is_empty() {
            return Ok(module);
        }
        let message = LoadReport {
            missing: Vec::new(),
            ..report
        };
        Err(mlx::Error::op("with_parameters", message.to_string()))
    }

    /// Moves the parameters into a few large buffers, in the order in which they are visited.
    ///
    /// Decoding reads every weight once for each token, which is faster from there: see
    /// [`compact`](mlx::memory::compact). Parameters are evaluated first; at most 64 MiB are copied at a time.
    ///
    /// # Errors
    /// When a parameter could not be computed, or there is no memory.
    #[track_caller]
    fn compact(&mut self) -> mlx::Result<()> {
        let mut small: Vec<(&mut Array, usize)> = Vec::new();
        for (_, parameter) in ParameterVisitor::of(self).parameters {
            let bytes = parameter.nbytes()?;
            if bytes < MIN_LARGE_BYTES {
                small.push((parameter, bytes));
            }
        }
        let mut rest = small.as_mut_slice();
        while !rest.is_empty() {
            let mut total = 0;
            let count = rest.iter().take_while(|(_, bytes)| {
                let fits = total < MAX_BATCH_BYTES;
                total += bytes;
                fits
            });
            let (some, later) = rest.split_at_mut(count.count());
            let moved = mlx::memory::compact(some.iter().map(|(parameter, _)| &**parameter))?;
            for ((parameter, _), moved) in some.iter_mut().zip(moved) {
                **parameter = moved;
            }
            rest = later;
        }
        Ok(())
    }

    /// Makes every norm, attention and quantized product inside use composed formulas or fused kernels.
    fn set_kernels(&mut self, kernels: FastOps) {
        for choice in ParameterVisitor::of(self).kernels {
            *choice = kernels;
        }
    }
}

/// Parameters at least this large are not moved by [`Module::compact`].
const MIN_LARGE_BYTES: usize = 4 << 20;
/// Bytes at which [`Module::compact`] begins another buffer.
const MAX_BATCH_BYTES: usize = 60 << 20;

/// The visitor that collects what [`Module::visit_parameters`] passes to it.
#[derive(Default)]
pub struct ParameterVisitor<'a> {
    prefix: String,
    parameters: Vec<(String, &'a mut Array)>,
    kernels: Vec<&'a mut FastOps>,
}

impl<'a> ParameterVisitor<'a> {
    fn of(module: &'a mut impl Module) -> Self {
        let mut visitor = ParameterVisitor::default();
        module.visit_parameters(&mut visitor);
        visitor
    }

    /// Visits a parameter.
    pub fn parameter(&mut self, name: &str, array: &'a mut Array) {
        self.parameters
            .push((format!("{}{name}", self.prefix), array));
    }

    /// Visits a parameter that this module may lack.
    pub fn optional(&mut self, name: &str, array: &'a mut Option<Array>) {
        if let Some(array) = array {
            self.parameter(name, array);
        }
    }

    /// Visits a sub-module.
    pub fn module(&mut self, name: &str, module: &'a mut impl Module) {
        let outer = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('.');
        module.visit_parameters(self);
        self.prefix.truncate(outer);
    }

    /// Visits a list of sub-modules: `name.0`, `name.1`, ...
    pub fn list(&mut self, name: &str, modules: &'a mut [impl Module]) {
        for (index, module) in modules.iter_mut().enumerate() {
            self.module(&format!("{name}.{index}"), module);
        }
    }

    /// Visits the module's choice between composed formulas and fused kernels.
    pub fn kernels(&mut self, kernels: &'a mut FastOps) {
        self.kernels.push(kernels);
    }
}

/// The former name of [`ParameterVisitor`].
#[deprecated(note = "renamed to ParameterVisitor")]
pub type Parts<'a> = ParameterVisitor<'a>;

/// The result of [`Module::load`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Number of parameters replaced.
    pub loaded: usize,
    /// Parameters for which there was no weight.
    pub missing: Vec<String>,
    /// Weights without a parameter of that name.
    pub unused: Vec<String>,
    /// Weights of the wrong shape: name, wanted, got.
    pub shape_mismatches: Vec<(String, Vec<i32>, Vec<i32>)>,
}

/// The error of weights that do not match a model's parameters, with their names.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("load: {0}")]
pub struct LoadError(LoadReport);

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl LoadReport {
    /// Returns the weights of the wrong shape: name, wanted, got.
    #[deprecated(note = "renamed to the field `shape_mismatches`")]
    pub fn misshapen(&self) -> &[(String, Vec<i32>, Vec<i32>)] {
        &self.shape_mismatches
    }

    /// Returns whether every parameter was loaded and no weight was unused.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.shape_mismatches.is_empty()
    }

    /// Returns an error unless every parameter was loaded; unused weights are allowed.
    ///
    /// # Errors
    /// When a weight is missing or has the wrong shape.
    pub fn require_all(self) -> Result<Self, LoadError> {
        if self.missing.is_empty() && self.shape_mismatches.is_empty() {
            Ok(self)
        } else {
            Err(LoadError(self))
        }
    }

    /// Returns an error unless weights and parameters match exactly.
    ///
    /// # Errors
    /// When a weight is missing, unused or has the wrong shape.
    pub fn require_exact(self) -> Result<Self, LoadError> {
        if self.is_complete() {
            Ok(self)
        } else {
            Err(LoadError(self))
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weights loaded", self.loaded)?;
        list(f, "missing", &self.missing)?;
        list(f, "unused", &self.unused)?;
        for (name, wanted, got) in &self.shape_mismatches {
            write!(f, "; {name} must be {wanted:?}, got {got:?}")?;
        }
        Ok(())
    }
}

/// Writes the first names of a list and the number of the others.
fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return Ok(());
    }
    write!(
        f,
        "; {what}: {}",
        names[..names.len().min(SHOWN)].join(", ")
    )?;
    if names.len() > SHOWN {
        write!(f, " and {} more", names.len() - SHOWN)?;
    }
    Ok(())
}

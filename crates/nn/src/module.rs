//! Parameters as a named tree: reading, replacing, and loading them with a report.

use std::collections::BTreeMap;
use std::fmt;

use mlx::Array;

use crate::Kernels;

/// Weights by name, as a file gives them.
pub type WeightMap = BTreeMap<String, Array>;

/// A layer or a model: something with named parameters.
///
/// Cloning a module shares its arrays and costs next to nothing.
pub trait Module: Clone {
    /// Names the parameters and sub-modules of this one.
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>);

    /// Returns all parameters by their full names: `layers.0.attn.query_proj.weight`.
    fn parameters(&self) -> WeightMap {
        let mut module = self.clone();
        let parameters = Parts::of(&mut module).parameters;
        parameters
            .into_iter()
            .map(|(name, array)| (name, array.clone()))
            .collect()
    }

    /// Replaces parameters by those of the same name, and says what did not fit.
    ///
    /// A weight of another shape than the parameter is left out. Dtypes are taken as they come.
    fn load(&mut self, mut weights: WeightMap) -> LoadReport {
        let mut report = LoadReport::default();
        for (name, parameter) in Parts::of(self).parameters {
            let Some(weight) = weights.remove(&name) else {
                report.missing.push(name);
                continue;
            };
            match (parameter.shape(), weight.shape()) {
                (Ok(wanted), Ok(got)) if wanted != got => {
                    report.misshapen.push((name, wanted, got))
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

    /// Returns the module with parameters replaced by those of the same name; those without one stay.
    ///
    /// # Errors
    /// When there is a name that no parameter has, or a shape is not the parameter's.
    #[track_caller]
    fn with_parameters(&self, parameters: &WeightMap) -> mlx::Result<Self> {
        let mut module = self.clone();
        let report = module.load(parameters.clone());
        if report.unused.is_empty() && report.misshapen.is_empty() {
            return Ok(module);
        }
        let message = LoadReport {
            missing: Vec::new(),
            ..report
        };
        Err(mlx::Error::op("with_parameters", message.to_string()))
    }

    /// Puts the parameters side by side into few large buffers, in the order of their names' declaration.
    ///
    /// A network that reads its weights once for each token reads them faster from there: see
    /// [`compact`](mlx::memory::compact). They are evaluated first; at most 64 MiB exist twice meanwhile.
    ///
    /// # Errors
    /// When a parameter could not be computed, or there is no memory.
    #[track_caller]
    fn compact(&mut self) -> mlx::Result<()> {
        let mut small: Vec<(&mut Array, usize)> = Vec::new();
        for (_, parameter) in Parts::of(self).parameters {
            let bytes = parameter.nbytes()?;
            if bytes < LARGE {
                small.push((parameter, bytes));
            }
        }
        let mut rest = small.as_mut_slice();
        while !rest.is_empty() {
            let mut total = 0;
            let count = rest.iter().take_while(|(_, bytes)| {
                let fits = total < AT_ONCE;
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

    /// Makes every norm and attention inside use the composed formulas or the fused kernels.
    fn set_kernels(&mut self, kernels: Kernels) {
        for slot in Parts::of(self).kernels {
            *slot = kernels;
        }
    }
}

/// Parameters of so many bytes lie well where they are.
const LARGE: usize = 4 << 20;
/// Bytes that [`Module::compact`] moves at once.
const AT_ONCE: usize = 60 << 20;

/// Collects what a module names in [`Module::parts`].
#[derive(Default)]
pub struct Parts<'a> {
    prefix: String,
    parameters: Vec<(String, &'a mut Array)>,
    kernels: Vec<&'a mut Kernels>,
}

impl<'a> Parts<'a> {
    fn of(module: &'a mut impl Module) -> Self {
        let mut parts = Parts::default();
        module.parts(&mut parts);
        parts
    }

    /// Names a parameter.
    pub fn parameter(&mut self, name: &str, array: &'a mut Array) {
        self.parameters
            .push((format!("{}{name}", self.prefix), array));
    }

    /// Names a parameter that this module may lack.
    pub fn optional(&mut self, name: &str, array: &'a mut Option<Array>) {
        if let Some(array) = array {
            self.parameter(name, array);
        }
    }

    /// Names a sub-module.
    pub fn module(&mut self, name: &str, module: &'a mut impl Module) {
        let outer = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('.');
        module.parts(self);
        self.prefix.truncate(outer);
    }

    /// Names a list of sub-modules: `name.0`, `name.1`, ...
    pub fn list(&mut self, name: &str, modules: &'a mut [impl Module]) {
        for (index, module) in modules.iter_mut().enumerate() {
            self.module(&format!("{name}.{index}"), module);
        }
    }

    /// Names the place where this module keeps its choice of kernels.
    pub fn kernels(&mut self, kernels: &'a mut Kernels) {
        self.kernels.push(kernels);
    }
}

/// What [`Module::load`] did with the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Number of parameters replaced.
    pub loaded: usize,
    /// Parameters for which there was no weight.
    pub missing: Vec<String>,
    /// Weights that no parameter wanted.
    pub unused: Vec<String>,
    /// Weights of the wrong shape: name, wanted, got.
    pub misshapen: Vec<(String, Vec<i32>, Vec<i32>)>,
}

/// The weights of a file do not fit a model; says which.
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
    /// Returns whether every parameter got its weight and none was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misshapen.is_empty()
    }

    /// Returns an error unless every parameter got its weight; weights left over are allowed.
    ///
    /// # Errors
    /// When a weight is missing or has the wrong shape.
    pub fn require_all(self) -> Result<Self, LoadError> {
        if self.missing.is_empty() && self.misshapen.is_empty() {
            Ok(self)
        } else {
            Err(LoadError(self))
        }
    }

    /// Returns an error unless weights and parameters match exactly.
    ///
    /// # Errors
    /// When a weight is missing, left over or has the wrong shape.
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
        for (name, wanted, got) in &self.misshapen {
            write!(f, "; {name} must be {wanted:?}, got {got:?}")?;
        }
        Ok(())
    }
}

/// Writes the first names of a list and how many more there are.
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

//! What a program says of its inputs and outputs: which dimension is split along which axis of the mesh.

use super::Mesh;
use crate::{Error, Result};

/// The axis of the mesh along which each dimension of an array is split: JAX's `PartitionSpec`.
///
/// Dimensions that are not named are whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSpec(Vec<Option<String>>);

impl PartitionSpec {
    /// Returns the specification of an array that is whole on every rank.
    pub fn replicated() -> Self {
        Self::default()
    }

    /// Returns the dimension that is split along an axis of the mesh.
    pub fn dim_of(&self, axis: &str) -> Option<usize> {
        self.0.iter().position(|name| name.as_deref() == Some(axis))
    }

    /// Returns the names of the axes.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|name| name.as_deref())
    }
}

impl<const N: usize> From<[Option<&str>; N]> for PartitionSpec {
    fn from(names: [Option<&str>; N]) -> Self {
        Self(
            names
                .into_iter()
                .map(|name| name.map(str::to_owned))
                .collect(),
        )
    }
}

impl From<Vec<Option<String>>> for PartitionSpec {
    fn from(names: Vec<Option<String>>) -> Self {
        Self(names)
    }
}

/// How the inputs and outputs of a function are split, by patterns of their names.
///
/// In a pattern `*` stands for any text. The first rule that fits a name counts; a value without one is whole. Names are
/// the paths of a traced function's arguments, the number of the argument first: `0.layers.3.weight`. Inputs of a graph
/// by itself are `0`, `1`, ..., and so are outputs.
///
/// ```
/// use mlx_compiler::sharding::Rules;
/// let rules = Rules::new()
///     .input("*.up.weight", [Some("model"), None])
///     .input("*.down.weight", [None, Some("model")]);
/// assert_eq!(rules.of_input("0.layers.3.up.weight").dim_of("model"), Some(0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    inputs: Vec<(String, PartitionSpec)>,
    outputs: Vec<(String, PartitionSpec)>,
}

impl Rules {
    /// Returns no rules: everything is whole.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for inputs.
    #[must_use]
    pub fn input(mut self, pattern: &str, spec: impl Into<PartitionSpec>) -> Self {
        self.inputs.push((pattern.to_owned(), spec.into()));
        self
    }

    /// Adds a rule for outputs: those stay split where they are computed so, and are cut where they are not.
    #[must_use]
    pub fn output(mut self, pattern: &str, spec: impl Into<PartitionSpec>) -> Self {
        self.outputs.push((pattern.to_owned(), spec.into()));
        self
    }

    /// Returns how an input of this name is split.
    pub fn of_input(&self, name: &str) -> PartitionSpec {
        first_match(&self.inputs, name)
    }

    /// Returns how an output of this name is split.
    pub fn of_output(&self, name: &str) -> PartitionSpec {
        first_match(&self.outputs, name)
    }

    /// Returns the patterns that no name fits.
    pub(super) fn unused(&self, inputs: &[String], outputs: &[String]) -> Vec<String> {
        let idle = |rules: &[(String, PartitionSpec)], names: &[String]| -> Vec<String> {
            let is_idle = |pattern: &str| !names.iter().any(|name| matches(pattern, name));
            let patterns = rules.iter().map(|(pattern, _)| pattern.clone());
            patterns.filter(|pattern| is_idle(pattern)).collect()
        };
        [idle(&self.inputs, inputs), idle(&self.outputs, outputs)].concat()
    }

    /// Refuses names that are no axes of the mesh, and rules that name one twice.
    pub(super) fn check(&self, mesh: &Mesh) -> Result<()> {
        for (pattern, spec) in self.inputs.iter().chain(&self.outputs) {
            for name in spec.names() {
                if !mesh.axes().iter().any(|axis| axis.name == name) {
                    let known: Vec<&str> =
                        mesh.axes().iter().map(|axis| axis.name.as_str()).collect();
                    return Err(Error::Unsupported(format!(
                        "shard: wanted axes of the mesh ({}), got {name:?} in the rule of {pattern:?}",
                        known.join(", ")
                    )));
                }
                let n = spec.names().filter(|one| *one == name).count();
                if n > 1 {
                    return Err(Error::Unsupported(format!(
                        "shard: wanted each axis of the mesh for one dimension, got {name:?} for {n} in the rule of {pattern:?}"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn first_match(rules: &[(String, PartitionSpec)], name: &str) -> PartitionSpec {
    let found = rules.iter().find(|(pattern, _)| matches(pattern, name));
    found.map(|(_, spec)| spec.clone()).unwrap_or_default()
}

/// Returns whether a name fits a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    ends.any(|at| matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        assert!(matches("*.weight", "0.layers.1.weight"));
        assert!(matches("0.*.up.*", "0.layers.1.up.weight"));
        assert!(matches("*", "") && matches("0", "0"));
        assert!(!matches("*.weight", "0.layers.1.bias") && !matches("0", "01"));
    }

    #[test]
    fn the_first_rule_counts() {
        let rules = Rules::new()
            .input("*.norm.weight", PartitionSpec::replicated())
            .input("*.weight", [Some("model")]);
        assert_eq!(rules.of_input("0.norm.weight").dim_of("model"), None);
        assert_eq!(rules.of_input("0.up.weight").dim_of("model"), Some(0));
        let unused = rules.unused(&["0.up.weight".to_owned()], &[]);
        assert_eq!(unused, ["*.norm.weight"]);
    }

    #[test]
    fn a_rule_of_an_unknown_axis_is_refused() {
        let mesh = Mesh::new(&[("model", 2)]).unwrap();
        let rules = Rules::new().input("*", [Some("modal")]);
        let error = rules.check(&mesh).unwrap_err().to_string();
        assert!(error.contains("\"modal\" in the rule of \"*\""), "{error}");
    }

    #[test]
    fn a_rule_that_names_an_axis_twice_is_refused() {
        let mesh = Mesh::new(&[("model", 2), ("data", 2)]).unwrap();
        let both = Rules::new().output("0", [Some("model"), None, Some("data")]);
        both.check(&mesh).unwrap();
        let twice = [Some("model"), None, Some("model")];
        let rules = Rules::new().input("0.w", twice);
        let error = rules.check(&mesh).unwrap_err().to_string();
        let wanted = "wanted each axis of the mesh for one dimension, got \"model\" for 2 in the rule of \"0.w\"";
        assert!(error.contains(wanted), "{error}");
    }
}

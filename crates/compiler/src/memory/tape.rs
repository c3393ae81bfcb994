//! The primitives that MLX makes of a graph, and the order in which it evaluates them.
//!
//! They are read from MLX's own text of the lazy graph, so that nothing of how it composes an operation is repeated here.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use mlx::{ArrayType, Dtype};

use crate::{Error, Result};

/// An array of MLX's graph.
pub(super) struct TapeArray {
    pub(super) array_type: ArrayType,
    /// The node of our graph whose result it is, and which one.
    pub(super) result: Option<(usize, usize)>,
    /// Whether it is there before anything runs.
    pub(super) is_given: bool,
    /// Its number among the inputs, if it is one.
    given: Option<usize>,
}

/// A primitive with what it takes and gives.
pub(super) struct Primitive {
    pub(super) name: String,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    /// The node of our graph that it belongs to.
    pub(super) node: Option<usize>,
}

/// The primitives of a graph, each after those that it needs.
#[derive(Default)]
pub(super) struct Tape {
    pub(super) arrays: Vec<TapeArray>,
    pub(super) primitives: Vec<Primitive>,
    pub(super) outputs: Vec<usize>,
    /// The primitive that gives each array.
    maker: Vec<Option<usize>>,
}

/// The name of a result of a node of our graph, in MLX's text.
pub(super) fn result_name(node: usize, index: usize) -> String {
    format!("n{node}_{index}")
}

/// The name of an array that is there before anything runs.
pub(super) fn given_name(value: usize) -> String {
    format!("v{value}")
}

/// The name of an input.
pub(super) fn input_name(number: usize) -> String {
    format!("i{number}")
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How many arrays MLX keeps waiting side by side before it goes into depth.
fn width_limit() -> usize {
    let asked = std::env::var("MLX_BFS_MAX_WIDTH").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(20)
}

impl Tape {
    /// Reads MLX's text of a graph.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut tape = Self::default();
        let mut names = HashMap::new();
        for line in text.lines() {
            tape.read_line(line, &mut names).ok_or_else(|| {
                Error::Unsupported(format!("memory: wanted a primitive, got {line:?}"))
            })?;
        }
        tape.maker = vec![None; tape.arrays.len()];
        tape.primitives.retain(|primitive| {
            let given = primitive
                .outputs
                .iter()
                .any(|output| tape.arrays[*output].is_given);
            !given
        });
        for (number, primitive) in tape.primitives.iter().enumerate() {
            for output in &primitive.outputs {
                tape.maker[*output] = Some(number);
            }
        }
        tape.attribute();
        Ok(tape)
    }

    fn read_line(&mut self, line: &str, names: &mut HashMap<String, usize>) -> Option<()> {
        if let Some(inputs) = line.strip_prefix("Inputs: ") {
            for input in self.arrays_of(inputs, names)? {
                self.arrays[input].is_given = true;
            }
            return Some(());
        }
        if let Some(outputs) = line.strip_prefix("Outputs: ") {
            self.outputs = self.arrays_of(outputs, names)?;
            return Some(());
        }
        let (before, outputs) = line.rsplit_once(" -> ")?;
        // Names of primitives may have blanks; what follows starts with a name and a type.
        let (name, inputs) = match before.find(" [(") {
            Some(end) => {
                let start = before[..end].rfind(' ')?;
                (&before[..start], &before[start + 1..])
            }
            None => (before.trim_end(), ""),
        };
        let inputs = self.arrays_of(inputs, names)?;
        let outputs = self.arrays_of(outputs, names)?;
        self.primitives.push(Primitive {
            name: name.to_owned(),
            inputs,
            outputs,
            node: None,
        });
        Some(())
    }

    /// Reads `A [(2,3), float32], B [(), int32]`.
    fn arrays_of(&mut self, text: &str, names: &mut HashMap<String, usize>) -> Option<Vec<usize>> {
        let mut rest = text.trim();
        let mut arrays = Vec::new();
        while !rest.is_empty() {
            let (name, after) = rest.split_once(" [(")?;
            let (shape, after) = after.split_once("), ")?;
            let (dtype, after) = after.split_once(']')?;
            let number = *names.entry(name.to_owned()).or_insert(self.arrays.len());
            if number == self.arrays.len() {
                let sizes = shape.split(',').filter(|size| !size.is_empty());
                let shape: Vec<i32> = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
                let numbered = |text: &str| {
                    let (node, index) = text.split_once('_')?;
                    Some((node.parse().ok()?, index.parse().ok()?))
                };
                self.arrays.push(TapeArray {
                    array_type: ArrayType::new(shape, Dtype::from_name(dtype)?),
                    result: name.strip_prefix('n').and_then(numbered),
                    is_given: name.starts_with(['v', 'i']),
                    given: name
                        .strip_prefix('i')
                        .and_then(|number| number.parse().ok()),
                });
            }
            arrays.push(number);
            rest = after.strip_prefix(", ").unwrap_or(after);
        }
        Some(arrays)
    }

    /// Takes over from another tape of the same function which of its arrays are results of nodes: those that are computed alike.
    ///
    /// MLX's compile joins equal primitives and leaves out copies, so that its tape has arrays of its own.
    pub(super) fn name_results(&mut self, named: &Self) {
        let keys = named.keys();
        let mut results = HashMap::new();
        for (number, array) in named.arrays.iter().enumerate() {
            if let (Some(key), Some(result)) = (keys[number], array.result) {
                results.entry(key).or_insert(result);
            }
        }
        for (number, key) in self.keys().into_iter().enumerate() {
            self.arrays[number].result = key.and_then(|key| results.get(&key).copied());
        }
        self.attribute();
    }

    /// A number for each array that is computed, the same for those that are computed alike.
    fn keys(&self) -> Vec<Option<u64>> {
        let given = self.arrays.iter().map(|array| {
            let array_type = array.array_type.to_string();
            array.is_given.then(|| hash_of(&(array.given, array_type)))
        });
        let mut keys: Vec<Option<u64>> = given.collect();
        for primitive in &self.primitives {
            let inputs: Vec<Option<u64>> =
                primitive.inputs.iter().map(|input| keys[*input]).collect();
            for (index, output) in primitive.outputs.iter().enumerate() {
                let array_type = self.arrays[*output].array_type.to_string();
                keys[*output] = match primitive.name.as_str() {
                    "Copy" | "StopGradient" => inputs.first().copied().flatten(),
                    name => Some(hash_of(&(name, index, array_type, &inputs))),
                };
            }
        }
        keys
    }

    /// Says to which node of our graph each primitive belongs: that of its result, else that of what uses it.
    fn attribute(&mut self) {
        let mut node_of = vec![None; self.arrays.len()];
        for primitive in self.primitives.iter_mut().rev() {
            primitive.node = None;
            let results = primitive.outputs.iter();
            let named = results
                .clone()
                .find_map(|output| self.arrays[*output].result);
            let used = || results.clone().find_map(|output| node_of[*output]);
            primitive.node = named.map(|(node, _)| node).or_else(used);
            for input in &primitive.inputs {
                node_of[*input] = node_of[*input].or(primitive.node);
            }
        }
    }

    /// Returns the primitives in the order in which MLX evaluates them.
    ///
    /// It goes from the results back in breadth, an array after all that needs it, into depth where more than a number of arrays
    /// wait, and evaluates from the end.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut degrees = self.degrees();
        let limit = width_limit();
        let inputs = |place: &Option<usize>| match place {
            Some(number) => self.primitives[*number].inputs.as_slice(),
            None => self.outputs.as_slice(),
        };
        // `None` is what waits for the results.
        let mut tape: Vec<Option<usize>> = vec![None];
        let mut deep: Vec<(Option<usize>, usize)> = Vec::new();
        let mut next = 0;
        while next < tape.len() || !deep.is_empty() {
            let (from, first) = match tape.get(next) {
                Some(from) => {
                    next += 1;
                    (*from, 0)
                }
                None => deep.pop().unwrap_or_default(),
            };
            for (index, input) in inputs(&from).iter().enumerate().skip(first) {
                let Some(maker) = self.maker[*input] else {
                    continue;
                };
                if tape.len() - next >= limit {
                    deep.push((from, index));
                    break;
                }
                degrees[maker] = degrees[maker].saturating_sub(1);
                if degrees[maker] == 0 {
                    tape.push(Some(maker));
                }
            }
        }
        tape.into_iter().rev().flatten().collect()
    }

    /// How often the results of each primitive are needed, by those that run.
    fn degrees(&self) -> Vec<usize> {
        let mut degrees = vec![0; self.primitives.len()];
        let mut open = self.outputs.clone();
        while let Some(array) = open.pop() {
            if let Some(maker) = self.maker[array] {
                degrees[maker] += 1;
                if degrees[maker] == 1 {
                    open.extend(&self.primitives[maker].inputs);
                }
            }
        }
        degrees
    }
}

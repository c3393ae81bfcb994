//! A function of a file of MLX's, `.mlxfn`, as a graph.
//!
//! MLX's own reader trusts such a file: a shape in it that is not what the operations give makes it read memory that it has not.
//! Here a file is only a description: its primitives become operations of the table, which check their inputs whenever they run.

use std::collections::HashMap;
use std::rc::Rc;

use mlx::{Array, ArrayType, Dtype, Op};

use super::bytes::{Bytes, Fault};
use super::primitives::Stored;
use crate::graph::{Constant, Graph, Operation, SourceLocation, Value, element_count};

/// A function of a file.
pub(super) struct StoredFunction {
    pub(super) graph: Graph,
    /// The names of the last inputs, in the order of the alphabet.
    pub(super) keywords: Vec<String>,
}

/// The head of a file and its functions.
pub(super) struct StoredFunctions {
    pub(super) is_shapeless: bool,
    pub(super) functions: Vec<StoredFunction>,
}

/// Arrays of the file by their numbers.
struct Reader<'a> {
    bytes: Bytes<'a>,
    is_shapeless: bool,
    /// Constants, which all functions of the file share.
    constants: HashMap<u64, (ArrayType, Array)>,
}

/// Reads all functions of a file.
pub(super) fn read(bytes: &[u8]) -> Result<StoredFunctions, Fault> {
    let mut reader = Reader {
        bytes: Bytes::new(bytes),
        is_shapeless: false,
        constants: HashMap::new(),
    };
    let version = reader.bytes.text()?;
    if !version.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!(
            "wanted a file of MLX's functions, got version {version:?}"
        ));
    }
    let count = reader.bytes.i32()?;
    reader.is_shapeless = reader.bytes.bool()?;
    // Metadata.
    reader.bytes.text()?;
    let mut functions = Vec::new();
    for _ in 0..count {
        functions.push(reader.function()?);
    }
    if functions.is_empty() {
        return Err(format!("wanted a function, got {count}"));
    }
    if !reader.bytes.is_at_end() {
        return Err(format!(
            "wanted nothing behind {count} functions, got more bytes"
        ));
    }
    Ok(StoredFunctions {
        is_shapeless: reader.is_shapeless,
        functions,
    })
}

impl Reader<'_> {
    fn function(&mut self) -> Result<StoredFunction, Fault> {
        let keywords = self.bytes.list(8, Bytes::text)?;
        let ids = self.bytes.numbers()?;
        let types = self.bytes.list(13, Bytes::array_type)?;
        if keywords.len() > ids.len() {
            return Err(format!(
                "wanted at most {} names of inputs, got {}",
                ids.len(),
                keywords.len()
            ));
        }
        if ids.len() != types.len() {
            return Err(format!(
                "wanted {} types of inputs, got {}",
                ids.len(),
                types.len()
            ));
        }
        let mut graph = Graph::new("function");
        let mut values: HashMap<u64, Value> = HashMap::new();
        for (id, array_type) in ids.iter().zip(types) {
            values.insert(*id, graph.add_input(array_type));
        }
        let outputs = self.bytes.numbers()?;
        let steps = self.bytes.u64()?;
        for _ in 0..steps {
            self.step(&mut graph, &mut values)?;
        }
        for output in outputs {
            graph.outputs.push(known(&values, output)?);
        }
        Ok(StoredFunction { graph, keywords })
    }

    fn step(&mut self, graph: &mut Graph, values: &mut HashMap<u64, Value>) -> Result<(), Fault> {
        let id = self.bytes.u64()?;
        if self.bytes.bool()? {
            return self.primitive(id, graph, values);
        }
        if !self.bytes.bool()? {
            // An input.
            return known(values, id).map(|_| ());
        }
        if !self.constants.contains_key(&id) {
            let array_type = self.bytes.array_type()?;
            let n = element_count(&array_type.shape).checked_mul(array_type.dtype.size());
            let bytes = self.bytes.take(n.unwrap_or(usize::MAX))?;
            let array = array_of(bytes, &array_type).map_err(|error| error.to_string())?;
            self.constants.insert(id, (array_type, array));
        }
        if let Some((array_type, array)) = self.constants.get(&id) {
            let constant = Constant::Array(array.clone());
            values.insert(id, graph.add_constant(array_type.clone(), constant));
        }
        Ok(())
    }

    fn primitive(
        &mut self,
        id: u64,
        graph: &mut Graph,
        values: &mut HashMap<u64, Value>,
    ) -> Result<(), Fault> {
        let inputs = self.bytes.numbers()?;
        let inputs: Vec<Value> = inputs
            .into_iter()
            .map(|input| known(values, input))
            .collect::<Result<_, _>>()?;
        // The stream: its number, the kind of its device, the device's number.
        self.bytes.take(12)?;
        let name = self.bytes.text()?;
        let types: Vec<ArrayType> = inputs
            .iter()
            .map(|input| graph.array_type(*input).clone())
            .collect();
        let stored = Stored {
            name: &name,
            inputs: &types,
            is_shapeless: self.is_shapeless,
        };
        let read = stored.read(&mut self.bytes)?;
        let siblings = self.bytes.u64()?;
        let (ids, types) = if siblings == 0 {
            (vec![id], vec![self.bytes.array_type()?])
        } else {
            let ids = self.bytes.numbers()?;
            let shapes = self.bytes.list(8, Bytes::shape)?;
            let dtypes = self.bytes.list(5, Bytes::dtype)?;
            if shapes.len() != ids.len() || dtypes.len() != ids.len() {
                return Err(format!(
                    "wanted {} results of {name}, got {} shapes and {} dtypes",
                    ids.len(),
                    shapes.len(),
                    dtypes.len()
                ));
            }
            if !ids.contains(&id) {
                return Err(format!(
                    "wanted {id} among the results of {name}, got {ids:?}"
                ));
            }
            let types = shapes.into_iter().zip(dtypes);
            let types = types.map(|(shape, dtype)| ArrayType { shape, dtype });
            (ids, types.collect())
        };
        let op = match (read.of_output, read.op) {
            (Some(of_output), _) => of_output(&types[0]),
            (
                None,
                Op::Arange {
                    start, stop, step, ..
                },
            ) => Op::Arange {
                start,
                stop,
                step,
                dtype: types[0].dtype,
            },
            (None, op) => op,
        };
        let inputs = read.inputs.iter().map(|input| inputs[*input]).collect();
        let site = SourceLocation::default();
        let outputs = graph.add_node(Operation::Op(op), inputs, types, site);
        values.extend(ids.into_iter().zip(outputs));
        Ok(())
    }
}

fn known(values: &HashMap<u64, Value>, id: u64) -> Result<Value, Fault> {
    let value = values.get(&id).copied();
    value.ok_or_else(|| format!("wanted an array that comes before its use, got number {id}"))
}

/// An array of these elements, which are stored as this machine stores them.
fn array_of(bytes: &[u8], array_type: &ArrayType) -> mlx::Result<Array> {
    // Of numbers as wide, then taken for what they are.
    let shape = array_type.shape.to_vec();
    let raw = match array_type.dtype {
        Dtype::Bool => {
            let bools: Vec<bool> = bytes.iter().map(|byte| *byte != 0).collect();
            return evaluated(Array::from_slice(&bools, shape)?);
        }
        Dtype::Complex64 => {
            let halves = bytes.chunks_exact(8);
            let number = |half: &[u8]| f32::from_le_bytes([half[0], half[1], half[2], half[3]]);
            let numbers: Vec<mlx::Complex64> = halves
                .map(|both| mlx::Complex64::new(number(&both[..4]), number(&both[4..])))
                .collect();
            return evaluated(Array::from_slice(&numbers, shape)?);
        }
        dtype => match dtype.size() {
            1 => Array::from_slice(bytes, shape)?,
            2 => {
                let numbers = bytes
                    .chunks_exact(2)
                    .map(|b| u16::from_le_bytes([b[0], b[1]]));
                Array::from_slice(&numbers.collect::<Vec<u16>>(), shape)?
            }
            4 => {
                let four = bytes.chunks_exact(4);
                let numbers = four.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                Array::from_slice(&numbers.collect::<Vec<u32>>(), shape)?
            }
            _ => {
                let eight = bytes.chunks_exact(8);
                let numbers = eight.map(|b| {
                    let mut one = [0; 8];
                    one.copy_from_slice(b);
                    u64::from_le_bytes(one)
                });
                Array::from_slice(&numbers.collect::<Vec<u64>>(), shape)?
            }
        },
    };
    evaluated(raw.view(array_type.dtype))
}

fn evaluated(array: Array) -> mlx::Result<Array> {
    array.eval()?;
    Ok(array)
}

/// A function of several graphs, of which the types of the inputs choose one.
pub(super) type Functions = Rc<[StoredFunction]>;

//! The recorder that appends each operation of a traced function to a graph.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::rc::Rc;

use mlx::compiler_api::{
    OpCall, Recorder, Relation, SizeGuard, SizeTerm as TracedTerm, TracedArray, TracedAxis,
    without_recording,
};
use mlx::transforms::TransformCall;
use mlx::{Array, ArrayType, Device, Size};

use super::record::Recorded;
use super::transform::record_transform;
use crate::graph::{
    CallSite, Constant, Graph, Guard, Literal, Operation, SizeTerm, SourceLocation, Value,
};

/// A graph being recorded.
pub(crate) struct Tape {
    state: RefCell<State>,
    open: Cell<bool>,
    /// The device that the function runs on.
    device: Option<Device>,
}

struct State {
    graph: Graph,
    /// Captured arrays by identity. Their clones in the graph keep the identities from being used again.
    constants: HashMap<usize, Value>,
    /// Arrays of enclosing traces and the inputs they became.
    captures: Vec<(Array, Value)>,
    size_read: Option<SizeRead>,
    /// What has been compared, each once.
    guarded: HashSet<(Relation, SizeTerm, SizeTerm)>,
    /// Whether a captured array represents an argument of a transform around the trace.
    captures_transforming: bool,
}

/// Where a function read a size, and by which method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeRead {
    pub(crate) op: &'static str,
    pub(crate) at: CallSite,
}

impl Tape {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            state: RefCell::new(State {
                graph: Graph::new(name),
                constants: HashMap::new(),
                captures: Vec::new(),
                size_read: None,
                guarded: HashSet::new(),
                captures_transforming: false,
            }),
            open: Cell::new(true),
            device: Device::current().ok(),
        }
    }

    pub(crate) fn close(&self) {
        self.open.set(false);
    }

    pub(crate) fn add_input(&self, array_type: ArrayType) -> usize {
        self.state.borrow_mut().graph.add_input(array_type).index()
    }

    /// Makes an array an output: one of this trace, or a constant.
    pub(crate) fn add_output(&self, this: &Rc<dyn Recorder>, array: &Array) -> mlx::Result<()> {
        let value = self.value_of(array, |array| array.is_tracer_of(this))?;
        self.state.borrow_mut().graph.outputs.push(value);
        Ok(())
    }

    /// Returns what was recorded, with the auxiliary output of the function.
    pub(crate) fn finish<T>(&self, aux: T) -> Recorded<T> {
        self.close();
        let mut state = self.state.borrow_mut();
        let captures = std::mem::take(&mut state.captures);
        Recorded {
            graph: std::mem::replace(&mut state.graph, Graph::new("")),
            captures: captures.into_iter().map(|(array, _)| array).collect(),
            aux,
            size_read: state.size_read,
            captures_transforming: state.captures_transforming,
        }
    }

    /// Appends a node and returns the numbers of its outputs.
    pub(crate) fn add_node(
        &self,
        operation: Operation,
        inputs: &[&Array],
        types: Vec<ArrayType>,
        at: CallSite,
    ) -> mlx::Result<Vec<usize>> {
        let values: mlx::Result<Vec<Value>> = inputs
            .iter()
            .map(|input| self.value_of(input, |array| self.owns(array)))
            .collect();
        let values = values?;
        let site = SourceLocation {
            at: Some(at),
            device: self.other_device(),
            ..SourceLocation::default()
        };
        let mut state = self.state.borrow_mut();
        let outputs = state.graph.add_node(operation, values, types, site);
        Ok(outputs.into_iter().map(Value::index).collect())
    }

    /// Returns the value that an array is in this graph; one that it does not have yet is captured.
    fn value_of(&self, array: &Array, is_own: impl Fn(&Array) -> bool) -> mlx::Result<Value> {
        if let Some(node) = array.tracer_node() {
            if is_own(array) {
                return Ok(Value(u32::try_from(node).unwrap_or(u32::MAX)));
            }
            return self.capture(array);
        }
        let array_type = mlx::compiler_api::type_of(array)?;
        let identity = array.buffer_id();
        if let Some(known) = identity.and_then(|id| self.state.borrow().constants.get(&id).copied())
        {
            return Ok(known);
        }
        // The tracer of an argument of a transform must stay an array: it is neither a literal nor folded.
        let is_transforming = array.is_transform_argument();
        // Reading a number may compute it, which must not be recorded.
        let literal = match is_transforming {
            true => None,
            false => without_recording(|| Literal::read(array)).ok().flatten(),
        };
        let mut state = self.state.borrow_mut();
        state.captures_transforming |= is_transforming;
        let value = match literal {
            Some(literal) => state
                .graph
                .add_constant(array_type, Constant::Number(literal)),
            None => {
                let value = state
                    .graph
                    .add_constant(array_type, Constant::Array(array.clone()));
                if let Some(identity) = identity {
                    state.constants.insert(identity, value);
                }
                value
            }
        };
        Ok(value)
    }

    /// Returns a size as one of this graph's values.
    fn term_of(&self, term: &TracedTerm) -> mlx::Result<SizeTerm> {
        Ok(match term {
            TracedTerm::Number(number) => SizeTerm::Number(*number),
            TracedTerm::Axis(source) => match TracedAxis::of(source.as_ref()) {
                Some(TracedAxis { array, axis }) => {
                    let value = self.value_of(array, |array| self.owns(array))?;
                    SizeTerm::Axis(value, *axis)
                }
                None => return Err(mlx::Error::op("trace", "wanted an axis of an array")),
            },
            TracedTerm::Of(op, a, b) => {
                let (a, b) = (self.term_of(a)?, self.term_of(b)?);
                SizeTerm::Of(*op, Box::new(a), Box::new(b))
            }
        })
    }

    /// Makes an array of an enclosing trace an input.
    fn capture(&self, array: &Array) -> mlx::Result<Value> {
        let array_type = mlx::compiler_api::type_of(array)?;
        let mut state = self.state.borrow_mut();
        let found = state
            .captures
            .iter()
            .find(|(known, _)| known.is_same_tracer(array));
        if let Some((_, value)) = found {
            return Ok(*value);
        }
        let value = state.graph.add_input(array_type);
        state.captures.push((array.clone(), value));
        Ok(value)
    }

    fn owns(&self, array: &Array) -> bool {
        array.recorder_id() == Some(std::ptr::from_ref(self).cast::<()>())
    }

    /// Returns the current device, when it is not the function's.
    fn other_device(&self) -> Option<Device> {
        Device::current()
            .ok()
            .filter(|now| Some(*now) != self.device)
    }
}

impl Recorder for Tape {
    fn record(&self, call: &OpCall<'_>) -> mlx::Result<Vec<usize>> {
        let term = |(place, size): &(usize, Size)| Ok((*place, self.term_of(&size.term())?));
        let sizes = call.sizes.iter().map(term).collect::<mlx::Result<Vec<_>>>();
        let sizes = sizes.unwrap_or_else(|_| {
            // Of a trace that has ended.
            self.reads_size("a size", call.at);
            Vec::new()
        });
        let operation = Operation::Op(call.op.clone());
        let outputs = self.add_node(operation, call.inputs, call.outputs.to_vec(), call.at)?;
        if !sizes.is_empty() {
            let graph = &mut self.state.borrow_mut().graph;
            let node = graph.nodes.len() - 1;
            graph.sizes.attributes.insert(node, sizes);
        }
        Ok(outputs)
    }

    fn is_open(&self) -> bool {
        self.open.get()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn reads_size(&self, op: &'static str, at: &'static Location<'static>) {
        self.state
            .borrow_mut()
            .size_read
            .get_or_insert(SizeRead { op, at });
    }

    fn guards_size(&self, guard: &SizeGuard<'_>) {
        let left = self.term_of(&guard.left.term());
        let right = self.term_of(&guard.right.term());
        let (Ok(left), Ok(right)) = (left, right) else {
            // Of a trace that has ended.
            return self.reads_size("a comparison of sizes", guard.at);
        };
        let is_always = guard.relation == Relation::Equal && left == right;
        let mut state = self.state.borrow_mut();
        let compared = (guard.relation, left.clone(), right.clone());
        if is_always || !state.guarded.insert(compared) {
            return;
        }
        let graph = &mut state.graph;
        graph.sizes.guards.push(Guard {
            before: graph.nodes.len(),
            left,
            relation: guard.relation,
            right,
            at: guard.at,
        });
    }

    fn record_transform(&self, call: &TransformCall<'_>) -> mlx::Result<Vec<Array>> {
        record_transform(call)
    }
}

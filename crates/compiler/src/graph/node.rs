//! Nodes of a graph: an operation on values, and the line of the program that applied it.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use mlx::compiler_api::OpFlags;
use mlx::transforms::Transform;
use mlx::{Device, Op};

use super::{Fusion, Graph, Value};

/// One operation on values.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is done.
    pub operation: Operation,
    /// What it is done to.
    pub inputs: Vec<Value>,
    /// What comes out.
    pub outputs: Vec<Value>,
    /// Where the program applied it.
    pub site: SourceLocation,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A primitive of MLX.
    Op(Op),
    /// A formula that was recognized: one kernel, or its composed body.
    Fused(Rc<Fused>),
    /// Operations that are one kernel on a device that can do that: elementwise ones, or a program on the CPU.
    FusedGroup(Rc<Graph>),
    /// The first input chooses a branch; the others are its arguments.
    Cond {
        /// Runs when the condition holds.
        then: Rc<Graph>,
        /// Runs when it does not.
        otherwise: Rc<Graph>,
    },
    /// Repeats `body` while `condition` holds. Inputs are the state, then what both capture.
    While {
        /// From state and captures to one `bool`.
        condition: Rc<Graph>,
        /// From state and captures to the next state.
        body: Rc<Graph>,
        /// The number of arrays in the state.
        n_state: usize,
    },
    /// Runs `body` over the first axis of some inputs. Inputs are the carry, the sequences, then the captures;
    /// outputs are the last carry, then the results of all steps stacked.
    Scan {
        /// From carry, one element of each sequence, and captures, to the next carry and results.
        body: Rc<Graph>,
        /// The number of arrays carried.
        n_carry: usize,
        /// The number of sequences.
        n_sequences: usize,
        /// The number of steps.
        length: usize,
        /// Whether the last element comes first.
        reverse: bool,
    },
    /// A function transform, such as a gradient, of functions that take the node's inputs.
    Transform {
        /// Which.
        transform: Transform,
        /// The functions it is of. The last inputs of each are the captures.
        functions: Vec<Rc<Graph>>,
        /// How many of the node's inputs, the last ones, are captures of the functions.
        n_captures: usize,
    },
}

/// A formula that was recognized, with all its forms.
#[derive(Clone, Debug)]
pub struct Fused {
    /// Which formula.
    pub fusion: Fusion,
    /// The formula as the program wrote it.
    pub body: Graph,
    /// The same by a fused operation.
    pub kernel: Graph,
}

/// A line of the program.
pub(crate) type CallSite = &'static Location<'static>;

/// Where in the program a node comes from, and on which device it was asked to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLocation {
    /// The line that applied the operation.
    pub at: Option<&'static Location<'static>>,
    /// The device, when the program asked for another one than the function runs on.
    pub device: Option<Device>,
    /// Whether the node takes what one rank has of a value, and so differs between the graphs of ranks.
    pub(crate) of_rank: bool,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}:{}", at.file(), at.line()),
            None => f.write_str("an unknown line"),
        }
    }
}

impl Operation {
    /// Returns the name: that of the primitive in Python MLX, or `fused.NAME`, `cond`, `while_loop`, ...
    pub fn name(&self) -> &str {
        match self {
            Operation::Op(op) => op.name(),
            Operation::Fused(fused) => fused.fusion.node_name(),
            Operation::FusedGroup(_) => "fused_group",
            Operation::Cond { .. } => "cond",
            Operation::While { .. } => "while_loop",
            Operation::Scan { .. } => "scan",
            Operation::Transform { transform, .. } => transform.name(),
        }
    }

    /// Returns the graphs inside, each with what it is for.
    pub fn graphs(&self) -> Vec<(&'static str, &Graph)> {
        match self {
            Operation::Op(_) => Vec::new(),
            Operation::Fused(fused) => vec![("body", &fused.body), ("kernel", &fused.kernel)],
            Operation::FusedGroup(body) => vec![("body", body)],
            Operation::Cond { then, otherwise } => vec![("then", then), ("else", otherwise)],
            Operation::While {
                condition, body, ..
            } => vec![("condition", condition), ("body", body)],
            Operation::Scan { body, .. } => vec![("body", body)],
            Operation::Transform { functions, .. } => functions
                .iter()
                .map(|function| ("function", function.as_ref()))
                .collect(),
        }
    }

    /// Returns whether the operation, or one in a graph inside, waits for other processes.
    pub(crate) fn communicates(&self) -> bool {
        match self {
            Operation::Op(op) => op.flags().contains(OpFlags::COMMUNICATES),
            _ => self.graphs().iter().any(|(_, graph)| {
                let mut nodes = graph.nodes.iter();
                nodes.any(|node| node.operation.communicates())
            }),
        }
    }

    /// Returns the same operation with each graph inside replaced, except those of fused nodes and groups.
    pub(crate) fn map_graphs(&self, map: &mut dyn FnMut(&Graph) -> Graph) -> Self {
        let mut map = |graph: &Rc<Graph>| Rc::new(map(graph));
        match self {
            Operation::Op(_) | Operation::Fused(_) | Operation::FusedGroup(_) => self.clone(),
            Operation::Cond { then, otherwise } => Operation::Cond {
                then: map(then),
                otherwise: map(otherwise),
            },
            Operation::While {
                condition,
                body,
                n_state,
            } => Operation::While {
                condition: map(condition),
                body: map(body),
                n_state: *n_state,
            },
            Operation::Scan {
                body,
                n_carry,
                n_sequences,
                length,
                reverse,
            } => Operation::Scan {
                body: map(body),
                n_carry: *n_carry,
                n_sequences: *n_sequences,
                length: *length,
                reverse: *reverse,
            },
            Operation::Transform {
                transform,
                functions,
                n_captures,
            } => Operation::Transform {
                transform: transform.clone(),
                functions: functions.iter().map(map).collect(),
                n_captures: *n_captures,
            },
        }
    }

    /// Returns the same operation with each graph inside replaced, in the order of [`graphs`](Self::graphs).
    pub(crate) fn map_all_graphs(&self, map: &mut dyn FnMut(&Graph) -> Graph) -> Self {
        match self {
            Operation::Fused(fused) => {
                let body = map(&fused.body);
                Operation::Fused(Rc::new(Fused {
                    fusion: fused.fusion,
                    body,
                    kernel: map(&fused.kernel),
                }))
            }
            Operation::FusedGroup(body) => Operation::FusedGroup(Rc::new(map(body))),
            other => other.map_graphs(map),
        }
    }

    /// Returns the primitive, if the node is one.
    pub fn op(&self) -> Option<&Op> {
        match self {
            Operation::Op(op) => Some(op),
            _ => None,
        }
    }
}

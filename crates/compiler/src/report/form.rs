//! What a report keeps of a compiled form: its graphs, and how it came to be traced.

use std::panic::Location;
use std::rc::Rc;

use crate::graph::Graph;
use crate::memory::Mode;
use crate::trace::SizeRead;

/// The graph after a pass, or before the first one.
#[derive(Clone, Debug)]
pub struct PassGraph {
    /// The name of the pass; `trace` is the function as it was written.
    pub name: &'static str,
    /// The graph.
    pub graph: Rc<Graph>,
}

/// The graphs of a compiled form.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// As the function was written.
    pub(crate) traced: Rc<Graph>,
    /// With recognized formulas as nodes.
    pub(crate) optimized: Rc<Graph>,
    /// As it runs.
    pub(crate) lowered: Rc<Graph>,
    /// What runs it.
    pub(crate) mode: Mode,
    /// After each pass, when that was asked for.
    pub(crate) passes: Vec<PassGraph>,
    /// Where the function first read a size.
    pub(crate) size_read: Option<SizeRead>,
    /// How often the function was traced, when it is known.
    pub(crate) history: Option<History>,
}

/// How often a compiled function was called and traced.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The line that compiled the function.
    pub(crate) made_at: &'static Location<'static>,
    pub(crate) calls: u64,
    pub(crate) traces: u64,
    /// The latest reasons for a trace, the last at the end.
    pub(crate) retraces: Vec<Retrace>,
}

/// Why a call could not use a compiled form.
#[derive(Clone, Debug)]
pub(crate) struct Retrace {
    pub(crate) cause: RetraceCause,
    pub(crate) text: String,
}

/// What differed from the form before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetraceCause {
    /// The structure of the arguments, or a number among them.
    Setting,
    /// Sizes of an input, and nothing else of it.
    Size,
    /// Anything else.
    Other,
}

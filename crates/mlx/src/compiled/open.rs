//! Functions that are traced once for all sizes, as far as one trace can serve them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::watch::{Found, Watch};
use super::{Function, NAME};
use crate::Error;
use crate::ffi::closure::LocalBody;
use crate::ffi::compiled::CompiledFunction;
use crate::ffi::vector::Vector;
use crate::ffi::{Fault, Handle, inspect, memory};
use crate::transforms::{body, forget};

/// Results smaller than this are never looked at closer.
const LARGE: f64 = (1_u64 << 28) as f64;

/// A function, traced once for each form of its inputs; for each of their sizes where that would not be right.
pub(super) struct OpenFunction {
    function: Rc<Function>,
    /// The function as it is traced for each size.
    exact: CompiledFunction,
    entries: RefCell<Vec<Rc<Entry>>>,
}

impl OpenFunction {
    pub(super) fn new(function: Rc<Function>) -> Result<Self, Fault> {
        let exact = CompiledFunction::new(super::body_of(&function), false)?;
        Ok(Self {
            function,
            exact,
            entries: RefCell::default(),
        })
    }

    /// Returns the form that is traced for each size.
    pub(super) fn exact(&self) -> &CompiledFunction {
        &self.exact
    }

    pub(super) fn call(&self, inputs: &[&Handle]) -> Result<Vector, Fault> {
        let list = Vector::of_handles(inputs.iter().copied())?;
        if is_transforming(inputs)? {
            return self.exact.call(&list);
        }
        let Some(form) = form(inputs) else {
            return self.exact.call(&list);
        };
        let sizes = sizes(inputs);
        let entry = self.entry(form, &sizes)?;
        if !entry.is_refused.get() {
            match entry.function.call(&list) {
                Ok(outputs) => return Ok(outputs),
                // Either one trace will not do, or the function fails: then so it does for these sizes.
                Err(_) => forget(),
            }
        }
        self.exact.call(&list)
    }

    /// Returns what serves inputs of this form and these sizes.
    fn entry(&self, form: Vec<usize>, sizes: &[i32]) -> Result<Rc<Entry>, Fault> {
        let mut entries = self.entries.borrow_mut();
        for entry in entries.iter().filter(|entry| entry.form == form) {
            if entry.serves(sizes)? {
                return Ok(Rc::clone(entry));
            }
        }
        let (is_refused, trace) = (Rc::default(), Rc::default());
        let body = watched(&self.function, &is_refused, &trace);
        let function = CompiledFunction::new(body, true)?;
        let entry = Rc::new(Entry {
            form,
            is_refused,
            trace,
            function,
        });
        entries.push(Rc::clone(&entry));
        Ok(entry)
    }
}

/// A function traced for inputs of one form.
struct Entry {
    form: Vec<usize>,
    /// Whether one trace will not do.
    is_refused: Rc<Cell<bool>>,
    trace: Rc<RefCell<Option<Trace>>>,
    function: CompiledFunction,
}

impl Entry {
    /// Whether a replay with these sizes is what a trace with them would be.
    fn serves(&self, sizes: &[i32]) -> Result<bool, Fault> {
        let trace = self.trace.borrow();
        let Some(trace) = &*trace else {
            return Ok(true);
        };
        let mut growth = 1.0_f64;
        for (&size, &(least, is_fixed)) in sizes.iter().zip(&trace.sizes) {
            if is_fixed && size != least {
                return Ok(false);
            }
            growth = growth.max(f64::from(size) / f64::from(least));
        }
        // No size grows by more, so no result does by more than this for each of its axes.
        let bytes = trace.bytes * growth.powi(trace.ndim);
        Ok(bytes < LARGE || bytes <= memory::get(memory::Get::Limit)? as f64)
    }
}

/// What is known of the traces of an entry: one for each stream.
struct Trace {
    /// The least size of each axis of the inputs, and whether it is the size of a constant.
    sizes: Vec<(i32, bool)>,
    bytes: f64,
    ndim: i32,
}

impl Trace {
    fn new(sizes: &[i32], found: &Found) -> Self {
        let fixed = |&size: &i32| (size, found.constants.contains(&size));
        Self {
            sizes: sizes.iter().map(fixed).collect(),
            bytes: found.bytes as f64,
            ndim: i32::try_from(found.ndim).unwrap_or(i32::MAX),
        }
    }

    /// The same for both traces.
    fn and(mut self, other: &Trace) -> Self {
        for (size, other) in self.sizes.iter_mut().zip(&other.sizes) {
            *size = (size.0.min(other.0), size.1 || other.1);
        }
        self.bytes = self.bytes.max(other.bytes);
        self.ndim = self.ndim.max(other.ndim);
        self
    }
}

/// Returns what C calls to trace `function` for all sizes; it fails where one trace would not do.
fn watched(
    function: &Rc<Function>,
    is_refused: &Rc<Cell<bool>>,
    trace: &Rc<RefCell<Option<Trace>>>,
) -> Box<LocalBody> {
    let (function, is_refused) = (Rc::clone(function), Rc::clone(is_refused));
    let trace = Rc::clone(trace);
    body(NAME, move |inputs| {
        let (outputs, found) = Watch::trace(inputs, || function(inputs));
        let Some(found) = found else {
            is_refused.set(true);
            return Err(Error::op(NAME, "sizes cannot stay open in this function"));
        };
        let handles = inputs.iter().map(|input| input.typed());
        let handles: Vec<&Handle> = handles.collect::<Result<_, _>>()?;
        let seen = Trace::new(&sizes(&handles), &found);
        trace.replace_with(|known| {
            Some(match known {
                Some(known) => seen.and(known),
                None => seen,
            })
        });
        outputs
    })
}

fn is_transforming(inputs: &[&Handle]) -> Result<bool, Fault> {
    for input in inputs {
        if inspect::is_tracer(input)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sizes(inputs: &[&Handle]) -> Vec<i32> {
    inputs
        .iter()
        .flat_map(|input| input.shape())
        .copied()
        .collect()
}

/// Returns dtypes and axes, with a number for each size: 1 stays 1, and equal sizes are equal. Nothing for no elements.
fn form(inputs: &[&Handle]) -> Option<Vec<usize>> {
    let (mut form, mut known) = (Vec::new(), vec![1]);
    for input in inputs {
        form.extend([input.dtype() as usize, input.ndim()]);
        for &size in input.shape() {
            if size == 0 {
                return None;
            }
            let position = known.iter().position(|&one| one == size);
            form.push(
                1 + position.unwrap_or_else(|| {
                    known.push(size);
                    known.len() - 1
                }),
            );
        }
    }
    Some(form)
}

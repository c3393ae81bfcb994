//! A safe wrapper of MLX's compile, for the compiler crate.

mod open;
mod watch;

use std::rc::Rc;

use mlx_sys as sys;

use crate::error::Named;
use crate::ffi::closure::LocalBody;
use crate::ffi::compiled::CompiledFunction;
use crate::ffi::handle::null_array;
use crate::ffi::vector::Vector;
use crate::ffi::{Fault, Handle, home};
use crate::transforms::{body, finish};
use crate::{Array, Error, Result};
use open::OpenFunction;

pub(crate) use watch::Watch;

/// The name that errors give.
const NAME: &str = "compile";

/// How many inputs are gathered without an allocation.
const FEW: usize = 16;

/// A function that MLX traces once for each kind of inputs and then replays, with fused elementwise operations on GPUs.
///
/// Belongs to its thread. Arrays that the function captures are frozen as they were when it was traced.
///
/// With `shapeless`, inputs of other sizes are the same kind, as long as axes with one element stay such, equal sizes
/// stay equal, and sizes that a captured array has stay as they are. That holds for functions that are made of
/// elementwise operations, reductions, `softmax`, `matmul` and moved axes, and that ask for no size; any other is traced
/// for each size, as without `shapeless`. So the results are those of the function, whatever it is.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let double = mlx::CompiledClosure::new(|x| Ok(vec![&x[0] * 2.0]), false)?;
/// assert_eq!(double.call(&[&mlx::array!(3.0)])?[0].item::<f32>()?, 6.0);
/// # Ok(())
/// # }
/// ```
pub struct CompiledClosure {
    kind: Kind,
}

/// For which inputs one trace serves.
enum Kind {
    /// Those of the same sizes.
    Exact(CompiledFunction),
    /// Those of other sizes too.
    Open(OpenFunction),
}

/// A function over arrays.
type Function = dyn Fn(&[Array]) -> Result<Vec<Array>>;

impl CompiledClosure {
    /// Returns the compiled form of `function`.
    ///
    /// # Errors
    /// When the native library is missing or refuses.
    #[track_caller]
    pub fn new(
        function: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static,
        shapeless: bool,
    ) -> Result<Self> {
        home::collect();
        let kind = if shapeless {
            Kind::Open(OpenFunction::new(Rc::new(function)).named(NAME)?)
        } else {
            Kind::Exact(CompiledFunction::new(body(NAME, function), false).named(NAME)?)
        };
        Ok(Self { kind })
    }

    /// Returns the function's outputs, tracing it if it has not seen inputs of these types.
    ///
    /// # Errors
    /// When the function returns one, an input carries one, or MLX refuses.
    ///
    /// # Panics
    /// When the function does.
    #[track_caller]
    pub fn call(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        // Not closures that map errors: they would not pass the caller's line on.
        let caller = std::panic::Location::caller();
        let wrong = |fault| Error::fault_at(NAME, &fault, caller);
        let outputs = match &self.kind {
            Kind::Exact(function) => {
                let mut few = [null_array(); FEW];
                let many: Vec<sys::mlx_array>;
                let raws = match few.get_mut(..inputs.len()) {
                    Some(raws) => {
                        for (raw, input) in raws.iter_mut().zip(inputs) {
                            *raw = input.handle(NAME)?.raw();
                        }
                        &*raws
                    }
                    None => {
                        let raw = |input: &&Array| Ok(input.handle(NAME)?.raw());
                        many = inputs.iter().map(raw).collect::<Result<_>>()?;
                        &many[..]
                    }
                };
                finish(|| called(function, &Vector::of(raws)?), wrong)?
            }
            Kind::Open(open) => {
                let handles = inputs.iter().map(|input| input.handle(NAME));
                let handles: Vec<&Rc<Handle>> = handles.collect::<Result<_>>()?;
                let handles: Vec<&Handle> = handles.into_iter().map(AsRef::as_ref).collect();
                finish(|| open_called(open, &handles), wrong)?
            }
        };
        Ok(outputs.into_iter().map(Array::from_handle).collect())
    }

    /// Returns the number of this function, which no other in the process ever has.
    pub fn id(&self) -> usize {
        match &self.kind {
            Kind::Exact(function) => function.id(),
            Kind::Open(open) => open.exact().id(),
        }
    }
}

/// Calls a function. In one that is traced for all sizes it runs as a part of that, which has to see what it does.
fn called(function: &CompiledFunction, inputs: &Vector) -> std::result::Result<Vec<Handle>, Fault> {
    if Watch::is_running() {
        function.call_plain(inputs)?.handles()
    } else {
        function.call(inputs)?.handles()
    }
}

/// Like [`called`], for one of whatever sizes.
fn open_called(open: &OpenFunction, inputs: &[&Handle]) -> std::result::Result<Vec<Handle>, Fault> {
    if Watch::is_running() {
        let inputs = Vector::of_handles(inputs.iter().copied())?;
        return open.exact().call_plain(&inputs)?.handles();
    }
    open.call(inputs)?.handles()
}

/// Returns what C calls to run a function.
fn body_of(function: &Rc<Function>) -> Box<LocalBody> {
    let function = Rc::clone(function);
    body(NAME, move |inputs| function(inputs))
}

impl std::fmt::Debug for CompiledClosure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CompiledClosure({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shortest(mut work: impl FnMut()) -> Duration {
        let once = |_| {
            let start = Instant::now();
            (0..1000).for_each(|_| work());
            start.elapsed() / 1000
        };
        (0..20).map(once).min().unwrap_or_default()
    }

    #[test]
    #[ignore = "prints times: run it alone, with --release --ignored --nocapture"]
    fn a_cached_call_costs_little_more_than_mlx() {
        let (x, y) = (crate::array!([1.0, 2.0]), crate::array!([3.0, 4.0]));
        let f = CompiledClosure::new(|x| Ok(vec![(&x[0] * &x[1] + &x[0]).exp()]), false).unwrap();
        let handles = [x.handle(NAME).unwrap(), y.handle(NAME).unwrap()];
        let inputs = Vector::of_handles(handles.map(AsRef::as_ref)).unwrap();
        let Kind::Exact(function) = &f.kind else {
            panic!("wanted a function of exact sizes");
        };
        let raw = shortest(|| drop(function.call(&inputs).unwrap()));
        let call = shortest(|| drop(f.call(&[&x, &y]).unwrap()));
        eprintln!("mlx {raw:?}, with handles {call:?}");
    }
}

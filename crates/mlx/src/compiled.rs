//! A safe wrapper of MLX's compile, for the compiler crate.

use mlx_sys as sys;

use crate::error::Named;
use crate::ffi::compiled::CompiledFunction;
use crate::ffi::handle::null_array;
use crate::ffi::home;
use crate::ffi::vector::Vector;
use crate::transforms::{body, finish};
use crate::{Array, Error, Result};

/// The name that errors give.
const NAME: &str = "compile";

/// How many inputs are gathered without an allocation.
const FEW: usize = 16;

/// A function that MLX traces once for each kind of inputs and then replays, with fused elementwise operations on GPUs.
///
/// Belongs to its thread. Arrays that the function captures are frozen as they were when it was traced. With
/// `shapeless`, inputs of other sizes are the same kind, which is right only when no size was read while tracing.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let double = mlx::CompiledClosure::new(|x| Ok(vec![&x[0] * 2.0]), false)?;
/// assert_eq!(double.call(&[&mlx::array!(3.0)])?[0].item::<f32>()?, 6.0);
/// # Ok(())
/// # }
/// ```
pub struct CompiledClosure {
    function: CompiledFunction,
}

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
        let function = CompiledFunction::new(body(NAME, function), shapeless).named(NAME)?;
        Ok(Self { function })
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
        // Not a closure that maps the error: it would not pass the caller's line on.
        let caller = std::panic::Location::caller();
        let outputs = finish(
            || self.function.call(&Vector::of(raws)?)?.handles(),
            |fault| Error::fault_at(NAME, &fault, caller),
        )?;
        Ok(outputs.into_iter().map(Array::from_handle).collect())
    }

    /// Returns the number of this function, which no other in the process ever has.
    pub fn id(&self) -> usize {
        self.function.id()
    }
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
        let raw = shortest(|| drop(f.function.call(&inputs).unwrap()));
        let call = shortest(|| drop(f.call(&[&x, &y]).unwrap()));
        eprintln!("mlx {raw:?}, with handles {call:?}");
    }
}

//! A safe wrapper of MLX's compile, for the compiler crate.

use mlx_sys as sys;

use crate::error::WithOp;
use crate::ffi::compiled::CompiledFunction;
use crate::ffi::handle::null_array;
use crate::ffi::thread_bound;
use crate::ffi::vector::Vector;
use crate::transforms::{body, finish};
use crate::{Array, Error, Result};

/// The name that errors give.
const NAME: &str = "compile";

/// The number of inputs that are gathered without an allocation.
const FEW: usize = 16;

/// A function that MLX traces once for each shape and dtype of its inputs and then replays, with fused elementwise
/// operations on GPUs.
///
/// Belongs to its thread. Arrays that the function captures are frozen as they were when it was traced.
///
/// ```
/// use mlx::compiler_api::CompiledClosure;
///
/// # fn main() -> mlx::Result<()> {
/// let double = CompiledClosure::new(|x| Ok(vec![&x[0] * 2.0]))?;
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
    pub fn new(function: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static) -> Result<Self> {
        thread_bound::run_deferred_drops();
        let function = CompiledFunction::new(body(NAME, function)).with_op(NAME)?;
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
        // Not closures that map errors: they would not pass the caller's line on.
        let caller = std::panic::Location::caller();
        let wrong = |error| Error::native_at(NAME, &error, Vec::new(), caller);
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
        let call = || self.function.call(&Vector::of(raws)?)?.handles();
        let outputs = finish(call, wrong)?;
        Ok(outputs.into_iter().map(Array::from_handle).collect())
    }

    /// Returns what runs on CUDA where that is not MLX's replay: how many nodes the graph has that was recorded of this function, or
    /// why none was. `None` before the second call, and on other devices.
    ///
    /// # Errors
    /// When the native library is missing.
    pub fn program_report(&self) -> Result<Option<String>> {
        self.function.program_report().with_op(NAME)
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

/// No function: what [`compile`] is given, so that its message names the compiler.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "functions are compiled by the crate `mlx-compiler`: `mlx_compiler::jit(f)`",
    label = "write `mlx_compiler::jit(..)` here"
)]
pub trait NotCompiledHere {}

/// Python's name of what `mlx_compiler::jit` does.
#[doc(hidden)]
pub fn compile<F: NotCompiledHere>(function: F) -> F {
    function
}

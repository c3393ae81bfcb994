//! Rust functions over raw slices as operations on the CPU, with gradients through a composed form.

use std::any::Any;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use crate::error::WithOp;
use crate::ffi::closure::{Closure, panic_text};
use crate::ffi::custom::{self, CustomCall};
use crate::ffi::host::{self, HostCall, HostInput, HostOutput};
use crate::ffi::shared::SharedHandle;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, cpu, exporting, inspect, stream};
use crate::op::Op;
use crate::{Array, ArrayType, Error, SharedArray, bind, bind_all, validate};

/// How primitives made by [`host_kernel`] are called, before their own name.
pub(crate) const HOST_PREFIX: &str = "host kernel ";

type OutputTypes = dyn Fn(&[ArrayType]) -> Result<Vec<ArrayType>, String> + Send + Sync;
/// The same in MLX's own operations.
pub(crate) type ComposedForm = dyn Fn(&[Array]) -> Vec<Array> + Send + Sync;

/// A Rust function as an operation on arrays; made by [`host_kernel`].
///
/// `Send` and `Sync`: it may be a `static` that all threads use. Cloning shares it.
#[derive(Clone)]
pub struct HostKernel {
    definition: Arc<Definition>,
}

struct Definition {
    name: String,
    /// The name MLX sees: with a prefix by which [`backend`](crate::fast::backend()) knows it, and by which errors say what it is.
    native_name: CString,
    identity: u64,
    output_types: Arc<OutputTypes>,
    kernel: Arc<host::Kernel>,
    composed: Option<Arc<ComposedForm>>,
    /// Whether inputs come with any strides.
    takes_strides: bool,
    /// Whether it may be an instruction of a program.
    is_instruction: bool,
    /// The input that each output starts as; empty for all but programs.
    origins: Arc<[Option<usize>]>,
    /// The last inputs, where they are always the same arrays.
    captured: Arc<[SharedArray]>,
}

/// Makes an operation of a Rust function that reads slices of its inputs and writes slices of its outputs.
///
/// `output_types` tells shapes and dtypes of the outputs from those of the inputs; `kernel` computes them, on MLX's
/// thread, when the result is needed. Inputs come row-contiguous; what an output holds before it is written is
/// unspecified. `kernel` is a function of its inputs alone: where a compiled graph applies it twice to the same
/// arrays it may run once.
///
/// It is on the CPU what [`metal_kernel`](crate::fast::metal_kernel) and [`cuda_kernel`](crate::fast::cuda_kernel) are on GPUs.
/// Give it a [composed form](HostKernel::composed) for gradients, `vmap` and GPU streams.
///
/// # Errors
/// When `name` has a zero byte, or the native libraries could not be loaded. What the function returns as `Err`, and
/// what it panics with, is the error of the evaluation of the result, with the kernel's name.
///
/// ```
/// use mlx::fast::host_kernel;
///
/// # fn main() -> mlx::Result<()> {
/// let double = host_kernel("double", |inputs| Ok(inputs.to_vec()), |inputs, outputs| {
///     let (x, y) = (inputs[0].as_slice::<f32>()?, outputs[0].as_mut_slice::<f32>()?);
///     y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
///     Ok(())
/// })?;
/// assert_eq!(double.apply_one(&[&mlx::array!([1.0, 2.0])]).to_vec::<f32>()?, [2.0, 4.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn host_kernel(
    name: &str,
    output_types: impl Fn(&[ArrayType]) -> Result<Vec<ArrayType>, String> + Send + Sync + 'static,
    kernel: impl Fn(&[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String>
    + Send
    + Sync
    + 'static,
) -> crate::Result<HostKernel> {
    let Ok(native_name) = CString::new(format!("{HOST_PREFIX}{name}")) else {
        return Err(Error::op(
            "fast.host_kernel",
            "name must not have a zero byte",
        ));
    };
    let identity = inspect::next_id().with_op("fast.host_kernel")?;
    let label = format!("{HOST_PREFIX}{name}");
    let kernel = move |inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]| {
        // A panic here is on MLX's thread: all that can go on is its text.
        match catch_unwind(AssertUnwindSafe(|| kernel(inputs, outputs))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(text)) => Err(format!("{label}: {text}")),
            Err(panic) => Err(format!("{label}: {}", panic_text(panic.as_ref()))),
        }
    };
    let definition = Definition {
        name: name.to_owned(),
        native_name,
        identity,
        output_types: Arc::new(output_types),
        kernel: Arc::new(kernel),
        composed: None,
        takes_strides: false,
        is_instruction: false,
        origins: Arc::default(),
        captured: Arc::default(),
    };
    Ok(HostKernel {
        definition: Arc::new(definition),
    })
}

impl HostKernel {
    /// Returns the kernel with the same computation in MLX's operations.
    ///
    /// Gradients, tangents and `vmap` go through it, and on a GPU stream it is what runs. Without one, those transforms
    /// are errors, and on a GPU stream the Rust function runs on the CPU in between.
    pub fn composed(self, form: impl Fn(&[Array]) -> Vec<Array> + Send + Sync + 'static) -> Self {
        self.with(|definition| definition.composed = Some(Arc::new(form)))
    }

    /// Returns the kernel for inputs of any strides, which are not made row-contiguous first: the Rust function must read
    /// strides.
    #[doc(hidden)]
    pub fn taking_strides(self) -> Self {
        self.with(|definition| definition.takes_strides = true)
    }

    /// Returns the kernel for inputs of any strides, which may be an instruction of a program: it has one output. Runs inside
    /// of programs are not counted by [`host_kernel_runs_of`].
    pub(crate) fn joining_programs(self) -> Self {
        self.taking_strides()
            .with(|definition| definition.is_instruction = true)
    }

    /// Returns the kernel that an operation calls, if it may be an instruction of a program.
    #[doc(hidden)]
    pub fn of_instruction(op: &Op) -> Option<Self> {
        let Op::Custom(operation) = op else {
            return None;
        };
        let kernel: &Self = custom::call_of(operation)?;
        kernel.definition.is_instruction.then(|| kernel.clone())
    }

    /// Returns the composed form, if the kernel has one, of inputs without those that it has captured.
    pub(crate) fn composed_form(&self) -> Option<&ComposedForm> {
        let has_all = self.definition.captured.is_empty();
        self.definition.composed.as_deref().filter(|_| has_all)
    }

    /// Returns whether the kernel gives one array of this type.
    pub(crate) fn gives(&self, inputs: &[ArrayType], output: &ArrayType) -> bool {
        (self.definition.output_types)(inputs).is_ok_and(|types| types == [output.clone()])
    }

    /// Runs the kernel.
    pub(crate) fn run(
        &self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Result<(), String> {
        (self.definition.kernel)(inputs, outputs)
    }

    /// Returns the kernel with outputs that start as copies of inputs, in their memory where that is not needed elsewhere: for
    /// each output the place of that input, if it has one. The Rust function sees such inputs as empty.
    ///
    /// An output must be of its input's type, and not `bool`.
    #[doc(hidden)]
    pub fn starting_as(self, origins: Vec<Option<usize>>) -> Self {
        self.with(|definition| definition.origins = origins.into())
    }

    /// Returns the kernel with its last inputs given once and for all: it is applied to the others. They are no part of
    /// MLX's graph, so that they cost little however many they are.
    pub(crate) fn capturing(self, arrays: Vec<SharedArray>) -> Self {
        self.with(|definition| definition.captured = arrays.into())
    }

    fn with(self, change: impl FnOnce(&mut Definition)) -> Self {
        let old = &self.definition;
        let mut definition = Definition {
            name: old.name.clone(),
            native_name: old.native_name.clone(),
            identity: old.identity,
            output_types: Arc::clone(&old.output_types),
            kernel: Arc::clone(&old.kernel),
            composed: old.composed.clone(),
            takes_strides: old.takes_strides,
            is_instruction: old.is_instruction,
            origins: Arc::clone(&old.origins),
            captured: Arc::clone(&old.captured),
        };
        change(&mut definition);
        Self {
            definition: Arc::new(definition),
        }
    }

    /// Returns the input that each output starts as: see [`starting_as`](Self::starting_as).
    #[doc(hidden)]
    pub fn origins(&self) -> &[Option<usize>] {
        &self.definition.origins
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Applies the kernel and returns all its outputs. Nothing runs until [`eval`](crate::eval()).
    ///
    /// # Errors
    /// When the kernel rejects the types of its inputs, or an input carries an error.
    #[track_caller]
    pub fn apply(&self, inputs: &[&Array]) -> crate::Result<Vec<Array>> {
        bind_all(self.op(), inputs)
    }

    /// Applies a kernel that has one output. Nothing runs until [`eval`](crate::eval()).
    ///
    /// The result carries an error when the kernel rejects the types of its inputs or has not one output.
    #[track_caller]
    pub fn apply_one(&self, inputs: &[&Array]) -> Array {
        bind(self.op(), inputs)
    }

    fn op(&self) -> Op {
        Op::Custom(custom::operation(self.clone()))
    }
}

impl CustomCall for HostKernel {
    fn name(&self) -> &str {
        self.name()
    }

    fn call(&self, inputs: &[&Handle]) -> Result<Outputs, NativeError> {
        let kernel = &self.definition;
        let captured = kernel.captured.iter().map(SharedArray::array_type);
        let types = inputs.iter().map(|input| ArrayType::of(input));
        let types: Vec<ArrayType> = types.chain(captured).collect();
        let types = (kernel.output_types)(&types).map_err(NativeError)?;
        types
            .iter()
            .try_for_each(|output| validate::countable(&output.shape))?;
        let mut on = stream::current()?;
        let cpu;
        if exporting::is_exporting() && kernel.composed.is_none() {
            let message = "wanted operations that a file of MLX's can hold, got the host kernel";
            return Err(NativeError(format!(
                "{message} {} without a composed form",
                kernel.name
            )));
        }
        if stream::is_gpu(on) || exporting::is_exporting() {
            if let Some(form) = &kernel.composed {
                let captured = handles(&kernel.captured)?;
                let inputs: Vec<&Handle> = inputs.iter().copied().chain(&captured).collect();
                return compose(form.as_ref(), &inputs, Some(&types));
            }
            cpu = stream::StreamHandle::default_of(false)?;
            on = cpu.raw();
        }
        let outputs: Vec<_> = types
            .into_iter()
            .map(|output| (output.shape, output.dtype))
            .collect();
        let composed = kernel.composed.clone().map(|form| {
            let captured = Arc::clone(&kernel.captured);
            Closure::new(Box::new(move |inputs: Vec<Handle>| {
                let captured = handles(&captured)?;
                let inputs: Vec<&Handle> = inputs.iter().chain(&captured).collect();
                compose(form.as_ref(), &inputs, None).map(Outputs::into_vec)
            }))
        });
        let captured: Vec<SharedHandle> = kernel.captured.iter().map(SharedArray::handle).collect();
        let call = HostCall {
            name: &kernel.native_name,
            outputs: &outputs,
            kernel: Arc::clone(&kernel.kernel),
            defines_outputs: false,
            composed: composed.transpose()?,
            takes_strides: kernel.takes_strides,
            origins: &kernel.origins,
            captured: &captured,
            identity: kernel.identity,
        };
        let raws: Vec<_> = inputs.iter().map(|input| input.raw()).collect();
        host::apply(call, &raws, on).map(Outputs::Many)
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other
            .downcast_ref::<Self>()
            .is_some_and(|other| self.definition.identity == other.definition.identity)
    }
}

/// This thread's handles of captured arrays.
fn handles(captured: &[SharedArray]) -> Result<Vec<Handle>, NativeError> {
    captured
        .iter()
        .map(|array| array.handle().duplicate())
        .collect()
}

/// Runs a composed form on handles; its outputs must be of these types, if they are known.
pub(crate) fn compose(
    form: &ComposedForm,
    inputs: &[&Handle],
    types: Option<&[ArrayType]>,
) -> Result<Outputs, NativeError> {
    let inputs: Result<Vec<Array>, NativeError> = inputs
        .iter()
        .map(|input| input.duplicate().map(Array::from_handle))
        .collect();
    let outputs = form(&inputs?);
    let handles: Result<Vec<Handle>, NativeError> = outputs
        .iter()
        .map(|output| match output.handle("composed") {
            Ok(handle) => handle.duplicate(),
            Err(error) => Err(NativeError(format!("in the composed form: {error}"))),
        })
        .collect();
    let handles = handles?;
    if let Some(types) = types {
        let got: Vec<ArrayType> = handles.iter().map(ArrayType::of).collect();
        if got != types {
            return Err(NativeError(format!(
                "the composed form must give {}, got {}",
                list(types),
                list(&got)
            )));
        }
    }
    Ok(Outputs::Many(handles))
}

fn list(types: &[ArrayType]) -> String {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    if types.is_empty() {
        "nothing".to_owned()
    } else {
        types.join(", ")
    }
}

/// Returns how many times host kernels have run in this process, this crate's own included.
pub fn host_kernel_runs() -> u64 {
    host::runs()
}

/// Returns how many times the [host kernels](host_kernel) of this name have run in this process, or this crate's own
/// for the operation of this name (`exp`, `fast.rms_norm`).
pub fn host_kernel_runs_of(name: &str) -> u64 {
    let own = cpu_kernel_runs().into_iter().find(|(own, _)| *own == name);
    let users = CString::new(format!("{HOST_PREFIX}{name}")).map_or(0, |name| host::runs_of(&name));
    users + own.map_or(0, |(_, runs)| runs)
}

/// Returns how many times each of this crate's own kernels for the CPU has run in this process, by operation.
///
/// Kernels that have not run are left out. The gradient of an operation counts as `fast.rms_norm gradient`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// mlx::fast::rms_norm(&mlx::ones([4, 64]), None, 1e-5).eval()?;
/// for (operation, runs) in mlx::fast::cpu_kernel_runs() {
///     println!("{operation}: {runs}");
/// }
/// # Ok(())
/// # }
/// ```
pub fn cpu_kernel_runs() -> Vec<(&'static str, u64)> {
    /// The names of operations, then of their gradients.
    static NAMES: LazyLock<[Vec<&'static str>; 2]> = LazyLock::new(|| {
        let gradient = |name: &&str| -> &'static str { format!("{name} gradient").leak() };
        [Op::NAMES.to_vec(), Op::NAMES.iter().map(gradient).collect()]
    });
    let mut all = Vec::new();
    for (names, is_gradient) in NAMES.iter().zip([false, true]) {
        for (place, name) in names.iter().enumerate() {
            match cpu::runs(place, is_gradient) {
                0 => {}
                runs => all.push((*name, runs)),
            }
        }
    }
    all
}

/// Returns how many virtual functions of MLX's classes this crate has replaced in this process: on the CPU those that
/// evaluate operations by kernels or in wider numbers, on all devices rules of differentiation.
///
/// 0 on macOS, and where MLX is laid out in another way than expected; see `mlx doctor`.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn vtable_hooks() -> crate::Result<usize> {
    cpu::vtable_hooks().with_op("fast.vtable_hooks")
}

//! What Metal and CUDA kernels have in common: how they are launched, and what happens where they cannot run.

use std::any::Any;
use std::ffi::CString;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::cpu::{ComposedForm, compose};
use crate::ffi::custom::{self, CustomCall};
use crate::ffi::gpu_kernel as native;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, stream};
use crate::op::Op;
use crate::{Array, ArrayType, Dtype, Error, bind_all, validate};

/// How one application of a GPU kernel runs.
///
/// ```
/// use mlx::fast::Launch;
///
/// let launch = Launch {
///     grid: [1024, 1, 1],
///     threadgroup: [256, 1, 1],
///     template: vec![("T".into(), mlx::Dtype::Float32.into()), ("N".into(), 4.into())],
///     outputs: vec![mlx::ArrayType::new([1024], mlx::Dtype::Float32)],
///     ..Default::default()
/// };
/// # let _ = launch;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Threads in all, along three axes.
    pub grid: [i32; 3],
    /// Threads that work together, along three axes; called a block in CUDA.
    pub threadgroup: [i32; 3],
    /// Shapes and dtypes of the outputs, one for each output name.
    pub outputs: Vec<ArrayType>,
    /// Names in the source that stand for a dtype, a whole number or a truth value.
    pub template: Vec<(String, TemplateArg)>,
    /// What outputs are filled with before the kernel runs; unspecified when not set.
    pub init_value: Option<f32>,
    /// Whether MLX prints the whole source it compiles.
    pub verbose: bool,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            grid: [1; 3],
            threadgroup: [1; 3],
            outputs: Vec::new(),
            template: Vec::new(),
            init_value: None,
            verbose: false,
        }
    }
}

/// What a template name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TemplateArg {
    /// A type.
    Dtype(Dtype),
    /// A whole number.
    Int(i32),
    /// A truth value.
    Bool(bool),
}

impl From<Dtype> for TemplateArg {
    fn from(dtype: Dtype) -> Self {
        TemplateArg::Dtype(dtype)
    }
}

impl From<i32> for TemplateArg {
    fn from(number: i32) -> Self {
        TemplateArg::Int(number)
    }
}

impl From<bool> for TemplateArg {
    fn from(truth: bool) -> Self {
        TemplateArg::Bool(truth)
    }
}

/// Which language a kernel is in, with the option that only it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Language {
    Metal { atomic_outputs: bool },
    Cuda { shared_memory: i32 },
}

/// Source in the language `L` as an operation on arrays: a [`CudaKernel`](super::CudaKernel) or a
/// [`MetalKernel`](super::MetalKernel).
///
/// Plain text and a function: `Send` and `Sync`, and made without a GPU.
#[derive(Clone)]
pub struct GpuKernel<L> {
    pub(super) definition: Definition,
    language: PhantomData<L>,
}

impl<L> GpuKernel<L> {
    pub(super) fn new(
        name: &str,
        input_names: &[&str],
        output_names: &[&str],
        source: &str,
        language: Language,
    ) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let definition = Definition {
            name: name.to_owned(),
            input_names: owned(input_names),
            output_names: owned(output_names),
            source: source.to_owned(),
            header: String::new(),
            ensure_row_contiguous: true,
            language,
            composed: None,
        };
        Self {
            definition,
            language: PhantomData,
        }
    }

    /// Sets source that comes before the function: includes and helper functions.
    pub fn header(mut self, header: &str) -> Self {
        self.definition.header = header.to_owned();
        self
    }

    /// Sets whether inputs are made row-contiguous first. By default they are.
    pub fn ensure_row_contiguous(mut self, ensure: bool) -> Self {
        self.definition.ensure_row_contiguous = ensure;
        self
    }

    /// Sets the same computation in MLX's operations, which runs where there is no GPU of this language.
    pub fn composed(
        mut self,
        form: impl Fn(&[Array]) -> Vec<Array> + Send + Sync + 'static,
    ) -> Self {
        self.definition.composed = Some(Arc::new(form));
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Applies the kernel and returns all its outputs. Nothing runs until [`eval`](crate::eval()).
    ///
    /// # Errors
    /// When inputs, outputs or sizes of the launch do not fit the kernel; when there is neither a GPU of this language
    /// nor a composed form; or an input carries an error. Source that does not compile is an error of `eval`.
    #[track_caller]
    pub fn apply(&self, inputs: &[&Array], launch: &Launch) -> crate::Result<Vec<Array>> {
        let application = Application {
            kernel: self.definition.clone(),
            launch: launch.clone(),
        };
        if let Err(NativeError(message)) = application.check(inputs.len()) {
            let types: crate::Result<Vec<_>> =
                inputs.iter().map(|input| input.array_type()).collect();
            return Err(Error::op_with(self.name(), message, types?));
        }
        bind_all(Op::Custom(custom::operation(application)), inputs)
    }

    /// Applies a kernel that has one output. Nothing runs until [`eval`](crate::eval()).
    ///
    /// The result carries what [`apply`](Self::apply) would return as an error.
    #[track_caller]
    pub fn apply_one(&self, inputs: &[&Array], launch: &Launch) -> Array {
        let one = |mut outputs: Vec<Array>| match outputs.len() {
            1 => outputs.remove(0),
            n => Array::failed(Error::op(
                self.name(),
                format!("wanted one output, got {n}"),
            )),
        };
        self.apply(inputs, launch).map_or_else(Array::failed, one)
    }
}

/// A kernel as the user wrote it.
#[derive(Clone)]
pub(super) struct Definition {
    name: String,
    input_names: Vec<String>,
    output_names: Vec<String>,
    source: String,
    header: String,
    ensure_row_contiguous: bool,
    pub(super) language: Language,
    composed: Option<Arc<ComposedForm>>,
}

impl Definition {
    /// The parts of equal kernels, without the composed form, which only tells the same in other words.
    fn parts(&self) -> (&str, &[String], &[String], &str, &str, bool, Language) {
        (
            &self.name,
            &self.input_names,
            &self.output_names,
            &self.source,
            &self.header,
            self.ensure_row_contiguous,
            self.language,
        )
    }

    fn language_name(&self) -> &'static str {
        match self.language {
            Language::Metal { .. } => "Metal",
            Language::Cuda { .. } => "CUDA",
        }
    }

    /// Whether this thread's stream runs the kernel's language.
    fn is_at_home(&self) -> Result<bool, NativeError> {
        if !stream::is_gpu(stream::current()?) {
            return Ok(false);
        }
        match self.language {
            Language::Metal { .. } => native::is_metal_available(),
            Language::Cuda { .. } => native::is_cuda_available(),
        }
    }
}

/// A kernel with the way it is launched: one operation.
struct Application {
    kernel: Definition,
    launch: Launch,
}

impl Application {
    /// Refuses what MLX divides by without checking it, or reports less clearly.
    fn check(&self, n_inputs: usize) -> Result<(), NativeError> {
        let (kernel, launch) = (&self.kernel, &self.launch);
        if n_inputs != kernel.input_names.len() {
            let names = kernel.input_names.join(", ");
            return Err(NativeError(format!(
                "wanted the inputs {names:?}, got {n_inputs}"
            )));
        }
        if kernel.output_names.is_empty() {
            return Err(NativeError::from(
                "wanted at least one output name, got none",
            ));
        }
        if launch.outputs.len() != kernel.output_names.len() {
            let (names, got) = (kernel.output_names.join(", "), launch.outputs.len());
            return Err(NativeError(format!(
                "wanted types of the outputs {names:?}, got {got}"
            )));
        }
        for (name, sizes) in [("grid", launch.grid), ("threadgroup", launch.threadgroup)] {
            if sizes.iter().any(|&size| size < 1) {
                return Err(NativeError(format!(
                    "{name} must be at least 1, got {sizes:?}"
                )));
            }
        }
        if let Language::Cuda { shared_memory } = kernel.language
            && shared_memory < 0
        {
            let message = format!("shared_memory must be at least 0 bytes, got {shared_memory}");
            return Err(NativeError(message));
        }
        let mut outputs = launch.outputs.iter();
        outputs.try_for_each(|output| validate::countable(&output.shape))
    }

    fn call_native(&self, inputs: &[&Handle]) -> Result<Vec<Handle>, NativeError> {
        let (kernel, launch) = (&self.kernel, &self.launch);
        let text = |text: &str| {
            CString::new(text)
                .map_err(|_| NativeError::from("names and source must not have a zero byte"))
        };
        let texts = |names: &[String]| names.iter().map(|name| text(name)).collect();
        let (input_names, output_names): (
            Result<Vec<_>, NativeError>,
            Result<Vec<_>, NativeError>,
        ) = (texts(&kernel.input_names), texts(&kernel.output_names));
        let template: Result<Vec<_>, NativeError> = launch
            .template
            .iter()
            .map(|(name, value)| Ok((text(name)?, native_value(*value))))
            .collect();
        let source = native::Source {
            name: &text(&kernel.name)?,
            input_names: &input_names?,
            output_names: &output_names?,
            body: &text(&kernel.source)?,
            header: &text(&kernel.header)?,
            ensure_row_contiguous: kernel.ensure_row_contiguous,
        };
        let launch = native::Launch {
            grid: launch.grid,
            threadgroup: launch.threadgroup,
            outputs: &launch.outputs,
            template: &template?,
            init_value: launch.init_value,
            verbose: launch.verbose,
        };
        let raws: Vec<_> = inputs.iter().map(|input| input.raw()).collect();
        let stream = stream::current()?;
        match kernel.language {
            Language::Metal { atomic_outputs } => {
                native::apply_metal(&source, atomic_outputs, &launch, &raws, stream)
            }
            Language::Cuda { shared_memory } => {
                native::apply_cuda(&source, shared_memory, &launch, &raws, stream)
            }
        }
    }
}

fn native_value(value: TemplateArg) -> native::TemplateValue {
    match value {
        TemplateArg::Dtype(dtype) => native::TemplateValue::Dtype(dtype),
        TemplateArg::Int(number) => native::TemplateValue::Int(number),
        TemplateArg::Bool(truth) => native::TemplateValue::Bool(truth),
    }
}

impl CustomCall for Application {
    fn name(&self) -> &str {
        &self.kernel.name
    }

    fn call(&self, inputs: &[&Handle]) -> Result<Outputs, NativeError> {
        // Again, because a recorded operation may be applied to other inputs.
        self.check(inputs.len())?;
        if self.kernel.is_at_home()? {
            return self.call_native(inputs).map(Outputs::Many);
        }
        match &self.kernel.composed {
            Some(form) => compose(form.as_ref(), inputs, Some(&self.launch.outputs)),
            None => {
                let language = self.kernel.language_name();
                let device = crate::Device::current().map_or("no device".into(), |d| d.to_string());
                Err(NativeError(format!(
                    "a {language} kernel needs a {language} GPU, this thread works on {device}; \
                     give it a composed form to run elsewhere"
                )))
            }
        }
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| {
            self.kernel.parts() == other.kernel.parts() && self.launch == other.launch
        })
    }
}

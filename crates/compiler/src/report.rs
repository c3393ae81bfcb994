//! The report: which fusions were applied, which were rejected and why, and how well both forms agree.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use mlx::Array;

mod autotune;
mod expectation;
mod form;

pub use autotune::{FormTiming, TimingSource, TunedSite};
pub use expectation::Expected;
pub use form::PassGraph;
pub(crate) use form::{Form, History, Retrace, RetraceCause};

use crate::execute::{Executor, Observer, check_types};
use crate::graph::{Fused, Graph, Operation, SourceLocation, values_as_f64};
use crate::memory::{Memory, Rematerialization, memory};
use crate::{Error, Fusion, Refusal, Result};

/// What was recognized in a function, what was not and why, and how often each operation occurs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Formulas that were recognized, in the order of the graph.
    pub fired: Vec<AppliedFusion>,
    /// Places that resemble a formula and were not fused.
    pub refused: Vec<RejectedFusion>,
    /// The number of operations in each elementwise kernel that was made.
    pub elementwise_kernels: Vec<usize>,
    /// The number of operations in each program that was made, which runs as one kernel on the CPU.
    pub programs: Vec<usize>,
    /// What runs on CUDA in the place of MLX's replay: the nodes of the graph that was recorded of the function, or why none was.
    /// `None` before the second call, and on other devices.
    pub cuda_graph: Option<String>,
    /// The name of [`elementwise_kernels`](Self::elementwise_kernels) before.
    #[deprecated(note = "renamed to elementwise_kernels")]
    #[doc(hidden)]
    pub regions: Vec<usize>,
    /// The name of [`programs`](Self::programs) before.
    #[deprecated(note = "renamed to programs")]
    #[doc(hidden)]
    pub sequences: Vec<usize>,
    /// How often each operation occurred in the function as it was written.
    pub ops_before: BTreeMap<String, usize>,
    /// How often each operation occurs in what runs.
    pub ops_after: BTreeMap<String, usize>,
    /// The nodes because of which MLX does not replay the function, with their lines: each call runs node by node.
    pub interpreted: Vec<String>,
    /// The types of the inputs that a shapeless function was compiled for without a new trace, the most recently used first. Its
    /// kernels and programs are chosen for each of them; sizes that came once ran node by node.
    pub specialized: Vec<String>,
    /// The comparisons of sizes in the trace of a shapeless function, with their lines: sizes for which one comes out in another way
    /// are traced anew.
    pub guards: Vec<String>,
    /// What rematerialization did, where the options ask for it.
    pub rematerialization: Option<Rematerialization>,
    /// The parts whose forms were timed, and which form was chosen, where [`CompileOptions::autotune`](crate::CompileOptions::autotune)
    /// asks for that.
    pub autotuned: Vec<TunedSite>,
    /// What kept autotuning from reading or writing its cache, or from timing something.
    pub autotune_warnings: Vec<String>,
    /// The graphs of the compiled form; those of other parts of a program after it.
    pub(crate) forms: Vec<Form>,
}

/// A formula that was recognized.
#[derive(Clone, Debug)]
pub struct AppliedFusion {
    /// Which.
    pub fusion: Fusion,
    /// The line of the operation that gives its result.
    pub site: SourceLocation,
    /// What runs for it.
    pub choice: Choice,
    fused: Rc<Fused>,
}

/// What runs for a formula that was recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The fused operation.
    Kernel,
    /// The formula as it was written, for this reason.
    Body(Refusal),
}

/// A place that resembles a formula and was not fused.
#[derive(Clone, Debug)]
pub struct RejectedFusion {
    /// Which formula.
    pub fusion: Fusion,
    /// The line.
    pub site: SourceLocation,
    /// Why not.
    pub refusal: Refusal,
}

/// How far the two forms of a formula are apart on sample inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which formula.
    pub fusion: Fusion,
    /// The line.
    pub site: SourceLocation,
    /// The maximum absolute difference between elements of both results; NaN when only one of them is NaN somewhere.
    pub max_error: f64,
    /// The maximum magnitude in the composed result.
    pub scale: f64,
}

impl AppliedFusion {
    pub(crate) fn new(fusion: Fusion, site: SourceLocation, fused: &Rc<Fused>) -> Self {
        Self {
            fusion,
            site,
            choice: Choice::Kernel,
            fused: Rc::clone(fused),
        }
    }

    /// Returns the formula as the program wrote it.
    pub fn body(&self) -> &Graph {
        &self.fused.body
    }

    /// Returns the formula by its fused operation.
    pub fn kernel(&self) -> &Graph {
        &self.fused.kernel
    }
}

impl Report {
    pub(crate) fn add_applied(&mut self, fired: AppliedFusion) {
        self.fired.push(fired);
    }

    /// Adds the formulas that a graph has as nodes, when it was read from a file.
    pub(crate) fn add_fused_nodes(&mut self, graph: &Graph) {
        for node in graph.nodes() {
            if let Operation::Fused(fused) = &node.operation {
                self.add_applied(AppliedFusion::new(fused.fusion, node.site, fused));
                continue;
            }
            for (_, inner) in node.operation.graphs() {
                self.add_fused_nodes(inner);
            }
        }
    }

    /// Takes what was recognized, and what runs, from the report of a form for some sizes.
    pub(crate) fn take_recognized(&mut self, form: &Report) {
        self.fired.clone_from(&form.fired);
        self.refused.clone_from(&form.refused);
        for operations in &form.elementwise_kernels {
            self.add_elementwise_kernel(*operations);
        }
        for operations in &form.programs {
            self.add_program(*operations);
        }
        self.interpreted.clone_from(&form.interpreted);
        self.ops_after.clone_from(&form.ops_after);
    }

    pub(crate) fn add_rejected(&mut self, refused: RejectedFusion) {
        self.refused.push(refused);
    }

    #[allow(deprecated)]
    pub(crate) fn add_program(&mut self, operations: usize) {
        self.programs.push(operations);
        self.sequences.push(operations);
    }

    #[allow(deprecated)]
    pub(crate) fn add_elementwise_kernel(&mut self, operations: usize) {
        self.elementwise_kernels.push(operations);
        self.regions.push(operations);
    }

    pub(crate) fn set_choice(&mut self, fused: &Rc<Fused>, refusal: Option<Refusal>) {
        let choice = refusal.map_or(Choice::Kernel, Choice::Body);
        for fired in &mut self.fired {
            if Rc::ptr_eq(&fired.fused, fused) {
                fired.choice = choice.clone();
            }
        }
    }

    /// Adds the entries of another report, of another part of a program. [`verify`](Self::verify) still runs this
    /// one's.
    pub fn extend(&mut self, other: &Report) {
        self.fired.extend(other.fired.iter().cloned());
        self.refused.extend(other.refused.iter().cloned());
        for operations in &other.elementwise_kernels {
            self.add_elementwise_kernel(*operations);
        }
        for operations in &other.programs {
            self.add_program(*operations);
        }
        self.interpreted.extend(other.interpreted.iter().cloned());
        self.autotuned.extend(other.autotuned.iter().cloned());
        for warning in &other.autotune_warnings {
            if !self.autotune_warnings.contains(warning) {
                self.autotune_warnings.push(warning.clone());
            }
        }
        self.specialized.extend(other.specialized.iter().cloned());
        self.guards.extend(other.guards.iter().cloned());
        self.forms.extend(other.forms.iter().cloned());
        if let Some(other) = &other.rematerialization {
            let done = self
                .rematerialization
                .get_or_insert_with(Rematerialization::default);
            // One part runs after the other.
            done.peak_before = done.peak_before.max(other.peak_before);
            done.peak_after = done.peak_after.max(other.peak_after);
            done.operations += other.operations;
            done.bytes += other.bytes;
        }
        for (counts, more) in [
            (&mut self.ops_before, &other.ops_before),
            (&mut self.ops_after, &other.ops_after),
        ] {
            for (name, n) in more {
                *counts.entry(name.clone()).or_insert(0) += n;
            }
        }
    }

    /// Returns how often each formula was recognized.
    pub fn counts(&self) -> BTreeMap<Fusion, usize> {
        let mut counts = BTreeMap::new();
        for fired in &self.fired {
            *counts.entry(fired.fusion).or_insert(0) += 1;
        }
        counts
    }

    /// Returns how often one formula was recognized.
    pub fn count(&self, fusion: Fusion) -> usize {
        self.fired
            .iter()
            .filter(|fired| fired.fusion == fusion)
            .count()
    }

    /// Returns the graph before the first pass and after each, of all parts: empty unless
    /// [`keep_passes`](crate::CompileOptions::keep_passes) asked for it.
    pub fn passes(&self) -> impl Iterator<Item = &PassGraph> {
        self.forms.iter().flat_map(|form| &form.passes)
    }

    /// Returns how many bytes a call has in use at its worst moment, inputs and constants included, before anything runs.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    ///
    /// ```
    /// use mlx::Array;
    ///
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let f = mlx_compiler::jit(|x: &Array| x.matmul(x).exp());
    /// let lowered = f.lower(&mlx::ones([512, 512]))?;
    /// // The input, the product, over which its exponential is written: a megabyte each.
    /// assert!((2 << 20..(2 << 20) + 4096).contains(&lowered.report().peak_bytes()?));
    /// # Ok(())
    /// # }
    /// ```
    pub fn peak_bytes(&self) -> Result<usize> {
        Ok(self.memory()?.peak_bytes)
    }

    /// Returns how much memory a call needs: its worst moment, the largest values at it with their lines, and all moments.
    ///
    /// # Errors
    /// When the function has loops or branches that read values, or was not lowered.
    pub fn memory(&self) -> Result<Memory> {
        let form = self.forms.first().ok_or_else(|| {
            Error::Unsupported("memory: wanted a function that was lowered, got none".to_owned())
        })?;
        memory(&form.lowered, form.mode)
    }

    /// Runs the function on sample inputs with both forms of each recognized formula and returns how far they are
    /// apart, in the order in which they run. Each formula is given the same inputs in both forms.
    ///
    /// # Errors
    /// When the inputs are not of the types that the function was traced with, or something fails.
    pub fn verify<'a>(
        &self,
        inputs: impl IntoIterator<Item = &'a Array>,
    ) -> Result<Vec<Difference>> {
        let Some(Form {
            optimized: graph, ..
        }) = self.forms.first()
        else {
            return Ok(Vec::new());
        };
        let inputs: Vec<&Array> = inputs.into_iter().collect();
        check_types("verify", "input", &inputs, &graph.input_types())?;
        let differences = Rc::new(Differences::default());
        let executor = Executor::observed(graph.as_ref().clone(), differences.clone())?;
        let outputs = mlx::compiler_api::without_recording(|| executor.run(&inputs))?;
        mlx::eval(&outputs)?;
        Ok(differences.0.take())
    }
}

/// What is seen while a graph runs whose formulas are compared.
#[derive(Default)]
struct Differences(RefCell<Vec<Difference>>);

impl Observer for Differences {
    fn observe(
        &self,
        fused: &Fused,
        site: SourceLocation,
        body: &[Array],
        kernel: &[Array],
    ) -> mlx::Result<()> {
        let (mut max_error, mut scale) = (0.0_f64, 0.0_f64);
        for (a, b) in body.iter().zip(kernel) {
            for (a, b) in values(a)?.into_iter().zip(values(b)?) {
                if a.is_finite() {
                    scale = scale.max(a.abs());
                }
                let error = distance(a, b);
                if error.is_nan() || error > max_error {
                    max_error = error;
                }
            }
        }
        self.0.borrow_mut().push(Difference {
            fusion: fused.fusion,
            site,
            max_error,
            scale,
        });
        Ok(())
    }
}

/// How far two numbers are apart. Equal infinities and NaN on both sides agree.
fn distance(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        0.0
    } else {
        (a - b).abs()
    }
}

fn values(array: &Array) -> mlx::Result<Vec<f64>> {
    values_as_f64(array).ok_or_else(|| {
        mlx::Error::op(
            "verify",
            "wanted real numbers, got complex ones or a failed result",
        )
    })
}

impl fmt::Display for RejectedFusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "refused {} at {}: {}",
            self.fusion, self.site, self.refusal
        )
    }
}

impl fmt::Display for AppliedFusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fired   {} at {}", self.fusion, self.site)?;
        match &self.choice {
            Choice::Kernel => Ok(()),
            Choice::Body(reason) => write!(f, ", composed: {reason}"),
        }
    }
}

/// One line for each place, equal lines together, then kernels and programs if there are any, and the operations before and after.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(String, usize)> = Vec::new();
        let fired = self.fired.iter().map(ToString::to_string);
        for line in fired.chain(self.refused.iter().map(ToString::to_string)) {
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, n)) => *n += 1,
                None => lines.push((line, 1)),
            }
        }
        for (line, n) in lines {
            match n {
                1 => writeln!(f, "{line}")?,
                n => writeln!(f, "{line} (x {n})")?,
            }
        }
        for (what, sizes) in [
            ("elementwise kernels", &self.elementwise_kernels),
            ("programs", &self.programs),
        ] {
            if !sizes.is_empty() {
                let (n, operations) = (sizes.len(), sizes.iter().sum::<usize>());
                writeln!(f, "formed  {n} {what} of {operations} operations")?;
            }
        }
        for site in &self.autotuned {
            writeln!(f, "{site}")?;
        }
        for warning in &self.autotune_warnings {
            writeln!(f, "tuning  {warning}")?;
        }
        for node in &self.interpreted {
            writeln!(f, "runs node by node because of {node}")?;
        }
        for types in &self.specialized {
            writeln!(f, "formed  one form of the same trace for {types}")?;
        }
        for guard in &self.guards {
            writeln!(f, "holds   where {guard}")?;
        }
        if let Some(done) = &self.rematerialization {
            let (operations, bytes) = (done.operations, done.bytes);
            let (before, after) = (done.peak_before, done.peak_after);
            writeln!(
                f,
                "reruns  {operations} operations, which write {bytes} bytes again; peak {before} -> {after} bytes"
            )?;
        }
        if let Some(text) = &self.cuda_graph {
            writeln!(f, "formed  {text}")?;
        }
        let sum = |counts: &BTreeMap<String, usize>| counts.values().sum::<usize>();
        write!(
            f,
            "operations {} -> {}",
            sum(&self.ops_before),
            sum(&self.ops_after)
        )
    }
}

/// The name of [`AppliedFusion`] before.
#[deprecated(note = "renamed to AppliedFusion")]
pub type Fired = AppliedFusion;

/// The name of [`RejectedFusion`] before.
#[deprecated(note = "renamed to RejectedFusion")]
pub type Refused = RejectedFusion;

//! A function that compiles itself for each combination of input types, once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::panic::Location;
use std::path::Path;
use std::rc::Rc;

use mlx::compiler_api::{TracedArray, recorders};
use mlx::tree::{Arguments, BoxedError, Callee, Function, Structure};
use mlx::{Array, ArrayType, Device, Dtype, Tree};

use crate::report::{History, Retrace, RetraceCause};
use crate::stages::{CacheKey, Compiled, Lowered, Traced, trace_ref};
use crate::{Autotune, CompileOptions, Error, Profile, Report, Result, switch};

/// A function that is compiled when it is called: see [`jit`].
///
/// Neither `Send` nor `Sync`, as the arrays that it captured: it is used and dropped on the thread that made it.
///
/// It is called as a function, `f(&x, &y)`, or by [`call`](Self::call), whose errors name the line of the call. The type
/// names the arguments and the output, and can be written: a field of a struct is a `Jit<'static, (Array, Array), Array>`.
pub struct Jit<'f, Args: Arguments + 'f, Output: 'f> {
    cache: Rc<Cache<'f, Args, Output>>,
    /// What this dereferences to, made when it does for the first time.
    callable: OnceCell<Box<Args::Callable<'f, Result<Output>>>>,
}

/// A function with what was compiled of it.
struct Cache<'f, Args, Output> {
    function: Box<dyn Function<Args, Output = Output> + 'f>,
    options: CompileOptions,
    /// The line that compiled the function.
    made_at: &'static Location<'static>,
    /// The most recently used first.
    entries: RefCell<VecDeque<Rc<Entry<Output>>>>,
    stats: RefCell<CacheStats>,
    /// Why the latest forms were traced.
    retraces: RefCell<VecDeque<Retrace>>,
    hits: Cell<u64>,
    /// How often the function was traced, compiled or not.
    traces: Cell<u64>,
}

/// One compiled form and the key it is cached under.
struct Entry<Output> {
    key: CacheKey,
    compiled: Compiled<Output>,
}

/// Hits and misses of the cache of a compiled function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Calls for which a compiled form was in the cache.
    pub hits: u64,
    /// Calls for which one had to be compiled.
    pub misses: u64,
    /// Compiled forms in the cache now.
    pub entries: usize,
    /// Compiled forms dropped because there were too many.
    pub evictions: u64,
    /// Why the latest forms were traced, the last at the end; the first form has no reason.
    pub retraces: VecDeque<String>,
}

/// The maximum number of reasons that are kept.
const REASONS: usize = 32;

/// Returns a function that traces `function` when it is called with new types, compiles it, and runs what it compiled.
///
/// `function` takes references to trees of arrays and gives a tree or a `Result` of one. Arrays that it captures become
/// constants, and are shared, not copied. It runs once for each combination of structure, shapes, dtypes and device;
/// other side effects (printing, counting) happen only then, and captured values are those of that time: a `Cell` whose
/// array changes later, to the argument of a gradient for example, has no effect. Make what changes an argument. Inside
/// another traced function, the call becomes part of that one's graph.
///
/// Random numbers that it draws without a key are other ones in each call, and those that it would draw if it were not
/// compiled. Numbers among its arguments (`scale: &f32`) are constants that it is compiled for.
///
/// ```
/// use mlx::{Array, array, keepdims};
/// use mlx_compiler::{Fusion, jit};
///
/// fn rms_norm(x: &Array, weight: &Array) -> Array {
///     x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt() * weight
/// }
///
/// # fn main() -> Result<(), mlx_compiler::Error> {
/// let norm = jit(rms_norm);
/// let (x, weight) = (array!([[1.0, 2.0, 2.0]]), array!([1.0, 1.0, 3.0]));
/// let y = norm(&x, &weight)?;
/// assert!((y.to_vec::<f32>()?[0] - 1.0 / 3_f32.sqrt()).abs() < 1e-5);
/// norm.report().unwrap_or_default().expect([Fusion::RmsNorm])?;
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn jit<'f, Args, F>(function: F) -> Jit<'f, Args, F::Output>
where
    Args: Arguments + 'f,
    F: Function<Args> + 'f,
{
    jit_with(function, CompileOptions::default())
}

/// Returns a function as [`jit`] does, with options.
#[track_caller]
pub fn jit_with<'f, Args, F>(function: F, options: CompileOptions) -> Jit<'f, Args, F::Output>
where
    Args: Arguments + 'f,
    F: Function<Args> + 'f,
{
    Jit {
        cache: Rc::new(Cache {
            function: Box::new(function),
            options,
            made_at: Location::caller(),
            entries: RefCell::default(),
            stats: RefCell::default(),
            retraces: RefCell::default(),
            hits: Cell::new(0),
            traces: Cell::new(0),
        }),
        callable: OnceCell::new(),
    }
}

/// A compiled function is a function of trees, so that transforms take it: `grad(jit(f))`.
impl<Args: Arguments, Output: Tree> Function<Args> for Jit<'_, Args, Output> {
    type Output = Output;

    fn apply_refs(&self, args: Args::Refs<'_>) -> std::result::Result<Output, BoxedError> {
        self.call(args)
            .map_err(|error| Box::new(mlx::Error::from(error)) as BoxedError)
    }
}

impl<'f, Args: Arguments + 'f, Output: Tree + 'f> Deref for Jit<'f, Args, Output> {
    type Target = Args::Callable<'f, Result<Output>>;

    fn deref(&self) -> &Self::Target {
        self.callable
            .get_or_init(|| Args::callable(Shared(Rc::clone(&self.cache))))
    }
}

/// The cache as what a call without [`Jit::call`] goes to.
struct Shared<'f, Args, Output>(Rc<Cache<'f, Args, Output>>);

impl<Args: Arguments, Output: Tree> Callee<Args, Result<Output>> for Shared<'_, Args, Output> {
    fn call_refs(&self, args: Args::Refs<'_>) -> Result<Output> {
        self.0.call(args)
    }
}

impl<'f, Args: Arguments + 'f, Output: Tree + 'f> Jit<'f, Args, Output> {
    /// Makes it an error, with the report in it, when a formula that the options name is left composed, or a part is
    /// not replayed by MLX.
    ///
    /// ```
    /// use mlx::{Array, ones};
    /// use mlx_compiler::{CompileOptions, Fallback, jit_with};
    ///
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let options = CompileOptions { fallback: Fallback::Never, ..CompileOptions::default() };
    /// let silu = jit_with(|x: &Array| x * x.sigmoid(), options).strict().max_traces(1);
    /// silu(&ones([4]))?;
    /// let error = silu(&ones([8])).unwrap_err().to_string();
    /// assert!(error.starts_with("strict: wanted at most 1 trace, got one more: input 0 is float32[8]"), "{error}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn strict(self) -> Self {
        self.with_options(|options| options.strict = true)
    }

    /// Makes it an error when the function would be traced more often than this.
    #[must_use]
    pub fn max_traces(self, n: u64) -> Self {
        self.with_options(|options| options.max_traces = Some(n))
    }

    /// Chooses the forms of parts by measuring, when the function is compiled: see [`CompileOptions::autotune`].
    ///
    /// ```
    /// use mlx::{Array, ones};
    /// use mlx_compiler::{Autotune, jit};
    ///
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let file = folder.path().join("autotune.json");
    /// let silu = jit(|x: &Array| x * x.sigmoid()).autotune(Autotune::Measure).autotune_cache(&file);
    /// silu(&ones([64, 64]))?.eval()?;
    /// let report = silu.report().unwrap_or_default();
    /// assert_eq!(report.autotuned[0].what, "silu");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn autotune(self, autotune: Autotune) -> Self {
        self.with_options(|options| options.autotune = autotune)
    }

    /// Keeps what is measured in this file: see [`CompileOptions::autotune_cache`].
    #[must_use]
    pub fn autotune_cache(self, path: impl AsRef<Path>) -> Self {
        self.with_options(|options| options.autotune_cache = Some(path.as_ref().to_owned()))
    }

    /// Keeps the graph after each pass in the report: see [`Report::passes`].
    #[must_use]
    pub fn keep_passes(self) -> Self {
        self.with_options(|options| options.keep_passes = true)
    }

    /// Changes the options. What was compiled with others is dropped.
    fn with_options(mut self, change: impl FnOnce(&mut CompileOptions)) -> Self {
        // The only other owner of the cache.
        self.callable = OnceCell::new();
        let mut entries = VecDeque::new();
        if let Some(cache) = Rc::get_mut(&mut self.cache) {
            change(&mut cache.options);
            entries = cache.entries.take();
            cache.stats.take();
            cache.retraces.take();
            cache.hits.take();
            cache.traces.take();
        }
        drop(entries);
        self
    }

    /// Calls the function: `f.call(&x)`, `f.call((&x, &y))`.
    ///
    /// # Errors
    /// When the function cannot be traced, or an operation fails.
    #[track_caller]
    pub fn call(&self, args: Args::Refs<'_>) -> Result<Output> {
        self.cache.call(args)
    }

    /// Traces the function for arguments of these types.
    ///
    /// # Errors
    /// When the function cannot be traced.
    #[track_caller]
    pub fn trace(&self, args: Args::Refs<'_>) -> Result<Traced<Output>> {
        trace_ref(&*self.cache.function, args)
    }

    /// Traces and lowers the function for arguments of these types.
    ///
    /// # Errors
    /// When the function cannot be traced or lowered.
    #[track_caller]
    pub fn lower(&self, args: Args::Refs<'_>) -> Result<Lowered<Output>> {
        self.trace(args)?.lower(&self.cache.options)
    }

    /// Measures a call on these arguments, and each operation in it by itself: time, bytes and arithmetic by source line.
    ///
    /// The function is called a few times. Its arguments are copied for each call, so that a cache that is written in
    /// place in a program is written in place here too.
    ///
    /// ```
    /// use mlx::{Array, ones};
    /// use mlx_compiler::jit;
    ///
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let step = jit(|x: &Array, w: &Array| x.matmul(w).tanh());
    /// let profile = step.profile((&ones([64, 256]), &ones([256, 256])))?;
    /// assert!(profile.rows.iter().any(|row| row.operation == "matmul"));
    /// println!("{profile}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call), for functions that communicate with other processes, and inside another traced function.
    #[track_caller]
    pub fn profile(&self, args: Args::Refs<'_>) -> Result<Profile> {
        let mut inputs = Vec::new();
        Args::visit_refs(args, &mut |array| inputs.push(array));
        let entry = match recorders().is_empty() {
            true => self.cache.entry(args, &inputs)?,
            false => None,
        };
        match entry {
            Some(entry) => entry.compiled.profile(&inputs),
            None => Err(Error::Unsupported(
                "profile: wanted a function that is compiled, got one inside of another's trace or transform"
                    .to_owned(),
            )),
        }
    }

    /// Returns the report of the form that was called or compiled last.
    pub fn report(&self) -> Option<Report> {
        let entries = self.cache.entries.borrow();
        let mut report = entries.front()?.compiled.current_report();
        for form in &mut report.forms {
            form.history = Some(self.cache.history());
        }
        Some(report)
    }

    /// Returns hits and misses of the cache, and the reasons of the misses.
    pub fn stats(&self) -> CacheStats {
        let mut stats = self.cache.stats.borrow().clone();
        stats.hits = self.cache.hits.get();
        stats.entries = self.cache.entries.borrow().len();
        stats
    }

    /// Returns the options.
    pub fn options(&self) -> &CompileOptions {
        &self.cache.options
    }
}

impl<Args, Output: Tree> Cache<'_, Args, Output> {
    fn history(&self) -> History {
        let (traces, hits) = (self.stats.borrow().misses, self.hits.get());
        History {
            made_at: self.made_at,
            calls: traces + hits,
            traces,
            retraces: self.retraces.borrow().iter().cloned().collect(),
        }
    }

    /// Refuses a trace beyond those that are allowed.
    fn check_traces(&self, key: &CacheKey) -> Result<()> {
        let traces = self.traces.get();
        let Some(most) = self.options.max_traces.filter(|most| traces >= *most) else {
            return Ok(());
        };
        let plural = if most == 1 { "" } else { "s" };
        let entries = self.entries.borrow();
        let why = entries.front().map_or_else(
            || "what was traced before was not kept".to_owned(),
            |last| retrace(&last.key, key, self.options.shapeless).text,
        );
        let report = entries
            .front()
            .map(|last| last.compiled.current_report().to_string());
        Err(Error::Strict {
            reasons: vec![format!(
                "wanted at most {most} trace{plural}, got one more: {why}"
            )],
            report: report.unwrap_or_default(),
        })
    }
}

impl<Args: Arguments, Output: Tree> Cache<'_, Args, Output> {
    #[track_caller]
    fn call(&self, args: Args::Refs<'_>) -> Result<Output> {
        if !recorders().is_empty() || !switch::is_enabled() {
            // Another function is being traced, and this one becomes part of it; or nothing is to be compiled.
            return self.function.apply_refs(args).map_err(Error::from_function);
        }
        let mut inputs = Vec::new();
        Args::visit_refs(args, &mut |array| inputs.push(array));
        match self.entry(args, &inputs)? {
            Some(entry) => entry.compiled.call_unchecked(&inputs),
            None => self.function.apply_refs(args).map_err(Error::from_function),
        }
    }

    /// Returns the compiled form for these arguments, made when there is none.
    ///
    /// `None` when the function captured an array that a transform around this call is working on: it differs from
    /// call to call, so nothing can be cached.
    #[track_caller]
    fn entry(&self, args: Args::Refs<'_>, inputs: &[&Array]) -> Result<Option<Rc<Entry<Output>>>> {
        let device = Device::current().ok();
        let mut structure = Structure::default();
        Args::structure_refs(args, &mut structure);
        let shapeless = self.options.shapeless;
        let found = match shapeless {
            true => self.find_guarded(inputs, &structure, device)?,
            false => {
                let entries = self.entries.borrow();
                let mut entries = entries.iter();
                entries.position(|entry| entry.fits(inputs, &structure, device, false))
            }
        };
        {
            let mut entries = self.entries.borrow_mut();
            if let Some(place) = found {
                if place > 0
                    && let Some(entry) = entries.remove(place)
                {
                    entries.push_front(entry);
                }
                if let Some(entry) = entries.front() {
                    self.hits.set(self.hits.get() + 1);
                    return Ok(Some(Rc::clone(entry)));
                }
            }
        }
        let types = inputs
            .iter()
            .map(|array| mlx::compiler_api::type_of(array))
            .collect::<mlx::Result<_>>()?;
        let key = CacheKey {
            structure,
            types,
            device,
        };
        self.check_traces(&key)?;
        let traced = trace_ref(&*self.function, args)?;
        self.traces.set(self.traces.get() + 1);
        if traced.captures_transforming() {
            if self.options.strict {
                return Err(not_compiled());
            }
            return Ok(None);
        }
        let compiled = traced.lower(&self.options)?.compile()?;
        self.note_miss(&key);
        let entry = Rc::new(Entry { key, compiled });
        self.entries.borrow_mut().push_front(Rc::clone(&entry));
        while self.entries.borrow().len() > self.options.cache_size.max(1) {
            // Dropped when nothing is borrowed: the `Drop` of a user's type in it may call this function.
            let evicted = self.entries.borrow_mut().pop_back();
            self.stats.borrow_mut().evictions += 1;
            drop(evicted);
        }
        Ok(Some(entry))
    }

    /// Returns the place of a form for all sizes whose guards hold for those of these inputs.
    fn find_guarded(
        &self,
        inputs: &[&Array],
        structure: &Structure,
        device: Option<Device>,
    ) -> Result<Option<usize>> {
        let mut place = 0;
        loop {
            // Guards are checked with nothing borrowed: applying operations may call the function again.
            let Some(entry) = self.entries.borrow().get(place).cloned() else {
                return Ok(None);
            };
            if entry.fits(inputs, structure, device, true) && entry.compiled.holds(inputs)? {
                return Ok(Some(place));
            }
            place += 1;
        }
    }

    fn note_miss(&self, key: &CacheKey) {
        let mut stats = self.stats.borrow_mut();
        stats.misses += 1;
        if let Some(last) = self.entries.borrow().front() {
            let why = retrace(&last.key, key, self.options.shapeless);
            let mut retraces = self.retraces.borrow_mut();
            stats.retraces.push_back(why.text.clone());
            retraces.push_back(why);
            if stats.retraces.len() > REASONS {
                stats.retraces.pop_front();
                retraces.pop_front();
            }
        }
    }
}

impl<Output> Entry<Output> {
    fn fits(
        &self,
        inputs: &[&Array],
        structure: &Structure,
        device: Option<Device>,
        shapeless: bool,
    ) -> bool {
        let fits = |input: &Array, array_type: &ArrayType| {
            if shapeless {
                let rank_and_dtype = |n: usize, dtype: Dtype| {
                    n == array_type.shape.len() && dtype == array_type.dtype
                };
                input
                    .ndim()
                    .is_ok_and(|n| input.dtype().is_ok_and(|dtype| rank_and_dtype(n, dtype)))
            } else {
                input.matches_type(array_type)
            }
        };
        self.key.device == device
            && self.key.types.len() == inputs.len()
            && self.key.structure == *structure
            && inputs
                .iter()
                .zip(&self.key.types)
                .all(|(input, array_type)| fits(input, array_type))
    }
}

/// The error for a function that nothing was compiled of.
fn not_compiled() -> Error {
    let reason = "wanted a function that is replayed, got one that captures an array which a transform around it is \
                  working on, so that nothing is compiled; make it an argument";
    Error::Strict {
        reasons: vec![reason.to_owned()],
        report: String::new(),
    }
}

/// Why a call needs a new form.
fn retrace(before: &CacheKey, now: &CacheKey, shapeless: bool) -> Retrace {
    let because = |cause, text: &str| Retrace {
        cause,
        text: text.to_owned(),
    };
    if before.device != now.device {
        return because(RetraceCause::Other, "another device");
    }
    if before.structure != now.structure || before.types.len() != now.types.len() {
        let text = "another structure or setting of the arguments";
        return because(RetraceCause::Setting, text);
    }
    let changed =
        before
            .types
            .iter()
            .zip(&now.types)
            .enumerate()
            .find(|(_, (a, b))| match shapeless {
                true => a.dtype != b.dtype || a.shape.len() != b.shape.len(),
                false => a != b,
            });
    match changed {
        Some((index, (before, now))) => {
            let is_size = before.dtype == now.dtype && before.shape.len() == now.shape.len();
            let cause = match is_size {
                true => RetraceCause::Size,
                false => RetraceCause::Other,
            };
            because(cause, &format!("input {index} is {now}, was {before}"))
        }
        None if before.types != now.types => because(
            RetraceCause::Size,
            "a comparison of sizes comes out in another way",
        ),
        None => because(
            RetraceCause::Other,
            "the form for these types had been dropped",
        ),
    }
}

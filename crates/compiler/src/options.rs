//! Options of compiling.

use std::path::PathBuf;

use mlx_provision::environment;

use crate::Fusion;

/// When the composed body of a recognized formula is used instead of its kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Where the device has no kernel for the shapes and dtypes at hand.
    #[default]
    Auto,
    /// Never: the fused operation is used wherever there is one. Where the device has no kernel for it, MLX composes
    /// it itself.
    Never,
    /// Always: formulas are recognized and reported, and run as they were written.
    Always,
}

/// Whether neighbouring operations that one kernel can compute become one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KernelFusion {
    /// On the CPU, those that a kernel of `mlx-kernels` runs in one pass over memory, where that is faster: two or
    /// more on arrays of 4,096 elements or more, of `float32`, `float16`, `bfloat16` and `bool`. None on GPUs, where
    /// MLX fuses them when it compiles the graph; none in functions that a transform works on, in `shapeless` ones at
    /// sizes that came once, and when the environment variable `MLX_HOST_KERNELS` is `0`.
    ///
    /// Under the same conditions, two or more operations that `mlx-kernels` computes (norms, products with few rows,
    /// attention, rotary positions, writes into caches, elementwise ones) become a *program*: one kernel that runs
    /// them one after the other, if their intermediate results take at most 4 MiB. They are the same kernels; it saves
    /// MLX's overhead for each operation, most of the time of a decoder's step.
    #[default]
    Auto,
    /// They stay as they are in the graph.
    Off,
    /// All elementwise ones become nodes of fused groups. On the CPU each runs as one kernel if there is one for all that
    /// is in it.
    All,
}

/// The name of [`KernelFusion`] before.
#[deprecated(note = "renamed to KernelFusion")]
pub type Regions = KernelFusion;

/// The names of variants before.
#[allow(non_upper_case_globals)]
impl KernelFusion {
    /// The name of [`Off`](Self::Off) before.
    #[deprecated(note = "renamed to Off")]
    #[doc(hidden)]
    pub const Plain: Self = Self::Off;
    /// The name of [`All`](Self::All) before.
    #[deprecated(note = "renamed to All")]
    #[doc(hidden)]
    pub const Form: Self = Self::All;
}

/// Whether the form in which a part of a function runs is chosen by measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Autotune {
    /// As the environment variable `MLX_AUTOTUNE` says: `cached` is [`Cached`](Self::Cached), another value that switches on, `1`
    /// for example, is [`Measure`](Self::Measure), and `0` or none is [`Off`](Self::Off).
    #[default]
    Environment,
    /// It is chosen by rules; nothing is measured, and no cache is read.
    Off,
    /// It is chosen by what the cache has; where that has nothing, by rules. Nothing is measured.
    Cached,
    /// It is chosen by what the cache has; where that has nothing, forms are timed when the function is compiled, and the cache
    /// is written.
    Measure,
}

impl Autotune {
    /// Returns the choice with that of the environment in the place of [`Environment`](Self::Environment).
    pub(crate) fn resolved(self) -> Self {
        match self {
            Autotune::Environment => match environment::value(environment::AUTOTUNE) {
                Some(value) if value.eq_ignore_ascii_case("cached") => Autotune::Cached,
                Some(value) if environment::parse_flag(&value) == Some(true) => Autotune::Measure,
                _ => Autotune::Off,
            },
            chosen => chosen,
        }
    }
}

/// How a function is compiled.
///
/// ```
/// use mlx_compiler::{CompileOptions, Fallback, Fusion};
/// let options = CompileOptions { fallback: Fallback::Never, ..CompileOptions::default() };
/// assert!(options.fusions.contains(&Fusion::RmsNorm));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CompileOptions {
    /// The formulas that are recognized; all by default.
    pub fusions: Vec<Fusion>,
    /// When composed bodies are used.
    pub fallback: Fallback,
    /// Whether neighbouring operations become one kernel.
    pub kernel_fusion: KernelFusion,
    /// The name of `kernel_fusion` before, which counts where that is
    /// [`Auto`](KernelFusion::Auto).
    #[deprecated(note = "renamed to kernel_fusion")]
    #[doc(hidden)]
    pub regions: KernelFusion,
    /// Whether one trace serves all sizes. Refused where the function reads a size as a number; a [`Size`](mlx::Size) is
    /// computed again for each call, and sizes for which a comparison of such comes out in another way are traced anew.
    /// Sizes that come once run node by node; for those that come again the graph is compiled without a new trace, and at most
    /// `cache_size` such forms are kept.
    pub shapeless: bool,
    /// The maximum number of compiled forms that are cached, one for each combination of input types.
    pub cache_size: usize,
    /// The bytes that a call may have in use at its worst moment, inputs and constants included: a function that needs more is
    /// refused before anything runs. See [`Report::memory`](crate::Report::memory).
    pub memory_limit: Option<usize>,
    /// Whether cheap operations (elementwise ones, casts, broadcasts, norms) run again where their results are needed late, as far
    /// as that lowers the peak: until it is within `memory_limit`, or as low as it gets where there is none. Such a function
    /// is not replayed by MLX, which would join equal operations again, but runs node by node.
    pub rematerialize: bool,
    /// Whether the form in which a part runs is chosen by measuring: formulas by
    /// their kernel or as they were written, and on the CPU elementwise operations and programs as one kernel or one by one.
    /// Another form than the default is chosen only when it is faster by more than 3 % and by more than the noise: 3 times the
    /// combined spread of both. `shapeless` functions, and functions that a transform works on, are left as they are.
    pub autotune: Autotune,
    /// The file with what was measured, instead of that of the environment variable `MLX_AUTOTUNE_CACHE`, or `autotune.json` in
    /// the folder of the user's cache.
    pub autotune_cache: Option<PathBuf>,
    /// Whether graphs are verified between passes in release builds too.
    pub verify: bool,
    /// Whether it is an error, with the report, when one of [`fusions`](Self::fusions) is left composed or a part is
    /// not replayed. A formula that a GPU computes together with operations beside it
    /// ([`RefusalKind::Joined`](crate::RefusalKind::Joined)) is not left composed.
    pub strict: bool,
    /// The maximum number of times that the function is traced; one more is an error.
    pub max_traces: Option<u64>,
    /// Whether the report keeps the graph after each pass: see [`Report::passes`](crate::Report::passes).
    pub keep_passes: bool,
}

#[allow(deprecated)]
impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            fusions: Fusion::ALL.to_vec(),
            fallback: Fallback::default(),
            kernel_fusion: KernelFusion::default(),
            regions: KernelFusion::default(),
            shapeless: false,
            cache_size: 64,
            memory_limit: None,
            rematerialize: false,
            autotune: Autotune::default(),
            autotune_cache: None,
            verify: false,
            strict: false,
            max_traces: None,
            keep_passes: false,
        }
    }
}

impl CompileOptions {
    /// Returns options with which no formula is recognized.
    pub fn without_fusions() -> Self {
        Self {
            fusions: Vec::new(),
            ..Self::default()
        }
    }

    /// The choice under either of its names.
    #[allow(deprecated)]
    pub(crate) fn kernel_fusion(&self) -> KernelFusion {
        match self.kernel_fusion {
            KernelFusion::Auto => self.regions,
            chosen => chosen,
        }
    }
}

//! What lint returns: the kind, the line, the cost, and what to write instead.

use std::fmt;

use crate::graph::SourceLocation;

/// One thing that makes a function slow or wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// The line of the program.
    pub site: SourceLocation,
    /// What was found, with operations and types.
    pub what: String,
    /// What it costs in a call.
    pub cost: Cost,
    /// What to write instead.
    pub instead: &'static str,
    /// How often the line has it: once for each layer, for example.
    pub count: usize,
}

/// What a finding costs in a call, estimated from the shapes in the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes that are read and written without need.
    pub bytes: u64,
    /// The part of the whole call, from 0 to 1. 16 arithmetic operations of a product count as one byte.
    pub share: f64,
}

macro_rules! kinds {
    ($($(#[doc = $text:literal])* $variant:ident = $name:literal;)*) => {
        /// A kind of [`Finding`]; `docs/lint.md` has an example of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FindingKind {
            $($(#[doc = $text])* $variant,)*
        }

        impl FindingKind {
            /// All kinds.
            pub const ALL: &'static [FindingKind] = &[$(FindingKind::$variant),*];

            /// Returns the name: `silent_widening`.
            pub fn name(self) -> &'static str {
                match self {
                    $(FindingKind::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A wider constant or vector makes a half-precision array `float32`, or a `float32` one `float64`.
    SilentWidening = "silent_widening";
    /// The operands of a product have two floating dtypes, so that one is converted in each call.
    MixedDtypes = "mixed_dtypes";
    /// A value is cast to another floating dtype and back with nothing computed between.
    CastRoundTrip = "cast_round_trip";
    /// Large work that depends on no input is done in each call.
    ConstantWork = "constant_work";
    /// A random operation has a constant key, and draws the same numbers in each call.
    ConstantKey = "constant_key";
    /// An operand of a product is copied to transpose it.
    TransposedCopy = "transposed_copy";
    /// A result that nothing uses.
    DeadResult = "dead_result";
    /// A formula that would be fused but for one thing.
    NearMiss = "near_miss";
    /// A gradient that is always zero, because every path to the argument is stopped.
    StoppedGradient = "stopped_gradient";
    /// Equal work that is done twice: a function beside its gradient, equal gradients or loops.
    RepeatedWork = "repeated_work";
    /// Work in a loop that is the same in each round.
    LoopInvariant = "loop_invariant";
    /// Elements are repeated in memory where broadcasting does the same.
    RepeatedCopy = "repeated_copy";
    /// A product or sum with a one-hot array, which picks elements.
    OneHot = "one_hot";
    /// A cache that grows by concatenation: copied in each call, and a trace for each length.
    GrowingCache = "growing_cache";
    /// A loop over steps that was unrolled into many small products with the same weight.
    UnrolledLoop = "unrolled_loop";
    /// The function is traced again and again for other sizes.
    FrozenSize = "frozen_size";
    /// The function is traced again and again for another number or structure among its arguments.
    ChangingArgument = "changing_argument";
    /// A condition is read from the device in each call, although both branches are cheap.
    ValueRead = "value_read";
    /// The logarithm of a softmax, which loses small probabilities.
    LogOfSoftmax = "log_of_softmax";
    /// A sort of which one end is used.
    SortedExtreme = "sorted_extreme";
    /// Consecutive rows are gathered by constant indices, a copy where a slice is a view.
    ConstantGather = "constant_gather";
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {:.1} % of a call",
            size(self.bytes),
            self.share * 100.0
        )
    }
}

/// Returns a number of bytes with a unit.
#[allow(clippy::cast_precision_loss)]
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// `src/main.rs:12: silent_widening: what it is (cost); write what instead`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.site, self.kind, self.what)?;
        if self.count > 1 {
            write!(f, " (x {})", self.count)?;
        }
        write!(f, " ({}); {}", self.cost, self.instead)
    }
}

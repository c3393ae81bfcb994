//! What the pass did: which values are split, what goes over the wire, and what had to be whole.

use std::collections::BTreeMap;
use std::fmt;

use mlx::ArrayType;

use super::layout::DimLayout;
use super::strategy::Reduction;
use crate::graph::SourceLocation;

/// What [`shard`](super::shard) did to a graph. It is the same for all ranks.
#[derive(Clone, Debug, Default)]
pub struct ShardingReport {
    /// The number of ranks of the mesh.
    pub ranks: usize,
    /// The inputs and outputs that are split, in the function's order, once for each axis of the mesh.
    pub values: Vec<ShardedValue>,
    /// The bytes of the inputs as a whole, and of a rank's parts of them.
    pub input_bytes: (u64, u64),
    /// The communications of one call, in their order.
    pub collectives: Vec<Collective>,
    /// What had to be whole, and why.
    pub refusals: Vec<ShardingRefusal>,
    /// The patterns of rules that fit no name.
    pub unused_rules: Vec<String>,
}

/// An input or output that is split.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardedValue {
    /// Its name.
    pub name: String,
    /// Whether it is an output.
    pub is_output: bool,
    /// The axis of the mesh.
    pub axis: String,
    /// The dimension that is split along it.
    pub dim: usize,
    /// Shape and dtype before it is split along this axis.
    pub array_type: ArrayType,
    /// How the dimension is cut: its sections, and the runs that ranks have of them.
    pub layout: DimLayout,
    /// The number of ranks along the axis.
    pub ranks: usize,
    /// The bytes of what the first rank has in the end, when it is split along other axes too. No rank has more.
    pub bytes_per_rank: u64,
}

impl ShardedValue {
    /// Returns the number of elements that each rank has of the dimension.
    pub fn parts(&self) -> Vec<usize> {
        let ranks = 0..self.ranks;
        ranks
            .map(|rank| self.layout.size(rank, self.ranks))
            .collect()
    }

    /// What is printed of how it is cut, if ranks do not simply have equal parts one after the other.
    fn cut(&self) -> String {
        let mut text = String::new();
        if !self.layout.is_contiguous() {
            text += &format!(" in sections of {:?}", self.layout.sections());
        }
        if !self.layout.is_even(self.ranks) {
            text += &format!(" in parts of {:?}", self.parts());
        }
        text
    }
}

/// Which communication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CollectiveKind {
    /// `all_sum`.
    AllSum,
    /// `all_max`.
    AllMax,
    /// `all_min`.
    AllMin,
    /// `all_gather`.
    AllGather,
    /// `sum_scatter`.
    SumScatter,
}

impl CollectiveKind {
    pub(super) fn of(reduction: Reduction) -> Self {
        match reduction {
            Reduction::Sum => Self::AllSum,
            Reduction::Max => Self::AllMax,
            Reduction::Min => Self::AllMin,
        }
    }

    /// Returns the name of the operation.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllSum => "all_sum",
            Self::AllMax => "all_max",
            Self::AllMin => "all_min",
            Self::AllGather => "all_gather",
            Self::SumScatter => "sum_scatter",
        }
    }

    /// Returns the bytes that each of `ranks` sends in a ring, for a whole array of `bytes`.
    pub fn wire_bytes(self, bytes: u64, ranks: usize) -> u64 {
        let ranks = ranks.max(1) as u64;
        let rounds = match self {
            Self::AllSum | Self::AllMax | Self::AllMin => 2 * (ranks - 1),
            Self::AllGather | Self::SumScatter => ranks - 1,
        };
        bytes.saturating_mul(rounds).div_ceil(ranks)
    }
}

/// A communication in the graph of a rank.
#[derive(Clone, Debug)]
pub struct Collective {
    /// Which.
    pub kind: CollectiveKind,
    /// The axis of the mesh.
    pub axis: String,
    /// The number of ranks along it.
    pub ranks: usize,
    /// Shape and dtype of the whole array, along this axis.
    pub array_type: ArrayType,
    /// The line of the program whose value is communicated, or for which it is gathered.
    pub site: SourceLocation,
    /// Whether it is of a gradient, and runs when that is computed.
    pub is_gradient: bool,
    /// How often it runs in one call: as often as the `scan` around it has steps, for each element of a `vmap`, and for the
    /// value and the tangent of a `jvp`. Not at all in the branch of a `cond` that sends less than the other one.
    pub times: u64,
    /// Whether it is in a `while_loop`, and runs so often in each round.
    pub in_loop: bool,
}

impl Collective {
    /// Returns the bytes that each rank sends, by the formula of a ring; in one round of a `while_loop`.
    pub fn wire_bytes(&self) -> u64 {
        let bytes = byte_count(&self.array_type);
        self.times * self.kind.wire_bytes(bytes, self.ranks)
    }

    /// What is printed of where it is.
    fn place(&self) -> String {
        let gradient = if self.is_gradient {
            " of a gradient"
        } else {
            ""
        };
        let round = match self.in_loop {
            true => " in a round of a loop",
            false => "",
        };
        let times = match self.times {
            1 => String::new(),
            0 => " in the branch that sends less".to_owned(),
            n => format!(" {n} times"),
        };
        format!("{gradient}{round}{times}")
    }
}

/// A site where a split value had to be made whole.
#[derive(Clone, Debug)]
pub struct ShardingRefusal {
    /// The operation, or the name of an input that could not be split.
    pub name: String,
    /// The line of the program.
    pub site: SourceLocation,
    /// The axis of the mesh.
    pub axis: String,
    /// Why.
    pub reason: String,
}

/// Returns the bytes of an array.
pub(super) fn byte_count(array_type: &ArrayType) -> u64 {
    let elements = crate::graph::element_count(&array_type.shape);
    elements.saturating_mul(array_type.dtype.size()) as u64
}

impl ShardingReport {
    /// Returns the bytes that each rank sends in one call.
    pub fn wire_bytes(&self) -> u64 {
        self.collectives.iter().map(Collective::wire_bytes).sum()
    }

    /// Returns the bytes that each rank sends in one call along an axis of the mesh.
    pub fn wire_bytes_along(&self, axis: &str) -> u64 {
        let along = self.collectives.iter().filter(|one| one.axis == axis);
        along.map(Collective::wire_bytes).sum()
    }

    /// Returns the communications by kind, axis, line and type, with how often each occurs.
    fn grouped(&self) -> Vec<(&Collective, u64)> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut groups: Vec<(&Collective, u64)> = Vec::new();
        for one in &self.collectives {
            let key = format!(
                "{:?} {} {} {} {}",
                one.kind,
                one.axis,
                one.array_type,
                one.site,
                one.place()
            );
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some((_, count)) => *count += 1,
                None => groups.push((one, 1)),
            }
        }
        groups
    }
}

/// Returns a name as a rule must say it: that of the only output is empty.
fn written(name: &str) -> &str {
    match name {
        "" => "\"\"",
        name => name,
    }
}

/// Writes the lines with numbers in names as `*`, each with how often it occurs.
fn write_counted(
    f: &mut fmt::Formatter<'_>,
    lines: impl Iterator<Item = (String, String)>,
) -> fmt::Result {
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut groups: Vec<((String, String), usize)> = Vec::new();
    for (name, rest) in lines {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let parts = name.split('.').enumerate();
        // The first number is that of the argument.
        let parts = parts.map(|(at, part)| if at > 0 && is_number(part) { "*" } else { part });
        let key = (parts.collect::<Vec<_>>().join("."), rest);
        let place = *places.entry(key.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => groups.push((key, 1)),
        }
    }
    for ((name, rest), count) in groups {
        let times = if count > 1 {
            format!(" ({count} times)")
        } else {
            String::new()
        };
        writeln!(f, "  {name}: {rest}{times}")?;
    }
    Ok(())
}

impl fmt::Display for ShardingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = self.input_bytes;
        writeln!(
            f,
            "{} ranks; inputs of {whole} bytes, {part} on each rank",
            self.ranks
        )?;
        writeln!(f, "sharded:")?;
        let line = |value: &ShardedValue| {
            let kind = if value.is_output { "output " } else { "" };
            let name = written(&value.name);
            let rest = format!(
                "{} along {}{}, by {:?}, {} bytes on {}",
                value.array_type,
                value.dim,
                value.cut(),
                value.axis,
                value.bytes_per_rank,
                match value.layout.is_even(value.ranks) {
                    true => "each rank",
                    false => "the first rank",
                }
            );
            (format!("{kind}{name}"), rest)
        };
        write_counted(f, self.values.iter().map(line))?;
        writeln!(
            f,
            "on the wire: {} bytes of each rank in a call",
            self.wire_bytes()
        )?;
        for (one, count) in self.grouped() {
            let of = one.place();
            let bytes = one.wire_bytes();
            writeln!(
                f,
                "  {}{of} by {:?} of {} at {}: {count} of {bytes} bytes, {}",
                one.kind.name(),
                one.axis,
                one.array_type,
                one.site,
                count * bytes
            )?;
        }
        writeln!(f, "refused: {}", self.refusals.len())?;
        let refusal = |one: &ShardingRefusal| {
            (
                written(&one.name).to_owned(),
                format!("{} at {}", one.reason, one.site),
            )
        };
        write_counted(f, self.refusals.iter().map(refusal))?;
        for pattern in &self.unused_rules {
            writeln!(f, "  no name fits the rule of {pattern:?}")?;
        }
        Ok(())
    }
}

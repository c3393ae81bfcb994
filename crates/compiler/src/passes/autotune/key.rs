//! What a measurement is found by: the operation with its parameters, dtypes, and sizes in buckets; and the machine.

use std::sync::OnceLock;

use mlx::{ArrayType, Device, device_info};

use crate::graph::Graph;

/// Sizes up to this one are buckets of their own; larger ones are rounded up to a power of two.
pub(super) const EXACT: u64 = 16;

/// The machine and the versions that a measurement is valid for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Machine {
    /// The processor with its instructions and threads, or the GPU.
    pub(crate) device: String,
    /// The version of this library, and whether it is a debug build.
    pub(crate) library: String,
    /// The version of MLX.
    pub(crate) mlx: String,
}

impl Machine {
    /// Returns what this thread computes on.
    pub(crate) fn current() -> mlx::Result<Self> {
        let device = match Device::current()? {
            Device::Cpu => cpu(),
            Device::Gpu => gpu()?,
        };
        let build = if cfg!(debug_assertions) { " debug" } else { "" };
        Ok(Self {
            device,
            library: format!("{}{build}", env!("CARGO_PKG_VERSION")),
            mlx: mlx::compiler_api::mlx_version().unwrap_or_default(),
        })
    }
}

fn gpu() -> mlx::Result<String> {
    let info = device_info(Device::Gpu)?;
    let name = info.device_name.unwrap_or_else(|| "unknown".to_owned());
    let architecture = info.architecture.unwrap_or_default();
    Ok(format!("gpu {name} {architecture}").trim_end().to_owned())
}

fn cpu() -> String {
    static MODEL: OnceLock<String> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let name = line.map(|line| line.trim_start_matches([' ', '\t', ':']).to_owned());
        name.unwrap_or_else(|| {
            let info = device_info(Device::Cpu).unwrap_or_default();
            let known = info.device_name.or(info.architecture);
            known.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
        })
    });
    let tiles = if mlx_kernels::has_matrix_tiles() {
        "+amx"
    } else {
        ""
    };
    let kernels = if mlx::cpu::are_kernels_enabled() {
        ""
    } else {
        ", MLX_HOST_KERNELS=0"
    };
    format!(
        "cpu {model}, {}{tiles}, {} threads{kernels}",
        mlx_kernels::instruction_set(),
        mlx_kernels::threads()
    )
}

/// Returns the key of a site: what it is, its inputs by dtype and bucket, and a hash of all of its forms in buckets.
///
/// Sites of one key run the same operations on sizes of one bucket. Should a hash be that of another site, its choice is not
/// the fastest; no choice is wrong.
pub(super) fn site_key(what: &str, forms: &[(&'static str, Graph)]) -> String {
    let mut hash = Fnv::default();
    let mut inputs = Vec::new();
    for (number, (form, graph)) in forms.iter().enumerate() {
        hash.write(form);
        hash.write(&bucketed(&graph.to_string()));
        if number == 0 {
            inputs = graph.input_types().iter().map(bucket_of_type).collect();
        }
    }
    let more = inputs.len().saturating_sub(MOST_INPUTS);
    inputs.truncate(MOST_INPUTS);
    let rest = match more {
        0 => String::new(),
        n => format!(", {n} more"),
    };
    format!("{what}({}{rest}) {:016x}", inputs.join(", "), hash.0)
}

/// How many inputs are written in a key; the others are in its hash.
const MOST_INPUTS: usize = 8;

fn bucket_of_type(array_type: &ArrayType) -> String {
    bucketed(&array_type.to_string())
}

/// Returns a text with each whole number inside of brackets replaced by its bucket: sizes, and positions in them.
fn bucketed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut digits) = (0_usize, String::new());
    for c in text.chars().chain(['\n']) {
        if depth > 0 && c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            match digits.parse().ok().and_then(bucket) {
                Some(bucket) => out.push_str(&bucket.to_string()),
                None => out.push_str(&digits),
            }
            digits.clear();
        }
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        out.push(c);
    }
    out.pop();
    out
}

fn bucket(size: u64) -> Option<u64> {
    match size {
        0..=EXACT => Some(size),
        _ => size.checked_next_power_of_two(),
    }
}

/// The hash FNV-1a of 64 bits, which is the same on all machines and in all versions.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_brackets_are_in_buckets_and_parameters_are_not() {
        assert_eq!(
            bucketed("%12: float32[1, 17, 100, 64] = rope x0 dims=40 axes=[-1] shape=[[33]]"),
            "%12: float32[1, 32, 128, 64] = rope x0 dims=40 axes=[-1] shape=[[64]]"
        );
        assert_eq!(
            bucketed("[18446744073709551615] [99999999999999999999]"),
            "[18446744073709551615] [99999999999999999999]"
        );
        assert_eq!(bucketed("float32[0, 16, 17"), "float32[0, 16, 32");
    }

    #[test]
    fn hashes_are_those_of_the_reference() {
        let mut hash = Fnv::default();
        hash.0 = b"foobar".iter().fold(hash.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(hash.0, 0x8594_4171_f739_67e8);
        let mut joined = Fnv::default();
        joined.write("a");
        joined.write("b");
        let mut whole = Fnv::default();
        whole.write("ab");
        assert_ne!(joined.0, whole.0);
    }
}

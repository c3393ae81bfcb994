//! The machine that a run is measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a reader must know of the machine to read its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// The threads that everyone may use.
    pub threads: usize,
    /// The memory in GiB.
    pub memory_gib: u64,
    /// The operating system.
    pub os: String,
    /// The widest vector instructions that matter here.
    pub simd: String,
    /// The GPU's name, when it computes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
}

impl Machine {
    /// Reads what this machine is. What it does not tell is `unknown`, or 0.
    pub fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name))?;
            line.split_once(':')
                .map(|(_, value)| value.trim().to_owned())
        };
        let flags = field("flags").unwrap_or_default();
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        let simd = match () {
            () if has("avx512f") => "AVX-512",
            () if has("avx2") && has("fma") => "AVX2 and FMA",
            () if cfg!(target_arch = "aarch64") => "NEON",
            () => "unknown",
        };
        Self {
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib(),
            os: system(),
            simd: simd.to_owned(),
            gpu: None,
        }
    }

    /// Returns a short name for files: `epyc-2`, or `nvidia-h200-gpu` when a GPU computes.
    pub fn slug(&self) -> String {
        if let Some(gpu) = &self.gpu {
            let words = gpu.split(|letter: char| !letter.is_alphanumeric());
            let words = words.filter(|word| !word.is_empty()).map(str::to_lowercase);
            return format!("{}-gpu", words.collect::<Vec<_>>().join("-"));
        }
        let words = self.cpu.split(|letter: char| !letter.is_alphanumeric());
        let dull = [
            "amd",
            "intel",
            "r",
            "tm",
            "cpu",
            "processor",
            "core",
            "with",
            "ibpb",
            "",
        ];
        let word = words
            .map(str::to_lowercase)
            .find(|word| !dull.contains(&word.as_str()))
            .unwrap_or_else(|| "machine".to_owned());
        format!("{word}-{}", self.threads)
    }
}

/// Above this share of the processors, what others do shows in the numbers.
pub const TOO_BUSY: f64 = 0.1;

/// Returns the share of the processors that is in use, over half a second in which this process sleeps.
pub fn busy_share() -> Option<f64> {
    let (idle, all) = ticks()?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (idle_after, all_after) = ticks()?;
    let passed = all_after.checked_sub(all).filter(|passed| *passed > 0)?;
    Some(1.0 - idle_after.saturating_sub(idle) as f64 / passed as f64)
}

/// The ticks that all processors have slept, or waited for a disk, and all ticks.
fn ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let numbers = text.lines().next()?.split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    let idle = numbers.get(3)? + numbers.get(4)?;
    Some((idle, numbers.iter().sum()))
}

fn memory_gib() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("MemTotal"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / (1 << 20)
}

fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map(|name| name.trim_matches('"').to_owned());
    name.unwrap_or_else(|| std::env::consts::OS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_for_files_is_short() {
        let machine = |cpu: &str| Machine {
            cpu: cpu.to_owned(),
            threads: 2,
            ..Machine::default()
        };
        assert_eq!(machine("AMD EPYC 7763 64-Core Processor").slug(), "epyc-2");
        assert_eq!(machine("Intel(R) Xeon(R) CPU @ 2.20GHz").slug(), "xeon-2");
        assert_eq!(machine("").slug(), "machine-2");
        let gpu = Machine {
            gpu: Some("NVIDIA H200".to_owned()),
            ..machine("")
        };
        assert_eq!(gpu.slug(), "nvidia-h200-gpu");
    }
}

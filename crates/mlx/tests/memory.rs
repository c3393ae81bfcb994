//! Memory counters and limits. They belong to the process, so each test runs in one of its own.

mod support;

use mlx::{Array, Dtype, array, memory, zeros, zeros_with};
use mlx_testdata::needs;
use rstest::rstest;
use support::alone;

const MIB: usize = 1 << 20;

#[rstest]
#[case("child_has_a_quarter_of_the_memory_as_cache_limit", &[])]
#[case("child_has_the_cache_limit_of_the_environment", &[("MLX_CACHE_LIMIT", "12345678")])]
#[case("child_has_a_quarter_of_the_memory_as_cache_limit", &[("MLX_CACHE_LIMIT", "plenty")])]
#[case("child_keeps_a_limit_it_set", &[])]
#[case("child_counts", &[])]
#[case("child_reuses_and_gives_back", &[])]
#[case("child_leaks_nothing", &[])]
fn limits_and_counters(#[case] name: &str, #[case] variables: &[(&str, &str)]) {
    needs!(CpuMemory);
    alone(name, variables);
}

/// MLX says what a limit was only when it sets another.
fn cache_limit() -> usize {
    let limit = memory::set_cache_limit(0).unwrap();
    memory::set_cache_limit(limit).unwrap();
    limit
}

#[test]
#[ignore = "run by `limits_and_counters`"]
fn child_has_a_quarter_of_the_memory_as_cache_limit() {
    array!([1.0]).eval().unwrap();
    let memory = memory::usage().unwrap().limit / 4 * 5;
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .or_else(|_| std::fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .unwrap_or_default();
    let memory = container.trim().parse().unwrap_or(memory).min(memory);
    assert_eq!(cache_limit(), memory / 4);
    assert!(cache_limit() > 32 * MIB);
}

#[test]
#[ignore = "run by `limits_and_counters`"]
fn child_has_the_cache_limit_of_the_environment() {
    assert_eq!(cache_limit(), 12_345_678);
}

#[test]
#[ignore = "run by `limits_and_counters`"]
fn child_keeps_a_limit_it_set() {
    memory::set_cache_limit(7 * MIB).unwrap();
    std::thread::spawn(|| array!([1.0]).eval().unwrap())
        .join()
        .unwrap();
    array!([1.0]).eval().unwrap();
    assert_eq!(cache_limit(), 7 * MIB);
}

#[test]
#[ignore = "run by `limits_and_counters`"]
fn child_counts() {
    let before = memory::usage().unwrap();
    let x = zeros([MIB as i32]) + 1.0;
    // Nothing is computed yet: only the number is there.
    assert!(memory::usage().unwrap().active < before.active + MIB);
    x.eval().unwrap();
    let held = memory::usage().unwrap().active - before.active;
    assert!((4 * MIB..5 * MIB).contains(&held), "{held}");
    drop(x);
    assert!(memory::usage().unwrap().active < before.active + MIB);
    assert!(memory::usage().unwrap().peak >= before.active + 4 * MIB);
    memory::reset_peak().unwrap();
    assert!(memory::usage().unwrap().peak < before.active + 4 * MIB);
    let limit = memory::set_memory_limit(100 * MIB).unwrap();
    assert_eq!(limit, before.limit);
    let text = zeros_with([1 << 30], Dtype::Int8)
        .eval()
        .unwrap_err()
        .to_string();
    assert!(text.contains("the memory limit is 104857600"), "{text}");
    assert_eq!(memory::set_memory_limit(limit).unwrap(), 100 * MIB);
}

#[test]
#[ignore = "run by `limits_and_counters`"]
fn child_reuses_and_gives_back() {
    let fill = || (zeros([16 * MIB as i32]) + 1.0).eval().unwrap();
    fill();
    // More than MLX keeps on its own (32 MiB).
    assert!(memory::usage().unwrap().cache >= 64 * MIB);
    memory::clear_cache().unwrap();
    assert_eq!(memory::usage().unwrap().cache, 0);
    memory::set_cache_limit(0).unwrap();
    fill();
    assert_eq!(memory::usage().unwrap().cache, 0);
}

#[test]
#[ignore = "run by `limits_and_counters`"]
fn child_leaks_nothing() {
    let x = Array::from_slice(&[1.0_f32; 256], [16, 16]).unwrap();
    let round = |k: i32| {
        let y = (&x * 2.0).i((k % 16, ..)).at(0).add(1.0);
        let z = y.take(array!([1, 2]), 0).sum(()) + k;
        if k % 10 == 0 {
            z.item::<f32>().unwrap();
        }
        assert!((&x + zeros([3])).shape().is_err());
        let failing = x.take(array!([1]) + 99, 0);
        if k % 100 == 0 {
            assert!(failing.eval().is_err());
        }
    };
    (0..200).for_each(round);
    let before = memory::usage().unwrap().active;
    let resident = resident();
    // Some ten operations and twenty handles each.
    (0..2000).for_each(round);
    mlx::synchronize().unwrap();
    assert_eq!(memory::usage().unwrap().active, before);
    let more = resident_growth(resident);
    assert!(more < 16 * MIB, "{more} bytes more are resident");
}

/// Bytes of this process in memory, where the system says it.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

fn resident_growth(before: usize) -> usize {
    resident().saturating_sub(before)
}

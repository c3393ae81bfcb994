//! Every operation of the table gives what Python MLX gives, on the cases of `golden/oracle`.

mod oracle_cases;
mod written;

use std::collections::BTreeSet;

use mlx::{Array, Op, bind_all, eval};
use oracle_cases::{FAMILIES, is_signless, operation, texts};
use rstest::rstest;
use written::Wanted;

/// Says how a case fails, if it does.
fn failure(case: &serde_json::Value, factor: f64) -> Option<String> {
    let op = operation(case);
    let inputs: Vec<Array> = texts(&case["in"]).map(written::read).collect();
    let outputs = bind_all(op.clone(), &inputs.iter().collect::<Vec<_>>())
        .and_then(|outputs| eval(&outputs).map(|()| outputs));
    let outputs = match outputs {
        Ok(_) if case["error"] == true => return Some(String::from("gave no error")),
        Err(_) if case["error"] == true => return None,
        Err(error) => return Some(error.to_string()),
        Ok(outputs) => outputs,
    };
    let wanted: Vec<Wanted> = texts(&case["out"]).map(Wanted::read).collect();
    if outputs.len() != wanted.len() {
        return Some(format!(
            "got {} outputs, want {}",
            outputs.len(),
            wanted.len()
        ));
    }
    outputs.iter().zip(&wanted).find_map(|(got, want)| {
        let tolerance = factor * written::tolerance(want.dtype());
        want.difference(got, tolerance, is_signless(&op))
    })
}

/// Cases that differ on GPUs, by two parts of their lines: doubles, which they lack; NaN in 8 bits, which has a bit pattern
/// there; shifts by more bits than there are; places of complex numbers, which MLX refuses there; numbers halfway between
/// two codes of 4 bits, which get the other one.
const ONLY_ON_CPUS: [[&str; 2]; 7] = [
    [r#""op":"quantize""#, r#""mode":"mxfp4""#],
    [r#""op":"quantize""#, r#""mode":"nvfp4""#],
    ["float64", ""],
    [r#""op":"to_fp8""#, "nan"],
    ["_shift", r#"uint8[3] 1 100 2"#],
    [r#""op":"argmax""#, r#""in":["complex64"#],
    [r#""op":"argmin""#, r#""in":["complex64"#],
];

#[rstest]
#[case::elementwise(0)]
#[case::axes(1)]
#[case::products(2)]
#[case::shapes(3)]
#[case::numeric(4)]
fn gives_what_python_gives(#[case] family: usize) {
    let (name, golden, factor) = FAMILIES[family];
    let mut failures = Vec::new();
    let is_gpu = mlx::Device::current().unwrap() == mlx::Device::Gpu;
    for line in golden.lines() {
        if is_gpu
            && ONLY_ON_CPUS
                .iter()
                .any(|parts| parts.iter().all(|part| line.contains(part)))
        {
            continue;
        }
        let case = serde_json::from_str(line).unwrap();
        if let Some(failure) = failure(&case, factor) {
            failures.push(format!("{failure}\n    {}", &line[..line.len().min(300)]));
        }
    }
    assert!(
        failures.is_empty(),
        "{name}: {} cases\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Operations whose golden files are elsewhere: indexing and the fused kernels.
const ELSEWHERE: [&str; 19] = [
    "slice",
    "slice_dynamic",
    "slice_update",
    "slice_update_add",
    "slice_update_max",
    "slice_update_min",
    "slice_update_prod",
    "slice_update_dynamic",
    "take",
    "take_along_axis",
    "put_along_axis",
    "scatter_add_axis",
    "gather",
    "scatter",
    "scatter_add",
    "scatter_max",
    "scatter_min",
    "scatter_prod",
    "masked_scatter",
];

#[test]
fn every_operation_of_the_table_has_cases() {
    let lines = FAMILIES.iter().flat_map(|(_, golden, _)| golden.lines());
    let seen: BTreeSet<String> = lines
        .map(|line| {
            operation(&serde_json::from_str(line).unwrap())
                .name()
                .to_owned()
        })
        .collect();
    let is_missing = |name: &&&str| {
        // Kernels in `fast_*.rs`, ranks in `distributed.rs`.
        let is_elsewhere = ["fast.", "distributed."];
        !seen.contains(**name)
            && !ELSEWHERE.contains(name)
            && !is_elsewhere.iter().any(|family| name.starts_with(family))
    };
    let missing: Vec<&&str> = Op::NAMES.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
}

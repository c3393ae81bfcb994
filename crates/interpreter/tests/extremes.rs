//! Numbers in a graph's text that nobody means are errors of the interpreter, or harmless: no panic, no abort.
//!
//! Each operation of the golden files of `crates/mlx` runs with each of its whole numbers replaced by extreme ones, and
//! with results that are said to be larger than memory.

#[path = "../../mlx/tests/written/mod.rs"]
mod written;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx::compiler_api::AttrValue;
use mlx::{Dtype, Op};
use mlx_compiler::Graph;
use mlx_interpreter::{Interpreter, Tensor};
use rstest::rstest;

const EXTREMES: [i64; 6] = [i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN, -1, 0];

fn attribute(json: &serde_json::Value) -> AttrValue {
    use serde_json::Value as Json;
    match json {
        Json::Bool(value) => AttrValue::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => AttrValue::Int(whole),
            None => AttrValue::Float(number.as_f64().unwrap()),
        },
        Json::Array(list) => AttrValue::Ints(list.iter().map(|x| x.as_i64().unwrap()).collect()),
        Json::String(text) => match (Dtype::from_name(text), text.as_str()) {
            (Some(dtype), _) => AttrValue::Dtype(dtype),
            (None, "inf" | "-inf" | "nan") => AttrValue::Float(text.parse().unwrap()),
            _ => AttrValue::Text(text.clone()),
        },
        _ => AttrValue::None,
    }
}

/// Every value that differs from this one in one number.
fn changed(value: &AttrValue) -> Vec<AttrValue> {
    match value {
        AttrValue::Int(_) => EXTREMES.map(AttrValue::Int).to_vec(),
        AttrValue::Float(_) => [f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, 0.0]
            .map(AttrValue::Float)
            .to_vec(),
        AttrValue::Ints(list) => (0..list.len())
            .flat_map(|k| {
                EXTREMES.map(|extreme| {
                    let mut list = list.clone();
                    list[k] = extreme;
                    AttrValue::Ints(list)
                })
            })
            .chain([AttrValue::Ints(Vec::new())])
            .collect(),
        _ => Vec::new(),
    }
}

fn text(op: &Op, inputs: &[Tensor], outputs: &[String]) -> String {
    let typed: Vec<String> = inputs
        .iter()
        .enumerate()
        .map(|(k, x)| format!("x{k}: {}", x.array_type()))
        .collect();
    let operands: Vec<String> = (0..inputs.len()).map(|k| format!("x{k}")).collect();
    let (results, named): (Vec<String>, Vec<String>) = outputs
        .iter()
        .enumerate()
        .map(|(k, output)| (format!("%{k}"), format!("%{k}: {output}")))
        .unzip();
    let op = op.to_string();
    let (name, attributes) = op.split_once(' ').unwrap_or((&op, ""));
    format!(
        "graph case({}) {{\n  {} = {name} {} {attributes}\n  return {}\n}}",
        typed.join(", "),
        named.join(", "),
        operands.join(", "),
        results.join(", ")
    )
}

/// Runs a graph of one operation, and says how it panicked.
fn run(op: &Op, inputs: &[Tensor], outputs: &[String]) -> Option<String> {
    let text = text(op, inputs, outputs);
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{text}");
    }
    let work = || {
        let graph: Graph = text.parse().ok()?;
        Interpreter::default().run(&graph, inputs).ok()
    };
    catch_unwind(AssertUnwindSafe(work))
        .is_err()
        .then_some(text)
}

#[rstest]
#[case::elementwise(include_str!("../../mlx/tests/golden/oracle/elementwise.jsonl"))]
#[case::axes(include_str!("../../mlx/tests/golden/oracle/axes.jsonl"))]
#[case::products(include_str!("../../mlx/tests/golden/oracle/products.jsonl"))]
#[case::shapes(include_str!("../../mlx/tests/golden/oracle/shapes.jsonl"))]
#[case::numeric(include_str!("../../mlx/tests/golden/oracle/numeric.jsonl"))]
fn extreme_numbers_do_not_panic(#[case] golden: &str) {
    let mut seen = BTreeMap::new();
    let mut failures = Vec::new();
    for line in golden.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let (Some(name), Some(inputs)) = (case["op"].as_str(), case["in"].as_array()) else {
            continue;
        };
        let cases = seen.entry(name.to_owned()).or_insert(0);
        *cases += 1;
        if *cases > 3 {
            continue;
        }
        let inputs: Vec<Tensor> = inputs
            .iter()
            .map(|text| Tensor::of(&written::read(text.as_str().unwrap())).unwrap())
            .collect();
        // Where Python MLX gives an error there are none.
        let Some(outputs) = case["out"].as_array() else {
            continue;
        };
        let outputs: Vec<String> = outputs
            .iter()
            .filter_map(|text| text.as_str()?.split(' ').next())
            .map(|array_type| array_type.replace(',', ", "))
            .collect();
        let attributes: BTreeMap<&str, AttrValue> = case["attrs"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), attribute(value)))
            .collect();
        let make = |attributes: &BTreeMap<&str, AttrValue>| {
            Op::from_parts(name, |key| attributes.get(key).cloned())
        };
        let Some(op) = make(&attributes) else {
            continue;
        };
        let huge: Vec<String> = outputs
            .iter()
            .map(|output| {
                let dtype = output.split('[').next().unwrap();
                format!("{dtype}[2147483647, 2147483647, 3]")
            })
            .collect();
        failures.extend(run(&op, &inputs, &huge));
        for (key, value) in &attributes {
            for value in changed(value) {
                let mut other = attributes.clone();
                other.insert(key, value);
                if let Some(op) = make(&other) {
                    failures.extend(run(&op, &inputs, &outputs));
                    failures.extend(run(&op, &inputs, &huge));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} panics:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Each graph's numbers ask for more than memory holds, with results that are said to be small or large.
#[rstest]
#[case(
    "fft.rfftn x0 n=[2147483647] axes=[0] norm=backward",
    "complex64[1073741824]"
)]
#[case("fft.rfftn x0 n=[2147483647] axes=[0] norm=backward", "complex64[3]")]
#[case(
    "fft.fftn x0 n=[2147483647] axes=[0] norm=backward",
    "complex64[2147483647]"
)]
#[case("fft.ifftn x0 n=[2147483647] axes=[0] norm=ortho", "complex64[4]")]
#[case(
    "fft.irfftn x0 n=[2147483647] axes=[0] norm=forward",
    "float32[2147483647]"
)]
#[case("slice_dynamic x0, x1 axes=[] slice_size=[2147483647]", "float32[4]")]
#[case("repeat x0 repeats=2147483647 axis=0", "float32[8589934588]")]
fn what_memory_does_not_hold_is_an_error(#[case] call: &str, #[case] output: &str) {
    let text = format!(
        "graph case(x0: float32[4], x1: int32[1]) {{\n  %0: {output} = {call}\n  return %0\n}}"
    );
    let x0 = Tensor::from_f64(&[4], Dtype::Float32, &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let x1 = Tensor::from_f64(&[1], Dtype::Int32, &[0.0]).unwrap();
    let error = match text.parse::<Graph>() {
        Ok(graph) => Interpreter::default()
            .run(&graph, &[x0, x1])
            .unwrap_err()
            .to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("wanted"), "{error}");
}

//! The interpreter gives what Python MLX gives, on the cases of the golden files of `crates/mlx`.

#[path = "../../mlx/tests/oracle_cases/mod.rs"]
mod oracle_cases;
#[path = "../../mlx/tests/written/mod.rs"]
mod written;

use std::collections::{BTreeMap, BTreeSet};

use mlx::{Dtype, Op};
use mlx_compiler::{Error, Graph};
use mlx_interpreter::{InferenceSession, Interpreter, REFUSED, Rounding, SessionOptions, Tensor};
use oracle_cases::{FAMILIES, is_signless, operation, texts};
use rstest::rstest;
use written::Wanted;

/// The text of a graph of one node.
fn graph_text(op: &Op, inputs: &[Tensor], outputs: &[&str]) -> String {
    let named = |name: &str, types: Vec<String>| -> Vec<String> {
        types
            .iter()
            .enumerate()
            .map(|(k, t)| format!("{name}{k}: {t}"))
            .collect()
    };
    let inputs_text = named(
        "x",
        inputs.iter().map(|x| x.array_type().to_string()).collect(),
    );
    let types = outputs
        .iter()
        .map(|text| text.split(' ').next().unwrap().replace(',', ", "))
        .collect();
    let operands: Vec<String> = (0..inputs.len()).map(|k| format!("x{k}")).collect();
    let results: Vec<String> = (0..outputs.len()).map(|k| format!("%{k}")).collect();
    let (name, attrs) = op
        .to_string()
        .split_once(' ')
        .map_or((op.to_string(), String::new()), |(name, attrs)| {
            (name.to_owned(), format!(" {attrs}"))
        });
    let operands = if operands.is_empty() {
        String::new()
    } else {
        format!(" {}", operands.join(", "))
    };
    format!(
        "graph case({}) {{\n  {} = {name}{operands}{attrs}\n  return {}\n}}",
        inputs_text.join(", "),
        named("%", types).join(", "),
        results.join(", "),
    )
}

/// Operations whose results may come in another order.
fn is_unordered(op: &Op) -> bool {
    matches!(op, Op::Topk { .. } | Op::Partition { .. })
}

/// Cases that the interpreter gives nothing or something else for, on purpose.
fn is_open(case: &serde_json::Value) -> bool {
    let (op, text) = (case["op"].as_str().unwrap(), case["in"].to_string());
    match op {
        // Positions in an order that MLX leaves open.
        "argpartition" => true,
        "topk" => text.contains("complex64"),
        // Matrices that are not made of those of size 2.
        "hadamard_transform" => [",12]", ",20]", ",28]"]
            .iter()
            .any(|size| text.contains(size)),
        // MLX subtracts the greatest in the dtype itself, which wraps.
        "logsumexp" | "softmax" => text.contains("\"int8[") || text.contains("bool["),
        _ => op.starts_with("linalg.") && text.contains("complex64"),
    }
}

/// How far results may be off, relative to 1. MLX computes many functions of `float64` in `float32`.
fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float64 => 2e-7,
        dtype => written::tolerance(dtype),
    }
}

/// What runs the graph of a case.
type Run = fn(&Graph, &[Tensor]) -> Result<Vec<Tensor>, Error>;

fn interpreted(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    let interpreter = Interpreter {
        rounding: Rounding::PerOp,
        ..Interpreter::default()
    };
    interpreter.run(graph, inputs)
}

fn by_kernels(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    let session = InferenceSession::new(graph, Vec::new(), &SessionOptions::default())?;
    let inputs = inputs.iter().map(Tensor::to_host_array);
    let outputs = session.run(inputs.collect::<Result<_, _>>()?)?;
    outputs.iter().map(Tensor::of_host_array).collect()
}

/// Says how a case fails, if it does.
fn failure(case: &serde_json::Value, factor: f64, run: Run) -> Option<String> {
    let op = operation(case);
    let inputs: Vec<Tensor> = texts(&case["in"])
        .map(|text| Tensor::of(&written::read(text)).unwrap())
        .collect();
    let outputs: Vec<&str> = texts(&case["out"]).collect();
    let text = graph_text(&op, &inputs, &outputs);
    let graph: Graph = match text.parse() {
        Ok(graph) => graph,
        Err(error) => return Some(format!("{error}: {text}")),
    };
    let results = match run(&graph, &inputs) {
        Ok(results) => results,
        Err(error) => return Some(error.to_string()),
    };
    results.iter().zip(&outputs).find_map(|(got, want)| {
        let mut got = got.clone();
        let (mut text, given) = ((*want).to_owned(), want);
        if is_unordered(&op) {
            (got, text) = (sorted(&got), sorted_text(given));
        }
        let want = Wanted::read(&text);
        let tolerance = factor * tolerance(want.dtype());
        want.difference(&got.to_array().unwrap(), tolerance, is_signless(&op))
    })
}

/// The same elements in order, all axes together.
fn sorted(x: &Tensor) -> Tensor {
    let mut numbers = x.numbers().to_vec();
    numbers.sort_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
    Tensor::new(x.shape(), x.dtype(), numbers).unwrap()
}

fn sorted_text(text: &str) -> String {
    let (head, words) = text.split_once(' ').unwrap_or((text, ""));
    let mut words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    let key = |word: &str| {
        word.parse::<f64>()
            .unwrap_or(if word == "true" { 1.0 } else { 0.0 })
    };
    words.sort_by(|a, b| key(a).total_cmp(&key(b)));
    format!("{head} {}", words.join(" "))
}

fn cases(golden: &str) -> impl Iterator<Item = (serde_json::Value, &str)> {
    golden
        .lines()
        .map(|line| (serde_json::from_str(line).unwrap(), line))
}

#[rstest]
#[case::elementwise(0)]
#[case::axes(1)]
#[case::products(2)]
#[case::shapes(3)]
#[case::numeric(4)]
fn gives_what_python_gives(#[case] family: usize) {
    compare(family, interpreted);
}

#[rstest]
#[case::elementwise(0)]
#[case::axes(1)]
#[case::products(2)]
#[case::shapes(3)]
#[case::numeric(4)]
fn kernels_give_what_python_gives(#[case] family: usize) {
    compare(family, by_kernels);
}

fn compare(family: usize, run: Run) {
    let (name, golden, factor) = FAMILIES[family];
    let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut n = 0;
    for (case, line) in cases(golden) {
        let op = case["op"].as_str().unwrap();
        // What MLX refuses has no type, so there is no such node in a graph.
        if case["error"] == true || REFUSED.contains(&op) || is_open(&case) {
            continue;
        }
        n += 1;
        if let Some(failure) = failure(&case, factor, run) {
            failures
                .entry(op.to_owned())
                .or_default()
                .push(format!("{failure}\n    {}", &line[..line.len().min(300)]));
        }
    }
    let count: usize = failures.values().map(Vec::len).sum();
    let shown: Vec<String> = failures
        .values()
        .flat_map(|list| list.iter().take(2).cloned())
        .collect();
    assert!(
        failures.is_empty(),
        "{name}: {count} of {n} cases\n{}",
        shown.join("\n")
    );
    assert!(n > 50, "{name}: only {n} cases");
}

#[test]
fn every_operation_is_known_or_refused_by_name() {
    let seen: BTreeSet<String> = FAMILIES
        .iter()
        .flat_map(|(_, golden, _)| cases(golden))
        .filter(|(case, _)| case["error"] != true)
        .map(|(case, _)| case["op"].as_str().unwrap().to_owned())
        .collect();
    // Those of `eager.rs`, whose cases begin with the name.
    let eager = include_str!("eager.rs");
    let elsewhere = |name: &str| {
        eager.contains(&format!("\"{name} ")) || eager.contains(&format!("\"{name}\""))
    };
    let missing: Vec<&&str> = Op::NAMES
        .iter()
        // What several processes do together has no meaning in one.
        .filter(|name| !name.starts_with("distributed."))
        .filter(|name| !seen.contains(**name) && !elsewhere(name))
        .collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
    let unknown: Vec<&&str> = REFUSED
        .iter()
        .filter(|name| !Op::NAMES.contains(name))
        .collect();
    assert!(unknown.is_empty(), "refused but no operation: {unknown:?}");
}

#[test]
fn a_refused_operation_says_so() {
    let all = FAMILIES.iter().flat_map(|(_, golden, _)| cases(golden));
    let refused = all.filter(|(case, _)| {
        case["error"] != true && REFUSED.contains(&case["op"].as_str().unwrap())
    });
    for (case, line) in refused {
        let failure = failure(&case, 1.0, interpreted).unwrap_or_default();
        assert!(
            failure.contains("wanted an operation that the interpreter knows"),
            "{failure}: {line}"
        );
    }
}

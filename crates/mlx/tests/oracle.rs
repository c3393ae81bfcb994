//! Every operation of the table gives what Python MLX gives, on the cases of `golden/oracle`.

mod written;

use std::collections::BTreeSet;

use mlx::compiler_api::AttrValue;
use mlx::{Array, Dtype, Op, bind_all, eval};
use rstest::rstest;
use written::Wanted;

/// The golden files, and how much more than a rounding or so their results may be off: BLAS and LAPACK differ.
const FAMILIES: [(&str, &str, f64); 5] = [
    (
        "elementwise",
        include_str!("golden/oracle/elementwise.jsonl"),
        1.0,
    ),
    ("axes", include_str!("golden/oracle/axes.jsonl"), 2.0),
    (
        "products",
        include_str!("golden/oracle/products.jsonl"),
        5.0,
    ),
    ("shapes", include_str!("golden/oracle/shapes.jsonl"), 1.0),
    ("numeric", include_str!("golden/oracle/numeric.jsonl"), 20.0),
];

fn attribute(json: &serde_json::Value) -> AttrValue {
    use serde_json::Value as Json;
    match json {
        Json::Null => AttrValue::None,
        Json::Bool(value) => AttrValue::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => AttrValue::Int(whole),
            None => AttrValue::Float(number.as_f64().unwrap()),
        },
        Json::Array(list) => {
            AttrValue::Ints(list.iter().map(|value| value.as_i64().unwrap()).collect())
        }
        Json::String(text) => match (Dtype::from_name(text), text.as_str()) {
            (Some(dtype), _) => AttrValue::Dtype(dtype),
            (None, "inf" | "-inf" | "nan") => AttrValue::Float(text.parse().unwrap()),
            _ => AttrValue::Text(text.clone()),
        },
        Json::Object(_) => panic!("an attribute is no object: {json}"),
    }
}

fn operation(case: &serde_json::Value) -> Op {
    let attrs = &case["attrs"];
    Op::from_parts(case["op"].as_str().unwrap(), |name| {
        attrs.get(name).map(attribute)
    })
    .unwrap_or_else(|| panic!("no such operation: {case}"))
}

fn texts(list: &serde_json::Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap())
}

/// Eigenvectors, singular vectors and the factors of QR may have the other sign.
fn is_signless(op: &Op) -> bool {
    matches!(op, Op::Eig | Op::Eigh { .. } | Op::Svd { .. } | Op::Qr)
}

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

#[rstest]
#[case::elementwise(0)]
#[case::axes(1)]
#[case::products(2)]
#[case::shapes(3)]
#[case::numeric(4)]
fn gives_what_python_gives(#[case] family: usize) {
    let (name, golden, factor) = FAMILIES[family];
    let mut failures = Vec::new();
    for line in golden.lines() {
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
        !seen.contains(**name) && !ELSEWHERE.contains(name) && !name.starts_with("fast.")
    };
    let missing: Vec<&&str> = Op::NAMES.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
}

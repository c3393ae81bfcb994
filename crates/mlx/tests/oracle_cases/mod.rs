//! The cases of `golden/oracle`: what Python MLX gives for each operation of the table.

use mlx::compiler_api::AttrValue;
use mlx::{Dtype, Op};

/// The golden files, and how much more than a rounding or so their results may be off: BLAS and LAPACK differ.
pub const FAMILIES: [(&str, &str, f64); 5] = [
    (
        "elementwise",
        include_str!("../golden/oracle/elementwise.jsonl"),
        1.0,
    ),
    ("axes", include_str!("../golden/oracle/axes.jsonl"), 2.0),
    (
        "products",
        include_str!("../golden/oracle/products.jsonl"),
        5.0,
    ),
    ("shapes", include_str!("../golden/oracle/shapes.jsonl"), 1.0),
    (
        "numeric",
        include_str!("../golden/oracle/numeric.jsonl"),
        20.0,
    ),
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

/// The operation of a case, with its attributes.
pub fn operation(case: &serde_json::Value) -> Op {
    let attrs = &case["attrs"];
    Op::from_parts(case["op"].as_str().unwrap(), |name| {
        attrs.get(name).map(attribute)
    })
    .unwrap_or_else(|| panic!("no such operation: {case}"))
}

/// The texts of a list: arrays, as `written` reads them.
pub fn texts(list: &serde_json::Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap())
}

/// Eigenvectors, singular vectors and the factors of QR may have the other sign.
pub fn is_signless(op: &Op) -> bool {
    matches!(op, Op::Eig | Op::Eigh { .. } | Op::Svd { .. } | Op::Qr)
}

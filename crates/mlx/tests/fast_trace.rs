//! What a traced function records of fused calls: one operation each, with the simplest mask that means the same.

use std::cell::RefCell;
use std::rc::Rc;

use mlx::compiler_api::{OpCall, Recorder, TracedArray};
use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions, composed};
use mlx::{Array, ArrayType, Dtype, Result, array};
use rstest::rstest;

/// Writes down the operations on traced arrays.
#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl Recorder for Lines {
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
        let mut lines = self.0.borrow_mut();
        lines.push(format!("{} = {}", call.outputs[0], call.op));
        Ok(vec![lines.len()])
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// The lines that a function of arrays of these shapes records.
fn trace(shapes: &[&[i32]], function: impl Fn(&[Array]) -> Array) -> Vec<String> {
    let lines = Rc::new(Lines::default());
    let recorder: Rc<dyn Recorder> = lines.clone();
    let types = shapes
        .iter()
        .map(|&shape| ArrayType::new(shape, Dtype::Float32));
    let inputs: Vec<Array> = types
        .enumerate()
        .map(|(k, ty)| Array::new_tracer(&recorder, k, &ty))
        .collect();
    let output = function(&inputs);
    assert!(output.is_tracer(), "{:?}", output.error());
    lines.0.take()
}

#[test]
fn a_fused_call_is_one_operation() {
    let x: &[i32] = &[1, 2, 3, 8];
    let lines = trace(&[x, &[8]], |i| fast::rms_norm(&i[0], &i[1], 1e-5));
    assert_eq!(lines, ["float32[1, 2, 3, 8] = fast.rms_norm eps=1e-5"]);
    let lines = trace(&[x, &[8]], |i| fast::layer_norm(&i[0], None, &i[1], 1e-5));
    assert_eq!(
        lines,
        ["float32[1, 2, 3, 8] = fast.layer_norm bias eps=1e-5"]
    );
    let lines = trace(&[x], |i| fast::rope(&i[0], &RopeOptions::default()));
    assert_eq!(
        lines,
        ["float32[1, 2, 3, 8] = fast.rope dims=8 base=10000.0 scale=1.0"]
    );
    let lines = trace(&[&[2, 5]], |i| fast::cross_entropy(&i[0], &array!([0, 4])));
    assert_eq!(lines, ["float32[2] = fast.cross_entropy"]);
}

/// The names of the operations in the order they are recorded.
fn names(shapes: &[&[i32]], function: impl Fn(&[Array]) -> Array) -> Vec<String> {
    let name = |line: &String| {
        line.split(" = ")
            .nth(1)?
            .split(' ')
            .next()
            .map(str::to_owned)
    };
    trace(shapes, function).iter().filter_map(name).collect()
}

#[test]
fn a_composed_call_is_the_textbook_formula() {
    let x: &[i32] = &[2, 3, 8];
    let rms_norm = names(&[x, &[8]], |i| composed::rms_norm(&i[0], &i[1], 1e-5));
    assert_eq!(
        rms_norm,
        ["square", "mean", "add", "rsqrt", "multiply", "multiply"]
    );
    let layer_norm = names(&[x, &[8], &[8]], |i| {
        composed::layer_norm(&i[0], &i[1], &i[2], 1e-5)
    });
    let want = [
        "mean", "subtract", "square", "mean", "add", "rsqrt", "multiply", "multiply", "add",
    ];
    assert_eq!(layer_norm, want);
    let heads: &[i32] = &[1, 2, 3, 8];
    let options = AttentionOptions {
        mask: AttentionMask::causal(),
        ..Default::default()
    };
    let attention = names(&[heads; 3], |i| {
        composed::scaled_dot_product_attention(&i[0], &i[1], &i[2], &options)
    });
    assert_eq!(
        attention,
        [
            "multiply", "swapaxes", "matmul", "where", "softmax", "matmul"
        ]
    );
    let rope = names(&[heads], |i| composed::rope(&i[0], &RopeOptions::default()));
    let want = [
        "slice",
        "slice",
        "multiply",
        "multiply",
        "subtract",
        "multiply",
        "multiply",
        "add",
        "concatenate",
    ];
    assert_eq!(rope, want);
    let targets = array!([0, 4]);
    let cross_entropy = names(&[&[2, 5]], |i| composed::cross_entropy(&i[0], &targets));
    // The maximum is subtracted first: beside logits of 1e8 a loss of ln 2 would round away.
    let want = [
        "max",
        "stop_gradient",
        "isfinite",
        "where",
        "subtract",
        "take_along_axis",
        "logsumexp",
        "squeeze",
        "subtract",
    ];
    assert_eq!(cross_entropy, want);
}

#[rstest]
#[case(AttentionMask::none(), 3, 5, "", false)]
#[case(AttentionMask::causal(), 3, 5, "causal", false)]
#[case(AttentionMask::causal().offset(2), 3, 5, "causal", false)]
#[case(AttentionMask::causal(), 4, 4, "causal", false)]
// One new query beside a cache sees all of it.
#[case(AttentionMask::causal(), 1, 5, "", false)]
#[case(AttentionMask::causal().offset(9), 3, 5, "", false)]
#[case(AttentionMask::causal().and_window(4, None), 3, 5, "causal", false)]
#[case(AttentionMask::window(4, 4), 5, 5, "", false)]
#[case(AttentionMask::causal().offset(1), 3, 5, "array", false)]
#[case(AttentionMask::causal(), 5, 3, "array", true)]
#[case(AttentionMask::causal().and_window(1, None), 3, 5, "array", false)]
#[case(AttentionMask::bool(&array!(true)), 3, 5, "array", true)]
fn masks_go_to_mlx_in_their_simplest_form(
    #[case] mask: AttentionMask,
    #[case] queries: i32,
    #[case] keys: i32,
    #[case] want: &str,
    #[case] may_see_nothing: bool,
) {
    let options = AttentionOptions {
        mask,
        ..Default::default()
    };
    let shapes: [&[i32]; 3] = [&[1, 2, queries, 8], &[1, 2, keys, 8], &[1, 2, keys, 8]];
    let attend =
        |i: &[Array]| fast::scaled_dot_product_attention_with(&i[0], &i[1], &i[2], &options);
    let lines = trace(&shapes, attend);
    assert!(lines[0].contains(&format!("mask={want:?}")), "{lines:?}");
    // What comes after it makes zeros of queries that see no key, where there may be any.
    assert_eq!(lines.len() > 1, may_see_nothing, "{lines:?}");
}

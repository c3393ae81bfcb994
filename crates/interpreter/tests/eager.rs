//! The interpreter gives what MLX gives: indexing and the fused kernels, which have no lines in the golden files of the
//! table, and graphs inside graphs.

#[path = "../../mlx/tests/written/mod.rs"]
mod written;

use mlx::{Array, bind};
use mlx_compiler::Graph;
use mlx_interpreter::{Interpreter, Rounding, Tensor, interpret};
use rstest::rstest;

/// A graph of one node.
fn one_node(op: &str, inputs: &[Array], output: &str) -> Graph {
    let types: Vec<String> = inputs
        .iter()
        .enumerate()
        .map(|(k, x)| format!("x{k}: {}", x.array_type().unwrap()))
        .collect();
    let names: Vec<String> = (0..inputs.len()).map(|k| format!("x{k}")).collect();
    let (name, attributes) = op.split_once(' ').unwrap_or((op, ""));
    let text = format!(
        "graph case({}) {{\n  %0: {output} = {name} {} {attributes}\n  return %0\n}}",
        types.join(", "),
        names.join(", ")
    );
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[rstest]
#[case("slice start=[0, 3] stop=[3, 0] strides=[2, -1]", &["float32[3,4] ~7"])]
#[case("slice start=[-2, 1] stop=[9, -1] strides=[1, 1]", &["int64[3,4] ~7"])]
#[case("slice start=[2, 0] stop=[-9, 4] strides=[-1, 3]", &["bool[3,4] ~7"])]
#[case("slice_dynamic axes=[1, 0] slice_size=[2, 2]", &["float16[3,4] ~7", "int32[2] 2 1"])]
#[case("slice_update start=[1, 0] stop=[3, 4] strides=[1, 2]", &["float32[3,4] ~7", "float32[2,2] ~5"])]
#[case("slice_update start=[1, 0] stop=[3, 4] strides=[1, 1]", &["int32[3,4] ~7", "int32[1,4] ~5"])]
#[case("slice_update_add start=[0, 1] stop=[3, 3] strides=[1, 1]", &["float32[3,4] ~7", "float32[3,1] ~5"])]
#[case("slice_update_max start=[0, 1] stop=[3, 3] strides=[2, 1]", &["float32[3,4] ~7", "float32[2,2] ~5"])]
#[case("slice_update_min start=[0, 1] stop=[3, 3] strides=[2, 1]", &["int16[3,4] ~7", "int16[2,2] ~5"])]
#[case("slice_update_prod start=[0, 1] stop=[3, 3] strides=[2, 1]", &["bfloat16[3,4] ~7", "bfloat16[2,2] ~5"])]
#[case("slice_update_dynamic axes=[0]", &["float32[3,4] ~7", "float32[2,4] ~5", "int32[1] 1"])]
#[case("slice_update_dynamic axes=[0, 1]", &["float32[3,4] ~7", "float32[2,1] ~5", "int32[2] 1 3"])]
#[case("take axis=0", &["float32[3,4] ~7", "int32[2,2] 0 -1 2 1"])]
#[case("take axis=-1", &["uint8[3,4] ~7", "uint32[3] 3 0 3"])]
#[case("take axis=1", &["complex64[2,3,2] ~7", "int64[] -2"])]
#[case("take_along_axis axis=1", &["float32[3,4] ~7", "int32[3,2] 0 -1 2 1 3 3"])]
#[case("take_along_axis axis=0", &["float32[3,4] ~7", "int32[1,4] 0 -1 2 1"])]
#[case("put_along_axis axis=1", &["float32[3,4] ~7", "int32[3,2] 0 -1 2 1 3 2", "float32[3,2] ~5"])]
#[case("put_along_axis axis=0", &["int32[3,4] ~7", "int32[1,4] 0 -1 2 1", "int32[] 100"])]
#[case("scatter_add_axis axis=1", &["float32[3,4] ~7", "int32[3,2] 0 0 2 2 3 2", "float32[3,2] ~5"])]
#[case("gather axes=[0] slice_sizes=[1, 4]", &["float32[3,4] ~7", "int32[2] 2 0"])]
#[case("gather axes=[0, 1] slice_sizes=[2, 1]", &["float32[3,4] ~7", "int32[2,1] 1 0", "int32[3] 3 -1 0"])]
#[case("scatter axes=[0]", &["float32[3,4] ~7", "float32[2,1,4] ~5", "int32[2] 2 0"])]
#[case("scatter_add axes=[0]", &["float32[3,4] ~7", "float32[3,1,4] ~5", "int32[3] 2 0 2"])]
#[case("scatter_max axes=[1]", &["float32[3,4] ~7", "float32[2,3,1] ~5", "int32[2] 2 -1"])]
#[case("scatter_min axes=[0, 1]", &["int32[3,4] ~7", "int32[2,1,1] ~5", "int32[2] 2 0", "int32[2] 1 3"])]
#[case("scatter_prod axes=[0]", &["float32[3,4] ~7", "float32[3,1,4] ~5", "int32[3] 2 0 2"])]
#[case("masked_scatter", &["float32[2,3] ~7", "bool[2,3] true false true true false true", "float32[4] 1 2 3 4"])]
#[case("fast.rms_norm eps=1e-5", &["float32[2,3,8] ~7", "float32[8] ~5"])]
#[case("fast.rms_norm eps=1e-5", &["bfloat16[3,8] ~7"])]
#[case("fast.layer_norm weight bias eps=1e-5", &["float32[2,3,8] ~7", "float32[8] ~5", "float32[8] ~3"])]
#[case("fast.layer_norm bias eps=1e-5", &["float16[3,8] ~7", "float16[8] ~3"])]
#[case("fast.layer_norm eps=1e-5", &["float32[3,8] ~7"])]
#[case("fast.rope dims=8 base=10000.0 scale=1.0", &["float32[2,3,5,8] ~7", "int32[] 3"])]
#[case("fast.rope dims=4 traditional base=100.0 scale=0.5", &["float32[2,5,8] ~7", "int32[] 0"])]
#[case("fast.rope dims=8 scale=1.0 freqs", &["float32[2,3,5,8] ~7", "int32[2] 3 7", "float32[4] 1 2 3 4"])]
#[case("fast.scaled_dot_product_attention scale=0.5 mask=\"\"", &["float32[2,4,5,8] ~7", "float32[2,2,6,8] ~5", "float32[2,2,6,8] ~3"])]
#[case("fast.scaled_dot_product_attention scale=0.5 mask=\"causal\"", &["float32[2,2,5,8] ~7", "float32[2,2,6,8] ~5", "float32[2,2,6,8] ~3"])]
#[case("fast.scaled_dot_product_attention scale=0.5 mask=\"array\"", &["float32[1,2,3,8] ~7", "float32[1,2,4,8] ~5", "float32[1,2,4,8] ~3", "float32[3,4] ~11"])]
#[case("fast.scaled_dot_product_attention scale=0.5 mask=\"array\" sinks", &["float32[1,2,2,8] ~7", "float32[1,2,2,8] ~5", "float32[1,2,2,8] ~3", "bool[2,2] true false true true", "float32[2] ~5"])]
#[case("fast.cross_entropy", &["float32[3,5] ~7", "int32[3] 1 0 4"])]
#[case("fast.gelu", &["float32[3,40] ~7"])]
#[case("fast.gelu_approx", &["float32[3,40] ~7"])]
#[case("fast.silu", &["bfloat16[3,40] ~7"])]
#[case("fast.swiglu", &["float32[3,40] ~7", "float32[3,40] ~5"])]
#[case("fast.linear", &["float32[2,8] ~7", "float16[5,8] ~5"])]
fn gives_what_eager_mlx_gives(#[case] op: &str, #[case] inputs: &[&str]) {
    let arrays: Vec<Array> = inputs.iter().map(|text| written::read(text)).collect();
    let graph = one_node(op, &arrays, "float32[]");
    let operation = graph.nodes()[0].operation.op().unwrap().clone();
    let want = bind(operation, &arrays.iter().collect::<Vec<_>>())
        .checked()
        .unwrap();
    let graph = one_node(op, &arrays, &want.array_type().unwrap().to_string());
    let tensors: Vec<Tensor> = arrays
        .iter()
        .map(|array| Tensor::of(array).unwrap())
        .collect();
    let interpreter = Interpreter {
        rounding: Rounding::PerOp,
        ..Interpreter::default()
    };
    let got = interpreter.run(&graph, &tensors).unwrap().remove(0);
    let (got, wanted) = (
        written::values(&got.to_array().unwrap()).unwrap(),
        written::values(&want).unwrap(),
    );
    let tolerance = 5.0 * written::tolerance(want.dtype().unwrap());
    for (k, (got_one, want_one)) in got.iter().zip(&wanted).enumerate() {
        assert!(
            written::close(*got_one, *want_one, tolerance),
            "element {k}: got {got_one:?}, want {want_one:?}\n{got:?}\n{wanted:?}"
        );
    }
    assert_eq!(got.len(), wanted.len());
}

#[rstest]
#[case("take axis=0", &["float32[3,4] ~7", "int32[1] 3"], "float32[1, 4]", "take: index 3 is out of range, wanted -3 to 2")]
#[case("linalg.svd compute_uv", &["float32[2,2] ~7"], "float32[2, 2]", "wanted an operation that the interpreter knows, got linalg.svd")]
#[case("add", &["float32[2] ~7", "float32[3] ~7"], "float32[2]", "broadcast: wanted sizes that are equal or 1, got 2 and 3")]
#[case("add", &["float32[2] ~7", "float32[2] ~7"], "float32[3]", "wanted 3 elements for [3], got 2")]
#[case("sum axes=[7]", &["float32[2] ~7"], "float32[]", "wanted an axis of 1 axes, got 7")]
fn says_why_a_graph_cannot_run(
    #[case] op: &str,
    #[case] inputs: &[&str],
    #[case] output: &str,
    #[case] message: &str,
) {
    let arrays: Vec<Array> = inputs.iter().map(|text| written::read(text)).collect();
    let tensors: Vec<Tensor> = arrays
        .iter()
        .map(|array| Tensor::of(array).unwrap())
        .collect();
    let error = interpret(&one_node(op, &arrays, output), &tensors)
        .unwrap_err()
        .to_string();
    assert!(error.contains(message), "{error}");
}

/// 64-bit integers are exact, which `f64` is not.
#[test]
fn integers_of_64_bits_are_exact() {
    let graph: Graph =
        "graph big(x0: int64[1]) {\n  %0: int64[1] = add x0, 1:int64\n  return %0\n}"
            .parse()
            .unwrap();
    let x = Tensor::of(&Array::from_slice(&[(1_i64 << 60) + 1], [1]).unwrap()).unwrap();
    let got = interpret(&graph, &[x])
        .unwrap()
        .remove(0)
        .to_array()
        .unwrap();
    assert_eq!(got.to_vec::<i64>().unwrap(), [(1 << 60) + 2]);
}

/// Runs in a process of its own, by `a_graph_runs_where_there_is_no_mlx`.
#[test]
#[ignore = "needs a process without MLX"]
fn alone() {
    assert!(
        mlx::eval([&Array::scalar(1_i32)]).is_err(),
        "MLX was found, so this proves nothing"
    );
    let text = include_str!("alone.graph");
    let graph: Graph = text.parse().unwrap();
    let x = Tensor::from_f64(
        &[2, 4],
        mlx::Dtype::Float32,
        &[1.0, -2.0, 3.0, 0.5, 0.0, 1.0, 2.0, -1.0],
    )
    .unwrap();
    let weight = Tensor::from_f64(&[4, 4], mlx::Dtype::Float32, &[0.25; 16]).unwrap();
    let interpreter = Interpreter {
        constants: vec![weight],
        ..Interpreter::default()
    };
    let results = interpreter.run(&graph, &[x]).unwrap();
    let rows: f64 = results[0].to_f64().iter().sum();
    assert!(
        (rows - 2.0).abs() < 1e-12,
        "softmax of two rows adds up to 2, got {rows}"
    );
    assert_eq!(results[1].to_f64(), [16.0]);
    println!("ran without MLX");
}

#[test]
fn a_graph_runs_where_there_is_no_mlx() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "alone", "--nocapture"])
        .env("MLX_DIR", "/nonexistent")
        .env("MLX_OFFLINE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("ran without MLX"),
        "{text}"
    );
}

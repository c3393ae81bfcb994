//! Sessions of odd graphs: what they compute against the reference, and what is an error rather than the end of the process.

use mlx::{ArrayType, Dtype};
use mlx_compiler::Graph;
use mlx_interpreter::{HostArray, InferenceSession, SessionOptions, Tensor, interpret};
use rstest::rstest;

fn graph(text: &str) -> Graph {
    text.parse().unwrap()
}

fn opened(text: &str) -> Result<InferenceSession, String> {
    opened_within(text, 1 << 26)
}

fn opened_within(text: &str, memory_limit: usize) -> Result<InferenceSession, String> {
    let graph: Graph = text.parse().map_err(|error| format!("{error}"))?;
    let session = InferenceSession::new(&graph, Vec::new(), &SessionOptions { memory_limit });
    session.map_err(|error| error.to_string())
}

/// Inputs of these types: 1, 2, 3, ... of each.
fn inputs(graph: &Graph) -> Vec<Tensor> {
    let tensor = |input: &ArrayType| {
        let shape: Vec<usize> = input.shape.iter().map(|&n| n as usize).collect();
        let n = shape.iter().product::<usize>();
        let numbers: Vec<f64> = match input.dtype {
            Dtype::Bool => vec![1.0; n],
            _ => (1..=n).map(|k| k as f64).collect(),
        };
        Tensor::from_f64(&shape, input.dtype, &numbers).unwrap()
    };
    graph.input_types().iter().map(tensor).collect()
}

const ROW: &str = "start=[0, 0] stop=[2, 3] strides=[1, 1]";

#[rstest]
#[case::add("slice_update_add", "float32[2, 3]", "float32[1, 3]", ROW)]
#[case::prod("slice_update_prod", "float32[2, 3]", "float32[2, 1]", ROW)]
#[case::max("slice_update_max", "int32[2, 3]", "int32[1, 1]", ROW)]
#[case::min("slice_update_min", "float32[2, 3]", "float32[3]", ROW)]
#[case::set("slice_update", "float32[2, 3]", "float32[1, 3]", ROW)]
#[case::bools("slice_update", "bool[2, 3]", "bool[1, 3]", ROW)]
#[case::from_the_end(
    "slice_update",
    "float32[4]",
    "float32[2]",
    "start=[-2] stop=[4] strides=[1]"
)]
#[case::add_from_the_end(
    "slice_update_add",
    "float32[4]",
    "float32[2]",
    "start=[-3] stop=[-1] strides=[1]"
)]
#[case::beyond(
    "slice_update_add",
    "float32[4]",
    "float32[2]",
    "start=[2] stop=[9] strides=[1]"
)]
#[case::steps(
    "slice_update_add",
    "float32[5]",
    "float32[3]",
    "start=[0] stop=[5] strides=[2]"
)]
#[case::nothing(
    "slice_update_add",
    "float32[4]",
    "float32[1]",
    "start=[3] stop=[1] strides=[1]"
)]
fn updates_of_slices_are_those_of_the_reference(
    #[case] name: &str,
    #[case] x: &str,
    #[case] update: &str,
    #[case] attributes: &str,
) {
    let text = format!(
        "graph f(x0: {x}, x1: {update}) {{\n  %0: {x} = {name} x0, x1 {attributes}\n  return %0\n}}"
    );
    same_as_the_reference(&text);
}

#[rstest]
#[case::variance("float32[1, 3]", "float32[1]", "var x0 axes=[1] keepdims=false ddof=3")]
#[case::deviation("float32[1, 3]", "float32[1]", "std x0 axes=[1] keepdims=false ddof=4")]
#[case::sum_of_bools("bool[2]", "bool[2]", "sum x0 axes=[] keepdims=false")]
#[case::product("int8[2]", "int8[2]", "prod x0 axes=[] keepdims=false")]
#[case::squeeze("float32[3, 1]", "float32[3]", "squeeze x0 axes=[1]")]
fn one_operation_is_that_of_the_reference(
    #[case] x: &str,
    #[case] output: &str,
    #[case] operation: &str,
) {
    let text = format!("graph f(x0: {x}) {{\n  %0: {output} = {operation}\n  return %0\n}}");
    same_as_the_reference(&text);
}

#[rstest]
#[case::one("float32[1, 1]")]
#[case::part_of_a_row("float32[1, 2]")]
#[case::column("float32[2, 1]")]
fn an_update_where_an_array_says_is_not_repeated(#[case] update: &str) {
    same_as_the_reference(&format!(
        "graph f(x0: float32[3, 3], x1: {update}, x2: int64[1]) {{\n  \
         %0: float32[3, 3] = slice_update_dynamic x0, x1, x2 axes=[0]\n  return %0\n}}"
    ));
}

#[test]
fn a_start_that_no_int32_holds_is_an_error() {
    let session = opened(
        "graph f(x0: float32[3], x1: float32[1], x2: int64[1]) {\n  \
         %0: float32[3] = slice_update_dynamic x0, x1, x2 axes=[0]\n  return %0\n}",
    )
    .unwrap();
    let x = HostArray::new([3], &[1.0_f32, 2.0, 3.0]).unwrap();
    let one = HostArray::new([1], &[5.0_f32]).unwrap();
    let at = HostArray::new([1], &[1_i64 << 32]).unwrap();
    let error = session.run(vec![x, one, at]).unwrap_err().to_string();
    assert!(error.contains("wanted a start within the array"), "{error}");
}

fn same_as_the_reference(text: &str) {
    let graph = graph(text);
    let tensors = inputs(&graph);
    let wanted = interpret(&graph, &tensors).unwrap();
    let arrays = tensors.iter().map(|x| x.to_host_array().unwrap());
    let got = opened(text).unwrap().run(arrays.collect()).unwrap();
    for (got, wanted) in got.iter().zip(&wanted) {
        let got = Tensor::of_host_array(got).unwrap();
        assert_eq!(got.array_type(), wanted.array_type());
        let text = |x: &Tensor| format!("{:?}", x.to_f64());
        assert_eq!(text(&got), text(wanted));
    }
}

#[rstest]
#[case::update(
    "(x0: float32[4], x1: float32[3]) {\n  %0: float32[4] = slice_update_add x0, x1 start=[0] stop=[2] strides=[1]\n  return %0\n}",
    "wanted an update of [2]"
)]
#[case::squeeze(
    "(x0: float32[0, 3]) {\n  %0: float32[0] = squeeze x0 axes=[1]\n  return %0\n}",
    "wanted axes of 1 element"
)]
#[case::split(
    "(x0: float32[0]) {\n  %0: float32[0] = split x0 num_splits=2147483647 axis=0\n  return %0\n}",
    "wanted at most 65536 parts"
)]
#[case::unstack(
    "(x0: float32[2147483647]) {\n  %0: float32[] = unstack x0 axis=0\n  return %0\n}",
    "wanted at most 65536 parts"
)]
#[case::heads(
    "(x0: float32[1, 2, 1, 4], x1: float32[1, 3, 1, 4]) {\n  %0: float32[1, 2, 1, 4] = \
     fast.scaled_dot_product_attention x0, x1, x1 scale=1.0 mask=\"\"\n  return %0\n}",
    "wanted keys and values that fit"
)]
fn an_odd_graph_is_refused(#[case] rest: &str, #[case] wanted: &str) {
    let error = opened(&format!("graph odd{rest}")).unwrap_err();
    assert!(error.contains(wanted), "{error}");
}

/// Memory that there is not is an error, at opening, of a question, and of a run.
#[test]
fn sizes_beyond_memory_are_errors() {
    let sum = opened(
        "graph f(x0: float32[1]) {\n  %0: float32[1000000, 100000] = broadcast_to x0 shape=[1000000, 100000]\n  \
         %1: float32[] = sum %0 axes=[0, 1] keepdims=false\n  return %1\n}",
    )
    .unwrap();
    let one = HostArray::new([1], &[1.0_f32]).unwrap();
    let error = sum.run(vec![one]).unwrap_err().to_string();
    assert!(error.contains("bytes of memory"), "{error}");

    let huge = opened(
        "graph f(x0: float32[2147483647, 100000]) {\n  %0: float32[2147483647, 100000] = exp x0\n  return %0\n}",
    )
    .unwrap();
    let _ = huge.without_kernels();
    let steps = "strides=[2147483647]";
    let mut text = "graph f(x0: float32[1]) {\n".to_owned();
    for n in 0..4 {
        let from = if n == 0 {
            "x0".to_owned()
        } else {
            format!("%{}", n - 1)
        };
        text += &format!("  %{n}: float32[1] = slice {from} start=[0] stop=[1] {steps}\n");
    }
    let sliced = opened(&(text + "  return %3\n}")).unwrap();
    let one = HostArray::new([1], &[1.0_f32]).unwrap();
    if let Ok(got) = sliced.run(vec![one]) {
        assert_eq!(got[0].to_vec::<f32>().unwrap(), [1.0]);
    }
}

#[test]
fn results_that_the_caller_keeps_do_not_fill_the_limit() {
    let text = "graph f(x0: float32[1000]) {\n  %0: float32[1000] = exp x0\n  return %0\n}";
    let session = opened_within(text, 10_000).unwrap();
    let mut kept = Vec::new();
    for _ in 0..10 {
        let zeros = HostArray::zeros(ArrayType::new([1000], Dtype::Float32)).unwrap();
        kept.push(session.run(vec![zeros]).unwrap());
    }
    // Also of one array in two outputs.
    let twice = "graph f(x0: float32[1000]) {\n  %0: float32[1000] = exp x0\n  \
                 %1: float32[10, 100] = reshape %0 shape=[10, 100]\n  return %0, %1\n}";
    let session = opened_within(twice, 10_000).unwrap();
    for _ in 0..10 {
        let zeros = HostArray::zeros(ArrayType::new([1000], Dtype::Float32)).unwrap();
        kept.push(session.run(vec![zeros]).unwrap());
    }
    assert!(
        opened_within(text, 3999)
            .unwrap()
            .run(vec![
                HostArray::zeros(ArrayType::new([1000], Dtype::Float32)).unwrap()
            ])
            .is_err()
    );
}

/// What depends on no input is computed at opening, up to a limit, and of a chain only the end is kept.
#[test]
fn a_chain_of_constants_is_short_of_memory_no_more() {
    let mut text =
        "graph f(x0: float32[1]) {\n  %0: float32[512, 512] = broadcast_to 1.0 shape=[512, 512]\n"
            .to_owned();
    for n in 1..400 {
        text += &format!("  %{n}: float32[512, 512] = add %{}, %{}\n", n - 1, n - 1);
    }
    text += "  %400: float32[] = max %399 axes=[0, 1] keepdims=false\n  return %400\n}";
    let Ok(session) = opened_within(&text, 1 << 24) else {
        panic!("wanted a session");
    };
    let one = HostArray::new([1], &[1.0_f32]).unwrap();
    let got = session.run(vec![one]).unwrap();
    assert_eq!(got[0].to_vec::<f32>().unwrap(), [f32::INFINITY]);
}

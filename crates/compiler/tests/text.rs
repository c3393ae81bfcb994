//! Graphs as texts that somebody wrote by hand: what does not hold is an error, never a panic or another result.

use mlx::{Array, array};
use mlx_compiler::{Error, Graph};
use rstest::rstest;

fn function(lines: &str) -> String {
    format!("graph f(x0: float32[2]) {{\n{lines}\n}}")
}

fn run(text: &str) -> Result<Vec<Array>, Error> {
    let graph: Graph = text.parse()?;
    graph.run(&[&array!([1.0, 2.0])])
}

#[rstest]
#[case("return y", "line 2: wanted the end of the line, got \"y\"")]
#[case("return x0 x0", "line 2: wanted the end of the line, got \"x0\"")]
#[case(
    "const c0: float32[2] = 3\nreturn c0",
    "line 2: wanted the end of the line, got \"= 3\""
)]
#[case(
    "%0: float32[] = sum x0 axes=[0] keep_dims\nreturn %0",
    "line 2: wanted attributes of sum, [\"axes\", \"keepdims\"], got \"keep_dims\""
)]
#[case(
    "%0: float32[] = sum x0 axes=[0] axes=[1]\nreturn %0",
    "line 2: wanted \"axes\" once, got it once more"
)]
#[case("return 300:uint8", "line 2: wanted a number of uint8, got Int(300)")]
#[case(
    "return 3000000000",
    "line 2: wanted a number of int32, got Int(3000000000)"
)]
#[case("return -129:int8", "line 2: wanted a number of int8, got Int(-129)")]
fn what_is_not_understood_is_refused(#[case] lines: &str, #[case] wanted: &str) {
    let error = run(&function(lines)).unwrap_err();
    assert_eq!(error.to_string(), format!("parse: {wanted}"));
}

#[rstest]
#[case("return 255:uint8, -128:int8, 18446744073709551615:uint64, -9223372036854775808:int64")]
#[case("return 2147483647, -2147483648, 4294967295:uint32, 3:float32")]
fn the_greatest_numbers_are_read(#[case] lines: &str) {
    let outputs = run(&function(lines)).unwrap();
    assert_eq!(outputs.len(), 4);
}

#[rstest]
#[case(
    "%0: float32[9] = add x0, x0\nreturn %0",
    "f: wanted float32[9] as output 0, got float32[2]"
)]
#[case(
    "%0: int32[2] = add x0, x0\nreturn %0",
    "f: wanted int32[2] as output 0, got float32[2]"
)]
#[case(
    "%0: float32[2] = add x0\nreturn %0",
    "run: verify: graph f: add takes 2 to 2 inputs, got 1"
)]
#[case(
    "%0: float32[2], %1: float32[2] = add x0, x0\nreturn %1",
    "add: wanted 2 results, got 1"
)]
fn a_text_that_lies_about_types_does_not_run(#[case] lines: &str, #[case] wanted: &str) {
    let error = run(&function(lines)).unwrap_err();
    assert!(error.to_string().starts_with(wanted), "{error}");
}

#[rstest]
#[case("1.0", 2, "float32[]")]
#[case("x0", 5, "float32[2]")]
#[case("x0", 1, "float32[2]")]
fn a_scan_over_what_has_not_its_length_does_not_run(
    #[case] sequence: &str,
    #[case] length: usize,
    #[case] got: &str,
) {
    let scan = format!(
        "%0: float32[] = scan 0.0, {sequence} n_carry=1 n_sequences=1 length={length} {{
           graph body(x0: float32[], x1: float32[]) {{
             %0: float32[] = add x0, x1
             return %0
           }}
         }}
         return %0"
    );
    let error = run(&function(&scan)).unwrap_err();
    let wanted =
        format!("run: verify: graph f: scan takes sequences of length {length}, got {got}");
    assert_eq!(error.to_string(), wanted);
}

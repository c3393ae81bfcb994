//! Printing against NumPy (`golden/display.jsonl`, made by `golden/make_display.py`), and of arrays without values.

use std::fmt::Debug;
use std::rc::Rc;
use std::str::FromStr;

use half::{bf16, f16};
use mlx::compiler_api::{OpCall, Recorder, TracedArray};
use mlx::{Array, ArrayType, Complex64, Dtype, Element, Result, array};
use mlx_testdata::needs;

fn read<T: Element + FromStr<Err: Debug>>(words: &str, shape: &[i32]) -> Array {
    let values: Vec<T> = words
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    Array::from_slice(&values, shape).unwrap()
}

fn array_of(dtype: &str, shape: &[i32], words: &str) -> Array {
    let n: i32 = shape.iter().product();
    if words.starts_with("0..") {
        let counted = mlx::iota(n).reshape(shape);
        return if words.ends_with("/10") {
            counted / 10.0
        } else {
            counted
        };
    }
    match dtype {
        "bool" => read::<bool>(words, shape),
        "uint8" => read::<u8>(words, shape),
        "int32" => read::<i32>(words, shape),
        "int64" => read::<i64>(words, shape),
        "uint64" => read::<u64>(words, shape),
        "float16" => read::<f16>(words, shape),
        "bfloat16" => read::<bf16>(words, shape),
        "float32" => read::<f32>(words, shape),
        "float64" => read::<f64>(words, shape),
        "complex64" => {
            let parts: Vec<f32> = words
                .split_whitespace()
                .map(|part| part.parse().unwrap())
                .collect();
            let values: Vec<Complex64> = parts
                .chunks(2)
                .map(|part| Complex64::new(part[0], part[1]))
                .collect();
            Array::from_slice(&values, shape).unwrap()
        }
        other => panic!("no such dtype: {other}"),
    }
}

#[test]
fn prints_what_numpy_prints() {
    for line in include_str!("golden/display.jsonl").lines() {
        let (dtype, shape, words, body): (String, Vec<i32>, String, String) =
            serde_json::from_str(line).unwrap();
        let x = array_of(&dtype, &shape, &words);
        let text = x.to_string();
        let tail = text.rfind(&dtype).unwrap();
        assert_eq!(text[tail..], format!("{dtype}{shape:?})"), "{line}");
        let got = text["array(".len()..tail].trim_end().trim_end_matches(',');
        assert_eq!(got, body, "\n{dtype}{shape:?} {words}\n{got}\n{body}");
    }
}

#[test]
fn dtype_and_shape_go_to_a_line_of_their_own_when_there_is_no_room() {
    let text = mlx::iota(34).to_string();
    let last = text.lines().last().unwrap();
    assert_eq!(last, "      int32[34])", "{text}");
    assert!(text.lines().all(|line| line.len() <= 75), "{text}");
}

#[test]
fn fewer_digits_when_asked() {
    assert_eq!(
        format!("{:.2}", array!([1.0, 2.345])),
        "array([1.  , 2.35], float32[2])"
    );
    assert_eq!(
        format!("{:.0}", array!([1.0, 2.345])),
        "array([1., 2.], float32[2])"
    );
}

#[test]
fn a_transposed_array_prints_in_its_own_order() {
    let x = array!([[1, 2, 3], [4, 5, 6]]).t();
    assert_eq!(
        x.to_string(),
        "array([[1, 4],\n       [2, 5],\n       [3, 6]], int32[3, 2])"
    );
}

#[test]
fn a_large_array_is_not_copied_whole() {
    let x = mlx::zeros([5000, 5000]);
    x.eval().unwrap();
    mlx::memory::reset_peak().unwrap();
    let before = mlx::memory::usage().unwrap().active;
    assert!(x.to_string().contains("..."));
    let more = mlx::memory::usage().unwrap().peak - before;
    assert!(more < x.nbytes().unwrap() / 100, "{more} bytes more");
}

#[test]
fn a_failed_array_prints_its_error() {
    needs!(ErrorsOfValues);
    let bad = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    for text in [format!("{bad:?}"), format!("{bad}")] {
        assert!(text.starts_with("Array(failed add: "), "{text}");
        assert!(text.contains("display.rs:"), "{text}");
    }
    // Built well, and found wrong when it runs.
    let text = format!("{:?}", mlx::zeros([3]).take(array!([1, 2]) + 2, 0));
    assert!(text.starts_with("Array(float32[2] failed "), "{text}");
}

struct Nothing;

impl Recorder for Nothing {
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
        Ok((0..call.outputs.len()).collect())
    }
    fn is_open(&self) -> bool {
        true
    }
}

#[test]
fn a_traced_array_prints_its_type() {
    let recorder: Rc<dyn Recorder> = Rc::new(Nothing);
    let x = Array::new_tracer(&recorder, 0, &ArrayType::new([2, 3], Dtype::Float32));
    assert_eq!(format!("{x:?}"), "Array(traced float32[2, 3])");
    assert_eq!(format!("{}", x.sum(0)), "Array(traced float32[3])");
}

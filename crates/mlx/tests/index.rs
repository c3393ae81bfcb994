//! Indexing against NumPy and Python MLX (`golden/index.jsonl`, made by `golden/make_index.py`), and its errors.

use mlx::compiler_api::TracedArray;
use mlx::index::{Ellipsis, Index, Indices, NewAxis, Slice};
use mlx::{Array, Dtype, array, iota, s};
use mlx_testdata::needs;
use rstest::rstest;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<i64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_i64().unwrap())
        .collect()
}

fn shape(value: &Value) -> Vec<i32> {
    numbers(value)
        .into_iter()
        .map(|n| i32::try_from(n).unwrap())
        .collect()
}

fn flat(value: &Value, sizes: &mut Vec<i32>, depth: usize, into: &mut Vec<i64>) {
    match value {
        Value::Array(list) => {
            if sizes.len() == depth {
                sizes.push(i32::try_from(list.len()).unwrap());
            }
            list.iter()
                .for_each(|part| flat(part, sizes, depth + 1, into));
        }
        Value::Bool(bit) => into.push(i64::from(*bit)),
        number => into.push(number.as_i64().unwrap()),
    }
}

fn positions(value: &Value) -> Array {
    let (mut sizes, mut into) = (Vec::new(), Vec::new());
    flat(value, &mut sizes, 0, &mut into);
    Array::from_slice(&into, sizes).unwrap()
}

fn part(value: &Value) -> Index {
    match value {
        Value::String(text) if text == "new" => Index::NewAxis,
        Value::String(_) => Index::Ellipsis,
        Value::Array(ends) => Index::Slice(Slice::new(
            ends[0].as_i64(),
            ends[1].as_i64(),
            ends[2].as_i64().unwrap_or(1),
        )),
        Value::Object(map) => match map.get("m") {
            Some(mask) => Index::Array(positions(mask).not_equal(0)),
            None => Index::Array(positions(&map["a"]).astype(Dtype::Int32)),
        },
        number => Index::At(number.as_i64().unwrap()),
    }
}

fn result_of(what: &str, source: &[i32], index: Indices, value_shape: &[i32]) -> Array {
    let n: i32 = source.iter().product();
    let m: i32 = value_shape.iter().product();
    if what == "divide" {
        let x = (iota(n) + 1).astype(Dtype::Float32).reshape(source);
        let v = array!(2.0).power(iota(m) % 4).reshape(value_shape);
        return x.at(index).divide(&v);
    }
    let x = iota(n).reshape(source);
    let v = (iota(m) + 3).reshape(value_shape);
    match what {
        "read" => x.i(index),
        "set" => x.at(index).set(&v),
        "add" => x.at(index).add(&v),
        "subtract" => x.at(index).subtract(&v),
        "multiply" => x.at(index).multiply(&v),
        "maximum" => x.at(index).maximum(&v),
        "minimum" => x.at(index).minimum(&v),
        other => panic!("no such update: {other}"),
    }
}

#[test]
fn reads_and_updates_what_numpy_reads_and_updates() {
    let mut checked = 0;
    for line in include_str!("golden/index.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let what = case[0].as_str().unwrap();
        let index = Indices::from(
            case[2]
                .as_array()
                .unwrap()
                .iter()
                .map(part)
                .collect::<Vec<_>>(),
        );
        let got = result_of(what, &shape(&case[1]), index, &shape(&case[3]));
        let got_shape = got
            .shape()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(got_shape, shape(&case[4]), "{line}");
        let want: Vec<f64> = case[5]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap())
            .collect();
        assert_eq!(
            mlx::with_device(mlx::Device::Cpu, || got
                .astype(Dtype::Float64)
                .to_vec::<f64>())
            .flatten()
            .unwrap(),
            want,
            "{line}"
        );
        checked += 1;
    }
    assert!(checked > 250, "{checked}");
}

fn x() -> Array {
    iota(24).reshape([2, 3, 4])
}

fn same(a: &Array, b: &Array) -> bool {
    a.shape().unwrap() == b.shape().unwrap()
        && a.to_vec::<i32>().unwrap() == b.to_vec::<i32>().unwrap()
}

#[test]
fn the_macro_says_what_the_plain_types_say() {
    let (x, rows) = (x(), array!([1, 0, 1]));
    let new = 2;
    assert!(same(&x.i(s![1]), &x.i(1)));
    assert!(same(
        &x.i(s![..;-1, 1..;2]),
        &x.i((Slice::from(..).by(-1), Slice::from(1..).by(2)))
    ));
    assert!(same(&x.i(s![..., -1]), &x.i((Ellipsis, -1))));
    assert!(same(
        &x.i(s![new, 0, ..., new,]),
        &x.i((NewAxis, 0, Ellipsis, NewAxis))
    ));
    assert!(same(&x.i(s![0, (new)]), &x.i((0, new))));
    assert!(same(&x.i(s![&rows, .., 1..=2]), &x.i((&rows, .., 1..=2))));
    assert!(same(&x.i(s![[1, 0, 1], ..-1]), &x.i((&rows, ..-1))));
    assert!(same(
        &x.i(s![2 - 1, rows.size().unwrap() - 1]),
        &x.i((1, 2))
    ));
    assert!(same(&x.i(s![]), &x.i(())));
    assert_eq!(
        x.i(s![0, 2..0;-1, 1..-1]).to_vec::<i32>().unwrap(),
        [9, 10, 5, 6]
    );
    assert!(same(
        &x.i(s![Slice::new(2, None, -1).by(1), ..0]),
        &x.i((2.., ..0))
    ));
}

#[test]
fn positions_are_of_any_size_that_rust_counts_in() {
    let x = iota(5);
    assert_eq!(x.i(2_usize).item::<i32>().unwrap(), 2);
    assert_eq!(x.i(-2_i64).item::<i32>().unwrap(), 3);
    assert_eq!(x.i(3_usize..).to_vec::<i32>().unwrap(), [3, 4]);
    assert_eq!(x.i(vec![4, -5]).to_vec::<i32>().unwrap(), [4, 0]);
    assert_eq!(
        x.i(vec![Index::from(1..3)]).to_vec::<i32>().unwrap(),
        [1, 2]
    );
}

#[rstest]
#[case(x().i(2), "wanted -2 to 1 on axis 0 of shape [2, 3, 4], got 2")]
#[case(x().i((.., -4)), "wanted -3 to 2 on axis 1 of shape [2, 3, 4], got -4")]
#[case(x().i(usize::MAX), "wanted -2 to 1 on axis 0")]
#[case(x().i((0, 0, 0, 0)), "wanted at most 3 positions for shape [2, 3, 4], got 4")]
#[case(iota(3).i(0).i(..), "wanted at most 0 positions for shape [], got 1")]
#[case(x().i((Ellipsis, Ellipsis)), "wanted one ellipsis at most")]
#[case(x().i(s![..;0]), "wanted a step that is not 0")]
#[case(x().i(&array!([0.5])), "wanted integer positions, got float32")]
#[case(x().i(&x().greater(3)), "where_")]
#[case(x().i((0, &array!([0, 3]))), "take: index 3 is out of range, wanted -3 to 2")]
#[case(x().i((&array!([0]), &array!([-4]))), "gather: index -4 is out of range")]
#[case(x().i((&array!([0, 1]), &array!([0, 1, 2]))), "gather: ")]
#[case(x().at(2).set(0), "wanted -2 to 1 on axis 0 of shape [2, 3, 4], got 2")]
#[case(x().at(&array!([0, -3])).add(1), "scatter: index -3 is out of range")]
#[case(x().at(0).set(&array!([1, 2, 3])), "wanted a value that broadcasts to [3, 4], got shape [3]")]
#[case(x().at([0, 1]).set(&iota(9)), "wanted a value that broadcasts to [2, 3, 4], got shape [9]")]
#[case(x().at((&array!([0, 1]), [0, 1, 2])).set(0), "wanted index arrays that broadcast together")]
#[case(x().at(0).divide(2), "divide wants a floating-point or complex array, got int32")]
#[case(x().at([true, false, true]).set(0), "wanted a mask with the shape of the first axes of [2, 3, 4], got [3]")]
#[case(x().at((0, [true, false, true])).set(0), "a boolean mask can only be the whole index")]
#[case(x().at([true, true]).set(&array!([1, 2])), "wanted a value that broadcasts to [true positions")]
#[case(iota(3).at([true, true, true]).set(&array!([1, 2])), "does not have enough elements")]
#[case(iota(3).at([true, true, true]).set(&iota(0)), "got an empty one")]
#[case(x().take(array!([3]), 1), "take: index 3 is out of range")]
#[case(x().take(0, [0, 1]), "take wants one axis")]
#[case(x().slice_at(&array!([2]), 1, [2, 2, 4]), "out of range")]
#[case(x().slice_update(&iota(8).reshape([2, 1, 4]), &array!([3]), 1), "out of range")]
fn refuses_with_what_was_wanted(#[case] result: Array, #[case] want: &str) {
    if want == "does not have enough elements" {
        needs!(ErrorsOfValues);
    }
    let error = result.eval().unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn an_error_names_the_callers_line() {
    let (read, update) = (x().i((0, 7)), x().at((0, 7)).add(1));
    let line = format!("index.rs:{}:", line!() - 1);
    for array in [read, update] {
        let text = array.eval().unwrap_err().to_string();
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn an_update_keeps_dtype_and_takes_scalars() {
    let x = mlx::zeros_with([3, 2], Dtype::Bfloat16);
    let y = x.at((.., 0)).set(1.5);
    assert_eq!(y.dtype().unwrap(), Dtype::Bfloat16);
    assert_eq!(
        y.astype(Dtype::Float32).to_vec::<f32>().unwrap(),
        [1.5, 0.0, 1.5, 0.0, 1.5, 0.0]
    );
    let y = iota(4).at(1..3).add(&array!([0.9, -0.9]));
    assert_eq!(y.to_vec::<i32>().unwrap(), [0, 1, 2, 3]);
    let y = x
        .at(x.equal(0))
        .set(true)
        .at([0, 0])
        .add(&array!([[1, 2], [3, 4]]));
    assert_eq!(
        y.astype(Dtype::Int32).to_vec::<i32>().unwrap(),
        [5, 7, 1, 1, 1, 1]
    );
}

#[test]
fn a_mask_true_nowhere_changes_nothing() {
    let x = iota(3);
    let nowhere = x.greater(5);
    assert!(same(&x.at(&nowhere).set(7), &x));
    assert!(same(&x.at(&nowhere).set(&iota(0)), &x));
}

#[test]
fn takes_and_puts_along_an_axis_or_the_whole_row() {
    let x = array!([[3, 1, 2], [6, 5, 4]]);
    let order = array!([[1, 2, 0], [2, 1, 0]]);
    assert_eq!(
        x.take_along_axis(&order, 1).to_vec::<i32>().unwrap(),
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(
        x.take_along_axis(&array!([5, 0]), ())
            .to_vec::<i32>()
            .unwrap(),
        [4, 3]
    );
    assert_eq!(x.take(array!([[5], [0]]), ()).shape().unwrap(), [2, 1]);
    assert_eq!(x.take(1, 0).to_vec::<i32>().unwrap(), [6, 5, 4]);
    let put = x.put_along_axis(&array!([[0], [2]]), 9, 1);
    assert_eq!(put.to_vec::<i32>().unwrap(), [9, 1, 2, 6, 5, 9]);
    let put = x.put_along_axis(&array!([0, 5]), array!([7, 8]), ());
    assert_eq!(put.to_vec::<i32>().unwrap(), [7, 1, 2, 6, 5, 8]);
    let added = x.scatter_add_axis(&array!([[0, 0, 1], [2, 2, 2]]), 10, 1);
    assert_eq!(added.to_vec::<i32>().unwrap(), [23, 11, 2, 6, 5, 34]);
    let added = x.scatter_add_axis(&array!([4, 4]), array!([1, 2]), ());
    assert_eq!(added.to_vec::<i32>().unwrap(), [3, 1, 2, 6, 8, 4]);
}

#[test]
fn slices_begin_where_an_array_says() {
    let x = x();
    let start = array!([1, 2]);
    assert!(same(
        &x.slice_at(&start, [1, 2], [2, 1, 2]),
        &x.i((.., 1..2, 2..4))
    ));
    let update = iota(4).reshape([2, 1, 2]);
    let want = x.at((.., 1..2, 2..4)).set(&update);
    assert!(same(&x.slice_update(&update, &start, [1, 2]), &want));
}

#[test]
fn positions_that_are_not_zero_read_through_a_mask() {
    let x = x();
    let found = x.remainder(5).equal(0).nonzero().unwrap();
    assert_eq!(found.len(), 3);
    let read = x.i((&found[0], &found[1], &found[2]));
    assert_eq!(read.to_vec::<i32>().unwrap(), [0, 5, 10, 15, 20]);
    assert_eq!(iota(0).nonzero().unwrap()[0].shape().unwrap(), [0]);
}

mod traced {
    use super::*;
    use mlx::compiler_api::{OpCall, Recorder};
    use mlx::{ArrayType, Result};
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Default)]
    struct Ops(RefCell<Vec<String>>);

    impl Recorder for Ops {
        fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
            self.0.borrow_mut().push(call.op.to_string());
            Ok((0..call.outputs.len()).collect())
        }
        fn is_open(&self) -> bool {
            true
        }
    }

    fn ops(work: impl Fn(&Array) -> Array) -> Vec<String> {
        let ops = Rc::new(Ops::default());
        let recorder: Rc<dyn Recorder> = ops.clone();
        let x = Array::new_tracer(&recorder, 0, &ArrayType::new([2, 3, 4], Dtype::Float32));
        let result = work(&x);
        assert!(result.error().is_none(), "{result}");
        ops.0.take()
    }

    #[test]
    fn plain_indices_are_one_slice() {
        assert!(ops(|x| x.i(())).is_empty());
        assert!(ops(|x| x.i((.., 0..3, Ellipsis, ..=-1))).is_empty());
        assert_eq!(
            ops(|x| x.i((.., 1..))),
            ["slice start=[0, 1, 0] stop=[2, 3, 4] strides=[1, 1, 1]"]
        );
        assert_eq!(
            ops(|x| x.i(s![-1, .., ..;-2])),
            [
                "slice start=[1, 0, 3] stop=[2, 3, -5] strides=[1, 1, -2]",
                "squeeze axes=[0]"
            ]
        );
        assert_eq!(ops(|x| x.i((NewAxis, Ellipsis))), ["expand_dims axes=[0]"]);
        assert_eq!(ops(|x| x.i((.., [2, 0]))), ["take axis=1"]);
    }

    #[test]
    fn plain_updates_are_one_operation() {
        assert_eq!(
            ops(|x| x.at((.., 1..)).set(1.0)),
            ["slice_update start=[0, 1, 0] stop=[2, 3, 4] strides=[1, 1, 1]"]
        );
        assert_eq!(ops(|x| x.at((0, .., 2..)).add(1.0)).len(), 1);
        assert_eq!(ops(|x| x.at([1, 1]).add(&mlx::zeros([2, 3, 4]))).len(), 1);
        assert_eq!(ops(|x| x.at(x.greater(0)).set(0.0)), ["greater", "where"]);
    }

    #[test]
    fn positions_may_be_traced_too() {
        let rows = |x: &Array| x.max(2).i(0).astype(Dtype::Int32);
        assert_eq!(ops(|x| x.i((.., &rows(x)))).last().unwrap(), "take axis=1");
        assert_eq!(
            ops(|x| x.at((.., &rows(x))).multiply(2)).last().unwrap(),
            "scatter_prod axes=[1]"
        );
    }
}

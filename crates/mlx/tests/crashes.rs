//! Calls that crash or corrupt MLX on the CPU, each in a process of its own: an error or a defined value here.

mod support;

use mlx::{Array, Dtype, array, eval};
use mlx_testdata::needs;
use rstest::rstest;

/// Runs one case in a child process; a signal, an abort or a wrong value fails.
#[rstest]
#[case("integers_by_zero")]
#[case("least_number_by_minus_one")]
#[case("indices_that_are_known")]
#[case("indices_that_are_computed")]
#[case("writes_at_bad_indices")]
#[case("cross_entropy_targets")]
#[case("strided_views")]
#[case("allocations")]
#[case("values_before_evaluation")]
#[case("values_as_another_dtype")]
#[case("convolution_attributes")]
#[case("shapes_that_cannot_be")]
#[case("shifts_beyond_the_width")]
#[case("matrices_by_bad_index")]
#[case("masked_scatter_with_too_few_values")]
#[case("scatters_of_nothing")]
#[case("parts_of_what_goes_down")]
#[case("doubles_in_four_bits")]
#[case("singular_and_nan_matrices")]
#[case("sorting_arguments")]
#[case("percent_signs")]
fn does_not_crash(#[case] case: &str) {
    support::alone(&format!("child::{case}"), &[]);
}

/// Whether a computation fails, when it is built or when it runs, and says this.
#[track_caller]
fn refused(array: &Array, what: &str) {
    let text = array.eval().expect_err("wanted an error").to_string();
    assert!(text.contains(what), "{text} does not say {what}");
}

/// The same for what is known when it is computed, which a GPU does not report.
#[track_caller]
fn refused_late(array: &Array, what: &str) {
    if mlx::Device::current().unwrap() == mlx::Device::Cpu {
        refused(array, what);
    }
}

type Refused = fn(&Array, &str);
const REFUSED: Refused = refused;
const REFUSED_LATE: Refused = refused_late;

mod child {
    use super::*;

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn integers_by_zero() {
        for dtype in Dtype::ALL.into_iter().filter(|dtype| dtype.is_integer()) {
            let (seven, zero) = (array!([7]).astype(dtype), array!([0]).astype(dtype));
            for result in [seven.floor_divide(&zero), &seven % &zero] {
                assert_eq!(
                    result.astype(Dtype::Int64).item::<i64>().unwrap(),
                    0,
                    "{dtype}"
                );
            }
            let (quotient, remainder) = seven.divmod(&zero).unwrap();
            eval([&quotient, &remainder]).unwrap();
        }
        let booleans = Array::new([true]).floor_divide(Array::new([false]));
        let _ = booleans.eval();
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn least_number_by_minus_one() {
        let least = Array::new([i32::MIN]);
        assert_eq!(least.floor_divide(-1).item::<i32>().unwrap(), i32::MIN);
        assert_eq!(least.remainder(-1).item::<i32>().unwrap(), 0);
        let least = Array::new([i64::MIN]);
        assert_eq!(least.floor_divide(-1).item::<i64>().unwrap(), i64::MIN);
        let least = Array::new([i8::MIN]);
        assert_eq!(least.floor_divide(-1).item::<i8>().unwrap(), i8::MIN);
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn indices_that_are_known() {
        let x = array!([10.0, 20.0, 30.0]);
        for bad in [3, -4, 1_000_000, i32::MAX, i32::MIN] {
            refused(&x.take(&array!([0, bad]), 0), &bad.to_string());
            refused(&x.take_along_axis(&Array::new([bad]), 0), &bad.to_string());
        }
        refused(&x.take(&Array::new([u32::MAX]), 0), "4294967295");
        refused(&x.take(&Array::new([u64::MAX]), 0), "out of range");
        assert_eq!(x.take(&array!([-1]), 0).item::<f32>().unwrap(), 30.0);
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn indices_that_are_computed() {
        needs!(ErrorsOfValues);
        let x = array!([10.0, 20.0, 30.0]);
        for bad in [3, -4, i32::MAX - 1] {
            let lazy = Array::new([bad]) + 0;
            refused(&x.take(&lazy, 0), &bad.to_string());
        }
        let fine = x.take(&(array!([1]) + 1), 0);
        assert_eq!(fine.item::<f32>().unwrap(), 30.0, "the stream works on");
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn writes_at_bad_indices() {
        let x = mlx::zeros([4]);
        for bad in [4, -5, 1 << 30] {
            let (known, lazy) = (Array::new([bad]), Array::new([bad]) + 0);
            for (indices, refused) in [(known, REFUSED), (lazy, REFUSED_LATE)] {
                refused(
                    &x.put_along_axis(&indices, array!([1.0]), 0),
                    &bad.to_string(),
                );
                refused(&x.at(&indices).add(1.0), &bad.to_string());
                refused(&x.at(&indices).set(1.0), &bad.to_string());
            }
        }
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn cross_entropy_targets() {
        let logits = mlx::zeros([2, 5]);
        for bad in [5, -1, i32::MAX] {
            refused(
                &mlx::fast::cross_entropy(&logits, &Array::new([0, bad])),
                &bad.to_string(),
            );
            refused_late(
                &mlx::fast::cross_entropy(&logits, &(Array::new([0, bad - 1]) + 1)),
                &bad.to_string(),
            );
        }
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn strided_views() {
        let x = array!([1.0, 2.0, 3.0, 4.0]);
        refused(&x.as_strided([3, 2], [2, 1], 0), "within the 4 elements");
        refused(&x.as_strided([2], [1], 1 << 40), "within the 4 elements");
        refused(&x.as_strided([2], [-1], 0), "within the 4 elements");
        refused(&x.as_strided([2], [i64::MAX], 0), "within the 4 elements");
        let view = x.as_strided([2, 2], [2, 1], 0);
        assert_eq!(view.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            x.as_strided([4], [-1], 3).to_vec::<f32>().unwrap(),
            [4.0, 3.0, 2.0, 1.0]
        );
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn allocations() {
        refused(&mlx::zeros([1 << 20, 1 << 20]), "memory limit");
        refused(
            &mlx::ones_with([i32::MAX, i32::MAX, 4], Dtype::Uint8),
            "counted",
        );
        let column = mlx::ones([1 << 20, 1]);
        refused(&column.matmul(&column.t()), "memory limit");
        let wide = mlx::ones([1]).broadcast_to([1 << 30, 1 << 10]);
        refused(&(wide + 1.0), "memory limit");
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn values_before_evaluation() {
        let x = array!([1.0, 2.0]) * 2.0;
        assert_eq!(x.as_slice::<f32>().unwrap(), [2.0, 4.0]);
        assert_eq!((x.sum(()) + 1.0).item::<f32>().unwrap(), 7.0);
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn values_as_another_dtype() {
        let x = array!([2.5]);
        assert!(x.item::<i32>().is_err() && x.to_vec::<u8>().is_err());
        assert_eq!(x.item::<f64>().unwrap(), 2.5);
        assert!(x.as_slice::<f64>().is_err());
        let bytes = Array::new([7_u8, 0]).view(Dtype::Bool);
        assert_eq!(
            bytes.to_vec::<bool>().unwrap(),
            [true, false],
            "7 is no bool, but it is true"
        );
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn convolution_attributes() {
        let (x, weight) = (mlx::ones([1, 5, 2]), mlx::ones([2, 3, 2]));
        let with = |stride: i32, dilation: i32, groups: i32| {
            let op = mlx::Op::Conv {
                stride: vec![stride],
                padding_lo: vec![0],
                padding_hi: vec![0],
                kernel_dilation: vec![dilation],
                input_dilation: vec![1],
                groups,
                flip: false,
            };
            mlx::bind(op, &[&x, &weight])
        };
        refused(&with(0, 1, 1), "stride");
        refused(&with(1, 0, 1), "dilation");
        refused(&with(1, 1, 0), "groups");
        refused(&with(-1, 1, 1), "stride");
        // Two beyond the end, which is less than a step.
        refused(&with(3, 3, 1), "must fit");
        with(1, 1, 1).eval().unwrap();
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn shapes_that_cannot_be() {
        for shape in [[-1, 2], [2, -5]] {
            assert!(mlx::zeros(shape).eval().is_err());
            assert!(
                mlx::random::normal_with(shape, &mlx::random::key(0))
                    .eval()
                    .is_err()
            );
        }
        assert!(
            array!([1.0, 2.0])
                .tile([i32::MAX, i32::MAX])
                .eval()
                .is_err()
        );
        assert!(array!([1.0, 2.0]).repeat(i32::MAX, 0).eval().is_err());
        assert!(array!([1.0, 2.0]).repeat(-1, 0).eval().is_err());
        assert!(array!([1.0, 2.0]).reshape([-1, -1]).eval().is_err());
        assert!(
            mlx::arange_with(0.0, 1.0, 0.0, Dtype::Float32)
                .eval()
                .is_err()
        );
        assert!(
            mlx::arange_with(f64::NAN, 1.0, 1.0, Dtype::Float32)
                .eval()
                .is_err()
        );
        assert!(
            mlx::arange_with(0.0, 1e18, 1.0, Dtype::Float32)
                .eval()
                .is_err()
        );
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn shifts_beyond_the_width() {
        let x = array!([1, 2, 3]);
        for by in [-1, 31, 32, 64, 1000] {
            eval([&(&x << by), &(&x >> by)]).unwrap();
        }
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn matrices_by_bad_index() {
        let (a, b) = (mlx::ones([3, 4, 5]), mlx::ones([2, 5, 6]));
        let gather = |lhs: Array, rhs: Array| {
            let op = mlx::Op::GatherMm {
                lhs: true,
                rhs: true,
                sorted_indices: false,
            };
            mlx::bind(op, &[&a, &b, &lhs, &rhs])
        };
        gather(Array::new([2_u32]), Array::new([1_u32]))
            .eval()
            .unwrap();
        refused(&gather(Array::new([3_u32]), Array::new([0_u32])), "index 3");
        refused_late(
            &gather(Array::new([0_u32]), Array::new([1_u32]) + 1),
            "index 2",
        );
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn masked_scatter_with_too_few_values() {
        let (x, mask) = (mlx::zeros([4]), Array::new([true, true, true, false]));
        for values in [array!([1.0, 2.0]), mlx::zeros([0])] {
            let result = mlx::bind(mlx::Op::MaskedScatter, &[&x, &mask, &values]);
            if let Ok(got) = result.to_vec::<f32>() {
                assert!(
                    got.iter().all(|v| [0.0, 1.0, 2.0].contains(v)),
                    "{got:?} has foreign values"
                );
            }
        }
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn scatters_of_nothing() {
        let (x, index) = (array!([1.0, 2.0, 3.0]), Array::new([0]));
        let nothing = mlx::zeros([1, 0]);
        let axes = || vec![0];
        for op in [
            mlx::Op::Scatter { axes: axes() },
            mlx::Op::ScatterAdd { axes: axes() },
            mlx::Op::ScatterMax { axes: axes() },
            mlx::Op::ScatterMin { axes: axes() },
            mlx::Op::ScatterProd { axes: axes() },
        ] {
            let result = mlx::bind(op, &[&x, &nothing, &index]);
            assert_eq!(result.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0]);
        }
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn parts_of_what_goes_down() {
        let numbers: Vec<u16> = (0..8).collect();
        let x = Array::from_slice(&numbers, [2, 4]).unwrap().flip([1]);
        let mut rows = x.split(2, 0).unwrap();
        rows.extend(mlx::bind_all(mlx::Op::Unstack { axis: 0 }, &[&x]).unwrap());
        for (row, first) in rows.iter().zip([3.0, 7.0, 3.0, 7.0]) {
            let want = [first, first - 1.0, first - 2.0, first - 3.0];
            assert_eq!(row.astype(Dtype::Float32).to_vec::<f32>().unwrap(), want);
        }
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn doubles_in_four_bits() {
        needs!(Float64);
        let numbers: Vec<f64> = (0..64).map(|i| f64::from(i % 4)).collect();
        let x = Array::from_slice(&numbers, [2, 32]).unwrap();
        let mode = mlx::QuantizationMode::Mxfp4;
        let (group_size, bits) = (32, 4);
        let quantize = mlx::Op::Quantize {
            group_size,
            bits,
            mode,
        };
        let packed = mlx::bind_all(quantize, &[&x]).unwrap();
        let dequantize = mlx::Op::Dequantize {
            group_size,
            bits,
            mode,
            dtype: Some(Dtype::Float64),
        };
        let back = mlx::bind(dequantize, &[&packed[0], &packed[1]]);
        assert_eq!(back.to_vec::<f64>().unwrap(), numbers);
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn singular_and_nan_matrices() {
        let singular = array!([[1.0, 2.0], [2.0, 4.0]]);
        assert!(mlx::linalg::inv(&singular).eval().is_err());
        let nan = mlx::full([3, 3], f32::NAN);
        let _ = mlx::linalg::svd(&nan).map(|parts| eval([&parts.0]));
        let _ = mlx::linalg::inv(&nan).eval();
        assert_eq!(
            (array!([1.0]) + 1.0).item::<f32>().unwrap(),
            2.0,
            "the stream works on"
        );
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn sorting_arguments() {
        let x = array!([3.0, 1.0, 2.0]);
        for k in [-1, 4, i32::MAX, i32::MIN] {
            let op = mlx::Op::Topk { k, axis: 0 };
            assert!(mlx::bind(op, &[&x]).eval().is_err(), "topk {k}");
            let op = mlx::Op::Partition { kth: k, axis: 0 };
            let _ = mlx::bind(op, &[&x]).eval();
        }
        assert!(x.split(0, 0).is_err() && x.split(-1, 0).is_err() && x.split(2, 0).is_err());
        assert!(mlx::bind(mlx::Op::Sort { axis: 5 }, &[&x]).eval().is_err());
    }

    #[test]
    #[ignore = "run by `does_not_crash`"]
    fn percent_signs() {
        let error =
            mlx::io::load_npy("/no/such/%s%n%d/file.npy").expect_err("there is no such file");
        assert!(error.to_string().contains("%s%n%d"), "{error}");
        refused(&mlx::einsum("%s%n", [&array!([1.0])]), "%");
    }
}

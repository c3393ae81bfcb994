//! The array's three states, and values in and out.

use mlx::{Array, Dtype, Error, array, eval};
use mlx_testdata::needs;

#[test]
fn a_failed_operation_is_carried_and_reported_with_its_own_line() {
    let bad = array!([1.0, 2.0]) + array!([1.0, 2.0, 3.0]);
    let line = line!() - 1;
    let later = (bad.exp() * 2.0).sum(());
    let text = later.item::<f32>().unwrap_err().to_string();
    assert!(text.starts_with("add: "), "{text}");
    assert!(text.contains("float32[2], float32[3]"), "{text}");
    assert!(text.contains(&format!("array.rs:{line}:")), "{text}");
}

#[test]
fn reads_only_the_dtype_it_has() {
    let error = array!([1.0, 2.0]).to_vec::<i32>().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Dtype {
                wanted: Dtype::Int32,
                got: Dtype::Float32,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn copies_what_is_not_contiguous() {
    let x = array!([[1, 2, 3], [4, 5, 6]]);
    assert_eq!(x.t().to_vec::<i32>().unwrap(), [1, 4, 2, 5, 3, 6]);
    assert!(
        x.t()
            .as_slice::<i32>()
            .unwrap_err()
            .to_string()
            .contains("row-contiguous")
    );
    assert_eq!(x.as_slice::<i32>().unwrap(), [1, 2, 3, 4, 5, 6]);
    let row = array!([7, 8]).broadcast_to([2, 2]);
    assert_eq!(row.to_vec::<i32>().unwrap(), [7, 8, 7, 8]);
}

#[test]
fn empty_arrays_work() {
    let x = Array::from_slice::<f32>(&[], [0, 3]).unwrap();
    assert!(x.to_vec::<f32>().unwrap().is_empty());
    assert!(x.as_slice::<f32>().unwrap().is_empty());
    assert_eq!(x.sum(()).item::<f32>().unwrap(), 0.0);
    eval([&x, &x.exp()]).unwrap();
}

#[test]
fn a_percent_sign_in_an_error_is_only_a_percent_sign() {
    let x = array!([1.0]).reshape([3]);
    assert!(x.shape().is_err());
    let text = mlx::einsum("%s%d%n,ij->k", [&array!([1.0]), &array!([[1.0]])])
        .shape()
        .unwrap_err()
        .to_string();
    assert!(text.contains("got '%'"), "{text}");
}

#[test]
fn integer_division_by_zero_is_zero_and_the_least_number_wraps() {
    let a = array!([7, -7, i32::MIN, 5]);
    let b = array!([0, 2, -1, -1]);
    // Quotients round down, as NumPy's and Python's do.
    assert_eq!(
        a.floor_divide(&b).to_vec::<i32>().unwrap(),
        [0, -4, i32::MIN, -5]
    );
    assert_eq!((&a % &b).to_vec::<i32>().unwrap(), [0, 1, 0, 0]);
    let (quotient, remainder) = a.divmod(&b).unwrap();
    assert_eq!(quotient.to_vec::<i32>().unwrap(), [0, -4, i32::MIN, -5]);
    assert_eq!(remainder.to_vec::<i32>().unwrap(), [0, 1, 0, 0]);
    assert_eq!((&a % 0).to_vec::<i32>().unwrap(), [0, 0, 0, 0]);
}

#[test]
fn a_result_larger_than_memory_is_refused() {
    let text = mlx::zeros([1 << 20, 1 << 20])
        .eval()
        .unwrap_err()
        .to_string();
    assert!(text.contains("memory limit"), "{text}");
    assert!(
        mlx::zeros_with([i32::MAX, i32::MAX, i32::MAX], Dtype::Uint8)
            .eval()
            .is_err()
    );
}

#[test]
fn weak_scalars_keep_the_arrays_dtype() {
    let x = array!([1.0]).astype(Dtype::Bfloat16);
    assert_eq!((&x + 1.0).dtype().unwrap(), Dtype::Bfloat16);
    assert_eq!((1.5 * array!([1, 2])).dtype().unwrap(), Dtype::Float32);
    assert!((Array::new([1_i8]) + 300).shape().is_err());
}

#[test]
fn what_failed_when_it_ran_stays_failed() {
    needs!(ErrorsOfValues);
    let bad = mlx::iota(4).take(array!([1, 2]) + 9, 0);
    let text = bad.eval().unwrap_err().to_string();
    let line = line!() - 1;
    assert!(text.contains("take: index 10 is out of range"), "{text}");
    assert!(text.contains(&format!("array.rs:{line}:")), "{text}");
    // MLX itself says it once and then reads zeros.
    for error in [
        bad.eval(),
        bad.to_vec::<i32>().map(drop),
        (&bad + 1).eval(),
        bad.share().map(drop),
    ] {
        assert!(error.unwrap_err().to_string().contains("index 10"));
    }
    assert_eq!(bad.shape().unwrap(), [2]);
    assert_eq!((mlx::iota(2) + 1).to_vec::<i32>().unwrap(), [1, 2]);
}

#[test]
fn what_was_there_before_a_failure_stays() {
    needs!(ErrorsOfValues);
    let good = array!([1.0]).exp();
    good.eval().unwrap();
    let bad = mlx::iota(4).take(array!([1, 2]) + 9, 0);
    assert!(eval([&good, &bad]).is_err());
    assert!(good.item::<f32>().is_ok());
    assert!(bad.eval().is_err());
}

#[test]
fn rust_collections_become_arrays_of_one_axis() {
    assert_eq!(
        Array::from(vec![1.5_f32, 2.5]).to_vec::<f32>().unwrap(),
        [1.5, 2.5]
    );
    assert_eq!(
        Array::from(&[true, false][..]).dtype().unwrap(),
        Dtype::Bool
    );
    assert_eq!(
        (0..3)
            .map(|k| k * k)
            .collect::<Array>()
            .to_vec::<i32>()
            .unwrap(),
        [0, 1, 4]
    );
    assert_eq!(Array::from(Vec::<u8>::new()).shape().unwrap(), [0]);
}

#[test]
fn goes_over_the_first_axis_from_both_ends() {
    let x = array!([[1, 2], [3, 4], [5, 6]]);
    let mut rows = x.iter().unwrap();
    assert_eq!(
        (rows.len(), x.len().unwrap(), x.is_empty().unwrap()),
        (3, 3, false)
    );
    assert_eq!(rows.next().unwrap().to_vec::<i32>().unwrap(), [1, 2]);
    assert_eq!(rows.next_back().unwrap().to_vec::<i32>().unwrap(), [5, 6]);
    assert_eq!(rows.next().unwrap().to_vec::<i32>().unwrap(), [3, 4]);
    assert!(rows.next().is_none() && rows.next_back().is_none());
    assert!(array!(1.0).iter().is_err());
    assert_eq!((x.itemsize().unwrap(), x.nbytes().unwrap()), (4, 24));
}

#[test]
fn a_byte_that_is_no_bool_is_never_read_as_one() {
    let odd = Array::new([0_u8, 2, 255]).view(Dtype::Bool);
    if let Ok(values) = odd.to_vec::<bool>() {
        assert_eq!(values, [false, true, true]);
    }
}

/// Numbers beside arrays are kept for the next operation: to the bit, by dtype, and each thread its own.
#[test]
fn numbers_beside_arrays_are_the_ones_that_were_written() {
    let one = || array!([1.0, 2.0]);
    let check = || {
        for _ in 0..3 {
            let signs = [0.0_f32, -0.0].map(|zero| (one() * zero).to_vec::<f32>().unwrap());
            assert!(signs[0].iter().all(|x| x.is_sign_positive()));
            assert!(signs[1].iter().all(|x| x.is_sign_negative()));
            for number in 0..20 {
                let sum = one() + number as f32;
                assert_eq!(sum.to_vec::<f32>().unwrap()[1], 2.0 + number as f32);
                let sum = one().astype(Dtype::Int32) + number;
                assert_eq!(sum.dtype().unwrap(), Dtype::Int32);
                assert_eq!(sum.to_vec::<i32>().unwrap(), [1 + number, 2 + number]);
            }
            let not_a_number = (one() + f32::NAN).to_vec::<f32>().unwrap();
            assert!(not_a_number.iter().all(|x| x.is_nan()));
            assert!((one().astype(Dtype::Uint8) + 300).error().is_some());
        }
    };
    check();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(check);
        }
    });
}

//! What a user of Python MLX writes: defaults, short forms, conversions and random numbers, with Python MLX's answers.

use std::collections::HashMap;

use mlx::random::{self, NormalOptions};
use mlx::{Array, Ellipsis, NewAxis, RangeExt, Result, Scalar, array, keepdims};
use rstest::rstest;

fn close(got: &Array, want: &[f32]) {
    let got = got.to_vec::<f32>().unwrap();
    assert_eq!(got.len(), want.len(), "{got:?}");
    for (got_one, want) in got.iter().zip(want) {
        assert!(
            (got_one - want).abs() <= 2e-6 * want.abs().max(1.0),
            "{got:?}"
        );
    }
}

#[test]
fn draws_without_a_key_are_those_of_python() {
    random::seed(42);
    close(
        &random::normal([3]),
        &[-0.567_550_06, 0.284_391_85, -0.932_060_4],
    );
    close(
        &random::uniform(-1, 1, [3]),
        &[0.502_883_43, -0.777_764_7, 0.656_211_5],
    );
    assert_eq!(
        random::randint(0, 10, [5]).to_vec::<i32>().unwrap(),
        [6, 7, 1, 1, 3]
    );
    let coins = random::bernoulli(0.3, [6]).to_vec::<bool>().unwrap();
    assert_eq!(coins, [false, true, false, false, false, false]);
    assert_eq!(
        random::permutation(6).to_vec::<u32>().unwrap(),
        [0, 5, 4, 1, 3, 2]
    );
    let order = random::permutation(array!([10, 20, 30, 40]));
    assert_eq!(order.to_vec::<i32>().unwrap(), [20, 40, 10, 30]);
    let classes = random::categorical(&mlx::zeros((4, 5)));
    assert_eq!(classes.to_vec::<u32>().unwrap(), [2, 3, 0, 3]);
    close(&random::gumbel(2), &[2.250_063, -0.827_714_1]);
    close(&random::laplace([2]), &[0.533_972_14, 0.227_856_68]);
    close(
        &random::truncated_normal(-1.0, 1.0, [2]),
        &[0.192_238_4, -0.809_321_6],
    );
    let drawn = random::multivariate_normal(&mlx::zeros(2), &mlx::eye(2), [1]);
    close(&drawn, &[0.162_779_93, -1.169_695_5]);
    let state = random::state().unwrap().to_vec::<u32>().unwrap();
    assert_eq!(state, [2_450_444_690, 3_385_185_863]);
}

#[test]
fn keys_split_and_draw_as_in_python() {
    let key = random::key(5);
    let (a, b) = random::split(&key);
    assert_eq!(a.to_vec::<u32>().unwrap(), [3_594_430_910, 534_832_770]);
    assert_eq!(b.to_vec::<u32>().unwrap(), [1_784_718_894, 3_813_648_515]);
    let options = NormalOptions {
        loc: array!([[1.0], [10.0]]).into(),
        scale: array!([0.5, 2.0]).into(),
        key: Some(key),
        ..Default::default()
    };
    close(
        &random::normal_with([2, 2], options),
        &[1.490_885_5, -1.305_315, 9.893_338, 12.431_23],
    );
}

#[test]
fn a_state_that_is_set_again_gives_the_same_numbers() {
    random::seed(1);
    let _ = random::normal([1]);
    let state = random::state().unwrap();
    let first = random::normal([4]).to_vec::<f32>().unwrap();
    random::set_state(&state).unwrap();
    assert_eq!(random::normal([4]).to_vec::<f32>().unwrap(), first);
    assert!(random::set_state(&array!([1_u32])).is_err());
}

#[test]
fn each_thread_has_numbers_of_its_own() {
    let draw = || random::normal([4]).to_vec::<f32>().unwrap();
    let other = std::thread::spawn(draw).join().unwrap();
    assert_ne!(draw(), other);
    random::seed(3);
    let seeded = draw();
    let elsewhere = std::thread::spawn(move || {
        random::seed(3);
        draw()
    });
    assert_eq!(elsewhere.join().unwrap(), seeded);
}

#[test]
fn a_checkpoint_draws_the_same_numbers_when_it_runs_again() {
    let block = mlx::checkpoint(|x: &Array| x * random::normal([8]));
    let loss = move |x: &Array| block.call(x).map(|y| y.sum(()));
    random::seed(11);
    let wanted = random::normal([8]).to_vec::<f32>().unwrap();
    random::seed(11);
    let gradient = mlx::grad(loss).call(&mlx::ones(8)).unwrap();
    assert_eq!(gradient.to_vec::<f32>().unwrap(), wanted);
}

// Python: mx.var(x, -1), mx.std(x, 0, ddof=1), ... of [[1, 2, 4], [3, 5, 9]].
#[test]
fn defaults_are_those_of_python() {
    let x = array!([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]]);
    close(&x.var(-1), &[1.555_555_6, 6.222_222_3]);
    close(&x.var(keepdims(-1)), &[1.555_555_6, 6.222_222_3]);
    close(
        &x.std(mlx::Reduction::from(0).ddof(1)),
        &[2_f32.sqrt(), 2.121_320_2, 3.535_534],
    );
    close(&mlx::var(&x, None), &[6.666_667]);
    close(&x.tensordot(x.t(), 1), &[21.0, 49.0, 49.0, 115.0]);
    close(&x.tensordot(&x, ([1], [1])), &[21.0, 49.0, 49.0, 115.0]);
    assert_eq!(
        mlx::trace(mlx::arange(9).reshape((3, 3)))
            .item::<i32>()
            .unwrap(),
        12
    );
    assert_eq!(array!([2, 6, 12]).diff().to_vec::<i32>().unwrap(), [4, 6]);
    assert_eq!(
        mlx::pad(array!([1, 2]), 1).to_vec::<i32>().unwrap(),
        [0, 1, 2, 0]
    );
    let grid = mlx::meshgrid([mlx::arange(2), mlx::arange(3)]).unwrap();
    assert_eq!(grid[0].to_vec::<i32>().unwrap(), [0, 1, 0, 1, 0, 1]);
    let open = mlx::LinspaceOptions {
        endpoint: false,
        ..Default::default()
    };
    close(&mlx::linspace_with(0, 1, 4, open), &[0.0, 0.25, 0.5, 0.75]);
    close(&mlx::eye(2), &[1.0, 0.0, 0.0, 1.0]);
    assert_eq!(mlx::arange((2, 10, 3)).to_vec::<i32>().unwrap(), [2, 5, 8]);
    close(&mlx::arange(0.5..2.0), &[0.5, 1.5]);
    let odd = array!([f32::NAN, f32::INFINITY]);
    close(&odd.nan_to_num(), &[0.0, f32::MAX]);
    let nothing = array!([f32::NAN]);
    assert!(!nothing.array_equal(&nothing).item::<bool>().unwrap());
    assert!(
        nothing
            .array_equal_with(&nothing, true)
            .item::<bool>()
            .unwrap()
    );
    assert!(mlx::allclose(&x, &x * (1.0 + 1e-6)).item::<bool>().unwrap());
    assert!(!mlx::allclose(&x, &x * 1.001).item::<bool>().unwrap());
    close(
        &mlx::addmm(array!([1.0, 1.0]), &x, x.t()),
        &[22.0, 50.0, 50.0, 116.0],
    );
}

#[rstest]
#[case(mlx::zeros((2, 3)), "float32[2, 3]")]
#[case(mlx::zeros(3_usize), "float32[3]")]
#[case(mlx::ones([2_u32, 1]), "float32[2, 1]")]
#[case(mlx::ones((2_usize, 3_i64, 1)), "float32[2, 3, 1]")]
#[case(mlx::full([2], 7), "int32[2]")]
#[case(mlx::full([2], 7.0), "float32[2]")]
#[case(mlx::full([2], 7.0_f64), "float32[2]")]
#[case(mlx::full_with([2], 7, mlx::float16), "float16[2]")]
#[case(mlx::arange(24).reshape((2, -1, 4)), "int32[2, 3, 4]")]
#[case(mlx::arange(1_usize << 33 .. (1 << 33) + 1), "int64[1]")]
#[case(mlx::tri(2), "float32[2, 2]")]
#[case(Array::new([1.0]), "float32[1]")]
#[case(Array::scalar(1.0), "float32[]")]
#[case(Array::from(vec![1.0, 2.0]), "float32[2]")]
#[case((0..3).map(|i| f64::from(i) / 2.0).collect::<Array>(), "float32[3]")]
#[case(array([[1, 2]]), "int32[1, 2]")]
#[case(array!([1, 2], mlx::int8), "int8[2]")]
#[case(Array::new_with([0.5], mlx::float64), "float64[1]")]
#[case(Array::from_slice(&[1.0_f64], 1).unwrap(), "float64[1]")]
fn literals_and_creators_have_pythons_types(#[case] array: Array, #[case] want: &str) {
    assert_eq!(array.array_type().unwrap().to_string(), want);
}

#[test]
fn a_size_that_no_i32_holds_is_an_error() {
    assert!(mlx::zeros(usize::MAX).shape().is_err());
    assert!(mlx::zeros([1_i64 << 40, 1]).shape().is_err());
    assert!(mlx::arange(4).reshape([1_u64 << 33]).shape().is_err());
    assert!(mlx::arange(4).sum(usize::MAX).shape().is_err());
    assert!(mlx::arange(4).tile([usize::MAX]).shape().is_err());
    assert!(mlx::arange(4).split(usize::MAX, 0).is_err());
    assert!(mlx::eye(usize::MAX).shape().is_err());
    assert!(random::normal([usize::MAX]).shape().is_err());
    assert!(mlx::arange(4).expand_dims(usize::MAX).shape().is_err());
}

#[test]
fn elements_are_read_as_wider_types_where_they_fit() {
    for half in [mlx::float16, mlx::bfloat16] {
        let x = array!([0.5, -2.0]).astype(half);
        assert_eq!(x.to_vec::<f32>().unwrap(), [0.5, -2.0]);
        assert_eq!(x.to_vec::<f64>().unwrap(), [0.5, -2.0]);
        assert!(x.to_vec::<i32>().is_err());
    }
    assert_eq!(array!(3).item::<f32>().unwrap(), 3.0);
    assert_eq!(array!(3).item::<i64>().unwrap(), 3);
    assert_eq!(array!([2_u32]).item::<usize>().unwrap(), 2);
    assert_eq!(array!(true).item::<i32>().unwrap(), 1);
    assert_eq!(array!(1.5).item::<f64>().unwrap(), 1.5);
    assert_eq!(
        array!(1.5).item::<mlx::Complex64>().unwrap(),
        mlx::Complex64::new(1.5, 0.0)
    );
    for refused in [
        array!((1 << 24) + 1).item::<f32>().unwrap_err(),
        array!(300).item::<u8>().unwrap_err().clone(),
        array!(-1).item::<usize>().unwrap_err(),
        array!(1.0).item::<mlx::f16>().unwrap_err(),
        array!(1.0).item::<i32>().unwrap_err(),
        array!(1).item::<bool>().unwrap_err(),
        Array::new_with(0.1, mlx::float64)
            .item::<f32>()
            .unwrap_err(),
        mlx::zeros(0).to_vec::<i32>().unwrap_err(),
    ] {
        assert!(refused.to_string().contains("astype"), "{refused}");
    }
}

#[test]
fn indices_are_of_any_integer_type() {
    let x = mlx::arange(24).reshape([2, 3, 4]);
    let values = |x: Array| x.to_vec::<i32>().unwrap();
    assert_eq!(values(x.index((0_usize, 1_u32, 2_i64))), [6]);
    assert_eq!(values(x.index((1, [0_usize, 2], 0))), [12, 20]);
    assert_eq!(values(x.i((1, vec![2_u32], 0))), [20]);
    assert_eq!(values(x.i((0, 0, (..).step(2)))), [0, 2]);
    assert_eq!(values(x.i((0, 0, (1_usize..4).step(2)))), [1, 3]);
    assert_eq!(x.i((.., None, 1..3)).shape().unwrap(), [2, 1, 2, 4]);
    assert_eq!(x.i((NewAxis, Ellipsis, 0)).shape().unwrap(), [1, 2, 3]);
    assert_eq!(values(mlx::take(&x, 5, None)), [5]);
    let best = array!([0.0, 5.0, 1.0]).argmax(()).item::<u32>().unwrap();
    assert_eq!(array!([7, 8, 9]).i(best).item::<i32>().unwrap(), 8);
    assert!(x.i(u64::MAX).shape().is_err());
}

#[test]
fn functions_do_what_the_methods_do() {
    let x = array!([[1.0, 2.0], [3.0, 4.0]]);
    close(
        &mlx::softmax(&x, -1),
        &[0.268_941_43, 0.731_058_6, 0.268_941_43, 0.731_058_6],
    );
    close(&mlx::mean(&x, None), &[2.5]);
    close(&mlx::sum(mlx::square(&x), 0), &[10.0, 20.0]);
    close(&mlx::matmul(&x, x.t()), &[5.0, 11.0, 11.0, 25.0]);
    close(&mlx::maximum(2.5, &x), &[2.5, 2.5, 3.0, 4.0]);
    close(&mlx::subtract(1, &x), &[0.0, -1.0, -2.0, -3.0]);
    close(&mlx::cumsum(&x, 1), &[1.0, 3.0, 3.0, 7.0]);
    close(
        &mlx::sort(mlx::topk(array!([3.0, 1.0, 2.0]), 2), 0),
        &[2.0, 3.0],
    );
    close(&mlx::exp(0.0), &[1.0]);
    close(
        &mlx::concat([&x, &x], None),
        &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0],
    );
    close(
        &mlx::concatenate((&x, x.t()), 1),
        &[1.0, 2.0, 1.0, 3.0, 3.0, 4.0, 2.0, 4.0],
    );
    close(&mlx::where_(x.gt(2.5), &x, 0.0), &[0.0, 0.0, 3.0, 4.0]);
    close(&x.pow(2), &[1.0, 4.0, 9.0, 16.0]);
    close(
        &mlx::einsum("ij,jk->ik", &[&x, &x]),
        &[7.0, 10.0, 15.0, 22.0],
    );
    close(&mlx::einsum("ij->", std::slice::from_ref(&x)), &[10.0]);
    assert_eq!(x.ge(2).to_vec::<bool>().unwrap(), [false, true, true, true]);
    assert_eq!(
        mlx::split(&x, [1], -1).unwrap()[1].to_vec::<f32>().unwrap(),
        [2.0, 4.0]
    );
}

#[test]
fn numbers_of_every_type_stand_beside_an_array() {
    let x = array!([2.0]);
    let sums = [
        &x + 1_u64,
        &x + 1_usize,
        &x + 1_isize,
        &x + 1_i8,
        &x + 1.0_f64,
        &x + mlx::f16::ONE,
        &x + mlx::bf16::ONE,
        mlx::f16::ONE + &x,
        Scalar::from(1_usize) + &x,
        Scalar::from(1.0_f64) + &x,
    ];
    for sum in sums {
        assert_eq!(sum.array_type().unwrap().to_string(), "float32[1]");
        assert_eq!(sum.item::<f32>().unwrap(), 3.0);
    }
}

#[test]
fn eval_takes_references_tuples_lists_and_trees() {
    let (a, b) = (array!([1.0]).exp(), array!([2.0]).exp());
    let map = HashMap::from([("a", a.clone()), ("b", b.clone())]);
    mlx::eval(&a).unwrap();
    mlx::eval((&a, &b)).unwrap();
    mlx::eval([&a, &b]).unwrap();
    mlx::eval(&[a.clone(), b.clone()]).unwrap();
    mlx::eval(std::slice::from_ref(&a)).unwrap();
    mlx::eval(vec![&a]).unwrap();
    mlx::eval((&map, [&a], Some(&b))).unwrap();
    mlx::eval(map.values()).unwrap();
    mlx::async_eval(&map).unwrap();
    let failed = array!([1.0]).reshape([7]);
    assert!(mlx::eval((&a, &failed)).is_err());
}

#[test]
fn gradients_by_numbers_of_arguments() {
    let f = |a: &Array, b: &Array, c: &Array| (a * b * c).sum(());
    let args = (&array!(2.0), &array!(3.0), &array!(4.0));
    let (by_a, by_c) = mlx::grad_of(f, [0, 2]).call(args).unwrap();
    assert_eq!(
        (by_a.item::<f32>().unwrap(), by_c.item::<f32>().unwrap()),
        (12.0, 6.0)
    );
    let by_b = mlx::grad_of(f, 1).call(args).unwrap();
    assert_eq!(by_b.item::<f32>().unwrap(), 8.0);
    for wrong in [
        mlx::grad_of(f, -1).call(args),
        mlx::grad_of(f, 3).call(args),
    ] {
        assert!(wrong.is_err());
    }
    let trees = |a: &(Array, Array), s: &f32| (&a.0 * &a.1).sum(()) * *s;
    let pair = (array!(1.0), array!(2.0));
    let text = mlx::grad_of(trees, 0)
        .call((&pair, &2.0))
        .unwrap_err()
        .to_string();
    assert!(text.contains("Arg::<0>"), "{text}");
    assert!(
        mlx::grad_of(trees, mlx::transforms::Arg::<1>)
            .call((&pair, &2.0))
            .is_err()
    );
    let by_tree = mlx::grad(trees).call((&pair, &2.0)).unwrap();
    assert_eq!(by_tree.0.item::<f32>().unwrap(), 4.0);
}

#[test]
fn functions_have_up_to_twelve_arguments() {
    type A = Array;
    #[allow(clippy::too_many_arguments)]
    fn f(a: &A, b: &A, c: &A, d: &A, e: &A, f: &A, g: &A, h: &A, i: &A, j: &A, k: &A, l: &A) -> A {
        a * b + c + d + e + f + g + h + i + j + k * l
    }
    let x = array!(2.0);
    let args = (&x, &x, &x, &x, &x, &x, &x, &x, &x, &x, &x, &array!(5.0));
    let (value, by) = mlx::value_and_grad_of(f, [0, 10]).call(args).unwrap();
    assert_eq!(value.item::<f32>().unwrap(), 30.0);
    assert_eq!(
        (by.0.item::<f32>().unwrap(), by.1.item::<f32>().unwrap()),
        (2.0, 5.0)
    );
}

#[rstest]
#[case(mlx::uint8, mlx::int8, mlx::int16)]
#[case(mlx::int8, mlx::uint32, mlx::int64)]
#[case(mlx::int32, mlx::uint64, mlx::float32)]
#[case(mlx::int64, mlx::float16, mlx::float16)]
#[case(mlx::float16, mlx::bfloat16, mlx::float32)]
#[case(mlx::bool_, mlx::uint8, mlx::uint8)]
#[case(mlx::bfloat16, mlx::complex64, mlx::complex64)]
fn promotion_is_pythons(#[case] a: mlx::Dtype, #[case] b: mlx::Dtype, #[case] want: mlx::Dtype) {
    assert_eq!(mlx::result_type(a, b).unwrap(), want);
    assert_eq!(mlx::result_type(b, a).unwrap(), want);
}

#[test]
fn limits_shapes_and_devices_are_told() {
    assert!(mlx::can_cast(mlx::int32, mlx::float16).unwrap());
    assert!(!mlx::can_cast(mlx::float32, mlx::float16).unwrap());
    let half = mlx::finfo(mlx::bfloat16).unwrap();
    assert_eq!(
        (half.max, half.eps, half.bits),
        (3.389_531_389_251_535_5e38, 0.007_812_5, 16)
    );
    assert_eq!(half.smallest_normal, 1.175_494_350_822_287_5e-38);
    assert_eq!(mlx::finfo(mlx::complex64).unwrap().dtype, mlx::float32);
    assert_eq!(mlx::finfo(mlx::float64).unwrap().max, f64::MAX);
    assert!(mlx::finfo(mlx::int8).is_err());
    let bytes = mlx::iinfo(mlx::uint64).unwrap();
    assert_eq!((bytes.min, bytes.max), (0, i128::from(u64::MAX)));
    assert_eq!(mlx::iinfo(mlx::int64).unwrap().min, i128::from(i64::MIN));
    assert!(mlx::iinfo(mlx::bool_).is_err());
    assert_eq!(mlx::broadcast_shapes(&[&[3, 1], &[1, 4]]).unwrap(), [3, 4]);
    assert_eq!(mlx::broadcast_shapes([vec![2, 3], vec![]]).unwrap(), [2, 3]);
    assert!(mlx::broadcast_shapes([[2], [3]]).is_err());
    assert!(
        mlx::device_info(mlx::Device::Cpu)
            .unwrap()
            .architecture
            .is_some()
    );
    assert_eq!(mlx::device_count(mlx::Device::Cpu).unwrap(), 1);
    let device = mlx::default_device().unwrap();
    mlx::set_default_device(device).unwrap();
    let after = mlx::depends((&array!(1.0), &array!(2.0)), &array!(3.0).exp()).unwrap();
    assert_eq!(after[1].item::<f32>().unwrap(), 2.0);
}

#[test]
fn files_are_loaded_by_extension_and_from_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let x = mlx::arange(6).reshape((2, 3));
    let weights = HashMap::from([("x".to_owned(), x.clone())]);
    mlx::save(path("x.npy"), &x).unwrap();
    mlx::savez(path("x.npz"), &weights).unwrap();
    mlx::savez_compressed(path("y.npz"), &weights).unwrap();
    mlx::save_safetensors(path("x.safetensors"), &weights).unwrap();
    for name in ["x.npy", "x.npz", "y.npz", "x.safetensors"] {
        let bytes = std::fs::read(path(name)).unwrap();
        for loaded in [
            mlx::load(path(name)).unwrap(),
            mlx::io::load_from(&bytes[..]).unwrap(),
        ] {
            let back = loaded.array().unwrap();
            assert!(back.array_equal(&x).item::<bool>().unwrap(), "{name}");
        }
        let cut = &bytes[..bytes.len() - 8];
        let whole = mlx::io::load_from(cut).and_then(|loaded| loaded.array()?.eval());
        assert!(whole.is_err(), "{name}");
    }
    assert!(mlx::load(path("x.txt")).is_err());
    assert!(mlx::io::load_from(&b"nothing"[..]).is_err());
    assert!(mlx::io::load_from(&b""[..]).is_err());
}

#[test]
fn attention_takes_pythons_scale_and_masks() {
    let (q, k) = (
        array!([[[[0.0, 1.0], [1.0, 0.0]]]]),
        array!([[[[1.0, 0.0], [0.0, 1.0]]]]),
    );
    let attend = |mask: mlx::fast::AttentionMask| {
        mlx::fast::scaled_dot_product_attention(&q, &k, &k, 0.5, mask)
    };
    let all = attend(None.into());
    let causal = attend("causal".into());
    close(&causal.i((0, 0, 0)), &[1.0, 0.0]);
    let below = mlx::tri(2).astype(mlx::bool_);
    close(&attend((&below).into()), &causal.to_vec::<f32>().unwrap());
    let bias = mlx::where_(&below, 0.0, f32::NEG_INFINITY);
    close(&attend(bias.into()), &causal.to_vec::<f32>().unwrap());
    close(
        &attend(mlx::zeros((2, 2)).into()),
        &all.to_vec::<f32>().unwrap(),
    );
    assert!(attend("casual".into()).shape().is_err());
}

#[test]
fn transformed_functions_are_called_as_functions() -> Result<()> {
    let target = array!([1.0, 2.0]);
    // A loss that borrows what is around it.
    let loss = |w: &Array, x: &Array| (w * x - &target).square().sum(());
    let (w, x) = (array!([1.0, 1.0]), array!([3.0, 2.0]));
    let (value, by_w) = mlx::value_and_grad(loss)(&w, &x)?;
    assert_eq!(value.item::<f32>()?, 4.0);
    close(&by_w, &[12.0, 0.0]);
    let slope = mlx::grad_of(loss, 1);
    close(&slope(&w, &x)?, &[4.0, 0.0]);
    close(&slope.clone().call((&w, &x))?, &[4.0, 0.0]);
    let rows = mlx::vmap(|x: &Array| x.sum(())).out_axes(0);
    close(&rows(&array!([[1.0, 2.0], [3.0, 4.0]]))?, &[3.0, 7.0]);
    let again = mlx::checkpoint(|x: &Array| x.exp());
    close(
        &mlx::grad(move |x: &Array| again(x).map(|y| y.sum(())))(&array!([0.0]))?,
        &[1.0],
    );
    // An error names the line where the function was made, or that of `call`.
    let refused = |x: &Array| x.astype(mlx::int32).sum(());
    let made = line!() + 1;
    let by_function = mlx::grad(refused);
    let error = by_function(&x).unwrap_err().to_string();
    assert!(error.contains(&format!("guesses.rs:{made}")), "{error}");
    let called = line!() + 1;
    let error = by_function.call(&x).unwrap_err().to_string();
    assert!(error.contains(&format!("guesses.rs:{called}")), "{error}");
    Ok(())
}

#[test]
fn ranges_in_steps_are_slices() {
    let x = mlx::arange(7);
    close(&x.i((0..7).step_by(3)), &[0.0, 3.0, 6.0]);
    close(&x.i((1..100).step_by(4)), &[1.0, 5.0]);
    close(&x.i((0..=4_usize).step_by(2)), &[0.0, 2.0, 4.0]);
    close(&x.i((-3..0).step_by(2)), &[4.0, 6.0]);
    close(&x.i((5..6_u8).step_by(2)), &[5.0]);
    close(&x.i((4..4_i64).step_by(2)), &[]);
    close(&x.i((0..u64::MAX).step_by(5)), &[0.0, 5.0]);
    let rows = mlx::arange(12).reshape([3, 4]);
    close(&rows.i(((0..3).step_by(2), 1..3)), &[1.0, 2.0, 9.0, 10.0]);
}

#[test]
fn a_convolution_takes_a_stride_alone() -> Result<()> {
    let (x, w) = (mlx::ones([1, 5, 5, 1]), mlx::ones([1, 3, 3, 1]));
    assert_eq!(mlx::conv2d(&x, &w, 2).shape()?, [1, 2, 2, 1]);
    assert_eq!(mlx::conv2d(&x, &w, (2, 1)).shape()?, [1, 3, 3, 1]);
    Ok(())
}

#[test]
fn short_forms_have_pythons_defaults() -> Result<()> {
    let x = array!([[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(mlx::tril(&x).to_vec::<f32>()?, [1.0, 0.0, 3.0, 4.0]);
    assert_eq!(mlx::triu_with(&x, 1).to_vec::<f32>()?, [0.0, 2.0, 0.0, 0.0]);
    assert_eq!(mlx::diag(&x).to_vec::<f32>()?, [1.0, 4.0]);
    assert_eq!(mlx::diag_with(&x, -1).to_vec::<f32>()?, [3.0]);
    let (a, v) = (array!([1.0, 2.0, 3.0]), array!([0.0, 1.0, 0.5]));
    assert_eq!(
        mlx::convolve(&a, &v).to_vec::<f32>()?,
        [0.0, 1.0, 2.5, 4.0, 1.5]
    );
    let same = mlx::convolve_with(&a, &v, mlx::ConvolveMode::Same);
    assert_eq!(same.to_vec::<f32>()?, [1.0, 2.5, 4.0]);
    let shifted = mlx::fft::fftshift(&mlx::arange(5));
    assert_eq!(shifted.to_vec::<i32>()?, [3, 4, 0, 1, 2]);
    assert_eq!(
        mlx::fft::ifftshift(&shifted).to_vec::<i32>()?,
        [0, 1, 2, 3, 4]
    );
    Ok(())
}

#[test]
fn numbers_are_arrays_and_names_are_pythons() -> Result<()> {
    let x = Array::from(2.5);
    assert_eq!(x.array_type()?.to_string(), "float32[]");
    assert_eq!(Array::from(3_u8).dtype()?, mlx::uint8);
    let chosen = mlx::r#where(&array!([true, false]), 1.0, array!([5.0, 6.0]));
    assert_eq!(chosen.to_vec::<f32>()?, [1.0, 6.0]);
    assert_eq!(chosen.index((mlx::newaxis, ..)).shape()?, [1, 2]);
    mlx::eval(std::collections::BTreeMap::from([("x", x)]))?;
    assert!(mlx::get_peak_memory() >= mlx::get_active_memory());
    assert_eq!(mlx::get_cache_memory(), mlx::memory::usage()?.cache);
    assert_eq!(
        mlx::default_stream(mlx::Device::cpu())?.device(),
        mlx::Device::Cpu
    );
    let packed = mlx::ones([32, 64]).quantize(mlx::Quantization::default())?;
    let product = mlx::ones([1, 64]).quantized_matmul(&packed, true);
    assert_eq!(
        product.to_vec::<f32>()?,
        packed.dequantize(None).sum(1).to_vec::<f32>()?
    );
    Ok(())
}

#[test]
fn axes_of_vmap_are_numbers_lists_and_tuples() -> Result<()> {
    let (x, y) = (array!([[1.0, 2.0], [3.0, 4.0]]), array!([10.0, 20.0]));
    let add = |x: &Array, y: &Array| x + y;
    let by_columns = mlx::vmap(add).in_axes((1, 0))(&x, &y)?;
    assert_eq!(by_columns.to_vec::<f32>()?, [11.0, 13.0, 22.0, 24.0]);
    let shared = mlx::vmap(add).in_axes((Some(0), None))(&x, &y)?;
    assert_eq!(shared.to_vec::<f32>()?, [11.0, 22.0, 13.0, 24.0]);
    let by_first = mlx::vmap(add).in_axes(0)(&x, &y)?;
    assert_eq!(by_first.to_vec::<f32>()?, [11.0, 12.0, 23.0, 24.0]);
    Ok(())
}

//! Results that Python MLX gets wrong, and that are right here: each value is NumPy's, SciPy's or that of a sum by hand.

use mlx::{Array, Dtype, Result, SearchSide, array, grad, jvp, random, vmap};
use mlx_testdata::needs;
use rstest::rstest;

const HALVES: [Dtype; 2] = [Dtype::Float16, Dtype::Bfloat16];

fn values(x: &Array) -> Vec<f64> {
    // GPUs have no doubles.
    let wide = mlx::with_device(mlx::Device::Cpu, || {
        x.astype(Dtype::Float64).to_vec::<f64>()
    });
    wide.flatten().unwrap()
}

fn number(x: &Array) -> f64 {
    values(x)[0]
}

/// A thousand ones: half precision with 8 bits stops counting at 256.
fn ones(shape: &[i32], dtype: Dtype) -> Array {
    mlx::ones_with(shape, dtype)
}

#[rstest]
#[case::sum(|d| ones(&[1000], d).sum(()), 1000.0)]
#[case::columns(|d| ones(&[1000, 3], d).sum(0).max(()), 1000.0)]
#[case::rows(|d| ones(&[3, 1000], d).sum(1).min(()), 1000.0)]
#[case::middle(|d| ones(&[2, 1000, 2], d).sum(1).min(()), 1000.0)]
#[case::outer_and_inner(|d| ones(&[100, 2, 10], d).sum([0, 2]).min(()), 1000.0)]
#[case::transposed(|d| ones(&[1000, 3], d).t().sum(1).min(()), 1000.0)]
#[case::strided(|d| ones(&[1], d).broadcast_to([1000]).sum(()), 1000.0)]
#[case::mean(|d| ones(&[1000], d).mean(()), 1.0)]
#[case::variance(|d| mlx::arange_with(0.0, 256.0, 1.0, d).var(()), 5461.25)]
#[case::norm(|d| mlx::linalg::norm(&ones(&[1024], d)), 32.0)]
#[case::cumsum(|d| ones(&[1000], d).cumsum(0).max(()), 1000.0)]
#[case::cumsum_back(|d| ones(&[1000, 2], d).cumsum(0).max(()), 1000.0)]
#[case::scatter_add(|d| mlx::zeros_with([2], d).at(mlx::zeros_with([1000], Dtype::Int32)).add(ones(&[1000], d)).max(()), 1000.0)]
#[case::trace(|d| mlx::eye_with(1000, 1000, 0, d).trace_with(0, 0, 1, d), 1000.0)]
#[case::gradient_of_take(|d| grad(|x: &Array| x.take(mlx::zeros_with([1000], Dtype::Int32), 0).sum(())).call(&mlx::zeros_with([2], d)).unwrap().max(()), 1000.0)]
#[case::gradient_of_broadcast(|d| grad(|x: &Array| x.broadcast_to([1000, 2]).sum(())).call(&mlx::zeros_with([2], d)).unwrap().max(()), 1000.0)]
#[case::gradient_of_sum(move |d| grad(move |x: &Array| (x + ones(&[1000, 2], d)).sum(())).call(&mlx::zeros_with([2], d)).unwrap().max(()), 1000.0)]
#[case::vectorized(|d| vmap(|x: &Array| x.sum(())).call(&ones(&[3, 1000], d)).unwrap().max(()), 1000.0)]
#[case::logsumexp(|d| mlx::zeros_with([2, 1096], d).logsumexp(0).max(()), 2_f64.ln())]
#[case::inner(|d| ones(&[1000], d).inner(&ones(&[1000], d)), 1000.0)]
fn half_precision_is_summed_in_wider_numbers(
    #[case] sum: fn(Dtype) -> Array,
    #[case] want: f64,
    #[values(0, 1)] dtype: usize,
) {
    let dtype = HALVES[dtype];
    let got = sum(dtype);
    assert_eq!(got.dtype().unwrap(), dtype);
    let rounding = if dtype == Dtype::Float16 { 5e-4 } else { 4e-3 };
    let got = number(&got);
    assert!((got - want).abs() <= rounding * want, "{got}, not {want}");
}

#[test]
fn statistics_do_not_overflow_where_their_result_does_not() -> Result<()> {
    needs!(Float64, Ok(()));
    let high = mlx::full([10], 60000.0).astype(Dtype::Float16);
    assert_eq!(number(&high.mean(())), 60000.0);
    let apart = array!([60000.0, -60000.0]).astype(Dtype::Float16);
    assert_eq!(number(&apart.std(())), 60000.0);
    let long = array!([300.0, 400.0]).astype(Dtype::Float16);
    assert_eq!(number(&mlx::linalg::norm(&long)), 500.0);
    assert_eq!(number(&high.median(())), 60000.0);
    for dtype in [Dtype::Int32, Dtype::Uint32, Dtype::Int64] {
        let x = mlx::full([4], 1 << 30).astype(dtype);
        assert_eq!(x.mean(()).item::<f32>()?, (1_u32 << 30) as f32);
        assert_eq!(x.var(()).item::<f32>()?, 0.0);
    }
    let x = Array::from_slice(&[1_i32 << 30, (1 << 30) + 100], [2])?;
    assert_eq!(x.var(()).item::<f32>()?, 2500.0);
    Ok(())
}

#[test]
fn long_columns_are_counted_to_the_end() -> Result<()> {
    let x = mlx::ones([1, 2]).broadcast_to([1 << 25, 2]);
    assert_eq!(x.mean(0).to_vec::<f32>()?, [1.0, 1.0]);
    assert_eq!(x.take(0, 1).sum(()).item::<f32>()?, 33_554_432.0);
    Ok(())
}

#[test]
fn ranges_are_made_from_positions() -> Result<()> {
    let last = |x: &Array| number(&x.take(-1, 0));
    let range =
        |start: f64, stop: f64, step: f64, dtype| mlx::arange_with(start, stop, step, dtype);
    assert_eq!(last(&range(0.0, 4000.0, 1.0, Dtype::Float16)), 4000.0);
    assert_eq!(last(&range(0.0, 300.0, 1.0, Dtype::Bfloat16)), 300.0);
    // A GPU multiplies and adds with one rounding, so that it may be the next number.
    let next = 0.0625 * (mlx_testdata::slack!() - 1.0);
    let end = last(&range(0.0, 1e6, 0.1, Dtype::Float32));
    assert!((end - f64::from(999_999.9_f32)).abs() <= next, "{end}");
    let end = last(&range(1e6, 0.0, -0.1, Dtype::Float32));
    assert!((end - f64::from(0.1_f32)).abs() <= next, "{end}");
    assert_eq!(
        range(0.0, 10.0, 2.5, Dtype::Int32).to_vec::<i32>()?,
        [0, 2, 4, 6]
    );
    needs!(Float64, Ok(()));
    assert_eq!(
        last(&range(0.0, 1e6, 0.1, Dtype::Float64)),
        9_999_999.0 * 0.1
    );
    let line = mlx::linspace(0.0, 1.0, 5000).astype(Dtype::Float64);
    assert!((number(&line.take(2500, 0)) - 2500.0 / 4999.0).abs() < 1e-7);
    Ok(())
}

/// NumPy's and SciPy's values.
#[rstest]
#[case::exp(|x: &Array| x.exp(), 100.0, 2.688_117_141_816_135_6e43)]
#[case::sin(|x: &Array| x.sin(), 1.0, 0.841_470_984_807_896_5)]
#[case::cos(|x: &Array| x.cos(), 1.0, 0.540_302_305_868_139_8)]
#[case::erf(|x: &Array| x.erf(), 0.5, 0.520_499_877_813_046_5)]
#[case::erfinv(|x: &Array| x.erfinv(), 0.5, 0.476_936_276_204_469_9)]
#[case::sigmoid(|x: &Array| x.sigmoid(), -40.0, 4.248_354_255_291_589e-18)]
#[case::tanh(|x: &Array| x.tanh(), 0.5, 0.462_117_157_260_009_76)]
#[case::expm1(|x: &Array| x.expm1(), 1e-10, 1.000_000_000_05e-10)]
#[case::softmax(|x: &Array| mlx::stack(&[x.clone(), x * 0.0], 0).softmax(0).take(0, 0), 1.0, 0.731_058_578_630_004_9)]
#[case::logsumexp(|x: &Array| mlx::stack(&[x.clone(), x * 0.0], 0).logsumexp(0), 1.0, 1.313_261_687_518_222_8)]
#[case::logaddexp(|x: &Array| x.logaddexp(0.0), 1.0, 1.313_261_687_518_222_8)]
#[case::slope_of_exp(|x: &Array| grad(|x: &Array| x.exp()).call(x).unwrap(), 100.0, 2.688_117_141_816_135_6e43)]
#[case::slope_of_sin(|x: &Array| jvp(|x: &Array| x.sin(), x, &mlx::ones_with((), Dtype::Float64)).unwrap().1, 1.0, 0.540_302_305_868_139_8)]
fn doubles_are_computed_in_double(
    #[case] function: fn(&Array) -> Array,
    #[case] x: f64,
    #[case] want: f64,
) {
    needs!(Float64);
    let got = function(&Array::from_slice(&[x], ()).unwrap());
    assert_eq!(got.dtype().unwrap(), Dtype::Float64);
    let got = number(&got);
    assert!(
        (got - want).abs() <= 4.0 * f64::EPSILON * want.abs(),
        "{got}, not {want}"
    );
}

#[test]
fn signs_and_quotients_of_nan_and_infinity() -> Result<()> {
    needs!(Float64, Ok(()));
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for dtype in [
        Dtype::Float32,
        Dtype::Float64,
        Dtype::Float16,
        Dtype::Bfloat16,
    ] {
        let x = array!([nan, -2.0, 0.0]).astype(dtype);
        let signs = values(&x.sign());
        assert!(signs[0].is_nan() && signs[1..] == [-1.0, 0.0]);
        let a = array!([1.0, inf, -1.0, 7.0, 5.0, -5.0, 1.0]).astype(dtype);
        let b = array!([-inf, 3.0, inf, 2.0, 0.0, 0.0, inf]).astype(dtype);
        let got = values(&a.floor_divide(&b));
        assert!(got[1].is_nan());
        assert_eq!((got[0], got[2], got[3]), (-1.0, -1.0, 3.0));
        assert_eq!((got[4], got[5]), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!(got[6], 0.0);
        let (quotient, _) = a.divmod(&b)?;
        assert_eq!(values(&quotient)[0], -1.0);
    }
    // 1 / 0.1 rounds to 10, but 0.1 is a little more than a tenth.
    let (quotient, rest) = array!(1.0).divmod(&array!(0.1))?;
    assert_eq!(quotient.item::<f32>()?, 9.0);
    assert!((rest.item::<f32>()? - 0.1).abs() < 1e-6);
    for dtype in [Dtype::Int8, Dtype::Int16, Dtype::Int32, Dtype::Int64] {
        let a = array!([-7, 7, -7, 7]).astype(dtype);
        let b = array!([2, -2, -2, 2]).astype(dtype);
        assert_eq!(values(&a.floor_divide(&b)), [-4.0, -4.0, 3.0, 3.0]);
        let back = a.floor_divide(&b) * &b + a.remainder(&b);
        assert_eq!(values(&back), values(&a));
    }
    Ok(())
}

#[test]
fn nan_comes_last_in_every_order() -> Result<()> {
    use mlx::Complex64 as C;
    let nan = f32::NAN;
    let c = [
        C::new(1.0, nan),
        C::new(0.0, 1.0),
        C::new(nan, 0.0),
        C::new(0.0, 0.0),
        C::new(3.0, 0.0),
        C::new(nan, nan),
        C::new(2.0, -1.0),
        C::new(2.0, nan),
    ];
    let x = Array::from_slice(&c, [8])?;
    // numpy.argsort(x, kind="stable")
    let want = [3, 1, 6, 4, 0, 7, 2, 5];
    assert_eq!(x.argsort(0).to_vec::<u32>()?, want);
    assert_eq!(x.argpartition(2, 0).to_vec::<u32>()?.len(), 8);
    let sorted = x.sort(0).to_vec::<C>()?;
    assert_eq!((sorted[0].im, sorted[1].im, sorted[3].re), (0.0, 1.0, 3.0));
    assert!(sorted[4].re == 1.0 && sorted[5].re == 2.0 && sorted[6].re.is_nan());
    let rows = mlx::stack(&[x.clone(), x.clone()], 1).argsort(0);
    assert_eq!(rows.take(1, 1).to_vec::<u32>()?, want);
    // MLX has no places of complex numbers on GPUs, and says so.
    if mlx::Device::current()? == mlx::Device::Cpu {
        assert_eq!(x.argmax(0).item::<u32>()?, 0);
        assert_eq!(x.argmin(0).item::<u32>()?, 0);
    }
    assert_eq!(array!([3.0, nan, 1.0, 5.0]).argmax(0).item::<u32>()?, 1);
    for dtype in HALVES {
        let got = values(&array!([3.0, nan, 1.0]).astype(dtype).cummax(0));
        assert!(got[0] == 3.0 && got[1].is_nan() && got[2].is_nan());
    }
    let edges = array!([1.0, 2.0, nan, nan, nan]);
    let at = array!([1.5, nan, f32::INFINITY, 2.0]);
    let search = |side| edges.searchsorted_with(&at, side).to_vec::<u32>();
    assert_eq!(search(SearchSide::Left)?, [1, 2, 2, 1]);
    assert_eq!(search(SearchSide::Right)?, [1, 5, 2, 2]);
    Ok(())
}

#[test]
fn random_numbers_fill_their_range() -> Result<()> {
    needs!(Float64, Ok(()));
    let key = random::key(7);
    let odd = random::randint_with(0, 1 << 25, [100_000], &key)
        .remainder(2)
        .mean(());
    assert!((odd.item::<f32>()? - 0.5).abs() < 0.01);
    let edge = 1_i64 << 40;
    let wide = random::randint_with(
        array!([-edge]),
        array!([edge]),
        [100_000],
        random::RandomOptions {
            dtype: Some(Dtype::Int64),
            key: Some(key.clone()),
        },
    )
    .astype(Dtype::Float64);
    let (least, most) = (number(&wide.min(())), number(&wide.max(())));
    let edge = 2_f64.powi(40);
    assert!(least >= -edge && most < edge && least < -0.99 * edge && most > 0.99 * edge);
    assert!(number(&wide.mean(())).abs() < 0.01 * edge);
    // scipy.stats.truncnorm(-8, -7).mean()
    let drawn = values(&random::truncated_normal_with(-8.0, -7.0, [100_000], &key));
    let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
    assert!(drawn.iter().all(|x| (-8.0..=-7.0).contains(x)));
    assert!((mean + 7.137_067).abs() < 2e-3, "{mean}");
    Ok(())
}

#[test]
fn powers_have_slopes_where_they_are_smooth() -> Result<()> {
    let at = |function: fn(&Array) -> Array, x: f32| grad(function).call(&array!(x)).unwrap();
    let second = |function: fn(&Array) -> Array, x: f32| {
        let slope = move |x: &Array| grad(function).call(x).unwrap();
        grad(slope).call(&array!(x)).unwrap().item::<f32>().unwrap()
    };
    let to = |y: f32| array!(y);
    assert_eq!(at(|x| x.power(0.0), 0.0).item::<f32>()?, 0.0);
    assert_eq!(at(|x| x.power(array!(0.0)), 2.0).item::<f32>()?, 0.0);
    assert_eq!(at(|x| x.power(array!(1.0)), 0.0).item::<f32>()?, 1.0);
    assert_eq!(at(|x| x.power(array!(3.0)), 2.0).item::<f32>()?, 12.0);
    assert_eq!(at(|y| array!(0.0).power(y), 0.0).item::<f32>()?, 0.0);
    assert_eq!(at(|y| array!(0.0).power(y), 2.0).item::<f32>()?, 0.0);
    let slope = at(|y| array!(2.0).power(y), 3.0).item::<f32>()?;
    assert!((slope - 8.0 * 2_f32.ln()).abs() < 1e-5);
    assert_eq!(second(|x| x.power(array!(1.0)), 0.0), 0.0);
    assert_eq!(second(|x| x.power(array!(2.0)), 0.0), 2.0);
    assert_eq!(second(|x| x.power(array!(0.0)), 0.0), 0.0);
    let (_, pushed) = jvp(|x: &Array| x.power(0.0), &array!(0.0), &array!(1.0))?;
    assert_eq!(pushed.item::<f32>()?, 0.0);
    let zero = Array::from_slice(&[mlx::Complex64::new(0.0, 0.0)], ())?;
    let power = zero.power(to(0.0)).item::<mlx::Complex64>()?;
    assert_eq!((power.re, power.im), (1.0, 0.0));
    let power = zero.power(to(2.0)).item::<mlx::Complex64>()?;
    assert_eq!((power.re, power.im), (0.0, 0.0));
    Ok(())
}

#[test]
fn remainders_and_absolute_values_have_their_slopes() -> Result<()> {
    let rest = |x: &Array| x.divmod(&array!(2.0)).unwrap().1;
    assert_eq!(grad(rest).call(&array!(3.0))?.item::<f32>()?, 1.0);
    let rest = |y: &Array| array!(7.0).remainder(y);
    assert_eq!(grad(rest).call(&array!(2.0))?.item::<f32>()?, -3.0);
    let quotient = |x: &Array| x.divmod(&array!(2.0)).unwrap().0;
    assert_eq!(grad(quotient).call(&array!(3.0))?.item::<f32>()?, 0.0);
    let (quotients, rests) = vmap(|x: &Array| x.divmod(&array!(2))).call(&array!([5, -5]))?;
    assert_eq!(quotients.to_vec::<i32>()?, [2, -3]);
    assert_eq!(rests.to_vec::<i32>()?, [1, 1]);

    // |x + i| = sqrt(x^2 + 1): slope x / |..|, second 1 / |..|^3.
    let size = |x: &Array| {
        let i = Array::from_slice(&[mlx::Complex64::new(0.0, 1.0)], ()).unwrap();
        (x + i).abs()
    };
    let x = array!(1.0);
    let slope = move |x: &Array| grad(size).call(x).unwrap();
    assert!((slope(&x).item::<f32>()? - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
    let second = grad(slope).call(&x)?.item::<f32>()?;
    assert!((second - 0.353_553_4).abs() < 1e-6, "{second}");
    let (_, second) = jvp(slope, &x, &array!(1.0))?;
    assert!((second.item::<f32>()? - 0.353_553_4).abs() < 1e-6);
    Ok(())
}

#[test]
fn an_axis_must_exist_also_for_one_array() {
    let x = array!([1.0, 2.0]);
    for error in [
        mlx::concatenate([&x], 4).eval().unwrap_err(),
        x.repeat(1, 3).eval().unwrap_err(),
    ] {
        assert!(error.to_string().contains("axis"), "{error}");
    }
}

/// MLX 0.32.2 counted elements in 32 bits and found none of these.
#[test]
#[ignore = "takes 6 GB of memory"]
fn reductions_see_the_last_of_more_than_2_to_the_31_elements() {
    let n = 46_341;
    let row = mlx::zeros_with([n - 1, n], Dtype::Bool);
    let last = mlx::arange_with(0.0, f64::from(n), 1.0, Dtype::Int32)
        .reshape([1, n])
        .equal(n - 1);
    let x = mlx::concatenate([&row, &last], 0);
    assert!(x.any(()).item::<bool>().unwrap());
    assert!(!x.all(()).item::<bool>().unwrap());
    assert!(x.max(()).item::<bool>().unwrap());
    let columns = x.any(0).to_vec::<bool>().unwrap();
    assert_eq!(columns.iter().filter(|&&is_true| is_true).count(), 1);
    assert!(columns[n as usize - 1]);
}

//! Arguments that follow the call by their names, and forms of arguments that are guessed: the numbers are Python MLX's.

use std::collections::BTreeMap;

use mlx::random;
use mlx::{Array, Result, array, fft, grad, jvp, linalg, value_and_grad, vjp};

fn close(got: &Array, want: &[f32]) {
    let got = got.to_vec::<f32>().expect("computed");
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
    assert!(
        got.len() == want.len() && got.iter().zip(want).all(near),
        "got {got:?}, wanted {want:?}"
    );
}

#[test]
fn a_key_after_the_call_draws_as_in_python() -> Result<()> {
    let key = random::key(7);
    close(
        &random::normal([3]).key(&key),
        &[-0.755_466_2, -0.186_157_93, -0.116_547_35],
    );
    close(
        &random::normal([3]).loc(5.0).scale(0.1).key(&key),
        &[4.924_453_3, 4.981_384, 4.988_345],
    );
    close(
        &random::normal([3]).key(&key).scale(0.1).loc(array!([5.0])),
        &[4.924_453_3, 4.981_384, 4.988_345],
    );
    close(
        &random::uniform(-1, 1, [3]).key(&key),
        &[-0.550_030_7, -0.147_679_15, -0.092_781_305],
    );
    close(
        &random::laplace([2]).loc(1.0).scale(2.0).key(&key),
        &[5.797_637, -3.444_075_6],
    );
    let drawn = random::bernoulli(0.4, [6]).key(&key).to_vec::<bool>()?;
    assert_eq!(drawn, [true, true, false, true, false, true]);
    let drawn = random::randint(0, 10, [4]).key(&key).to_vec::<i32>()?;
    assert_eq!(drawn, [2, 2, 4, 2]);
    let drawn = random::permutation(6).key(&key).to_vec::<u32>()?;
    assert_eq!(drawn, [0, 1, 5, 3, 2, 4]);
    let logits = array!([[0.1, 2.0, -1.0], [1.0, 0.0, 0.5]]);
    let drawn = random::categorical(&logits).num_samples(4).key(&key);
    assert_eq!(drawn.to_vec::<u32>()?, [0, 1, 1, 1, 2, 1, 0, 0]);
    Ok(())
}

#[test]
fn a_key_after_the_call_leaves_the_default_key_as_it_was() {
    random::seed(3);
    let key = random::key(7);
    let _ = random::normal([5]).key(&key);
    let _ = random::bernoulli(0.5, [2]).key(random::key(8));
    close(&random::normal([2]), &[0.052_308_336, -0.690_768_3]);
}

#[test]
fn a_key_after_the_call_is_part_of_gradients() -> Result<()> {
    let noisy = |x: &Array, key: &Array| (x * random::normal([3]).key(key)).sum(());
    let key = random::key(7);
    let by_x = grad(noisy)(&array!([1.0, 2.0, 3.0]), &key)?;
    close(&by_x, &[-0.755_466_2, -0.186_157_93, -0.116_547_35]);
    Ok(())
}

#[test]
fn options_of_operations_follow_the_call() -> Result<()> {
    let x = array!([[3.0, 4.0], [6.0, 8.0]]);
    close(&linalg::norm(&x).axis(-1).ord(1), &[7.0, 14.0]);
    close(&linalg::norm(&x).ord("nuc"), &[11.180_34]);
    let y = array!([1.0, 2.0, 4.0]);
    close(&y.var(0).ddof(1), &[2.333_333_3]);
    close(&y.std(()).ddof(1), &[1.527_525_2]);
    close(&y.cumsum(0).reverse(true), &[7.0, 6.0, 4.0]);
    close(&mlx::cumprod(&y, 0).inclusive(false), &[1.0, 1.0, 2.0]);
    close(&fft::fft(&y).n(2).real(), &[3.0, -1.0]);
    let padded = fft::rfftn(&x).n([2, 4]).axes([0, 1]);
    assert_eq!(padded.shape()?, [2, 3]);
    close(&padded.abs(), &[21.0, 15.0, 3.0, 7.0, 5.0, 1.0]);
    close(&fft::fft(&x).axis(0).real(), &[9.0, 12.0, -3.0, -4.0]);
    let upper = array!([[2.0, 1.0], [0.0, 4.0]]);
    let solved = linalg::solve_triangular(&upper, &array!([[4.0], [8.0]])).upper(true);
    close(&solved, &[1.0, 2.0]);
    let spd = array!([[4.0, 2.0], [2.0, 5.0]]);
    close(&linalg::cholesky(&spd).upper(true), &[2.0, 1.0, 0.0, 2.0]);
    let near = &y + 1e-3;
    assert!(!y.allclose(&near).item::<bool>()?);
    assert!(y.allclose(&near).rtol(0.0).atol(1e-2).item::<bool>()?);
    assert!(mlx::isclose(&y, &near).atol(1e-2).all(()).item::<bool>()?);
    let odd = array!([f32::NAN]);
    assert!(odd.allclose(&odd).equal_nan(true).item::<bool>()?);
    Ok(())
}

#[test]
fn an_argument_that_follows_something_else_is_an_error() {
    let x = array!([1.0, 2.0]);
    let wrong = |y: Array, name: &str| {
        let text = y.eval().unwrap_err().to_string();
        let wanted = format!("{name}: wanted the result of a function that takes it");
        assert!(text.contains(&wanted), "{text}");
        assert!(text.contains("keywords.rs"), "{text}");
    };
    wrong(x.exp().axis(0), "axis");
    wrong(random::normal([2]).reverse(true), "reverse");
    let first = x.cumsum(0);
    let _second = x.cumprod(0);
    wrong(first.reverse(true), "reverse");
    let computed = x.cumsum(0);
    assert!(computed.eval().is_ok());
    wrong(computed.reverse(true), "reverse");
    // The first error stays.
    let text = x.cumsum(3).reverse(true).eval().unwrap_err().to_string();
    assert!(text.contains("cumsum"), "{text}");
}

#[test]
fn inputs_are_not_kept_beyond_a_computation() -> Result<()> {
    let x = mlx::ones([1 << 20]);
    x.eval()?;
    let before = mlx::get_active_memory();
    let y = x.cumsum(0);
    drop(x);
    y.index(0).eval()?;
    drop(y);
    assert!(mlx::get_active_memory() < before);
    Ok(())
}

#[test]
fn jacobian_products_take_lists_as_in_python() -> Result<()> {
    let square = |x: &Array| x * x;
    let (y, tangent) = (array!([1.0, 2.0, 4.0]), array!([1.0, 0.0, 1.0]));
    let (outputs, tangents) = jvp(square, &[&y], &[&tangent])?;
    close(&outputs[0], &[1.0, 4.0, 16.0]);
    close(&tangents[0], &[2.0, 0.0, 8.0]);
    let (_, products) = vjp(square, [&y], [&tangent])?;
    close(&products[0], &[2.0, 0.0, 8.0]);
    let product = |a: &Array, b: &Array| a * b;
    let pair = [array!([2.0]), array!([3.0])];
    let (value, products) = vjp(product, &pair, &[array!([1.0])])?;
    close(&value[0], &[6.0]);
    close(&mlx::concatenate(&products, 0), &[3.0, 2.0]);
    Ok(())
}

#[test]
fn argument_numbers_may_be_behind_a_reference() -> Result<()> {
    let product = |a: &Array, b: &Array| a * b;
    let (a, b) = (array!(2.0), array!(3.0));
    let (value, (by_a, by_b)) = value_and_grad(product).argnums(&[0, 1])(&a, &b)?;
    assert_eq!(value.item::<f32>()?, 6.0);
    assert_eq!((by_a.item::<f32>()?, by_b.item::<f32>()?), (3.0, 2.0));
    assert_eq!(grad(product).argnum(1)(&a, &b)?.item::<f32>()?, 2.0);
    Ok(())
}

#[test]
fn weights_are_packed_with_pythons_arguments() -> Result<()> {
    let w = mlx::arange((0.0, 16.0, 0.0625)).reshape([2, 128]);
    let x = mlx::ones([3, 128]);
    let (packed, scales, biases) = mlx::quantize(&w, 64, 8)?;
    assert_eq!(packed.shape()?, [2, 32]);
    assert_eq!(scales.shape()?, [2, 2]);
    let back = mlx::dequantize(&packed, &scales, &biases, 64, 8);
    assert!((&back - &w).abs().max(()).item::<f32>()? < 0.05);
    let y = mlx::quantized_matmul(&x, &packed, &scales, &biases, true, 64, 8);
    close(&y, &x.matmul(back.t()).to_vec::<f32>()?);
    assert!(mlx::quantize(&w, 60, 4).is_err());
    Ok(())
}

#[test]
fn arrays_are_made_of_lists_of_any_form() -> Result<()> {
    let ids = vec![1, 2, 3];
    for array in [
        Array::from(&ids),
        Array::new(&ids),
        Array::from([1, 2, 3]),
        Array::from(&[1, 2, 3]),
        Array::new(ids.clone()),
        array!(&ids[..]),
    ] {
        assert_eq!(array.to_vec::<i32>()?, [1, 2, 3]);
    }
    let rows = vec![vec![1.0, 2.0], vec![3.0, 4.0], vec![5.0, 6.0]];
    assert_eq!(Array::new(&rows).shape()?, [3, 2]);
    assert_eq!(Array::new(vec![[1, 2], [3, 4]]).shape()?, [2, 2]);
    let ragged = vec![vec![1.0], vec![1.0, 2.0]];
    assert!(Array::new(&ragged).error().is_some());
    let rows: Vec<Array> = Array::new(&rows).into_iter().collect();
    assert_eq!(rows[2].to_vec::<f32>()?, [5.0, 6.0]);
    let failed: Vec<Array> = array!(1.0).sum(3).into_iter().collect();
    assert!(failed.len() == 1 && failed[0].error().is_some());
    Ok(())
}

#[test]
fn short_names_do_what_python_does() -> Result<()> {
    let x = array!([0.5, 1.5, -2.4, 2.46]);
    assert_eq!(x.round().to_vec::<f32>()?, [0.0, 2.0, -2.0, 2.0]);
    close(&mlx::round_with(&x, 1), &[0.5, 1.5, -2.4, 2.5]);
    assert_eq!(x.slice(1..3).to_vec::<f32>()?, [1.5, -2.4]);
    assert_eq!(mlx::slice(&x, &array!([2]), 0, [2]).dim(0)?, 2);
    let y = mlx::ones([2, 2]);
    assert_eq!(y.pad(((0, 1), (2, 0))).shape()?, [3, 4]);
    assert_eq!(y.pad(&[(0, 1), (2, 0)]).shape()?, [3, 4]);
    assert_eq!(y.pad(&vec![(0, 1), (2, 0)]).shape()?, [3, 4]);
    assert_eq!((mlx::pi * &y).dtype()?, mlx::Dtype::F32);
    assert!(mlx::nan.is_nan() && mlx::inf == f32::INFINITY);
    let halves = mlx::utils::tree_map(|g| g / 2.0, &vec![y]);
    assert_eq!(halves[0].sum(()).item::<f32>()?, 2.0);
    let loaded = mlx::io::Loaded::from(BTreeMap::from([("a".to_owned(), x)]));
    for (name, array) in &loaded {
        assert_eq!((name.as_str(), array.size()?), ("a", 4));
    }
    assert_eq!(loaded.into_iter().count(), 1);
    Ok(())
}

//! What MLX refuses and works here: systems whose sides broadcast, vmap of factorizations and packed products, nvfp4 with
//! an odd number of groups. Each is compared with a loop, or with what undoes it.

use mlx::fft::{self, FftOptions};
use mlx::{Array, Dtype, Quantization, QuantizationMode, Result, array, jvp, linalg, vmap};
use mlx_testdata::needs;
use rstest::rstest;

/// Doubles that look like noise, the same ones every time.
fn noise(shape: &[i32], seed: f64) -> Array {
    let size: i32 = shape.iter().product();
    let values: Vec<f64> = (0..size)
        .map(|i| (f64::from(i * i) * 0.7 + f64::from(i) * 1.3 + seed).sin())
        .collect();
    Array::from_slice(&values, shape.to_vec()).unwrap()
}

#[rstest]
#[case::b_repeated(&[2, 3, 3], &[3, 1])]
#[case::a_repeated(&[3, 3], &[2, 3, 1])]
#[case::both(&[2, 1, 3, 3], &[4, 3, 2])]
#[case::ones_with(&[1, 3, 3], &[2, 3, 1])]
#[case::other_ones(&[2, 3, 3], &[1, 3, 1])]
#[case::vector(&[3, 3], &[3])]
#[case::vector_for_all(&[2, 3, 3], &[3])]
#[case::vector_for_all_of_two_axes(&[2, 2, 3, 3], &[3])]
#[case::deep_b(&[3, 3], &[2, 2, 3, 2])]
#[case::none(&[0, 3, 3], &[3, 1])]
fn solve_broadcasts_as_numpy_does(#[case] of_a: &[i32], #[case] of_b: &[i32]) -> Result<()> {
    needs!(Float64, Ok(()));
    let (a, b) = (noise(of_a, 0.1), noise(of_b, 0.2));
    let column = if of_b.len() == 1 {
        b.expand_dims(-1)
    } else {
        b.clone()
    };
    for dtype in [Dtype::Float32, Dtype::Float64] {
        let x = linalg::solve(&a.astype(dtype), &b.astype(dtype));
        let found = if of_b.len() == 1 {
            x.expand_dims(-1)
        } else {
            x.clone()
        };
        let back = a.matmul(&found.astype(Dtype::Float64));
        let want = column.broadcast_to(back.shape()?.to_vec());
        close(&back.to_vec::<f64>()?, &want.to_vec::<f64>()?, 1e-4);
        for upper in [false, true] {
            let x = linalg::solve_triangular_with(&a.astype(dtype), &b.astype(dtype), upper);
            let found = if of_b.len() == 1 {
                x.expand_dims(-1)
            } else {
                x.clone()
            };
            let side = if upper { a.triu() } else { a.tril() };
            let back = side.matmul(&found.astype(Dtype::Float64));
            close(&back.to_vec::<f64>()?, &want.to_vec::<f64>()?, 1e-3);
        }
    }
    Ok(())
}

#[test]
fn the_sides_of_a_system_may_differ_in_dtype() -> Result<()> {
    needs!(Float64, Ok(()));
    let a = array!([[2, 0], [0, 4]]);
    let b = array!([1.0, 1.0]);
    assert_eq!(linalg::solve(&a, &b).to_vec::<f32>()?, [0.5, 0.25]);
    let wide = linalg::solve(&a, &b.astype(Dtype::Float64));
    assert_eq!(wide.to_vec::<f64>()?, [0.5, 0.25]);
    let lower = linalg::solve_triangular(&a, &b.astype(Dtype::Float64));
    assert_eq!(lower.to_vec::<f64>()?, [0.5, 0.25]);
    Ok(())
}

#[rstest]
#[case::solve(|a: &Array, b: &Array| linalg::solve(a, b), "linalg.solve: the leading axes of")]
#[case::lower(|a: &Array, b: &Array| linalg::solve_triangular(a, b), "linalg.solve_triangular: the leading axes of")]
fn leading_axes_that_do_not_broadcast_are_named(
    #[case] solve: fn(&Array, &Array) -> Array,
    #[case] want: &str,
) {
    let x = solve(&noise(&[2, 3, 3], 0.1), &noise(&[4, 3, 1], 0.1));
    let text = x.eval().unwrap_err().to_string();
    assert!(text.contains(want), "{text}");
}

type One = fn(&Array, &Array) -> Result<Array>;

fn joined(arrays: &[Array]) -> Array {
    let flat: Vec<Array> = arrays
        .iter()
        .map(|x| x.astype(Dtype::Float64).flatten(0, -1))
        .collect();
    mlx::concatenate(&flat, 0)
}

/// Both arguments along their axes, one of them, and from another place.
#[rstest]
#[case::solve(|a: &Array, b: &Array| Ok(linalg::solve(a, b)), &[3, 3], &[3, 2])]
#[case::solve_vector(|a: &Array, b: &Array| Ok(linalg::solve(a, b)), &[3, 3], &[3])]
#[case::solve_broadcast(|a: &Array, b: &Array| Ok(linalg::solve(a, b)), &[2, 3, 3], &[3, 1])]
#[case::solve_lower(|a: &Array, b: &Array| Ok(linalg::solve_triangular(a, b)), &[3, 3], &[3, 2])]
#[case::solve_upper(|a: &Array, b: &Array| Ok(linalg::solve_triangular_with(a, b, true)), &[3, 3], &[3, 2])]
#[case::lu(|a: &Array, _: &Array| { let (p, l, u) = linalg::lu(a)?; Ok(joined(&[p, l, u])) }, &[4, 3], &[1])]
#[case::lu_factor(|a: &Array, _: &Array| { let (lu, p) = linalg::lu_factor(a)?; Ok(joined(&[lu, p])) }, &[3, 3], &[1])]
#[case::qr(|a: &Array, _: &Array| { let (q, r) = linalg::qr(a)?; Ok(joined(&[q, r])) }, &[3, 4], &[1])]
#[case::svd(|a: &Array, _: &Array| { let (u, s, vt) = linalg::svd(a)?; Ok(joined(&[u, s, vt])) }, &[3, 4], &[1])]
#[case::inv(|a: &Array, _: &Array| Ok(linalg::inv(a)), &[3, 3], &[1])]
#[case::tri_inv(|a: &Array, _: &Array| Ok(linalg::tri_inv(a)), &[3, 3], &[1])]
#[case::pinv(|a: &Array, _: &Array| Ok(linalg::pinv(a)), &[3, 4], &[1])]
#[case::det(|a: &Array, _: &Array| Ok(linalg::det(a)), &[4, 4], &[1])]
#[case::slogdet(|a: &Array, _: &Array| { let (sign, log) = linalg::slogdet(a)?; Ok(joined(&[sign, log])) }, &[4, 4], &[1])]
#[case::cholesky_inv(|a: &Array, _: &Array| Ok(linalg::cholesky_inv_with(a, true)), &[3, 3], &[1])]
fn vmap_is_the_loop(#[case] one: One, #[case] of_a: &[i32], #[case] of_b: &[i32]) -> Result<()> {
    needs!(Float64, Ok(()));
    let many = |shape: &[i32], axis: usize| {
        let mut shape = shape.to_vec();
        shape.insert(axis, 3);
        shape
    };
    for (axis_a, axis_b) in [
        (Some(0), Some(0)),
        (Some(0), None),
        (None, Some(0)),
        (Some(1), Some(1)),
    ] {
        let place = |axis: Option<i32>| axis.map(|axis| axis as usize);
        let a = noise(
            &place(axis_a).map_or(of_a.to_vec(), |axis| many(of_a, axis)),
            0.1,
        );
        let b = noise(
            &place(axis_b).map_or(of_b.to_vec(), |axis| many(of_b, axis)),
            0.2,
        );
        let all = vmap(one).in_axes([axis_a, axis_b]).call((&a, &b))?;
        for i in 0..3 {
            let at = |x: &Array, axis: Option<i32>| match axis {
                None => x.clone(),
                Some(axis) => x.take(i, axis),
            };
            let want = one(&at(&a, axis_a), &at(&b, axis_b))?.to_vec::<f64>()?;
            close(&all.i(i).to_vec::<f64>()?, &want, 1e-9);
        }
    }
    Ok(())
}

#[rstest]
fn vmap_and_jvp_of_an_odd_irfft_are_the_loop(#[values(5, 6, 7)] n: i32) -> Result<()> {
    needs!(Float64, Ok(()));
    let spectra = fft::rfft(&noise(&[3, n], 0.1).astype(Dtype::Float32));
    let back = move |x: &Array| {
        fft::irfft_with(
            x,
            FftOptions {
                n: Some(n),
                ..FftOptions::default()
            },
        )
    };
    let all = vmap(back).call(&spectra)?;
    assert_eq!(all.shape()?, [3, n]);
    let wide = |x: &Array| x.astype(Dtype::Float64).to_vec::<f64>().unwrap();
    close(&wide(&all), &wide(&noise(&[3, n], 0.1)), 1e-5);
    // It is linear: the slope along x is its value at x.
    let slope = jvp(back, &spectra, &spectra)?.1;
    close(&wide(&slope), &wide(&all), 1e-5);
    Ok(())
}

const MODES: [QuantizationMode; 4] = [
    QuantizationMode::Affine,
    QuantizationMode::Mxfp4,
    QuantizationMode::Mxfp8,
    QuantizationMode::Nvfp4,
];

#[rstest]
fn vmap_of_a_quantized_product_is_the_loop(
    #[values(0, 1, 2, 3)] mode: usize,
    #[values(true, false)] transpose: bool,
) -> Result<()> {
    needs!(Float64, Ok(()));
    let quantization = Quantization::of(MODES[mode]);
    let w = noise(&[64, 64], 0.1)
        .astype(Dtype::Float32)
        .quantize(quantization)?;
    let x = noise(&[3, 2, 64], 0.2).astype(Dtype::Float32);
    let all = vmap(|x: &Array| x.quantized_matmul(&w, transpose)).call(&x)?;
    for i in 0..3 {
        let want = x.i(i).quantized_matmul(&w, transpose).to_vec::<f32>()?;
        assert_eq!(all.i(i).to_vec::<f32>()?, want);
    }
    Ok(())
}

/// Each row by itself has the same codes as with an even number of rows, and is near to what was packed.
#[rstest]
fn an_odd_number_of_groups_is_packed_as_an_even_one(
    #[values(0, 1, 2, 3)] mode: usize,
    #[values(&[1, 1], &[3, 1], &[1, 3], &[3, 3], &[3, 1, 5], &[2, 3])] groups: &[i32],
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16, Dtype::Float64)] dtype: Dtype,
) -> Result<()> {
    needs!(Float64, Ok(()));
    if MODES[mode] == QuantizationMode::Affine && dtype == Dtype::Float64 {
        // MLX has no affine codes of doubles.
        return Ok(());
    }
    let quantization = Quantization::of(MODES[mode]);
    let mut shape = groups.to_vec();
    *shape.last_mut().unwrap() *= quantization.group_size;
    let w = noise(&shape, 0.3).astype(dtype);
    let twice = mlx::concatenate([&w, &w], 0);
    let (odd, even) = (w.quantize(quantization)?, twice.quantize(quantization)?);
    let first = |x: &Array| x.i(..shape[0]);
    assert_eq!(
        odd.weight.to_vec::<u32>()?,
        first(&even.weight).to_vec::<u32>()?
    );
    let back = odd.dequantize(Dtype::Float32);
    assert_eq!(back.shape()?, shape);
    assert_eq!(
        back.to_vec::<f32>()?,
        first(&even.dequantize(Dtype::Float32)).to_vec::<f32>()?
    );
    let off = (&back - w.astype(Dtype::Float32))
        .abs()
        .max(())
        .item::<f32>()?;
    assert!(off < 0.26, "off by {off}");
    if groups.len() == 2 {
        let x = noise(&[2, shape[1]], 0.4).astype(Dtype::Float32);
        let got = x
            .quantized_matmul(&odd, true)
            .astype(Dtype::Float64)
            .to_vec::<f64>()?;
        let want = x.matmul(&back.t()).astype(Dtype::Float64).to_vec::<f64>()?;
        close(&got, &want, 1e-2);
    }
    Ok(())
}

#[track_caller]
fn close(got: &[f64], want: &[f64], within: f64) {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(1.0_f64, |size, x| size.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= within * size, "element {i}: {g}, not {w}");
    }
}

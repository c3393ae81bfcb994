//! Products of which both sides are quantized: values of `quantize`, `dequantize` and a product in Python MLX.

use mlx::{
    Array, Device, GatherOptions, Quantization, QuantizationMode, Result, array, gather_qqmm,
    grad_of, qqmm,
};

use QuantizationMode::{Mxfp4, Mxfp8, Nvfp4};

fn sides() -> (Array, Array) {
    let x = (mlx::arange(64).reshape((2, 32)) * 0.37 - 7.0) * array!([[1.0], [0.25]]);
    let w = mlx::arange(96.0).reshape((3, 32)).sin() * 2.5;
    (x, w)
}

#[track_caller]
fn close(got: &Array, want: &[f32], tolerance: f32) {
    let got = got.to_vec::<f32>().unwrap();
    assert_eq!(got.len(), want.len());
    let near = got
        .iter()
        .zip(want)
        .all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1.0));
    assert!(near, "{got:?} {want:?}");
}

const NVFP4: [f32; 6] = [
    -42.199_22,
    -25.289_062,
    -15.843_75,
    -4.671_875,
    -0.787_109_4,
    3.199_218_8,
];
const MXFP8: [f32; 6] = [
    -27.024_902,
    -29.321_533,
    -15.556_641,
    -8.976_074,
    -5.309_570_3,
    -0.789_062_5,
];
const GLOBAL: [f32; 6] = [
    -39.365_936,
    -27.213_28,
    -9.826_298,
    -12.499_88,
    -6.979_098_3,
    -1.111_101_6,
];

#[test]
fn products_are_those_of_rounded_sides() -> Result<()> {
    let (x, w) = sides();
    for (mode, wanted) in [(Nvfp4, NVFP4), (Mxfp8, MXFP8)] {
        close(&qqmm(&x, &w, mode), &wanted, 1e-5);
        let packed = w.quantize(Quantization::of(mode))?;
        close(&qqmm(&x, &packed, ()), &wanted, 1e-5);
        close(&qqmm(&x.i_row(0), &w, mode), &wanted[..3], 1e-5);
        let batched = qqmm(&x.reshape((1, 2, 1, 32)), &w, mode);
        assert_eq!(batched.shape()?, [1, 2, 1, 3]);
        close(&batched, &wanted, 1e-5);
    }
    let half = qqmm(&x.astype(mlx::bfloat16), &w.astype(mlx::bfloat16), ());
    assert_eq!(half.dtype()?, mlx::bfloat16);
    Ok(())
}

trait Row {
    fn i_row(&self, k: i32) -> Array;
}

impl Row for Array {
    fn i_row(&self, k: i32) -> Array {
        self.take(array!(k), 0)
    }
}

#[test]
fn global_scales_use_the_whole_range_of_the_scales_of_groups() -> Result<()> {
    let (x, w) = sides();
    let (gx, gw) = (x.abs().max(()), w.abs().max(()));
    let packed = w.quantize_with(Quantization::of(Nvfp4), &gw)?;
    assert_eq!(packed.scales.to_vec::<u8>()?, [126; 6]);
    let words = [
        1_811_818_352_u32,
        1_734_212_935,
        4_034_342_651,
        3_487_790_767,
        1_961_874_805,
        393_277_350,
        4_249_316_350,
        788_293_469,
        1_990_193_255,
        3_581_267_939,
        4_020_663_535,
        1_811_814_256,
    ];
    // Where a number is all but halfway between two of 4 bits, CUDA may take the other one.
    let is_gpu = Device::current()? == Device::Gpu;
    if !is_gpu {
        assert_eq!(packed.weight.to_vec::<u32>()?, words);
    }
    let options = || mlx::QqmmOptions {
        global_scales: Some([gx.clone(), gw.clone()]),
        ..Default::default()
    };
    let wanted = match is_gpu {
        true => {
            let rounded = x.quantize_with(Quantization::of(Nvfp4), &gx)?;
            let sides = [(&rounded, &gx), (&packed, &gw)];
            let [x, w] = sides.map(|(side, scale)| side.dequantize_with(scale, mlx::float32));
            x.matmul(&w.t()).reshape([-1]).to_vec::<f32>()?
        }
        false => GLOBAL.to_vec(),
    };
    close(&qqmm(&x, &w, options()), &wanted, 1e-5);
    close(&qqmm(&x, &packed, options()), &wanted, 1e-5);
    let back = packed.dequantize_with(&gw, mlx::float32);
    // Half the distance of the two largest numbers of 4 bits, 4 and 6, in units of 2.5 / 6.
    assert!((back - &w).abs().max(()).item::<f32>()? < 0.42);
    assert_eq!(packed.dequantize_with(&gw, None).dtype()?, mlx::bfloat16);
    Ok(())
}

#[test]
fn chosen_matrices_are_multiplied() -> Result<()> {
    let (x, w) = sides();
    let xs = mlx::stack([&x, &(&x * 0.5), &(&x + 1.0)], 0);
    let ws = mlx::stack([&w, &(&w * 2.0)], 0);
    let (lhs, rhs) = (array!([2_u32, 0, 1]), array!([1_u32, 1, 0]));
    let gather = || GatherOptions {
        lhs_indices: Some(&lhs),
        rhs_indices: Some(&rhs),
        sorted_indices: false,
    };
    let wanted = [
        -83.281_25,
        -60.290_04,
        -46.820_312,
        -13.710_938,
        -5.078_125,
        7.312_5,
        -84.398_44,
        -50.578_125,
        -31.687_5,
        -9.343_75,
        -1.574_218_8,
        6.398_437_5,
        -21.099_61,
        -12.644_531,
        -7.921_875,
        -2.335_937_5,
        -0.393_554_7,
        1.599_609_4,
    ];
    let y = gather_qqmm(&xs, &ws, (), gather());
    assert_eq!(y.shape()?, [3, 2, 3]);
    close(&y, &wanted, 1e-5);
    let packed = ws.quantize(Quantization::of(Nvfp4))?;
    close(&gather_qqmm(&xs, &packed, (), gather()), &wanted, 1e-5);
    let one = || array!(8.0);
    let options = mlx::QqmmOptions {
        global_scales: Some([one(), one()]),
        ..Default::default()
    };
    let by_hand = qqmm(&xs.i_row(2), &ws.i_row(1), options.clone());
    let y = gather_qqmm(&xs, &ws, options, gather());
    close(&y.i_row(0), &by_hand.to_vec::<f32>()?, 1e-5);
    Ok(())
}

#[test]
fn gradients_are_products_of_rounded_cotangents() -> Result<()> {
    let x = mlx::arange(512.0).reshape((16, 32)).sin();
    let w = mlx::arange(512.0).reshape((16, 32)).cos();
    let c = mlx::arange(256.0).reshape((16, 16)).sin();
    let scale = c.clone();
    let loss = move |x: &Array, w: &Array| (qqmm(x, w, ()) * &scale).sum(());
    let (by_x, by_w): (Array, Array) = grad_of(loss, [0, 1]).call((&x, &w))?;
    close(&by_x, &qqmm(&c, &w.t(), ()).to_vec::<f32>()?, 1e-5);
    close(&by_w, &qqmm(&c.t(), &x.t(), ()).to_vec::<f32>()?, 1e-5);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() {
    let (x, w) = sides();
    let says = |y: Array, text: &str| {
        let error = y.eval().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    says(
        qqmm(&x, &w, Mxfp4),
        "qqmm: the mode must be nvfp4 or mxfp8, got Mxfp4",
    );
    says(
        qqmm(&array!(1.0), &w, ()),
        "qqmm: x must have at least one axis, got none",
    );
    says(
        qqmm(&x.astype(mlx::int32), &w, ()),
        "qqmm: wanted float32, float16 or bfloat16, got int32",
    );
    says(
        qqmm(&x, &w.reshape((1, 3, 32)), ()),
        "qqmm: weights must be a matrix, got [1, 3, 32]",
    );
    says(qqmm(&mlx::ones((2, 48)), &w, ()), "[2, 48]");
    let two = array!([1.0, 2.0]);
    let error = w
        .quantize_with(Quantization::of(Nvfp4), &two)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("quantize: the global scale must be one float32, got float32[2]"),
        "{error}"
    );
    let error = w
        .quantize_with(Quantization::of(Mxfp8), &array!(1.0))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("a global scale goes with the mode nvfp4, got Mxfp8"),
        "{error}"
    );
}

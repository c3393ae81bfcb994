//! Short-time Fourier transforms, against Python MLX: the file and the script that makes it are in `tests/golden`.

use mlx::fft::{StftOptions, istft, stft};
use mlx::{Array, FftNorm, PadMode, array};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f32> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|number| number.as_f64().expect("a number") as f32)
        .collect()
}

fn sizes(value: &Value) -> Vec<i32> {
    numbers(value).into_iter().map(|size| size as i32).collect()
}

fn options(line: &Value) -> StftOptions {
    let given = &line["options"];
    let number = |name: &str| given[name].as_i64().map(|number| number as i32);
    StftOptions {
        n_fft: number("n_fft"),
        hop_length: number("hop_length"),
        win_length: number("win_length"),
        window: match &line["window"] {
            Value::Null => None,
            window => Some(Array::from(numbers(window))),
        },
        center: given["center"].as_bool().unwrap_or(true),
        pad_mode: match given["pad_mode"].as_str() {
            None => PadMode::Reflect,
            Some("constant") => PadMode::Constant,
            Some(_) => PadMode::Edge,
        },
        norm: match given["norm"].as_str() {
            None => FftNorm::Backward,
            Some("ortho") => FftNorm::Ortho,
            Some(_) => FftNorm::Forward,
        },
        onesided: given["onesided"].as_bool(),
        length: number("length"),
    }
}

fn close(got: &Array, shape: &Value, want: &Value, line: &Value) {
    assert_eq!(got.shape().unwrap(), sizes(shape), "{}", line["options"]);
    for (got, want) in got.to_vec::<f32>().unwrap().iter().zip(numbers(want)) {
        assert!(
            (got - want).abs() < 1e-5,
            "{got} {want} {}",
            line["options"]
        );
    }
}

#[test]
fn frames_and_signals_are_those_of_python() -> mlx::Result<()> {
    for line in include_str!("golden/stft.jsonl").lines() {
        let line: Value = serde_json::from_str(line).expect("a case");
        let options = options(&line);
        let mut x = Array::from(numbers(&line["x"])).reshape(sizes(&line["shape"]));
        if line["options"]["complex"].as_bool() == Some(true) {
            x = x.astype(mlx::complex64);
        }
        let spectra = stft(&x, options.clone());
        assert_eq!(spectra.dtype()?, mlx::complex64);
        close(
            &spectra.real(),
            &line["spectra_shape"],
            &line["real"],
            &line,
        );
        close(
            &spectra.imag(),
            &line["spectra_shape"],
            &line["imag"],
            &line,
        );
        let back = istft(&spectra, options);
        close(&back, &line["back_shape"], &line["back"], &line);
    }
    Ok(())
}

#[test]
fn a_signal_has_a_gradient() -> mlx::Result<()> {
    // The sum of squares of all frequencies is n_fft times that of the frames (Parseval).
    let power = |x: &Array| {
        let options = StftOptions {
            onesided: Some(false),
            center: false,
            hop_length: Some(4),
            ..StftOptions::from(4)
        };
        stft(x, options).abs().square().sum(())
    };
    let x = array!([1.0, -2.0, 3.0, 0.5, 2.0, 1.0, -1.0, 4.0]);
    let slope = mlx::grad(power)(&x)?;
    assert!(slope.allclose(&x * 8.0).item::<bool>()?, "{slope}");
    Ok(())
}

#[test]
fn bad_options_are_errors() {
    let x = mlx::arange(20);
    let of = |change: fn(&mut StftOptions)| {
        let mut options = StftOptions::from(8);
        change(&mut options);
        options
    };
    let cases: [(StftOptions, &str); 7] = [
        (of(|o| o.n_fft = Some(0)), "n_fft must be positive, got 0"),
        (
            of(|o| o.hop_length = Some(0)),
            "hop_length must be positive",
        ),
        (StftOptions::from(3), "hop_length must be positive, got 0"),
        (
            of(|o| o.win_length = Some(10)),
            "window must be [8] or shorter",
        ),
        (
            of(|o| o.win_length = Some(-1)),
            "win_length must be positive",
        ),
        (
            of(|o| o.window = Some(mlx::ones([2, 4]))),
            "window must be [8] or shorter, got [2, 4]",
        ),
        (
            of(|o| {
                o.window = Some(mlx::ones([5]));
                o.win_length = Some(6);
            }),
            "win_length = 6 elements, got 5",
        ),
    ];
    for (options, wanted) in cases {
        let text = stft(&x, options.clone()).eval().unwrap_err().to_string();
        assert!(text.contains("stft") && text.contains(wanted), "{text}");
        let spectra = mlx::zeros([5, 3]).astype(mlx::complex64);
        assert!(istft(&spectra, options).eval().is_err(), "{wanted}");
    }
    let text = |array: Array| array.eval().unwrap_err().to_string();
    assert!(text(stft(&array!(1.0), 8)).contains("got a scalar"));
    let short = StftOptions {
        center: false,
        ..StftOptions::from(32)
    };
    assert!(text(stft(&x, short)).contains("at least n_fft = 32 elements, got 20"));
    assert!(text(istft(&mlx::zeros([5]), ())).contains("got [5]"));
    assert!(text(istft(&mlx::zeros([5, 0]), ())).contains("got none"));
    let complex = StftOptions {
        onesided: Some(true),
        ..StftOptions::from(8)
    };
    assert!(text(stft(&x.astype(mlx::complex64), complex)).contains("wanted real numbers"));
}

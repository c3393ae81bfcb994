//! Sessions of saved functions: what they give, how they use memory, and what they refuse.

use std::path::Path;

use mlx::fast::{self, Offset, RopeOptions};
use mlx::{Array, Dtype, keepdims};
use mlx_compiler::{Graph, jit};
use mlx_interpreter::{HostArray, InferenceSession, SavedFunction, SessionOptions, Tensor};
use rstest::rstest;

fn session(text: &str) -> Result<InferenceSession, String> {
    let graph: Graph = text.parse().map_err(|error| format!("{error}"))?;
    let session = InferenceSession::new(&graph, Vec::new(), &SessionOptions::default());
    session.map_err(|error| error.to_string())
}

fn host(array: &Array) -> HostArray {
    Tensor::of(array).unwrap().to_host_array().unwrap()
}

/// The largest difference between what a session of a file gives and what the reference in `f64` gives.
fn difference(path: &Path, inputs: &[&Array]) -> f64 {
    let saved = SavedFunction::open(path).unwrap();
    let tensors = inputs.iter().map(|input| Tensor::of(input));
    let tensors: Vec<Tensor> = tensors.collect::<Result<_, _>>().unwrap();
    let wanted = saved.run(&tensors).unwrap();
    let session = InferenceSession::open(path).unwrap();
    assert_eq!(session.without_kernels(), []);
    let got = session
        .run(inputs.iter().map(|x| host(x)).collect())
        .unwrap();
    assert_eq!(got.len(), wanted.len());
    let mut most = 0.0_f64;
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(*got.array_type(), wanted.array_type());
        let got = Tensor::of_host_array(got).unwrap().to_f64();
        for (got, wanted) in got.iter().zip(wanted.to_f64()) {
            assert!(got.is_finite() && wanted.is_finite(), "{got} {wanted}");
            most = most.max((got - wanted).abs());
        }
    }
    most
}

fn numbers(shape: [i32; 2], scale: f64) -> Array {
    let n = shape[0] * shape[1];
    ((mlx::arange(n).reshape(shape) * scale).sin()).astype(Dtype::Float32)
}

/// A block of a transformer with a cache, by formulas that are recognized and by fused operations.
fn block(
    x: &Array,
    cache: &Array,
    position: &Array,
    weights: &[Array],
) -> mlx::Result<(Array, Array)> {
    let norm = x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * &weights[0];
    let qkv = norm.matmul(&weights[1].t());
    let parts = qkv.split(3, -1)?;
    let heads = |x: &Array| x.reshape([1, 1, 2, 8]).transpose([0, 2, 1, 3]);
    let options = RopeOptions {
        offset: Offset::Array(position.clone()),
        ..RopeOptions::default()
    };
    let turned = fast::rope(&heads(&parts[1]), &options);
    let cache = cache.slice_update(&turned, &position.reshape([1]), 2);
    let scores = heads(&parts[0]).matmul(&cache.transpose([0, 1, 3, 2])) / 8.0_f32.sqrt();
    let visible = mlx::arange(6).less_equal(position);
    let scores = mlx::r#where(&visible, &scores, f32::NEG_INFINITY).softmax(-1);
    let attended = scores
        .matmul(&cache)
        .transpose([0, 2, 1, 3])
        .reshape([1, 16]);
    let x = x + attended + &parts[2];
    let hidden = mlx_gelu(&x.matmul(&weights[2]));
    Ok((x + hidden.matmul(&weights[2].t()), cache))
}

fn mlx_gelu(x: &Array) -> Array {
    x * 0.5 * ((x / 2.0_f32.sqrt()).erf() + 1.0)
}

/// The file of a block, and its inputs.
fn saved_block(folder: &Path) -> (std::path::PathBuf, [Array; 3]) {
    let path = folder.join("block.safetensors");
    let weights = [
        numbers([1, 16], 0.3) + 1.0,
        numbers([48, 16], 0.7),
        numbers([16, 32], 0.9),
    ];
    let x = numbers([1, 16], 1.1);
    let cache = numbers([12, 8], 0.2).reshape([1, 2, 6, 8]);
    let position = Array::scalar(3);
    let step =
        jit(move |x: &Array, cache: &Array, position: &Array| block(x, cache, position, &weights));
    let lowered = step.lower((&x, &cache, &position)).unwrap();
    lowered.save(&path).unwrap();
    (path, [x, cache, position])
}

#[test]
fn a_block_is_what_the_reference_computes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, inputs) = saved_block(folder.path());
    let most = difference(&path, &inputs.each_ref());
    assert!(most < 1e-5, "{most}");
}

#[test]
fn an_input_that_nothing_else_has_is_updated_in_place() {
    let session = session(
        "graph write(x0: float32[64], x1: float32[1], x2: int32[1]) {\n  \
         %0: float32[64] = slice_update_dynamic x0, x1, x2 axes=[0]\n  return %0\n}",
    )
    .unwrap();
    let cache = HostArray::new([64], &[0.0_f32; 64]).unwrap();
    let number = HostArray::new([1], &[5.0_f32]).unwrap();
    let at = |n: i32| HostArray::new([1], &[n]).unwrap();
    let kept = cache.clone();
    let shared = session.run(vec![cache, number.clone(), at(3)]).unwrap();
    assert_eq!(kept.to_vec::<f32>().unwrap(), [0.0; 64]);
    assert_eq!(shared[0].to_vec::<f32>().unwrap()[3], 5.0);
    let alone = shared.into_iter().next().unwrap();
    let written = session.run(vec![alone, number.clone(), at(63)]).unwrap();
    let written = written[0].to_vec::<f32>().unwrap();
    assert_eq!((written[3], written[63]), (5.0, 5.0));
    for wrong in [-1, 64, i32::MIN, i32::MAX] {
        let error = session.run(vec![kept.clone(), number.clone(), at(wrong)]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("slice_update_dynamic: wanted a start"),
            "{text}"
        );
    }
}

#[rstest]
#[case::other_dtype(
    "(x0: float32[2]) {\n  %0: int32[2] = exp x0\n  return %0\n}",
    "gives float32[2]"
)]
#[case::other_shape(
    "(x0: float32[2, 3]) {\n  %0: float32[2] = sum x0 axes=[0]\n  return %0\n}",
    "gives float32[3]"
)]
#[case::unfit(
    "(x0: float32[2, 3]) {\n  %0: float32[2, 3] = matmul x0, x0\n  return %0\n}",
    "matmul: wanted matrices that fit"
)]
#[case::index(
    "(x0: float32[3], x1: float32[1]) {\n  %0: float32[1] = take x0, x1 axis=0\n  return %0\n}",
    "take: wanted whole numbers as indices"
)]
#[case::axis(
    "(x0: float32[3]) {\n  %0: float32[3] = softmax x0 axes=[3]\n  return %0\n}",
    "softmax"
)]
#[case::reshape(
    "(x0: float32[3]) {\n  %0: float32[4] = reshape x0 shape=[4]\n  return %0\n}",
    "wanted as many elements"
)]
#[case::alone(
    "(x0: float32[2, 2]) {\n  %0: float32[2, 2] = linalg.pinv x0\n  return %0\n}",
    "run without MLX, got linalg.pinv"
)]
#[case::ranks(
    "(x0: float32[2]) {\n  %0: float32[2] = distributed.all_sum x0 group=\"\"\n  return %0\n}",
    "run without MLX, got distributed.all_sum"
)]
fn a_graph_with_wrong_types_is_refused(#[case] rest: &str, #[case] wanted: &str) {
    let error = session(&format!("graph wrong{rest}")).unwrap_err();
    assert!(error.contains(wanted), "{error}");
}

#[rstest]
#[case::take("take x0, x1 axis=0", "float32[1, 2]", 3, "index")]
#[case::gather("gather x0, x1 axes=[0] slice_sizes=[1, 2]", "float32[1, 1, 2]", -4, "index")]
#[case::slice_dynamic(
    "slice_dynamic x0, x1 axes=[0] slice_size=[2, 2]",
    "float32[2, 2]",
    2,
    "wanted a start from 0 to 1"
)]
fn an_index_out_of_range_is_an_error(
    #[case] operation: &str,
    #[case] output: &str,
    #[case] index: i32,
    #[case] wanted: &str,
) {
    let session = session(&format!(
        "graph read(x0: float32[3, 2], x1: int32[1]) {{\n  %0: {output} = {operation}\n  return %0\n}}"
    ))
    .unwrap();
    let x = HostArray::new([3, 2], &[1.0_f32; 6]).unwrap();
    let run = |index: i32| session.run(vec![x.clone(), HostArray::new([1], &[index]).unwrap()]);
    assert_eq!(run(0).unwrap()[0].to_vec::<f32>().unwrap()[0], 1.0);
    let error = run(index).unwrap_err().to_string();
    assert!(error.contains(wanted), "{error}");
}

fn saved(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("network.safetensors");
    let weight = numbers([8, 4], 0.6);
    let f = jit(move |x: &Array| {
        let norm = x * (x.square().mean(keepdims(-1)) + 1e-6).rsqrt();
        norm.matmul(&weight).softmax(-1)
    });
    f.lower(&numbers([3, 8], 0.4)).unwrap().save(&path).unwrap();
    path
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let session = InferenceSession::open(&path).unwrap();
    let x = host(&numbers([3, 8], 0.4));
    for inputs in [
        vec![],
        vec![HostArray::new([1], &[1.0_f32]).unwrap()],
        vec![x.clone(); 2],
    ] {
        let error = session.run(inputs).unwrap_err().to_string();
        assert!(
            error.contains("network.safetensors: inputs: wanted (float32[3, 8])"),
            "{error}"
        );
    }
    let options = SessionOptions { memory_limit: 8 };
    let small = InferenceSession::open_with(&path, &options).unwrap();
    let error = small.run(vec![x]).unwrap_err().to_string();
    assert!(
        error.contains("wanted at most 8 bytes of memory"),
        "{error}"
    );
    let missing = folder.path().join("none.safetensors");
    let error = InferenceSession::open(missing).unwrap_err().to_string();
    assert!(error.contains("none.safetensors"), "{error}");
}

#[rstest]
#[case::network(false)]
#[case::block(true)]
fn damaged_files_are_errors_or_give_values(#[case] is_block: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (path, inputs) = match is_block {
        true => {
            let (path, inputs) = saved_block(folder.path());
            (path, inputs.iter().map(host).collect())
        }
        false => (saved(folder.path()), vec![host(&numbers([3, 8], 0.4))]),
    };
    let bytes = std::fs::read(&path).unwrap();
    let broken = folder.path().join("broken.safetensors");
    let (mut seed, mut n_run) = (7_usize, 0);
    let mut next = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..2000 {
        let mut damaged = bytes.clone();
        match round % 4 {
            0 => damaged.truncate(next(bytes.len())),
            // Mostly in the text.
            1 | 2 => {
                let text = bytes.len() * 2 / 3;
                damaged[next(text)] = b"0123456789abcdefgx,[]%-"[next(23)];
            }
            _ => (0..3).for_each(|_| damaged[next(bytes.len())] ^= 1 << next(8)),
        }
        std::fs::write(&broken, &damaged).unwrap();
        let session = InferenceSession::open(&broken);
        match session.and_then(|session| session.run(inputs.clone())) {
            Ok(_) => n_run += 1,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("broken.safetensors"), "{text}");
                assert!(!text.contains("panicked"), "{text}");
            }
        }
    }
    assert!(n_run > 50, "{n_run}");
}

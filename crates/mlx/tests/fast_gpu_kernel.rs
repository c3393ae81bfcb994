//! Metal and CUDA kernels where there is no such GPU: the composed form, or an error that says so.

use mlx::fast::{Backend, CudaKernel, Launch, MetalKernel, backend, cuda_kernel, metal_kernel};
use mlx::{Array, ArrayType, Device, Dtype, array};
use rstest::rstest;

const METAL: &str = "uint i = thread_position_in_grid.x; y[i] = metal::exp(x[i]);";
const CUDA: &str = "auto i = cg::this_grid().thread_rank(); if (i < 2) y[i] = exp(x[i]);";

fn metal() -> MetalKernel {
    metal_kernel("test_exp", &["x"], &["y"], METAL)
}

fn cuda() -> CudaKernel {
    cuda_kernel("test_exp", &["x"], &["y"], CUDA)
}

fn launch() -> Launch {
    Launch {
        grid: [2, 1, 1],
        threadgroup: [2, 1, 1],
        outputs: vec![ArrayType::new([2], Dtype::Float32)],
        template: vec![
            ("T".into(), Dtype::Float32.into()),
            ("N".into(), 2.into()),
            ("B".into(), true.into()),
        ],
        init_value: Some(0.5),
        verbose: false,
    }
}

/// These tests are of devices without the language; on others the kernels run and are compared with `exp`.
fn on_cpu<T>(work: impl FnOnce() -> T) -> T {
    mlx::with_device(Device::Cpu, work).unwrap()
}

#[test]
fn without_the_gpu_the_composed_form_runs() {
    let x = array!([0.0, 1.0]);
    let form = |inputs: &[Array]| vec![inputs[0].exp()];
    let metal = metal()
        .header("// none")
        .ensure_row_contiguous(false)
        .atomic_outputs(true)
        .composed(form);
    let cuda = cuda()
        .header("// none")
        .ensure_row_contiguous(false)
        .shared_memory(128)
        .composed(form);
    assert_eq!((metal.name(), cuda.name()), ("test_exp", "test_exp"));
    for y in on_cpu(|| {
        [
            metal.apply_one(&[&x], &launch()),
            cuda.apply_one(&[&x], &launch()),
        ]
    }) {
        assert_eq!(backend(&y).unwrap(), Backend::Composed);
        assert_eq!(y.to_vec::<f32>().unwrap(), x.exp().to_vec::<f32>().unwrap());
    }
}

#[test]
fn without_the_gpu_and_a_composed_form_it_is_an_error() {
    let x = array!([0.0, 1.0]);
    let errors = on_cpu(|| {
        let metal = metal().apply(&[&x], &launch()).err().unwrap();
        let cuda = cuda().apply(&[&x], &launch()).err().unwrap();
        [("Metal", metal.to_string()), ("CUDA", cuda.to_string())]
    });
    for (language, text) in errors {
        let want = format!(
            "test_exp: a {language} kernel needs a {language} GPU, this thread works on cpu; give it a composed form \
             to run elsewhere; inputs float32[2]; at "
        );
        assert!(text.starts_with(&want), "{text}");
        assert!(text.contains("fast_gpu_kernel.rs:"), "{text}");
    }
}

#[test]
fn a_composed_form_must_give_what_the_launch_says() {
    let x = array!([0.0, 1.0]);
    let short = metal().composed(|inputs| vec![inputs[0].sum(())]);
    let text = on_cpu(|| short.apply(&[&x], &launch()).err().unwrap().to_string());
    assert!(
        text.contains("the composed form must give float32[2], got float32[]"),
        "{text}"
    );
    let fails = cuda().composed(|inputs| vec![&inputs[0] + array!([1.0, 2.0, 3.0])]);
    let text = on_cpu(|| fails.apply(&[&x], &launch()).err().unwrap().to_string());
    assert!(text.contains("in the composed form: add: "), "{text}");
}

fn with(change: impl FnOnce(&mut Launch)) -> Launch {
    let mut launch = launch();
    change(&mut launch);
    launch
}

#[rstest]
#[case(with(|l| l.grid = [2, 0, 1]), 1, "grid must be at least 1, got [2, 0, 1]")]
#[case(with(|l| l.threadgroup = [0, 1, 1]), 1, "threadgroup must be at least 1, got [0, 1, 1]")]
#[case(with(|l| l.outputs.clear()), 1, "wanted types of the outputs \"y\", got 0")]
#[case(with(|l| l.outputs[0].shape = vec![-2]), 1, "sizes must not be negative, got -2 in [-2]")]
#[case(launch(), 0, "wanted the inputs \"x\", got 0")]
#[case(launch(), 2, "wanted the inputs \"x\", got 2")]
fn launches_say_what_was_wanted(
    #[case] launch: Launch,
    #[case] n_inputs: usize,
    #[case] want: &str,
) {
    let x = array!([0.0, 1.0]);
    let inputs = vec![&x; n_inputs];
    let form = |inputs: &[Array]| inputs.to_vec();
    for error in [
        metal().composed(form).apply(&inputs, &launch).err(),
        cuda().composed(form).apply(&inputs, &launch).err(),
    ] {
        let text = error.unwrap().to_string();
        assert!(text.starts_with(&format!("test_exp: {want}")), "{text}");
        assert!(text.contains("fast_gpu_kernel.rs:"), "{text}");
    }
    let text = cuda()
        .shared_memory(-1)
        .apply(&[&x], &self::launch())
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("shared_memory must be at least 0 bytes, got -1"),
        "{text}"
    );
    let text = metal_kernel("none", &[], &[], "")
        .apply(&[], &Launch::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("wanted at least one output name, got none"),
        "{text}"
    );
}

#[test]
fn kernels_and_launches_go_to_other_threads() {
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    is_shared(&metal());
    is_shared(&cuda());
    is_shared(&launch());
}

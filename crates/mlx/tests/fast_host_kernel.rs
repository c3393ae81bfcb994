//! Rust functions as operations: what they see, what they give, what becomes of errors, panics and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlx::compiler_api::TracedArray;
use mlx::fast::{
    self, Backend, HostInput, HostKernel, HostOutput, host_kernel, host_kernel_runs,
    host_kernel_runs_of,
};
use mlx::{Array, ArrayType, Complex64, Dtype, Element, WorkerPool, array};
use mlx_testdata::needs;
use rstest::rstest;

type Run = Result<(), String>;

/// The outputs are what the inputs are.
fn same(inputs: &[ArrayType]) -> Result<Vec<ArrayType>, String> {
    Ok(inputs.to_vec())
}

fn twice(inputs: &[HostInput<'_>], outputs: &mut [HostOutput<'_>]) -> Run {
    let (x, y) = (
        inputs[0].as_slice::<f32>()?,
        outputs[0].as_mut_slice::<f32>()?,
    );
    y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
    Ok(())
}

#[test]
fn runs_when_the_result_is_needed_and_counts_by_name() {
    let kernel = host_kernel("test.counted", same, twice).unwrap();
    assert_eq!(kernel.name(), "test.counted");
    let y = kernel.apply_one(&[&array!([1.0, 2.0])]);
    assert_eq!(host_kernel_runs_of("test.counted"), 0);
    assert_eq!(fast::backend(&y).unwrap(), Backend::Host);
    let before = host_kernel_runs();
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 4.0]);
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 4.0]);
    assert_eq!(host_kernel_runs_of("test.counted"), 1);
    assert!(host_kernel_runs() > before);
    assert_eq!(host_kernel_runs_of("test.never"), 0);
}

#[test]
fn inputs_come_row_contiguous() {
    let kernel = host_kernel("test.rows", same, twice).unwrap();
    let x = array!([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let turned = kernel.apply_one(&[&x.t()]);
    assert_eq!(turned.shape().unwrap(), [3, 2]);
    assert_eq!(
        turned.to_vec::<f32>().unwrap(),
        [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]
    );
    let spread = array!([1.0, 2.0]).broadcast_to([2, 2]);
    assert_eq!(
        kernel.apply_one(&[&spread]).to_vec::<f32>().unwrap(),
        [2.0, 4.0, 2.0, 4.0]
    );
    let tail = &x.split(3, 1).unwrap()[1];
    assert_eq!(
        kernel.apply_one(&[tail]).to_vec::<f32>().unwrap(),
        [4.0, 10.0]
    );
}

#[rstest]
#[case(vec![0])]
#[case(vec![2, 0, 3])]
#[case(vec![])]
fn empty_and_scalar_inputs_work(#[case] shape: Vec<i32>) {
    let kernel = host_kernel("test.sizes", same, twice).unwrap();
    let y = kernel.apply_one(&[&mlx::ones(&shape)]);
    assert_eq!(y.shape().unwrap(), shape);
    let n: i32 = shape.iter().product();
    assert_eq!(y.to_vec::<f32>().unwrap(), vec![2.0; n as usize]);
}

#[test]
fn has_as_many_outputs_and_inputs_as_it_says() {
    let types = |inputs: &[ArrayType]| {
        let whole = ArrayType::new((), Dtype::Int64);
        Ok(vec![
            inputs[0].clone(),
            whole,
            ArrayType::new([2, 2], Dtype::Bool),
        ])
    };
    let kernel = host_kernel("test.outputs", types, |inputs, outputs| {
        let [first, second, third] = outputs else {
            return Err(format!("wanted 3 outputs, got {}", outputs.len()));
        };
        first
            .as_mut_slice::<f32>()?
            .copy_from_slice(inputs[0].as_slice::<f32>()?);
        second.as_mut_slice::<i64>()?[0] = inputs[1]
            .as_slice::<i32>()?
            .iter()
            .map(|&x| i64::from(x))
            .sum();
        assert_eq!((third.shape(), third.dtype()), (&[2, 2][..], Dtype::Bool));
        assert_eq!(
            (inputs[1].shape(), inputs[1].dtype()),
            (&[3][..], Dtype::Int32)
        );
        third.as_mut_slice::<bool>()?[3] = true;
        Ok(())
    });
    let outputs = kernel
        .unwrap()
        .apply(&[&array!([1.5]), &array!([1, 2, 3])])
        .unwrap();
    assert_eq!(outputs[0].item::<f32>().unwrap(), 1.5);
    assert_eq!(outputs[1].item::<i64>().unwrap(), 6);
    assert_eq!(
        outputs[2].to_vec::<bool>().unwrap(),
        [false, false, false, true]
    );

    let nothing = host_kernel(
        "test.source",
        |_| Ok(vec![ArrayType::new([2], Dtype::Uint8)]),
        |_, outputs| {
            outputs[0].as_mut_slice::<u8>()?.fill(7);
            Ok(())
        },
    );
    assert_eq!(
        nothing.unwrap().apply_one(&[]).to_vec::<u8>().unwrap(),
        [7, 7]
    );
    let sink = host_kernel("test.sink", |_| Ok(Vec::new()), |_, _| Ok(()));
    assert!(sink.unwrap().apply(&[&array!([1.0])]).unwrap().is_empty());
}

fn copies<T: Element>(values: [T; 2]) {
    let kernel = host_kernel("test.copy", same, |inputs, outputs| {
        outputs[0]
            .as_mut_slice::<T>()?
            .copy_from_slice(inputs[0].as_slice::<T>()?);
        Ok(())
    });
    let x = Array::from_slice(&values, [2]).unwrap();
    let y = kernel.unwrap().apply_one(&[&x]);
    assert_eq!(y.dtype().unwrap(), T::DTYPE);
    assert_eq!(y.to_vec::<T>().unwrap(), values);
}

#[test]
fn every_dtype_goes_in_and_out() {
    copies([true, false]);
    copies([1_u8, u8::MAX]);
    copies([1_u16, u16::MAX]);
    copies([1_u32, u32::MAX]);
    copies([1_u64, u64::MAX]);
    copies([-1_i8, i8::MIN]);
    copies([-1_i16, i16::MIN]);
    copies([-1_i32, i32::MIN]);
    copies([-1_i64, i64::MIN]);
    copies([half::f16::ONE, half::f16::INFINITY]);
    copies([half::bf16::ONE, half::bf16::MIN]);
    copies([1.5_f32, f32::NEG_INFINITY]);
    copies([1.5_f64, f64::MAX]);
    copies([Complex64::new(1.0, -2.0), Complex64::default()]);
}

#[test]
fn slices_are_only_of_the_dtype_that_is_there() {
    let kernel = host_kernel("test.wrong", same, |inputs, _| {
        inputs[0].as_slice::<i32>().map(|_| ())
    })
    .unwrap();
    let text = kernel
        .apply_one(&[&array!([1.0])])
        .eval()
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with(
            "eval: host kernel test.wrong: elements are float32, asked for int32; at "
        ),
        "{text}"
    );
    let kernel = host_kernel("test.wrong", same, |_, outputs| {
        outputs[0].as_mut_slice::<u8>().map(|_| ())
    })
    .unwrap();
    let text = kernel
        .apply_one(&[&array!([1.0])])
        .eval()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("host kernel test.wrong: elements are float32, asked for uint8"),
        "{text}"
    );
}

#[test]
fn an_error_and_a_panic_reach_whoever_evaluates_with_the_kernels_name() {
    let fails = host_kernel("test.fails", same, |_, _| Err("100%s no".to_owned())).unwrap();
    let panics = host_kernel("test.panics", same, |_, _| panic!("oh {}", "no")).unwrap();
    let x = array!([1.0]);
    for (kernel, want) in [
        (&fails, "host kernel test.fails: 100%s no"),
        (&panics, "host kernel test.panics: panicked: oh no"),
    ] {
        let y = kernel.apply_one(&[&x]);
        let text = (&y + 1.0).to_vec::<f32>().unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
        // The stream works on.
        assert_eq!((&x + 1.0).item::<f32>().unwrap(), 2.0);
        // MLX reports an error once and then takes the array for computed: what is there must at least be no result.
        assert!(y.item::<f32>().is_ok_and(f32::is_nan));
    }
}

#[test]
fn types_that_are_refused_are_errors_of_the_application() {
    let picky = |inputs: &[ArrayType]| match inputs {
        [one] => Ok(vec![one.clone()]),
        _ => Err(format!("wanted one input, got {}", inputs.len())),
    };
    let kernel = host_kernel("test.picky", picky, twice).unwrap();
    let x = array!([1.0]);
    let text = kernel.apply(&[&x, &x]).err().unwrap().to_string();
    assert!(
        text.starts_with("test.picky: wanted one input, got 2; inputs float32[1], float32[1]; at "),
        "{text}"
    );
    assert!(text.contains("fast_host_kernel.rs:"), "{text}");

    let negative = |_: &[ArrayType]| Ok(vec![ArrayType::new([2, -1], Dtype::Float32)]);
    let text = host_kernel("test.negative", negative, twice)
        .unwrap()
        .apply_one(&[&x])
        .shape()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("sizes must not be negative, got -1"),
        "{text}"
    );
    let endless = |_: &[ArrayType]| Ok(vec![ArrayType::new([i32::MAX, i32::MAX], Dtype::Float32)]);
    assert!(
        host_kernel("test.endless", endless, twice)
            .unwrap()
            .apply_one(&[&x])
            .shape()
            .is_err()
    );
    assert!(host_kernel("zero\0byte", same, twice).is_err());
    let failed = &x + array!([1.0, 2.0, 3.0]) + array!([1.0, 2.0]);
    assert!(
        kernel
            .apply_one(&[&failed])
            .shape()
            .unwrap_err()
            .to_string()
            .starts_with("add: ")
    );
    let text = kernel.apply_one(&[]).shape().unwrap_err().to_string();
    assert!(
        text.starts_with("test.picky: wanted one input, got 0; at "),
        "{text}"
    );
}

static SHARED: std::sync::LazyLock<HostKernel> =
    std::sync::LazyLock::new(|| host_kernel("test.shared", same, twice).unwrap());

#[test]
fn many_workers_use_one_kernel_at_once() {
    let pool = WorkerPool::new("host", 8).unwrap();
    let pending: Vec<_> = (0..64_u16)
        .map(|k| {
            let work = move || {
                let x = Array::new([f32::from(k), 1.0]);
                (0..10)
                    .fold(x, |x, _| SHARED.apply_one(&[&x]))
                    .to_vec::<f32>()
                    .unwrap()
            };
            pool.start(work).unwrap()
        })
        .collect();
    for (k, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.wait().unwrap(), [1024.0 * k as f32, 1024.0]);
    }
    assert_eq!(host_kernel_runs_of("test.shared"), 640);
}

/// Counts how often it was dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A kernel, and a composed form, that each hold something; and the number of drops.
fn holding(name: &str) -> (HostKernel, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let (in_kernel, in_form) = (Dropped(Arc::clone(&drops)), Dropped(Arc::clone(&drops)));
    let kernel = host_kernel(name, same, move |inputs, outputs| {
        let _held = &in_kernel;
        twice(inputs, outputs)
    });
    let form = move |inputs: &[Array]| {
        let _held = &in_form;
        vec![&inputs[0] * 2.0]
    };
    (kernel.unwrap().composed(form), drops)
}

#[test]
fn what_a_kernel_holds_is_freed_once_when_the_last_use_is_gone() {
    needs!(CpuKernels);
    let (kernel, drops) = holding("test.held");
    let y = kernel.apply_one(&[&array!([1.0])]);
    let never = kernel.clone().apply_one(&[&y]);
    drop(kernel);
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    y.eval().unwrap();
    drop(y);
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(never);
    // The stream's thread may still be letting go of the run.
    mlx::synchronize().unwrap();
    for _ in 0..1000 {
        if drops.load(Ordering::SeqCst) == 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn a_refused_application_frees_nothing_twice() {
    let (kernel, drops) = holding("test.refused");
    for _ in 0..10 {
        assert!(
            kernel
                .apply(&[&array!([1.0]), &Array::failed(mlx::Error::op("x", "y"))])
                .is_err()
        );
    }
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(kernel);
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn applying_a_traced_input_records_one_operation() {
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Default)]
    struct Lines(RefCell<Vec<String>>, RefCell<Vec<mlx::Op>>);
    impl mlx::compiler_api::Recorder for Lines {
        fn record(&self, call: &mlx::compiler_api::OpCall<'_>) -> mlx::Result<Vec<usize>> {
            self.0
                .borrow_mut()
                .push(format!("{} = {}", call.outputs[0], call.op));
            self.1.borrow_mut().push(call.op.clone());
            Ok(vec![self.0.borrow().len()])
        }
        fn is_open(&self) -> bool {
            true
        }
    }
    let lines = Rc::new(Lines::default());
    let recorder: Rc<dyn mlx::compiler_api::Recorder> = lines.clone();
    let x = Array::new_tracer(&recorder, 0, &ArrayType::new([2, 3], Dtype::Float32));
    let kernel = host_kernel("test.traced", same, twice).unwrap();
    let other = host_kernel("test.traced", same, twice).unwrap();
    for kernel in [&kernel, &kernel, &other] {
        assert!(kernel.apply_one(&[&x]).is_tracer());
    }
    assert_eq!(lines.0.borrow()[0], "float32[2, 3] = test.traced");
    assert_eq!(host_kernel_runs_of("test.traced"), 0);
    let ops = lines.1.borrow();
    assert_eq!(ops[0], ops[1]);
    assert_ne!(ops[0], ops[2]);
    let y = mlx::bind(ops[0].clone(), &[&array!([4.0])]);
    assert_eq!(y.item::<f32>().unwrap(), 8.0);
}

//! Compiled closures: traced once for each kind of input, never mixed up, dropped whole.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::rc::Rc;

use mlx::compiler_api::CompiledClosure;
use mlx::{Array, Device, Dtype, Result, array, checkpoint, grad};

/// Returns whether MLX's compile works here: on the CPU it wants a C++ compiler, without which it runs the function
/// each time.
fn compiles() -> bool {
    let found = || {
        let mut command = Command::new("g++");
        let quiet = command.arg("--version").stdout(Stdio::null());
        quiet.stderr(Stdio::null()).status()
    };
    let works =
        Device::current().unwrap() != Device::Cpu || found().is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: MLX compiles nothing without a C++ compiler");
    }
    works && std::env::var_os("MLX_DISABLE_COMPILE").is_none()
}

fn counted(
    calls: &Rc<Cell<usize>>,
    function: impl Fn(&Array) -> Array + 'static,
) -> CompiledClosure {
    let calls = Rc::clone(calls);
    let body = move |x: &[Array]| {
        calls.set(calls.get() + 1);
        Ok(vec![function(&x[0])])
    };
    CompiledClosure::new(body).unwrap()
}

fn first(results: Result<Vec<Array>>) -> Vec<f32> {
    results.unwrap()[0].to_vec::<f32>().unwrap()
}

#[test]
fn a_function_is_traced_once_for_each_kind_of_input() {
    if !compiles() {
        return;
    }
    let calls = Rc::new(Cell::new(0));
    let f = counted(&calls, |x| x.exp().sin() + 1.0);
    let want = |x: f32| x.exp().sin() + 1.0;
    for (x, n_traces) in [(0.0_f32, 1), (0.5, 1), (1.0, 1)] {
        assert!((first(f.call(&[&Array::new([x])]))[0] - want(x)).abs() < 1e-6);
        assert_eq!(calls.get(), n_traces);
    }
    let _wider = f.call(&[&array!([1.0, 2.0])]).unwrap();
    assert_eq!(calls.get(), 2);
    let _half = f.call(&[&array!([1.0]).astype(Dtype::Float16)]).unwrap();
    assert_eq!(calls.get(), 3);
    let _known = f.call(&[&array!([7.0])]).unwrap();
    assert_eq!(calls.get(), 3);
}

#[test]
fn many_functions_never_get_each_others_results() {
    let x = array!([1.0]);
    let mut ids = BTreeSet::new();
    for k in 0..500 {
        let f = CompiledClosure::new(move |x| Ok(vec![&x[0] + k])).unwrap();
        assert_eq!(first(f.call(&[&x])), [1.0 + k as f32]);
        assert!(ids.insert(f.id()));
    }
    let other = std::thread::spawn(|| CompiledClosure::new(|x| Ok(x.to_vec())).unwrap().id());
    assert!(ids.insert(other.join().unwrap()));
}

#[test]
fn any_number_of_inputs_and_outputs_is_fine() {
    let f = CompiledClosure::new(|x| {
        let sum = x.iter().fold(array!(0.0), |sum, one| sum + one);
        Ok(vec![sum, array!(1.0), array!(2.0)])
    })
    .unwrap();
    for n in [0, 1, 15, 16, 17, 40] {
        let inputs: Vec<Array> = (0..n).map(|k| Array::scalar(k as f32)).collect();
        let results = f.call(&inputs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(results.len(), 3);
        assert_eq!(
            results[0].item::<f32>().unwrap(),
            (n * (n - 1).max(0) / 2) as f32
        );
    }
    let nothing = CompiledClosure::new(|_| Ok(Vec::new())).unwrap();
    assert!(nothing.call(&[&array!(1.0)]).unwrap().is_empty());
}

#[test]
fn functions_compile_inside_of_functions_and_gradients() -> Result<()> {
    let inner = CompiledClosure::new(|x| Ok(vec![x[0].square()]))?;
    let outer = CompiledClosure::new(move |x| Ok(vec![&inner.call(&[&x[0]])?[0] + 1.0]))?;
    assert_eq!(first(outer.call(&[&array!([3.0])])), [10.0]);
    let gradient = grad(|x: &Array| outer.call(&[x]).map(|y| y[0].sum(())));
    assert_eq!(gradient.call(&array!([3.0]))?.to_vec::<f32>()?, [6.0]);
    let slope =
        CompiledClosure::new(|x| Ok(vec![grad(|x: &Array| (x * x * x).sum(())).call(&x[0])?]))?;
    for x in [1.0_f32, 2.0] {
        assert_eq!(first(slope.call(&[&Array::new([x])])), [3.0 * x * x]);
    }
    Ok(())
}

#[test]
fn a_function_may_call_itself() -> Result<()> {
    // On constants: MLX would look into the entry it is just making.
    let this = Rc::new(OnceCell::<CompiledClosure>::new());
    let (depth, again) = (Cell::new(0), Rc::clone(&this));
    let body = move |x: &[Array]| {
        depth.set(depth.get() + 1);
        match again.get() {
            Some(again) if depth.get() < 20 => {
                let constant = Array::from_slice(&vec![1.0_f32; depth.get()], depth.get() as i32)?;
                let deeper = again.call(&[&constant])?;
                Ok(vec![x[0].sum(()) + &deeper[0]])
            }
            _ => Ok(vec![x[0].sum(())]),
        }
    };
    let _ = this.set(CompiledClosure::new(body)?);
    let f = this.get().unwrap();
    // 100 + 1 + 2 + .. + 19
    assert_eq!(first(f.call(&[&array!([100.0])])), [290.0]);
    Ok(())
}

#[test]
fn dropping_a_function_drops_what_its_graphs_hold() -> Result<()> {
    // The trace holds a checkpoint, that holds a compiled function, whose trace holds another checkpoint: dropping the
    // first function drops the second while MLX's lock is taken.
    struct Told(Rc<Cell<bool>>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let told = RefCell::new(Some(Told(Rc::clone(&dropped))));
    let inner = CompiledClosure::new(move |x| {
        let told = told.borrow_mut().take();
        let block = checkpoint(move |x: &Array| {
            let _ = &told;
            x.exp()
        });
        Ok(vec![block.call(&x[0])?])
    })?;
    let one = array!([1.0]);
    drop(inner.call(&[&one])?);
    let holder = Rc::new(RefCell::new(Some(inner)));
    let held = Rc::clone(&holder);
    let outer = CompiledClosure::new(move |x| {
        let inner = held.borrow_mut().take();
        let block = checkpoint(move |x: &Array| match &inner {
            Some(inner) => inner.call(&[x]).map(|mut y| y.remove(0)),
            None => Ok(x.clone()),
        });
        Ok(vec![block.call(&x[0])?])
    })?;
    assert_eq!(first(outer.call(&[&one])), [1.0_f32.exp()]);
    assert!(!dropped.get() || !compiles());
    drop(outer);
    assert!(dropped.get());
    Ok(())
}

#[test]
fn a_trace_that_fails_is_tried_again() -> Result<()> {
    let fails = Rc::new(Cell::new(true));
    let flag = Rc::clone(&fails);
    let f = CompiledClosure::new(move |x| {
        if flag.get() {
            let _ = x[0].reshape([7]).checked()?;
        }
        Ok(vec![&x[0] + 1.0])
    })?;
    let x = array!([1.0, 2.0]);
    let error = f.call(&[&x]).err().unwrap().to_string();
    assert!(
        error.starts_with("reshape: ") && error.contains("compiled.rs:"),
        "{error}"
    );
    fails.set(false);
    assert_eq!(first(f.call(&[&x])), [2.0, 3.0]);
    Ok(())
}

#[test]
fn values_cannot_be_read_while_mlx_traces() -> Result<()> {
    if !compiles() {
        return Ok(());
    }
    let f = CompiledClosure::new(|x| Ok(vec![Array::scalar(x[0].item::<f32>()?)]))?;
    assert!(f.call(&[&array!(1.0)]).is_err());
    Ok(())
}

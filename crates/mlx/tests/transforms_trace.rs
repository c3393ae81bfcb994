//! Transforms while a function is traced: the recorder gets them whole, and `apply` runs them again for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlx::compiler_api::{OpCall, Recorder, TracedArray, record_on, without_recording};
use mlx::transforms::{Arg, FlatFunction, Transform, TransformCall, apply};
use mlx::{
    Array, ArrayType, Dtype, Result, array, checkpoint, custom_vjp, grad, value_and_grad_of, vjp,
    vmap,
};

/// Takes transforms by running them on shadows, and keeps what it was given.
#[derive(Default)]
struct Toy {
    this: RefCell<Option<Rc<dyn Recorder>>>,
    nodes: Cell<usize>,
    transforms: RefCell<Vec<Transform>>,
    kept: RefCell<Vec<Rc<FlatFunction>>>,
}

impl Recorder for Toy {
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
        Ok(call.outputs.iter().map(|_| self.next()).collect())
    }

    fn is_open(&self) -> bool {
        true
    }

    fn record_transform(&self, call: &TransformCall<'_>) -> Result<Vec<Array>> {
        self.transforms.borrow_mut().push(call.transform.clone());
        self.kept
            .borrow_mut()
            .extend(call.functions.iter().cloned());
        let shadows: Vec<Array> = call
            .inputs
            .iter()
            .map(|input| input.abstract_value())
            .collect();
        let inputs: Vec<&Array> = shadows.iter().collect();
        let outputs = without_recording(|| apply(call.transform, call.functions, &inputs))?;
        let this = self.this.borrow().clone().unwrap();
        let traced = |output| Array::new_tracer_like(&this, self.next(), output, false);
        Ok(outputs.iter().map(traced).collect())
    }
}

impl Toy {
    fn next(&self) -> usize {
        self.nodes.replace(self.nodes.get() + 1)
    }

    /// Traces a function of a `float32[2]`.
    fn trace<T>(function: impl FnOnce(&Array) -> T) -> (Rc<Self>, T) {
        let toy = Rc::new(Toy::default());
        let recorder: Rc<dyn Recorder> = toy.clone();
        *toy.this.borrow_mut() = Some(Rc::clone(&recorder));
        let x = Array::new_tracer(&recorder, toy.next(), &ArrayType::new([2], Dtype::Float32));
        let result = record_on(&recorder, || function(&x));
        (toy, result)
    }
}

#[test]
fn a_recorder_gets_transforms_whole() -> Result<()> {
    let (toy, traced) = Toy::trace(|x| {
        let loss = |x: &Array, y: &Array| (x * y).sum(());
        let (value, by_y) = value_and_grad_of(loss, Arg::<1>).call((x, &array!([1.0, 2.0])))?;
        let (_, product) = vjp(|x: &Array| x.exp(), x, &by_y)?;
        let doubled = vmap(|x: &Array| x * 2.0).call(&product)?;
        let kept = checkpoint(|x: &Array| (x.sin(), x.cos())).call(&doubled)?;
        Ok((value, kept))
    });
    let (value, (sin, _)) = traced?;
    assert!(value.is_tracer() && sin.is_tracer());
    assert_eq!((value.shape()?, sin.shape()?), (vec![], vec![2]));
    let argnums = vec![1];
    let (in_axes, out_axes) = (vec![Some(0)], vec![0]);
    assert_eq!(
        *toy.transforms.borrow(),
        [
            Transform::ValueAndGrad { argnums },
            Transform::Vjp { n_primals: 1 },
            Transform::Vmap { in_axes, out_axes },
            Transform::Checkpoint,
        ]
    );
    Ok(())
}

#[test]
fn what_was_borrowed_is_an_error_when_it_comes_late() {
    let (toy, gradient) = Toy::trace(|x| grad(|x: &Array| x.square().sum(())).call(x));
    assert!(gradient.is_ok());
    let late = toy.kept.borrow()[0](&[array!([1.0, 2.0])]);
    let text = late.err().unwrap().to_string();
    assert!(text.contains("during its transform"), "{text}");
}

#[test]
fn a_recorder_can_call_the_rule_of_a_gradient() -> Result<()> {
    let (toy, traced) = Toy::trace(|x| {
        custom_vjp(
            |x: &Array| vec![x * 2.0],
            |_: &Array, cotangents: &Vec<Array>, outputs: &Vec<Array>| &cotangents[0] * &outputs[0],
        )
        .call(x)
    });
    assert_eq!(traced?.len(), 1);
    let [x, cotangent, output] = [[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]].map(Array::new);
    let product = toy.kept.borrow()[1](&[x, cotangent, output])?;
    assert_eq!(product[0].to_vec::<f32>()?, [15.0, 24.0]);
    Ok(())
}

#[test]
fn checks_are_the_same_while_tracing() {
    let (_, gradient) = Toy::trace(|x| grad(|x: &Array| x.square()).call(x));
    let text = gradient.err().unwrap().to_string();
    assert!(
        text.contains("must give a floating scalar, got float32[2]"),
        "{text}"
    );
    assert!(text.contains("transforms_trace.rs:"), "{text}");
}

/// Takes no transforms.
struct Plain;

impl Recorder for Plain {
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
        Ok(vec![0; call.outputs.len()])
    }

    fn is_open(&self) -> bool {
        true
    }
}

#[test]
fn a_recorder_without_transforms_says_so() {
    let recorder: Rc<dyn Recorder> = Rc::new(Plain);
    let gradient = record_on(&recorder, || {
        grad(|x: &Array| x.sum(())).call(&array!([1.0]))
    });
    let text = gradient.err().unwrap().to_string();
    assert!(
        text.starts_with("value_and_grad: ") && text.contains("takes no function"),
        "{text}"
    );
}

/// A recorder as it looks from another copy of this crate: nothing is recorded there, and the recorder knows better.
struct Far {
    toy: Toy,
}

impl Recorder for Far {
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
        self.toy.record(call)
    }

    fn is_open(&self) -> bool {
        true
    }

    fn open(&self) -> Vec<Rc<dyn Recorder>> {
        self.toy.this.borrow().iter().cloned().collect()
    }

    fn record_transform(&self, call: &TransformCall<'_>) -> Result<Vec<Array>> {
        self.toy.record_transform(call)
    }
}

#[test]
fn a_transform_is_recorded_by_the_recorder_of_its_inputs_where_none_is_known_as_in_a_notebook()
-> Result<()> {
    let far = Rc::new(Far {
        toy: Toy::default(),
    });
    let recorder: Rc<dyn Recorder> = far.clone();
    *far.toy.this.borrow_mut() = Some(Rc::clone(&recorder));
    let x = Array::new_tracer(
        &recorder,
        far.toy.next(),
        &ArrayType::new([2], Dtype::Float32),
    );
    let slope = grad(|x: &Array| x.square().sum(())).call(&(x + 1.0))?;
    assert!(slope.is_tracer_of(&recorder));
    assert_eq!(far.toy.transforms.borrow().len(), 1);
    // A recorder holds itself here, which a test must not leave behind.
    far.toy.this.borrow_mut().take();
    Ok(())
}

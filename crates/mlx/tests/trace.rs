//! Tracing by a toy recorder: the same function runs eagerly and records itself, with types from MLX.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlx::compiler_api::{OpCall, Recorder, TracedArray};
use mlx::{Array, ArrayType, Dtype, Error, Op, Result, array, bind_all, keepdims};

/// Writes each operation down as text and keeps it for replay.
#[derive(Default)]
struct Toy {
    lines: RefCell<Vec<String>>,
    nodes: RefCell<Vec<Node>>,
    closed: Cell<bool>,
}

enum Node {
    Input(usize),
    Op(Op, Vec<Source>),
}

#[derive(Clone)]
enum Source {
    Node(usize),
    Constant(Array),
}

impl Recorder for Toy {
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>> {
        let mut nodes = self.nodes.borrow_mut();
        let sources: Vec<Source> = call
            .inputs
            .iter()
            .map(|input| match input.tracer_node() {
                Some(node) => Source::Node(node),
                None => Source::Constant((*input).clone()),
            })
            .collect();
        let names: Vec<String> = sources
            .iter()
            .map(|source| match source {
                Source::Node(node) => format!("%{node}"),
                Source::Constant(_) => String::from("const"),
            })
            .collect();
        let number = nodes.len();
        self.lines.borrow_mut().push(format!(
            "%{number}: {} = {} {}",
            call.outputs[0],
            call.op,
            names.join(", ")
        ));
        nodes.push(Node::Op(call.op.clone(), sources));
        Ok(vec![number])
    }

    fn is_open(&self) -> bool {
        !self.closed.get()
    }
}

impl Toy {
    fn trace(types: &[ArrayType], function: impl Fn(&[Array]) -> Array) -> (Rc<Self>, Array) {
        let toy = Rc::new(Toy::default());
        let recorder: Rc<dyn Recorder> = toy.clone();
        let inputs: Vec<Array> = (0..types.len())
            .map(|k| {
                toy.nodes.borrow_mut().push(Node::Input(k));
                Array::new_tracer(&recorder, k, &types[k])
            })
            .collect();
        let output = function(&inputs);
        (toy, output)
    }

    fn replay(&self, inputs: &[Array], output: usize) -> Result<Array> {
        let mut values: Vec<Array> = Vec::new();
        for node in self.nodes.borrow().iter() {
            let value = match node {
                Node::Input(k) => inputs[*k].clone(),
                Node::Op(op, sources) => {
                    let sources: Vec<Array> = sources
                        .iter()
                        .map(|source| match source {
                            Source::Node(node) => values[*node].clone(),
                            Source::Constant(array) => array.clone(),
                        })
                        .collect();
                    bind_all(op.clone(), &sources.iter().collect::<Vec<_>>())?.remove(0)
                }
            };
            values.push(value);
        }
        Ok(values[output].clone())
    }
}

fn rms_norm(inputs: &[Array]) -> Array {
    let (x, weight) = (&inputs[0], &inputs[1]);
    x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt() * weight
}

#[test]
fn one_function_runs_eagerly_and_records_itself() {
    let types = [
        ArrayType::new([2, 3], Dtype::Float32),
        ArrayType::new([3], Dtype::Float32),
    ];
    let (toy, output) = Toy::trace(&types, rms_norm);
    assert_eq!(
        toy.lines.borrow().as_slice(),
        [
            "%2: float32[2, 3] = square %0",
            "%3: float32[2, 1] = mean axes=[-1] keepdims %2",
            "%4: float32[2, 1] = add %3, const",
            "%5: float32[2, 1] = rsqrt %4",
            "%6: float32[2, 3] = multiply %0, %5",
            "%7: float32[2, 3] = multiply %6, %1",
        ]
    );
    let inputs = [
        array!([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        array!([1.0, 0.5, 2.0]),
    ];
    let replayed = toy.replay(&inputs, output.tracer_node().unwrap()).unwrap();
    assert_eq!(
        replayed.to_vec::<f32>().unwrap(),
        rms_norm(&inputs).to_vec::<f32>().unwrap()
    );
}

#[test]
fn a_traced_array_has_a_type_but_no_value() {
    let (_toy, output) = Toy::trace(&[ArrayType::new([4], Dtype::Bfloat16)], |x| &x[0] + 1.0);
    assert_eq!(output.array_type().unwrap().to_string(), "bfloat16[4]");
    let error = output.sum(()).item::<f32>().unwrap_err();
    assert!(matches!(error, Error::Traced { op: "item", .. }), "{error}");
    assert!(error.to_string().contains("trace.rs:"), "{error}");
}

#[test]
fn an_error_while_tracing_names_operation_types_and_line() {
    let (_toy, output) = Toy::trace(&[ArrayType::new([2, 3], Dtype::Float32)], |x| {
        x[0].matmul(&x[0])
    });
    let text = output.shape().unwrap_err().to_string();
    assert!(
        text.starts_with("matmul: ") && text.contains("float32[2, 3], float32[2, 3]"),
        "{text}"
    );
    assert!(text.contains("trace.rs:"), "{text}");
}

#[test]
fn an_array_that_escaped_its_trace_is_an_error() {
    let (toy, output) = Toy::trace(&[ArrayType::new([2], Dtype::Float32)], |x| x[0].exp());
    toy.closed.set(true);
    let error = (&output + 1.0).shape().unwrap_err();
    assert!(matches!(error, Error::Traced { op: "add", .. }), "{error}");
}

#[test]
fn two_traces_do_not_mix() {
    let ty = [ArrayType::new([2], Dtype::Float32)];
    let (_first, a) = Toy::trace(&ty, |x| x[0].exp());
    let (_second, b) = Toy::trace(&ty, |x| x[0].exp());
    assert!(
        (a + b)
            .shape()
            .unwrap_err()
            .to_string()
            .contains("two different traces")
    );
}

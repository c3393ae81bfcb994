//! Recurrent layers by kernels over whole sequences against the formulas step by step in MLX's operations, with their
//! gradients.

use mlx::{Array, CloseOptions, Dtype, Result, grad, vjp, vmap};
use mlx_nn::{GRU, Init, LSTM, RNN, ReLU};
use rstest::rstest;

fn assert_near(got: &Array, want: &Array, tolerance: f64) -> Result<()> {
    assert_eq!(got.shape()?, want.shape()?);
    assert_eq!(got.dtype()?, want.dtype()?);
    let (got, want) = (got.astype(Dtype::Float32), want.astype(Dtype::Float32));
    let options = CloseOptions {
        rtol: tolerance,
        atol: tolerance,
        equal_nan: false,
    };
    assert!(
        got.allclose_with(&want, options).item::<bool>()?,
        "{got} {want}"
    );
    Ok(())
}

fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float32 => 2e-5,
        Dtype::Float16 => 1e-2,
        _ => 8e-2,
    }
}

/// A layer by its name as a function of its input, weights, and states before the first step: hidden states, and cells.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    has_bias: bool,
    has_states: bool,
}

impl Layer {
    /// Returns arguments: the input, both weights, biases, and states.
    fn arguments(&self, leading: &[i32], steps: i32, size: i32, dtype: Dtype) -> Vec<Array> {
        let gates = match self.name {
            "GRU" => 3,
            "LSTM" => 4,
            _ => 1,
        };
        mlx::random::seed(7);
        let normal = |shape: Vec<i32>| (mlx::random::normal(shape) * 0.5).astype(dtype);
        let mut x = leading.to_vec();
        let mut state = x.clone();
        x.extend([steps, 3]);
        state.push(size);
        let mut all = vec![
            normal(x),
            normal(vec![gates * size, 3]),
            normal(vec![gates * size, size]),
        ];
        if self.has_bias {
            all.push(normal(vec![gates * size]));
        }
        if self.has_bias && self.name == "GRU" {
            all.push(normal(vec![size]));
        }
        if self.has_states {
            all.push(normal(state.clone()));
        }
        if self.has_states && self.name == "LSTM" {
            all.push(normal(state));
        }
        all
    }

    /// Returns what there is behind the first three arguments: bias, bias of `n`, hidden state, cell.
    fn others(&self, arguments: &[Array]) -> [Option<Array>; 4] {
        let mut rest = arguments[3..].iter();
        let mut next = |is_given: bool| is_given.then(|| rest.next().cloned()).flatten();
        [
            next(self.has_bias),
            next(self.has_bias && self.name == "GRU"),
            next(self.has_states),
            next(self.has_states && self.name == "LSTM"),
        ]
    }

    /// Returns the states by the layer.
    fn states(&self, arguments: &[Array]) -> Result<Vec<Array>> {
        let [bias, bhn, hidden, cell] = self.others(arguments);
        let (x, wx, wh) = (&arguments[0], arguments[1].clone(), arguments[2].clone());
        let (size, init) = (wh.dim(-1)?, &mut Init::seed(0));
        Ok(match self.name {
            "GRU" => {
                let mut gru = GRU::with_init(3, size, self.has_bias, init);
                (gru.wx, gru.wh, gru.b, gru.bhn) = (wx, wh, bias, bhn);
                vec![gru.forward_from(x, hidden.as_ref())]
            }
            "LSTM" => {
                let mut lstm = LSTM::with_init(3, size, self.has_bias, init);
                (lstm.wx, lstm.wh, lstm.bias) = (wx, wh, bias);
                let (hidden, cell) = lstm.forward_from(x, hidden.as_ref(), cell.as_ref());
                vec![hidden, cell]
            }
            name => {
                let mut rnn = RNN::with_init(3, size, self.has_bias, init);
                (rnn.wxh, rnn.whh, rnn.bias) = (wx, wh, bias);
                if name == "ReLU" {
                    rnn = rnn.nonlinearity(ReLU);
                }
                vec![rnn.forward_from(x, hidden.as_ref())]
            }
        })
    }

    /// Returns the states by the formulas, in `float32`.
    fn reference(&self, arguments: &[Array]) -> Result<Vec<Array>> {
        let wide = |x: &Array| x.astype(Dtype::Float32);
        let arguments: Vec<Array> = arguments.iter().map(wide).collect();
        let [bias, bhn, hidden, cell] = self.others(&arguments);
        let (x, wx, wh) = (&arguments[0], &arguments[1], &arguments[2]);
        let size = wh.dim(-1)?;
        let mut shape = x.shape()?;
        shape.truncate(shape.len() - 2);
        shape.push(size);
        let zero = || mlx::zeros(shape.clone());
        let mut h = hidden.unwrap_or_else(zero);
        let mut c = cell.unwrap_or_else(zero);
        let (mut all_hidden, mut all_cells) = (Vec::new(), Vec::new());
        for x in x.unstack(-2)? {
            let mut projected = x.matmul(&wx.t());
            if let Some(bias) = &bias {
                projected += bias;
            }
            let products = h.matmul(&wh.t());
            let gate = |x: &Array, number: i32| {
                x.take(mlx::arange((number * size, (number + 1) * size)), -1)
            };
            let sum = |number: i32| gate(&projected, number) + gate(&products, number);
            match self.name {
                "GRU" => {
                    let mut product = gate(&products, 2);
                    if let Some(bhn) = &bhn {
                        product += bhn;
                    }
                    let new = (gate(&projected, 2) + sum(0).sigmoid() * product).tanh();
                    let update = sum(1).sigmoid();
                    h = (1.0 - &update) * new + update * h;
                }
                "LSTM" => {
                    c = sum(1).sigmoid() * c + sum(0).sigmoid() * sum(2).tanh();
                    h = sum(3).sigmoid() * c.tanh();
                }
                "ReLU" => h = mlx_nn::relu(&sum(0)),
                _ => h = sum(0).tanh(),
            }
            all_hidden.push(h.clone());
            all_cells.push(c.clone());
        }
        let hidden = mlx::stack(&all_hidden, -2);
        Ok(match self.name {
            "LSTM" => vec![hidden, mlx::stack(&all_cells, -2)],
            _ => vec![hidden],
        })
    }
}

#[rstest]
#[case(&[2], 4, 5)]
#[case(&[], 3, 16)]
#[case(&[2, 3], 2, 19)]
#[case(&[1], 1, 3)]
fn values_and_gradients_are_those_of_the_formulas(
    #[case] leading: &[i32],
    #[case] steps: i32,
    #[case] size: i32,
    #[values("RNN", "ReLU", "GRU", "LSTM")] name: &'static str,
    #[values(false, true)] has_bias: bool,
    #[values(false, true)] has_states: bool,
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
) -> Result<()> {
    let layer = Layer {
        name,
        has_bias,
        has_states,
    };
    let arguments = layer.arguments(leading, steps, size, dtype);
    let runs = mlx::fast::host_kernel_runs_of("recurrent");
    let got = layer.states(&arguments)?;
    let want = layer.reference(&arguments)?;
    for (got, want) in got.iter().zip(&want) {
        assert_near(got, &want.astype(dtype), tolerance(dtype))?;
    }
    if mlx::cpu::are_kernels_enabled() && mlx::Device::current()? == mlx::Device::Cpu {
        assert!(mlx::fast::host_kernel_runs_of("recurrent") > runs);
    }
    let cotangents: Vec<Array> = want
        .iter()
        .map(|want| Ok(mlx::random::normal(want.shape()?).astype(dtype)))
        .collect::<Result<_>>()?;
    let wide = cotangents.iter().map(|by| by.astype(Dtype::Float32));
    let wide: Vec<Array> = wide.collect();
    let (_, got) = vjp(
        |all: &Vec<Array>| layer.states(all),
        &arguments,
        &cotangents,
    )?;
    let (_, want) = vjp(|all: &Vec<Array>| layer.reference(all), &arguments, &wide)?;
    for (got, want) in got.iter().zip(&want) {
        assert_near(got, &want.astype(dtype), 4.0 * tolerance(dtype))?;
    }
    Ok(())
}

const LSTM_WITH_ALL: Layer = Layer {
    name: "LSTM",
    has_bias: true,
    has_states: true,
};

/// The sum of the squares of the hidden states: the cells get no cotangent.
fn loss(all: &[Array], states: impl Fn(&[Array]) -> Result<Vec<Array>>) -> Result<Array> {
    states(all).map(|states| states[0].square().sum(()))
}

#[test]
fn gradients_without_a_cotangent_of_the_cells_and_of_gradients() -> Result<()> {
    let layer = LSTM_WITH_ALL;
    let arguments = layer.arguments(&[2], 3, 4, Dtype::Float32);
    let ours = grad(move |all: &Vec<Array>| loss(all, |all| layer.states(all)));
    let theirs = grad(move |all: &Vec<Array>| loss(all, |all| layer.reference(all)));
    for (got, want) in ours.call(&arguments)?.iter().zip(&theirs.call(&arguments)?) {
        assert_near(got, want, 1e-4)?;
    }
    // The gradient of the squared length of the gradient.
    let length = |gradients: Vec<Array>| {
        let squares = gradients.iter().map(|one| one.square().sum(()));
        squares.fold(mlx::array!([0.0]).sum(()), |sum, one| sum + one)
    };
    let ours = grad(move |all: &Vec<Array>| ours.call(all).map(length));
    let theirs = grad(move |all: &Vec<Array>| theirs.call(all).map(length));
    for (got, want) in ours.call(&arguments)?.iter().zip(&theirs.call(&arguments)?) {
        assert_near(got, want, 1e-3)?;
    }
    Ok(())
}

#[test]
fn batched_by_vmap_with_gradients_inside() -> Result<()> {
    let layer = LSTM_WITH_ALL;
    let arguments = layer.arguments(&[3, 2], 3, 4, Dtype::Float32);
    let rest = layer.arguments(&[2], 3, 4, Dtype::Float32)[1..].to_vec();
    let with = move |x: &Array| {
        let mut all = vec![x.clone()];
        all.extend(rest.iter().cloned());
        all
    };
    let (x, of, of_gradient) = (&arguments[0], with.clone(), with.clone());
    let values = vmap(move |x: &Array| layer.states(&of(x)).map(|states| states[0].clone()));
    let gradients = vmap(move |x: &Array| {
        let with = of_gradient.clone();
        grad(move |x: &Array| loss(&with(x), |all| layer.states(all))).call(x)
    });
    let (values, gradients) = (values.call(x)?, gradients.call(x)?);
    for at in 0..3 {
        let (x, with) = (x.index(at), with.clone());
        assert_near(&values.index(at), &layer.reference(&with(&x))?[0], 1e-5)?;
        let want = grad(move |x: &Array| loss(&with(x), |all| layer.reference(all))).call(&x)?;
        assert_near(&gradients.index(at), &want, 1e-4)?;
    }
    Ok(())
}

#[test]
fn compiled_functions_compute_the_same() -> Result<()> {
    let layer = LSTM_WITH_ALL;
    let arguments = layer.arguments(&[2], 3, 4, Dtype::Float32);
    let compiled = mlx_compiler::jit(move |all: &Vec<Array>| {
        grad(move |all: &Vec<Array>| loss(all, |all| layer.states(all))).call(all)
    });
    let want = grad(move |all: &Vec<Array>| loss(all, |all| layer.states(all))).call(&arguments)?;
    for (got, want) in compiled.call(&arguments)?.iter().zip(&want) {
        assert_near(got, want, 1e-4)?;
    }
    Ok(())
}

#[test]
fn transposed_inputs_and_empty_batches() -> Result<()> {
    let lstm = LSTM::new(3, 4);
    let x = mlx::random::normal([5, 2, 3]).swapaxes(0, 1);
    let copy = Array::from(x.to_vec::<f32>()?).reshape([2, 5, 3]);
    assert_near(&lstm.forward(&x).0, &lstm.forward(&copy).0, 1e-6)?;
    let (hidden, cells) = lstm.forward(&mlx::zeros([0, 5, 3]));
    assert_eq!(hidden.shape()?, [0, 5, 4]);
    assert_eq!(cells.to_vec::<f32>()?, [0.0_f32; 0]);
    assert_eq!(
        GRU::new(3, 4).forward(&mlx::zeros([0, 5, 3])).shape()?,
        [0, 5, 4]
    );
    Ok(())
}

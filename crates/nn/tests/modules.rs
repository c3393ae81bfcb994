//! Parameters as a tree, loading with a report, and one set of weights with both kinds of kernels.

use mlx::{Array, Dtype, Tree, array};
use mlx_compiler::jit;
use mlx_nn::losses::mse_loss;
use mlx_nn::{
    Buffer, Conv1d, Embedding, FastOps, Init, LayerNorm, Linear, Module, MultiHeadAttention,
    ParameterVisitor, RmsNorm, SGD, WeightMap, value_and_grad,
};

#[derive(Clone, Tree)]
struct Block {
    attention: MultiHeadAttention,
    norms: Vec<LayerNorm>,
    head: Linear,
}

impl Block {
    fn new(init: &mut Init) -> Self {
        Self {
            attention: MultiHeadAttention::with_init(8, 2, true, init),
            norms: vec![LayerNorm::new(8).eps(1e-5), LayerNorm::new(8).eps(1e-5)],
            head: Linear::with_init(8, 3, false, init),
        }
    }

    fn forward(&self, x: &Array) -> Array {
        let normed = self.norms[0].forward(x);
        let mask = mlx::fast::AttentionMask::causal();
        let x = x + self.attention.forward(&normed, &normed, &normed, &mask);
        self.head.forward(&self.norms[1].forward(&x))
    }
}

impl Module for Block {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("attention", &mut self.attention);
        visitor.list("norms", &mut self.norms);
        visitor.module("head", &mut self.head);
    }
}

#[test]
fn names_every_parameter_by_its_path() {
    let names: Vec<String> = Block::new(&mut Init::seed(1))
        .parameters()
        .into_keys()
        .collect();
    assert_eq!(names.len(), 8 + 4 + 1);
    for name in [
        "attention.query_proj.weight",
        "attention.out_proj.bias",
        "norms.1.bias",
        "head.weight",
    ] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} is not among {names:?}"
        );
    }
}

#[test]
fn loads_what_fits_and_reports_the_rest() {
    let mut weights = Block::new(&mut Init::seed(1)).parameters();
    weights.remove("norms.0.weight");
    weights.insert("head.weight".into(), mlx::zeros([3, 9]));
    weights.insert("tail.weight".into(), array!([1.0]));
    let mut block = Block::new(&mut Init::zeros());
    let report = block.load(weights);
    assert_eq!(report.loaded, 11);
    assert_eq!(report.missing, ["norms.0.weight"]);
    assert_eq!(report.unused, ["tail.weight"]);
    assert_eq!(
        report.shape_mismatches,
        [("head.weight".to_owned(), vec![3, 8], vec![3, 9])]
    );
    let text = report.require_all().unwrap_err().to_string();
    assert!(
        text.contains("missing: norms.0.weight") && text.contains("must be [3, 8], got [3, 9]"),
        "{text}"
    );
}

#[test]
fn a_saved_tree_loads_into_another_module_exactly() {
    let block = Block::new(&mut Init::seed(7));
    let mut other = Block::new(&mut Init::zeros());
    other.load(block.parameters()).require_exact().unwrap();
    let x = mlx::iota(2 * 5 * 8)
        .astype(Dtype::Float32)
        .reshape([2, 5, 8])
        / 80.0;
    let (a, b) = (block.forward(&x), other.forward(&x));
    assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
}

#[test]
fn composed_and_fused_agree_on_the_same_weights() {
    let fused = Block::new(&mut Init::seed(3));
    let mut composed = fused.clone();
    composed.set_kernels(FastOps::Composed);
    assert_eq!(
        fused.norms[0].kernels,
        FastOps::Fused,
        "a clone is changed by itself"
    );
    let x = mlx::iota(5 * 8).astype(Dtype::Float32).reshape([1, 5, 8]) / 10.0;
    let difference = (fused.forward(&x) - composed.forward(&x)).abs().max(());
    assert!(difference.item::<f32>().unwrap() < 1e-5);
}

#[test]
fn equal_seeds_give_equal_parameters_and_others_do_not() {
    let first = |seed: u64| {
        Linear::with_init(4, 4, true, &mut Init::seed(seed))
            .weight
            .to_vec::<f32>()
            .unwrap()
    };
    assert_eq!(first(5), first(5));
    assert_ne!(first(5), first(6));
    let layer = Linear::with_init(4, 4, true, &mut Init::seed(5));
    assert_ne!(
        layer.weight.to_vec::<f32>().unwrap()[..4],
        layer.bias.unwrap().to_vec::<f32>().unwrap()[..]
    );
}

#[test]
fn linear_conv_embedding_and_norms_compute_their_formulas() {
    let linear = Linear::from_weights(array!([[1.0, 2.0], [3.0, 4.0]]), array!([10.0, 20.0]));
    assert_eq!(
        linear
            .forward(&array!([[1.0, 1.0]]))
            .to_vec::<f32>()
            .unwrap(),
        [13.0, 27.0]
    );

    let mut conv = Conv1d::with_init(1, 1, 3, true, &mut Init::zeros());
    conv.weight = array!([[[1.0], [2.0], [3.0]]]);
    conv.bias = Some(array!([0.5]));
    conv.padding = 1;
    let x = array!([[[1.0], [2.0], [3.0], [4.0]]]);
    assert_eq!(
        conv.forward(&x).to_vec::<f32>().unwrap(),
        [8.5, 14.5, 20.5, 11.5]
    );
    conv.stride = 2;
    assert_eq!(conv.forward(&x).to_vec::<f32>().unwrap(), [8.5, 20.5]);

    let table = Embedding::from_weights(array!([[1.0, 2.0], [3.0, 4.0]]));
    assert_eq!(
        table.forward(&array!([1, 0])).to_vec::<f32>().unwrap(),
        [3.0, 4.0, 1.0, 2.0]
    );
    assert_eq!(
        table
            .as_linear(&array!([[1.0, 1.0]]))
            .to_vec::<f32>()
            .unwrap(),
        [3.0, 7.0]
    );
    assert!(table.forward(&array!([2])).shape().is_err());

    let norm = RmsNorm {
        weight: array!([1.0, 2.0]),
        ..RmsNorm::new(2).eps(0.0)
    };
    let got = norm.forward(&array!([[3.0, 4.0]])).to_vec::<f32>().unwrap();
    let root = 12.5_f32.sqrt();
    assert!((got[0] - 3.0 / root).abs() < 1e-6 && (got[1] - 8.0 / root).abs() < 1e-6);
}

#[test]
fn activations_equal_python_mlx() {
    // mlx.nn 0.32.2 on the CPU.
    let x = array!([-2.0, -0.5, 0.0, 0.5, 3.0]);
    let close = |got: Array, want: [f32; 5]| {
        for (got, want) in got.to_vec::<f32>().unwrap().into_iter().zip(want) {
            assert!((got - want).abs() < 2e-6, "{got} is not {want}");
        }
    };
    close(mlx_nn::relu(&x), [0.0, 0.0, 0.0, 0.5, 3.0]);
    close(
        mlx_nn::silu(&x),
        [-0.238_405_84, -0.188_770_34, 0.0, 0.311_229_67, 2.857_722_5],
    );
    close(
        mlx_nn::gelu(&x),
        [-0.045_500_28, -0.154_268_77, 0.0, 0.345_731_23, 2.995_950_2],
    );
    close(
        mlx_nn::gelu_approx(&x),
        [-0.045_402_31, -0.154_286, 0.0, 0.345_714, 2.996_362_7],
    );
    close(
        mlx_nn::gelu_fast_approx(&x),
        [-0.064_341_37, -0.149_611_56, 0.0, 0.350_388_44, 2.981_928_8],
    );
}

#[test]
fn an_empty_map_leaves_everything_missing() {
    let report = Linear::with_init(2, 2, true, &mut Init::zeros()).load(WeightMap::new());
    assert_eq!(report.missing, ["weight", "bias"]);
}

/// A module that nobody copies.
#[derive(Module)]
struct Only {
    layer: Linear,
    count: Counter,
}

#[derive(Module)]
struct Counter {
    seen: Buffer,
}

#[test]
fn modules_need_no_clone() -> mlx::Result<()> {
    let mut only = Only {
        layer: Linear::new(2, 1),
        count: Counter {
            seen: Buffer::new(array!(0.0)),
        },
    };
    let loss = |only: &Only, x: &Array, y: &Array| {
        only.count.seen.set(only.count.seen.get() + 1.0);
        mse_loss(&only.layer.forward(x), y)
    };
    let step = value_and_grad(&only, loss);
    let (x, y) = (array!([[1.0, 2.0]]), array!([[3.0]]));
    let mut sgd = SGD::new(0.05);
    let (first, _) = step(&only, &x, &y)?;
    for _ in 0..20 {
        let (_, gradients) = step.call((&only, &x, &y))?;
        sgd.update(&mut only, &gradients)?;
        mlx::eval((&only, sgd.state()))?;
    }
    let (last, gradients) = step(&only, &x, &y)?;
    assert!(last.item::<f32>()? < 0.01 * first.item::<f32>()?);
    assert_eq!(
        gradients.into_keys().collect::<Vec<_>>(),
        ["layer.bias", "layer.weight"]
    );
    assert_eq!(only.count.seen.get().item::<f32>()?, 22.0);
    let jitted = jit(|only: &Only, x: &Array| only.layer.forward(x));
    assert_eq!(
        jitted(&only, &x)?.item::<f32>()?,
        only.layer.forward(&x).item::<f32>()?
    );
    Ok(())
}

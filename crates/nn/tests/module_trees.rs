//! Derived modules: names of parameters, trees of arrays in transforms and compiled functions, freezing, modes, files.

use std::collections::BTreeMap;

use mlx::{Array, Dtype, Tree, array, checkpoint, grad, tree, vmap};
use mlx_compiler::jit;
use mlx_nn::losses::mse_loss;
use mlx_nn::optimizers::{Adam, Optimizer, SGD};
use mlx_nn::{
    Buffer, Dropout, Embedding, FastOps, Init, LayerNorm, Linear, Module, ModuleState, RMSNorm,
    Sequential, relu, value_and_grad,
};

#[derive(Clone, Debug, PartialEq)]
enum Style {
    Plain,
}

/// One field of each kind that can be derived.
#[derive(Clone, Module)]
struct Net {
    embed: Embedding,
    blocks: Vec<Block>,
    pair: (Linear, RMSNorm),
    two: [LayerNorm; 2],
    heads: BTreeMap<String, Linear>,
    maybe: Option<Linear>,
    boxed: Box<Linear>,
    choice: Choice,
    #[module(rename = "model.scale")]
    scale: Array,
    #[module(buffer)]
    positions: Array,
    mean: Buffer,
    n_heads: i32,
    names: Vec<String>,
    #[module(static)]
    style: Style,
    #[module(skip)]
    cache: std::rc::Rc<std::cell::Cell<u32>>,
    kernels: FastOps,
    state: ModuleState,
}

#[derive(Clone, Module)]
struct Block {
    fc: Linear,
    dropout: Dropout,
}

#[derive(Clone, Module)]
#[allow(dead_code)]
enum Choice {
    Wide(Box<Linear>),
    Deep {
        first: Box<Linear>,
        second: Box<Linear>,
    },
    Nothing,
}

fn linear(seed: u64) -> Linear {
    Linear::with_init(4, 4, true, &mut Init::seed(seed))
}

fn net() -> Net {
    let block = |seed| Block {
        fc: linear(seed),
        dropout: Dropout::new(0.5),
    };
    Net {
        embed: Embedding::with_init(10, 4, &mut Init::seed(1)),
        blocks: vec![block(2), block(3)],
        pair: (linear(4), RMSNorm::new(4)),
        two: [LayerNorm::new(4), LayerNorm::new(4).affine(false)],
        heads: BTreeMap::from([("left".to_owned(), linear(5))]),
        maybe: None,
        boxed: Box::new(linear(6)),
        choice: Choice::Wide(Box::new(linear(7))),
        scale: array!([2.0]),
        positions: array!([1.0, 2.0, 3.0, 4.0]),
        mean: Buffer::new(array!([0.0])),
        n_heads: 2,
        names: vec!["a".to_owned()],
        style: Style::Plain,
        cache: std::rc::Rc::default(),
        kernels: FastOps::default(),
        state: ModuleState::default(),
    }
}

impl Net {
    fn forward(&self, tokens: &Array) -> Array {
        let x = self.embed.forward(tokens) * &self.scale + &self.positions;
        let x = self.blocks.iter().fold(x, |x, block| block.fc.forward(&x));
        let x = self.pair.1.forward(&self.pair.0.forward(&x));
        let x = self.two[1].forward(&self.two[0].forward(&x));
        let Choice::Wide(choice) = &self.choice else {
            return x;
        };
        let x = choice.forward(&self.boxed.forward(&self.heads["left"].forward(&x)));
        self.mean.set(self.mean.get() + x.mean(()));
        x
    }
}

fn names<T>(map: BTreeMap<String, T>) -> Vec<String> {
    map.into_keys().collect()
}

#[test]
fn parameters_have_the_names_that_python_gives_them() {
    let wanted = [
        "blocks.0.fc.bias",
        "blocks.0.fc.weight",
        "blocks.1.fc.bias",
        "blocks.1.fc.weight",
        "boxed.bias",
        "boxed.weight",
        "choice.bias",
        "choice.weight",
        "embed.weight",
        "heads.left.bias",
        "heads.left.weight",
        "model.scale",
        "pair.0.bias",
        "pair.0.weight",
        "pair.1.weight",
        "two.0.bias",
        "two.0.weight",
    ];
    let net = net();
    assert_eq!(names(net.parameters()), wanted);
    assert_eq!(names(net.trainable_parameters()), wanted);
    assert_eq!(names(net.buffers()), ["mean", "positions"]);
    assert_eq!(Module::state(&net).len(), 19);
    let choice = Choice::Deep {
        first: Box::new(linear(0)),
        second: Box::new(linear(1)),
    };
    assert!(choice.parameters().contains_key("second.bias"));
    assert!(Choice::Nothing.parameters().is_empty());
}

#[test]
fn a_module_is_a_tree_of_all_its_arrays() -> mlx::Result<()> {
    let net = net();
    assert_eq!(tree::arrays(&net).len(), 19);
    mlx::eval(&net)?;
    let twice = Tree::map(&net, &mut |array| array * 2.0);
    assert_eq!(twice.scale.item::<f32>()?, 4.0);
    assert_eq!(twice.mean.get().item::<f32>()?, 0.0);
    let same = tree::structure(&net);
    assert_eq!(same, tree::structure(&twice));
    let mut other = net.clone();
    other.n_heads = 3;
    assert_ne!(same, tree::structure(&other));
    let mut other = net.clone();
    other.eval();
    assert_ne!(same, tree::structure(&other), "modes differ");
    let mut other = net.clone();
    other.freeze_matching("embed")?;
    assert_ne!(same, tree::structure(&other), "what is frozen differs");
    let mut other = net.clone();
    other.set_kernels(FastOps::Composed);
    assert_ne!(same, tree::structure(&other));
    net.cache.set(7);
    assert_eq!(
        same,
        tree::structure(&net),
        "what is skipped is not compared"
    );
    Ok(())
}

#[test]
fn gradients_are_trees_of_the_same_type_and_zero_where_frozen() -> mlx::Result<()> {
    let mut net = net();
    net.freeze_matching(["embed", "blocks.0", "*.bias"])?;
    let loss = |net: &Net, tokens: &Array| net.forward(tokens).square().sum(());
    let tokens = array!([1, 2]);
    let gradient = grad(loss).call((&net, &tokens))?;
    let size = |x: &Array| x.abs().sum(()).item::<f32>();
    assert!(size(&gradient.blocks[1].fc.weight)? > 0.0);
    assert!(size(&gradient.scale)? > 0.0);
    for zero in [
        &gradient.embed.weight,
        &gradient.blocks[0].fc.weight,
        &gradient.positions,
        gradient.boxed.bias.as_ref().expect("a bias"),
    ] {
        assert_eq!(size(zero)?, 0.0);
    }
    // The same by names.
    let (value, by_name) =
        value_and_grad(&net, |net: &Net, tokens: &Array| loss(net, tokens))(&net, &tokens)?;
    assert!(value.item::<f32>()?.is_finite());
    assert_eq!(names(by_name.clone()), names(net.trainable_parameters()));
    let distance = (&by_name["blocks.1.fc.weight"] - &gradient.blocks[1].fc.weight).abs();
    assert!(distance.max(()).item::<f32>()? < 1e-5);
    Ok(())
}

#[test]
fn a_gradient_equals_a_difference_quotient() -> mlx::Result<()> {
    let net = net();
    let loss = |net: &Net, tokens: &Array| net.forward(tokens).sin().sum(());
    let tokens = array!([3, 4]);
    let gradient = grad(loss).call((&net, &tokens))?;
    let at = |step: f32| {
        let mut moved = net.clone();
        moved.scale = &net.scale + step;
        loss(&moved, &tokens).item::<f32>()
    };
    let quotient = (at(1e-2)? - at(-1e-2)?) / 2e-2;
    let got = gradient.scale.item::<f32>()?;
    assert!(
        (quotient - got).abs() < 2e-2 * quotient.abs().max(1.0),
        "{quotient} {got}"
    );
    Ok(())
}

#[test]
fn a_compiled_function_takes_a_module_and_returns_one() -> mlx::Result<()> {
    let forward = jit(|net: &Net, tokens: &Array| {
        let y = net.forward(tokens);
        (y, net.clone())
    });
    let mut net = net();
    let tokens = array!([1, 5]);
    let wanted = net.clone();
    let y = wanted.forward(&tokens);
    let (got, after) = forward.call((&net, &tokens))?;
    assert!(
        got.allclose_with(&y, mlx::CloseOptions::new(1e-5, 1e-5))
            .item::<bool>()?
    );
    let (a, b) = (after.mean.get(), wanted.mean.get());
    assert!(
        a.allclose_with(&b, mlx::CloseOptions::new(1e-5, 1e-5))
            .item::<bool>()?
    );
    net.scale = array!([3.0]);
    let (other, _) = forward.call((&net, &tokens))?;
    assert!(
        !other
            .allclose_with(&y, mlx::CloseOptions::new(1e-5, 1e-5))
            .item::<bool>()?
    );
    assert_eq!(forward.stats().misses, 1, "traced once");
    net.eval();
    let _ = forward.call((&net, &tokens))?;
    assert_eq!(forward.stats().misses, 2, "a mode is part of the key");
    Ok(())
}

#[test]
fn a_whole_step_compiles_with_the_module_as_an_argument() -> mlx::Result<()> {
    type Batch = (Array, Array);
    let step = |layer: &Linear, (x, y): &Batch| -> mlx::Result<(Linear, Array)> {
        let loss = |layer: &Linear, (x, y): &Batch| mse_loss(&layer.forward(x), y);
        let (loss, gradients) = value_and_grad(layer, loss)(layer, &(x.clone(), y.clone()))?;
        let sgd = SGD::new(0.1);
        let parameters = layer.trainable_parameters();
        let (parameters, _) =
            sgd.apply_gradients(&gradients, &parameters, &sgd.init(&parameters))?;
        Ok((layer.with_parameters(&parameters)?, loss))
    };
    let batch = (Init::seed(1).normal(&[8, 4], 1.0), mlx::ones([8, 4]));
    let compiled = jit(step);
    let (mut eager, mut fast) = (linear(1), linear(1));
    for _ in 0..3 {
        eager = step(&eager, &batch)?.0;
        fast = compiled.call((&fast, &batch))?.0;
    }
    assert!(
        eager
            .weight
            .allclose_with(&fast.weight, mlx::CloseOptions::new(1e-5, 1e-6))
            .item::<bool>()?
    );
    assert_eq!(compiled.stats().misses, 1);
    Ok(())
}

#[test]
fn modules_go_through_vmap_and_checkpoint() -> mlx::Result<()> {
    let layer = linear(3);
    let x = Init::seed(9).normal(&[5, 4], 1.0);
    let rows = vmap(|x: &Array| layer.forward(x)).call(&x)?;
    assert!(
        rows.allclose_with(layer.forward(&x), mlx::CloseOptions::new(1e-5, 1e-6))
            .item::<bool>()?
    );

    let plain = |layer: &Linear, x: &Array| layer.forward(x).square().sum(());
    let kept = checkpoint(plain);
    let wanted = grad(plain).call((&layer, &x))?;
    let got = grad(move |layer: &Linear, x: &Array| kept.call((layer, x))).call((&layer, &x))?;
    assert!(
        got.weight
            .allclose_with(&wanted.weight, mlx::CloseOptions::new(1e-5, 1e-6))
            .item::<bool>()?
    );
    Ok(())
}

#[test]
fn freezing_is_by_name_by_pattern_and_of_all() -> mlx::Result<()> {
    let mut net = net();
    let all = names(net.trainable_parameters());
    net.freeze()?;
    assert!(net.trainable_parameters().is_empty());
    net.unfreeze_matching(["heads", "*.fc.bias"])?;
    let some = [
        "blocks.0.fc.bias",
        "blocks.1.fc.bias",
        "heads.left.bias",
        "heads.left.weight",
    ];
    assert_eq!(names(net.trainable_parameters()), some);
    net.blocks[0].freeze()?;
    assert_eq!(names(net.trainable_parameters()), some[1..]);
    let text = net.freeze_matching("bias").unwrap_err().to_string();
    assert!(
        text.contains("no parameter is named by `bias`: wanted a full name, or `*.bias`"),
        "{text}"
    );
    net.unfreeze()?;
    assert_eq!(names(net.trainable_parameters()), all);
    Ok(())
}

#[test]
fn a_struct_without_a_state_says_so_when_it_is_frozen() {
    #[derive(Clone, Module)]
    struct Scale {
        layer: Linear,
        by: Array,
    }
    let mut scale = Scale {
        layer: linear(1),
        by: array!([1.0]),
    };
    let text = scale.freeze().unwrap_err().to_string();
    assert!(
        text.contains(
            "`by` is a parameter of `Scale`, which must have a field `state: ModuleState`"
        ),
        "{text}"
    );
    assert_eq!(scale.trainable_parameters().len(), 3, "it is unchanged");
    scale
        .freeze_matching("layer")
        .expect("the layer has a state");
    assert_eq!(names(scale.trainable_parameters()), ["by"]);
}

#[test]
fn modes_reach_every_module() {
    let mut net = net();
    assert!(net.training() && net.blocks[1].dropout.training());
    net.eval();
    assert!(!net.training() && !net.blocks[1].dropout.training());
    let x = mlx::ones([64]);
    let dropped = |net: &Net| {
        let y = net.blocks[0].dropout.forward(&x);
        y.equal(0.0).any(()).item::<bool>().expect("a value")
    };
    assert!(!dropped(&net));
    net.train();
    assert!(dropped(&net));
}

#[test]
fn buffers_are_replaced_in_training_and_saved() -> mlx::Result<()> {
    let net = net();
    let loss = |net: &Net, tokens: &Array| net.forward(tokens).sum(());
    let _ = value_and_grad(&net, loss)(&net, &array!([1]))?;
    let once = net.mean.get().item::<f32>()?;
    assert_ne!(once, 0.0);
    let _ = value_and_grad(&net, loss)(&net, &array!([1]))?;
    let twice = net.mean.get().item::<f32>()?;
    assert!((twice - 2.0 * once).abs() < 1e-5);
    assert_eq!(net.buffers()["mean"].item::<f32>()?, twice);
    let copy = net.clone();
    copy.mean.set(array!([5.0]));
    assert_eq!(net.mean.get().item::<f32>()?, twice, "a copy has its own");
    for step in 0..100_000 {
        copy.mean.set(array!([0.0]));
        if step % 50_000 == 0 {
            assert_eq!(copy.clone().buffers()["mean"].item::<f32>()?, 0.0);
        }
    }
    drop(copy);
    Ok(())
}

#[test]
fn weights_are_saved_and_loaded_with_buffers() -> mlx::Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let net = net();
    net.mean.set(array!([3.0]));
    for name in ["net.safetensors", "net.npz"] {
        let path = folder.path().join(name);
        net.save_weights(&path)?;
        let mut other = Tree::map(&net, &mut mlx::zeros_like);
        let report = other.load_weights(&path)?;
        assert_eq!(report.loaded, 19);
        assert_eq!(other.mean.get().item::<f32>()?, 3.0);
        assert_eq!(other.scale.item::<f32>()?, 2.0);
    }
    let path = folder.path().join("net.safetensors");
    let mut wrong = net.clone();
    wrong.maybe = Some(linear(1));
    let text = wrong.load_weights(&path).unwrap_err().to_string();
    assert!(text.contains("missing: maybe.weight, maybe.bias"), "{text}");
    assert_eq!(wrong.load_weights_partial(&path)?.missing.len(), 2);
    let text = net.save_weights("net.bin").unwrap_err().to_string();
    assert!(text.contains("must end in .safetensors or .npz"), "{text}");
    Ok(())
}

#[test]
fn modules_are_found_changed_and_replaced_by_type_and_name() -> mlx::Result<()> {
    let mut net = net();
    let kinds: Vec<(String, &str)> = net
        .named_modules()
        .into_iter()
        .map(|(name, module)| (name, module.kind))
        .collect();
    assert_eq!(kinds[0], (String::new(), "Net"));
    assert!(kinds.contains(&("blocks.1".to_owned(), "Block")));
    assert!(kinds.contains(&("pair.1".to_owned(), "RmsNorm")));
    assert!(kinds.contains(&("choice".to_owned(), "Linear")));
    let children: Vec<String> = net.children().into_iter().map(|child| child.name).collect();
    assert_eq!(
        children,
        [
            "embed",
            "blocks.0",
            "blocks.1",
            "pair.0",
            "pair.1",
            "two.0",
            "two.1",
            "heads.left",
            "boxed",
            "choice"
        ]
    );
    assert!(
        net.leaf_modules()
            .iter()
            .all(|leaf| leaf.kind != "Net" && leaf.kind != "Block")
    );
    let linears: Vec<String> = net
        .modules::<Linear>()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        linears,
        [
            "blocks.0.fc",
            "blocks.1.fc",
            "pair.0",
            "heads.left",
            "boxed",
            "choice"
        ]
    );
    net.apply_to_modules::<Dropout>(|_, dropout| dropout.p = 0.1);
    assert_eq!(net.blocks[1].dropout.p, 0.1);
    net.update_modules([("boxed", Linear::from_weights(mlx::zeros([4, 4]), None))])?;
    assert!(net.boxed.bias.is_none());
    let text = net
        .update_modules([("boxed", LayerNorm::new(4))])
        .unwrap_err();
    assert!(
        text.to_string().contains("there is no LayerNorm `boxed`"),
        "{text}"
    );
    net.apply(|array| array * 0.0);
    assert_eq!(net.scale.item::<f32>()?, 0.0);
    net.set_dtype(Dtype::Float16);
    assert_eq!(net.blocks[0].fc.weight.dtype()?, Dtype::Float16);
    let sizes = net.filter_and_map(|name, _| name.ends_with("weight"), |array| array.size());
    assert_eq!(sizes["embed.weight"].as_ref().ok(), Some(&40));
    let text = net
        .update(&BTreeMap::from([("nothing".to_owned(), array!(1.0))]))
        .unwrap_err();
    assert!(text.to_string().contains("unused: nothing"), "{text}");
    Ok(())
}

#[test]
fn a_summary_lists_shapes_counts_and_bytes() -> mlx::Result<()> {
    let mut model = Sequential::new((Linear::new(32, 1000), relu, Linear::new(1000, 2)));
    model.freeze_matching("layers.0")?;
    let summary = model.summary();
    assert_eq!(summary.n_parameters(), 33_000 + 2002);
    assert_eq!(summary.n_trainable(), 2002);
    assert_eq!(summary.nbytes(), 4 * 35_002);
    let text = summary.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "module    type        parameters                                     count    bytes  trainable",
            "layers.0  Linear      weight float32[1000, 32], bias float32[1000]  33,000  132,000          0",
            "layers.1  function                                                       0        0          0",
            "layers.2  Linear      weight float32[2, 1000], bias float32[2]       2,002    8,008      2,002",
            "total     Sequential                                                35,002  140,008      2,002",
        ]
    );
    let html = summary.to_html();
    assert_eq!(html.matches("<tr>").count(), 5);
    assert!(
        html.contains("<td style=\"text-align:left\">layers.2</td>"),
        "{html}"
    );
    Ok(())
}

#[test]
fn optimizers_keep_their_state() -> mlx::Result<()> {
    let mut net = net();
    net.freeze_matching("embed")?;
    let before = net.embed.weight.to_vec::<f32>()?;
    let loss = |net: &Net, tokens: &Array| net.forward(tokens).square().mean(());
    let step = value_and_grad(&net, loss);
    let mut adam = Adam::new(0.003);
    let mut losses = Vec::new();
    for _ in 0..40 {
        let (loss, gradients) = step(&net, &array!([1, 2, 3]))?;
        adam.update(&mut net, &gradients)?;
        losses.push(loss.item::<f32>()?);
    }
    assert!(losses[39] < losses[0] * 0.5, "{losses:?}");
    assert_eq!(net.embed.weight.to_vec::<f32>()?, before);
    assert_eq!(adam.state["step"].item::<u64>()?, 40);
    assert!(!adam.state.contains_key("embed.weight.m"));
    Ok(())
}

#[test]
fn paths_of_the_tree_are_the_names_of_parameters_and_buffers() -> mlx::Result<()> {
    let net = net();
    let flat = mlx::tree_flatten(&net);
    assert_eq!(flat.len(), tree::arrays(&net).len());
    let paths: BTreeMap<String, Array> = flat.iter().cloned().collect();
    assert_eq!(names(paths), names(Module::state(&net)));
    let rebuilt = mlx::tree_unflatten(&net, flat.into_iter().rev())?;
    for (name, array) in Module::state(&net) {
        assert_eq!(
            Module::state(&rebuilt)[&name].to_vec::<f32>()?,
            array.to_vec::<f32>()?
        );
    }
    let deep = Sequential::new((linear(1), relu, Sequential::new((linear(2),))));
    let paths: Vec<String> = mlx::tree_flatten(&deep)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        paths,
        [
            "layers.0.weight",
            "layers.0.bias",
            "layers.2.layers.0.weight",
            "layers.2.layers.0.bias"
        ]
    );
    Ok(())
}

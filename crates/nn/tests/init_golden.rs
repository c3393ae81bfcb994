//! Initializers give what Python MLX's give after the same seed. The cases are made by `golden/make_init.py`.

use mlx::{Array, Dtype};
use mlx_nn::{Fan, Init, Linear, Module, init};
use serde_json::Value;

fn made(name: &str, shape: &[i32]) -> Array {
    let mut init = Init::seed(7);
    match name {
        "normal" => init.normal_around(shape, 0.5, 2.0),
        "uniform" => init.uniform_between(shape, -0.5, 2.0),
        "identity" => init.identity(shape),
        "glorot_normal" => init.glorot_normal(shape, 1.5),
        "glorot_uniform" => init.glorot_uniform(shape, 1.5),
        "he_normal" => init.he_normal(shape, Fan::Out, 1.5),
        "he_uniform" => init.he_uniform(shape, Fan::In, 1.0),
        "orthogonal" => init.orthogonal(shape, 1.5),
        "sparse" => init.sparse(shape, 0.5, 1.0, 2.0),
        other => panic!("no initializer {other}"),
    }
}

#[test]
fn initializers_equal_python() -> mlx::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("golden/init.json")).expect("cases");
    assert_eq!(cases.len(), 17);
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let shape = case["shape"].as_array().expect("a shape").iter();
        let shape: Vec<i32> = shape
            .map(|size| size.as_i64().expect("a size").try_into().expect("a size"))
            .collect();
        let wanted = case["values"].as_array().expect("values").iter();
        let got = made(name, &shape);
        assert_eq!(got.shape()?, shape, "{name}");
        for (got, wanted) in got.to_vec::<f32>()?.into_iter().zip(wanted) {
            let wanted = wanted.as_f64().expect("a number");
            let off = (f64::from(got) - wanted).abs();
            assert!(off < 2e-6, "{name} {shape:?}: {got} is not {wanted}");
        }
    }
    Ok(())
}

#[test]
fn rows_or_columns_of_orthogonal_matrices_are_orthonormal() -> mlx::Result<()> {
    for shape in [[3, 7], [7, 3], [5, 5]] {
        let q = init::orthogonal(1.0)(&mlx::zeros(shape));
        let product = if shape[0] <= shape[1] {
            q.matmul(&q.t())
        } else {
            q.t().matmul(&q)
        };
        let n = shape[0].min(shape[1]);
        let off = (product - mlx::eye(n)).abs().max(());
        assert!(off.item::<f32>()? < 1e-5, "{shape:?}");
    }
    Ok(())
}

#[test]
fn functions_apply_to_modules_and_depend_on_the_seed() -> mlx::Result<()> {
    let initialized = || {
        mlx_nn::seed(3);
        let mut layer = Linear::new(4, 3);
        layer.apply(init::uniform(1.0, 2.0));
        layer.weight.to_vec::<f32>()
    };
    let values = initialized()?;
    assert_eq!(values, initialized()?);
    assert!(values.iter().all(|value| (1.0..2.0).contains(value)));
    let sparse = init::sparse(0.25, 0.0, 1.0)(&mlx::zeros([6, 10]));
    let zeros = sparse.equal(0.0).astype(Dtype::Int32).sum(1);
    assert_eq!(zeros.to_vec::<i32>()?, [3; 6]);
    Ok(())
}

#[test]
fn wrong_shapes_are_told() {
    let three = mlx::zeros([2, 2, 2]);
    let text = |array: Array| array.eval().expect_err("an error").to_string();
    for (got, wanted) in [
        (
            init::identity()(&three),
            "identity: wanted a shape [n, n], got [2, 2, 2]",
        ),
        (
            init::orthogonal(1.0)(&three),
            "orthogonal: wanted a shape of 2 axes",
        ),
        (
            init::sparse(0.5, 0.0, 1.0)(&three),
            "sparse: wanted a shape of 2 axes",
        ),
        (
            Init::default().sparse(&[2, 2], 1.5, 0.0, 1.0),
            "sparsity must be from 0 to 1, got 1.5",
        ),
    ] {
        let text = text(got);
        assert!(text.contains(wanted), "{text}: {wanted}");
    }
}

//! `docs/from-python.md`: the page is generated here, from the table of operations, `from_python/names.txt` and the pairs of
//! snippets below, each of which is a test.

#[path = "from_python/page.rs"]
mod page;

use std::collections::{BTreeMap, HashMap};

use mlx::{
    Array, Ellipsis, NewAxis, RangeExt, Result, Tree, fast, grad, keepdims, linalg, random,
    value_and_grad, vmap,
};

fn floats(x: &Array) -> Vec<f32> {
    x.to_vec::<f32>().unwrap_or_default()
}

#[test]
fn create() -> Result<()> {
    // python: x = mx.array([[1.0, 2.0], [3.0, 4.0]])
    // python: z = mx.zeros((2, 3))
    let x = mlx::array!([[1.0, 2.0], [3.0, 4.0]]);
    let z = mlx::zeros((2, 3));
    // end
    assert_eq!(x.dtype()?, mlx::float32);
    assert_eq!(z.shape()?, [2, 3]);
    Ok(())
}

#[test]
fn dtype() -> Result<()> {
    // python: x = mx.zeros((2, 3), dtype=mx.bfloat16)
    // python: y = mx.array([1, 2], dtype=mx.int8)
    let x = mlx::zeros_with((2, 3), mlx::bfloat16);
    let y = mlx::array!([1, 2], mlx::int8);
    // end
    assert_eq!(x.dtype()?, mlx::bfloat16);
    assert_eq!(y.dtype()?, mlx::int8);
    Ok(())
}

#[test]
fn ranges() -> Result<()> {
    // python: a = mx.arange(24)
    // python: b = mx.arange(0, 10, 2)
    // python: c = mx.linspace(0, 1, 5)
    let a = mlx::arange(24);
    let b = mlx::arange((0, 10, 2));
    let c = mlx::linspace(0, 1, 5);
    // end
    assert_eq!(a.size()? + b.size()? + c.size()?, 34);
    Ok(())
}

#[test]
fn numbers_out() -> Result<()> {
    let x = mlx::array!([1.5, 2.5]);
    // python: total = x.sum().item()
    // python: values = x.tolist()
    let total = x.sum(()).item::<f32>()?;
    let values = x.to_vec::<f32>()?;
    // end
    assert_eq!((total, values), (4.0, vec![1.5, 2.5]));
    Ok(())
}

#[test]
fn sizes() -> Result<()> {
    let x = mlx::ones((2, 3));
    // python: rows = x.shape[0]
    // python: b, d = x.shape
    let rows = x.dim(0)?;
    let [b, d] = x.dims()?;
    // end
    assert_eq!((rows, b, d), (2, 2, 3));
    Ok(())
}

#[test]
fn operators() -> Result<()> {
    let (a, b) = (mlx::array!([1.0, 2.0]), mlx::array!([3.0, 4.0]));
    // python: c = 2 * a + b / 3 - 1
    // python: d = a ** 2 // 3
    let c = 2 * &a + &b / 3 - 1;
    let d = a.pow(2).floor_divide(3);
    // end
    assert_eq!(floats(&c)[0], 2.0);
    assert_eq!(floats(&d), [0.0, 1.0]);
    Ok(())
}

#[test]
fn comparisons() -> Result<()> {
    let x = mlx::array!([1.0, 3.0]);
    // python: mask = x > 2.5
    // python: y = mx.where(mask, x, 0.0)
    let mask = x.gt(2.5);
    let y = mlx::where_(&mask, &x, 0.0);
    // end
    assert_eq!(floats(&y), [0.0, 3.0]);
    Ok(())
}

#[test]
fn products() -> Result<()> {
    let (a, b) = (mlx::ones((2, 3)), mlx::ones((3, 4)));
    // python: c = a @ b
    // python: d = mx.einsum("ij,jk->ki", a, b)
    let c = a.matmul(&b);
    let d = mlx::einsum("ij,jk->ki", [&a, &b]);
    // end
    assert_eq!((c.shape()?, d.shape()?), (vec![2, 4], vec![4, 2]));
    Ok(())
}

#[test]
fn reductions() -> Result<()> {
    let x = mlx::array!([[1.0, 2.0], [3.0, 5.0]]);
    // python: a = mx.mean(x)
    // python: b = mx.mean(x, axis=-1, keepdims=True)
    // python: c = mx.var(x, axis=0, ddof=1)
    let a = mlx::mean(&x, None);
    let b = mlx::mean(&x, keepdims(-1));
    let c = mlx::var(&x, mlx::Reduction::from(0).ddof(1));
    // end
    assert_eq!(floats(&a), [2.75]);
    assert_eq!(b.shape()?, [2, 1]);
    assert_eq!(floats(&c), [2.0, 4.5]);
    Ok(())
}

#[test]
fn functions_and_methods() -> Result<()> {
    let x = mlx::array!([0.0, 1.0]);
    // python: y = mx.softmax(x, axis=-1)
    // python: z = mx.exp(x)
    let y = mlx::softmax(&x, -1); // or x.softmax(-1)
    let z = mlx::exp(&x); // or x.exp()
    // end
    assert!((floats(&y)[1] - 0.731_058_6).abs() < 1e-6);
    assert_eq!(floats(&z)[0], 1.0);
    Ok(())
}

#[test]
fn shapes() -> Result<()> {
    let x = mlx::arange(24);
    // python: y = x.reshape(2, 3, -1).transpose(0, 2, 1)
    // python: z = mx.expand_dims(y, 0).squeeze()
    let y = x.reshape((2, 3, -1)).transpose((0, 2, 1));
    let z = mlx::expand_dims(&y, 0).squeeze(());
    // end
    assert_eq!(z.shape()?, [2, 4, 3]);
    Ok(())
}

#[test]
fn joining() -> Result<()> {
    let (a, b) = (mlx::ones((2, 3)), mlx::zeros((2, 3)));
    // python: c = mx.concatenate([a, b], axis=0)
    // python: d = mx.stack([a, b])
    // python: left, right = mx.split(c, 2, axis=0)
    let c = mlx::concatenate([&a, &b], 0);
    let d = mlx::stack([&a, &b], 0);
    let parts = mlx::split(&c, 2, 0)?;
    // end
    assert_eq!((c.shape()?, d.shape()?), (vec![4, 3], vec![2, 2, 3]));
    assert_eq!(floats(&parts[1]), [0.0; 6]);
    Ok(())
}

#[test]
fn indexing() -> Result<()> {
    let x = mlx::arange(24).reshape((2, 3, 4));
    // python: a = x[0]
    // python: b = x[:, -1]
    // python: c = x[..., 1:3]
    // python: d = x[:, None]
    let a = x.index(0);
    let b = x.index((.., -1));
    let c = x.index((Ellipsis, 1..3));
    let d = x.index((.., NewAxis));
    // end
    assert_eq!((a.shape()?, b.shape()?), (vec![3, 4], vec![2, 4]));
    assert_eq!((c.shape()?, d.shape()?), (vec![2, 3, 2], vec![2, 1, 3, 4]));
    Ok(())
}

#[test]
fn steps() -> Result<()> {
    let x = mlx::arange(10);
    // python: a = x[::2]
    // python: b = x[1:8:3]
    // python: c = x[::-1]
    let a = x.index((..).step(2));
    let b = x.index((1..8).step(3));
    let c = x.index((..).step(-1));
    // end
    assert_eq!(a.size()?, 5);
    assert_eq!(b.to_vec::<i32>()?, [1, 4, 7]);
    assert_eq!(c.index(0).item::<i32>()?, 9);
    Ok(())
}

#[test]
fn taking() -> Result<()> {
    let x = mlx::array!([[1, 2], [3, 4], [5, 6]]);
    let ids = mlx::array!([2, 0]);
    // python: a = x[ids]
    // python: b = mx.take(x, ids, axis=0)
    // python: c = mx.take_along_axis(x, mx.argsort(x, axis=1), axis=1)
    let a = x.index(&ids);
    let b = mlx::take(&x, &ids, 0);
    let c = mlx::take_along_axis(&x, &mlx::argsort(&x, 1), 1);
    // end
    assert_eq!(a.to_vec::<i32>()?, [5, 6, 1, 2]);
    assert_eq!(b.to_vec::<i32>()?, [5, 6, 1, 2]);
    assert_eq!(c.to_vec::<i32>()?, [1, 2, 3, 4, 5, 6]);
    Ok(())
}

#[test]
fn updates() -> Result<()> {
    let mut x = mlx::zeros((2, 2));
    let ids = mlx::array!([0, 0]);
    // python: x[0] = 1.0
    // python: x[:, 1] += 2
    // python: x = x.at[ids].add(1)
    x = x.at(0).set(1.0);
    x = x.at((.., 1)).add(2);
    x = x.at(&ids).add(1);
    // end
    assert_eq!(floats(&x), [3.0, 5.0, 0.0, 2.0]);
    Ok(())
}

#[test]
fn random_numbers() -> Result<()> {
    // python: mx.random.seed(0)
    // python: x = mx.random.normal((2, 3))
    // python: y = mx.random.uniform(-1, 1, (8,))
    // python: z = mx.random.randint(0, 10, (4,))
    // python: order = mx.random.permutation(10)
    random::seed(0);
    let x = random::normal((2, 3));
    let y = random::uniform(-1, 1, (8,));
    let z = random::randint(0, 10, (4,));
    let order = random::permutation(10);
    // end
    assert_eq!(x.size()? + y.size()? + z.size()? + order.size()?, 28);
    Ok(())
}

#[test]
fn random_keys() -> Result<()> {
    // python: key = mx.random.key(7)
    // python: a, b = mx.random.split(key)
    // python: x = mx.random.normal((3,), key=a)
    // python: y = mx.random.normal((3,), loc=2.0, scale=0.5, key=b)
    let key = random::key(7);
    let (a, b) = random::split(&key);
    let x = random::normal_with((3,), &a);
    let options = random::NormalOptions {
        loc: 2.0.into(),
        scale: 0.5.into(),
        key: Some(b),
        ..Default::default()
    };
    let y = random::normal_with((3,), options);
    // end
    assert_eq!(x.size()? + y.size()?, 6);
    Ok(())
}

#[test]
fn gradients() -> Result<()> {
    let w = mlx::array!([1.0, 2.0]);
    // python: loss = lambda w: mx.sum(mx.square(w))
    // python: g = mx.grad(loss)(w)
    // python: value, g = mx.value_and_grad(loss)(w)
    let loss = |w: &Array| mlx::sum(mlx::square(w), ());
    let g = grad(loss)(&w)?;
    let (value, same) = value_and_grad(loss)(&w)?;
    // end
    assert_eq!(
        (floats(&g), value.item::<f32>()?, floats(&same)),
        (vec![2.0, 4.0], 5.0, vec![2.0, 4.0])
    );
    Ok(())
}

#[test]
fn gradients_by_several_arguments() -> Result<()> {
    let (a, b) = (mlx::array!(2.0), mlx::array!(3.0));
    // python: da, db = mx.grad(lambda a, b: a * b, argnums=[0, 1])(a, b)
    let (da, db) = grad(|a: &Array, b: &Array| a * b).argnums([0, 1])(&a, &b)?;
    // end
    assert_eq!((da.item::<f32>()?, db.item::<f32>()?), (3.0, 2.0));
    Ok(())
}

#[test]
fn gradients_by_a_dictionary() -> Result<()> {
    let params = BTreeMap::from([("w", mlx::array!(2.0)), ("b", mlx::array!(1.0))]);
    let x = mlx::array!(3.0);
    // python: loss = lambda p, x: (p["w"] * x + p["b"]) ** 2
    // python: g = mx.grad(loss)(params, x)["w"]
    let loss = |p: &BTreeMap<&'static str, Array>, x: &Array| (&p["w"] * x + &p["b"]).square();
    let g = &grad(loss)(&params, &x)?["w"];
    // end
    assert_eq!(g.item::<f32>()?, 42.0);
    Ok(())
}

#[test]
fn structs_of_arrays() -> Result<()> {
    // python: class Line: ...
    #[derive(Tree)]
    struct Line {
        w: Array,
        b: Array,
    }
    let line = Line {
        w: mlx::array!(2.0),
        b: mlx::array!(1.0),
    };
    let g = grad(|line: &Line, x: &Array| &line.w * x + &line.b)(&line, &mlx::array!(3.0))?;
    // end
    assert_eq!((g.w.item::<f32>()?, g.b.item::<f32>()?), (3.0, 1.0));
    Ok(())
}

#[test]
fn vectorizing() -> Result<()> {
    let (rows, v) = (mlx::ones((2, 3)), mlx::ones(3));
    // python: y = mx.vmap(lambda r, v: mx.sum(r * v), in_axes=(0, None))(rows, v)
    let dot = |r: &Array, v: &Array| mlx::sum(r * v, ());
    let y = vmap(dot).in_axes([Some(0), None])(&rows, &v)?;
    // end
    assert_eq!(floats(&y), [3.0, 3.0]);
    Ok(())
}

#[test]
fn evaluating() -> Result<()> {
    let (a, b) = (mlx::ones(2), mlx::ones(3));
    // python: mx.eval(a, b)
    // python: mx.async_eval(a)
    mlx::eval((&a, &b))?;
    mlx::async_eval(&a)?;
    // end
    Ok(())
}

#[test]
fn comparing() -> Result<()> {
    let (a, b) = (mlx::ones(2), mlx::ones(2));
    // python: assert mx.array_equal(a, b).item()
    // python: assert mx.allclose(a, b, rtol=1e-5, atol=1e-3)
    assert!(mlx::array_equal(&a, &b).item::<bool>()?);
    assert!(mlx::allclose_with(&a, &b, (1e-5, 1e-3)).item::<bool>()?);
    // end
    Ok(())
}

#[test]
fn files() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let x = mlx::arange(3);
    // python: mx.save("x.npy", x)
    // python: x = mx.load("x.npy")
    // python: mx.save_safetensors("w.safetensors", {"x": x})
    // python: w = mx.load("w.safetensors")["x"]
    mlx::save(path("x.npy"), &x)?;
    let x = mlx::load(path("x.npy"))?.array()?;
    mlx::save_safetensors(path("w.safetensors"), &HashMap::from([("x", x)]))?;
    let w = &mlx::load(path("w.safetensors"))?["x"];
    // end
    assert_eq!(w.to_vec::<i32>()?, [0, 1, 2]);
    Ok(())
}

#[test]
fn attention() -> Result<()> {
    let (q, k, v) = (
        mlx::ones((1, 2, 4, 8)),
        mlx::ones((1, 2, 4, 8)),
        mlx::ones((1, 2, 4, 8)),
    );
    // python: o = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.35, mask="causal")
    // python: y = mx.fast.rms_norm(o, mx.ones(8), 1e-5)
    let o = fast::scaled_dot_product_attention(&q, &k, &v, 0.35, "causal");
    let y = fast::rms_norm(&o, &mlx::ones(8), 1e-5);
    // end
    assert_eq!(y.shape()?, [1, 2, 4, 8]);
    Ok(())
}

#[test]
fn convolutions() -> Result<()> {
    let (x, w) = (mlx::ones((1, 8, 8, 3)), mlx::ones((4, 3, 3, 3)));
    // python: y = mx.conv2d(x, w)
    // python: z = mx.conv2d(x, w, stride=2, padding=1)
    let y = mlx::conv2d(&x, &w, ());
    let z = mlx::conv2d(&x, &w, (2, 1));
    // end
    assert_eq!(
        (y.shape()?, z.shape()?),
        (vec![1, 6, 6, 4], vec![1, 4, 4, 4])
    );
    Ok(())
}

#[test]
fn linear_algebra() -> Result<()> {
    let a = mlx::array!([[4.0, 2.0], [2.0, 3.0]]);
    let b = mlx::array!([[1.0], [2.0]]);
    // python: x = mx.linalg.solve(a, b)
    // python: l = mx.linalg.cholesky(a)
    let x = linalg::solve(&a, &b);
    let l = linalg::cholesky(&a);
    // end
    assert!((floats(&a.matmul(&x))[1] - 2.0).abs() < 1e-5);
    assert_eq!(floats(&l)[0], 2.0);
    Ok(())
}

#[test]
fn limits() -> Result<()> {
    // python: lowest = mx.finfo(mx.float16).min
    // python: dtype = mx.result_type(mx.int32, mx.float16)
    let lowest = mlx::finfo(mlx::float16)?.min;
    let dtype = mlx::result_type(mlx::int32, mlx::float16)?;
    // end
    assert_eq!((lowest, dtype), (-65504.0, mlx::float16));
    Ok(())
}

#[test]
fn devices() -> Result<()> {
    let x = mlx::ones(2);
    // python: with mx.stream(mx.cpu):
    // python:     y = mx.exp(x)
    let y = mlx::with_device(mlx::Device::Cpu, || mlx::exp(&x))?;
    // end
    assert_eq!(y.size()?, 2);
    Ok(())
}

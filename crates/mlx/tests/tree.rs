//! Trees of arrays: order, structure, rebuilding, derive, and which functions count as functions of trees.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use mlx::tree::{Arguments, BoxedError, Function, Static, arrays, rebuild, structure};
use mlx::{Array, Error, Result, Tree, array};
use rstest::rstest;

fn values<T: Tree>(tree: &T) -> Vec<f32> {
    let arrays = arrays(tree).into_iter();
    arrays.map(|array| array.item::<f32>().unwrap()).collect()
}

#[derive(Tree, Clone, Debug, PartialEq)]
struct Settings;

#[derive(Tree)]
struct Linear {
    weight: Array,
    bias: Option<Array>,
    #[tree(static)]
    name: String,
}

#[derive(Tree)]
struct Network<T, const N: usize>
where
    T: Clone,
{
    layers: Vec<Linear>,
    heads: [T; N],
    #[tree(static)]
    kind: PhantomData<fn(T)>,
}

#[derive(Tree)]
struct Pair(Array, #[tree(static)] f32);

#[derive(Tree)]
enum Activation {
    Plain,
    Scaled(Array),
    Learned { slope: Array, shift: Box<Array> },
}

#[derive(Tree)]
#[allow(dead_code)]
enum Never {}

fn linear(weight: f32, bias: Option<f32>) -> Linear {
    Linear {
        weight: Array::scalar(weight),
        bias: bias.map(Array::scalar),
        name: String::from("linear"),
    }
}

#[test]
fn arrays_come_in_the_order_they_are_written() {
    let mut map = BTreeMap::new();
    map.insert("b".to_owned(), array!(4.0));
    map.insert("a".to_owned(), array!(3.0));
    let tree = (
        vec![array!(1.0), array!(2.0)],
        map,
        Some(array!(5.0)),
        [array!(6.0)],
        Static("none"),
        (),
    );
    assert_eq!(values(&tree), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn derived_trees_visit_map_and_keep_settings() {
    let network = Network {
        layers: vec![linear(1.0, None), linear(2.0, Some(3.0))],
        heads: [array!(4.0), array!(5.0)],
        kind: PhantomData,
    };
    assert_eq!(values(&network), [1.0, 2.0, 3.0, 4.0, 5.0]);
    let doubled = network.map(&mut |array| array * 2.0);
    assert_eq!(values(&doubled), [2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(doubled.layers[0].name, "linear");
    assert_eq!(Pair(array!(1.0), 0.5).map(&mut Array::clone).1, 0.5);
    assert_eq!(Settings.map(&mut Array::clone), Settings);
}

#[test]
fn variants_differ_in_structure() {
    let forms = [
        Activation::Plain,
        Activation::Scaled(array!(1.0)),
        Activation::Learned {
            slope: array!(2.0),
            shift: Box::new(array!(3.0)),
        },
    ];
    let keys: Vec<_> = forms.iter().map(structure).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_eq!(values(&forms[2].map(&mut |array| -array)), [-2.0, -3.0]);
}

#[test]
fn plain_arrays_have_an_empty_structure() {
    let tree = (array!(1.0), [array!(2.0), array!(3.0)], (array!(4.0),));
    assert!(structure(&tree).is_empty());
}

#[rstest]
#[case(structure(&vec![vec![(), ()], vec![]]), structure(&vec![vec![()], vec![()]]))]
#[case(structure(&Some(())), structure(&None::<()>))]
#[case(structure(&Static(0.1)), structure(&Static(0.2)))]
#[case(structure(&(Static("ab"), Static("c"))), structure(&(Static("a"), Static("bc"))))]
#[case(structure(&linear(1.0, None)), structure(&linear(1.0, Some(1.0))))]
#[case(structure(&Pair(Array::scalar(1), 1.0)), structure(&Pair(Array::scalar(1), 2.0)))]
#[case(structure(&BTreeMap::from([("a", ())])), structure(&BTreeMap::from([("b", ())])))]
#[case(structure(&vec![(); 127]), structure(&vec![(); 128]))]
#[case(structure(&vec![(); 300]), structure(&vec![(); 556]))]
fn structures_differ(#[case] a: mlx::tree::Structure, #[case] b: mlx::tree::Structure) {
    assert_ne!(a, b);
}

#[rstest]
#[case(1, "the tree has 2 arrays, got 1")]
#[case(3, "the tree has 2 arrays, got 3")]
fn rebuild_counts(#[case] n_arrays: usize, #[case] message: &str) {
    let tree = (array!(1.0), array!(2.0));
    let error = rebuild(&tree, vec![array!(0.0); n_arrays]).err().unwrap();
    assert!(error.to_string().contains(message), "{error}");
}

/// What `jit` and `grad` look like to inference.
struct Held<F, Args>(F, PhantomData<Args>);

fn hold<Args: Arguments, F: Function<Args>>(f: F) -> Held<F, Args> {
    Held(f, PhantomData)
}

impl<Args: Arguments, F: Function<Args>> Held<F, Args> {
    fn call(&self, args: Args::Refs<'_>) -> Result<F::Output> {
        self.0.apply_refs(args).map_err(Error::from_boxed)
    }
}

fn scale(x: &Array, weight: &Array) -> Array {
    x * weight
}

fn fallible(x: &Array) -> Result<Array> {
    x.clone().checked()
}

fn foreign(_: &Array) -> std::result::Result<Array, std::fmt::Error> {
    Err(std::fmt::Error)
}

#[test]
fn functions_and_closures_are_inferred() -> Result<()> {
    let (x, w) = (array!(3.0), array!(2.0));
    assert_eq!(hold(scale).call((&x, &w))?.item::<f32>()?, 6.0);
    assert_eq!(hold(fallible).call(&x)?.item::<f32>()?, 3.0);
    assert_eq!(hold(|| array!(1.0)).call(())?.item::<f32>()?, 1.0);
    let product = hold(|x: &Array, w: &Array| x * w);
    assert_eq!(product.call((&x, &w))?.item::<f32>()?, 6.0);
    let network = hold(
        |x: &Array, linear: &Linear| -> Result<(Array, Vec<Array>)> {
            let bias = linear.bias.clone().unwrap_or(array!(0.0));
            Ok((x * &linear.weight + bias, vec![x.clone()]))
        },
    );
    let (y, aux) = network.call((&x, &linear(2.0, Some(1.0))))?;
    assert_eq!((y + &aux[0]).item::<f32>()?, 10.0);
    let six = |a: &Array, b: &Array, c: &Array, d: &Array, e: &Array, f: &Vec<Array>| {
        a + b + c + d + e + &f[0]
    };
    let sum = hold(six).call((&x, &x, &x, &x, &x, &vec![w]))?;
    assert_eq!(sum.item::<f32>()?, 17.0);
    Ok(())
}

#[test]
fn an_error_of_a_function_comes_back_as_it_is() {
    let error = hold(foreign).call(&array!(1.0)).err().unwrap();
    let Error::Closure(inner) = error else {
        panic!("{error}")
    };
    assert!(inner.downcast_ref::<std::fmt::Error>().is_some());
    let failed = Array::failed(Error::op("here", "wanted this, got that"));
    let error = hold(fallible).call(&failed).err().unwrap();
    assert!(
        error.to_string().starts_with("here: wanted this"),
        "{error}"
    );
}

#[test]
fn arguments_visit_map_and_count_by_reference() {
    type Args = (Array, Vec<Array>);
    let (x, list) = (array!(1.0), vec![array!(2.0), array!(3.0)]);
    let mut seen = Vec::new();
    Args::visit_refs((&x, &list), &mut |array| seen.push(array));
    assert_eq!(seen.len(), 3);
    assert_eq!(Args::counts((&x, &list)), [1, 2]);
    let owned = Args::map_refs((&x, &list), &mut |array| array + 1.0);
    assert_eq!(values(&owned), [2.0, 3.0, 4.0]);
    let _: BoxedError = "text".into();
}

/// A batch, as a derived tree with names.
#[derive(Tree)]
struct Named {
    inputs: Vec<Array>,
    pair: (Array, Array),
    maybe: Option<Array>,
    #[tree(static)]
    #[allow(dead_code)]
    size: i32,
}

fn named() -> Named {
    Named {
        inputs: vec![array!([1.0]), array!([2.0])],
        pair: (array!([3.0]), array!([4.0])),
        maybe: Some(array!([5.0])),
        size: 1,
    }
}

#[test]
fn paths_are_fields_keys_and_indices_in_the_order_of_arrays() -> Result<()> {
    let tree = BTreeMap::from([("b".to_owned(), vec![named()]), ("a".to_owned(), vec![])]);
    let flat = mlx::tree_flatten(&tree);
    let paths: Vec<&str> = flat.iter().map(|(path, _)| path.as_str()).collect();
    let wanted = [
        "b.0.inputs.0",
        "b.0.inputs.1",
        "b.0.pair.0",
        "b.0.pair.1",
        "b.0.maybe",
    ];
    assert_eq!(paths, wanted);
    let values: Result<Vec<f32>> = flat.iter().map(|(_, array)| array.item()).collect();
    assert_eq!(values?, [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(mlx::tree_flatten(&array!([1.0]))[0].0, "");
    assert_eq!(
        mlx::tree_flatten(&BTreeMap::from([(7, array!([1.0]))]))[0].0,
        "7"
    );
    Ok(())
}

#[test]
fn trees_are_mapped_by_path_and_told_what_is_missing() -> Result<()> {
    let doubled = mlx::tree_map_with_path(
        |path, x| {
            if path.starts_with("pair") {
                x * 2.0
            } else {
                x.clone()
            }
        },
        &named(),
    );
    assert_eq!(doubled.pair.1.item::<f32>()?, 8.0);
    assert_eq!(doubled.inputs[1].item::<f32>()?, 2.0);
    let more = BTreeMap::from([
        ("0", array!([10.0])),
        ("1", array!([20.0])),
        ("2", array!([0.0])),
    ]);
    let sums = mlx::tree_map_with_rest(|x, [y, z]| x + y + z, &named().pair, [&more, &more])?;
    assert_eq!(sums.1.item::<f32>()?, 44.0);
    let missing = mlx::tree_map_with_rest(|x, [_]| x.clone(), &more, [&named().pair]);
    let text = missing.map(drop).unwrap_err().to_string();
    assert!(
        text.contains(
            "tree_map_with_rest: wanted trees with all paths of the first, got none for `2`"
        ),
        "{text}"
    );
    let text = mlx::tree_unflatten(&named().pair, [("0", array!([1.0]))])
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(text.contains("got none for `1` (1 missing)"), "{text}");
    let flat = [
        ("0", array!([1.0])),
        ("1", array!([1.0])),
        ("x", array!([1.0])),
    ];
    let text = mlx::tree_unflatten(&named().pair, flat)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(text.contains("wanted paths of the tree, got `x`"), "{text}");
    let total = mlx::tree_reduce(|sum, x| sum + x.item::<f32>().unwrap_or(0.0), &named(), 0.0);
    assert_eq!(total, 15.0);
    Ok(())
}

#[test]
fn merged_trees_have_the_arrays_of_both() -> Result<()> {
    let tree = |key: &'static str, values: &[f32]| {
        let arrays = values
            .iter()
            .map(|&value| Array::scalar(value))
            .collect::<Vec<_>>();
        BTreeMap::from([(key, arrays)])
    };
    let both = mlx::tree_merge(&tree("a", &[1.0]), &tree("b", &[2.0, 3.0]))?;
    assert_eq!((both["a"].len(), both["b"].len()), (1, 2));
    let longer = mlx::tree_merge_with(&tree("a", &[1.0, 5.0]), &tree("a", &[2.0]), |x, y| x - y);
    let values: Result<Vec<f32>> = longer["a"].iter().map(|array| array.item()).collect();
    assert_eq!(values?, [-1.0, 5.0]);
    let text = mlx::tree_merge(&tree("a", &[1.0]), &tree("a", &[2.0]))
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("tree_merge: wanted trees with no array at the same place"),
        "{text}"
    );
    Ok(())
}

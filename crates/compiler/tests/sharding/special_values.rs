//! Where sums of parts are not parts of sums: infinities, factors of 0, and more than one dtype.

use mlx::{Array, Dtype, Op, array, bind, ones};
use mlx_compiler::sharding::{Mesh, Rules, ShardedGraph};
use mlx_compiler::trace;
use mlx_interpreter::{Tensor, interpret_ranks};
use rstest::rstest;

use super::simulate;

/// Splits the first dimension of the first `n_split` inputs over two ranks.
fn shard(function: &dyn Fn(&[Array]) -> Array, inputs: &[Array], n_split: usize) -> ShardedGraph {
    let inputs = inputs.to_vec();
    let traced = trace(|inputs: &Vec<Array>| function(inputs), &inputs).unwrap();
    let whole = traced.graph().clone();
    let mesh = Mesh::new(&[("x", 2)]).unwrap();
    let of = |rules: Rules, k: usize| rules.input(&format!("0.{k}"), [Some("x")]);
    let rules = (0..n_split).fold(Rules::new(), of);
    let (_, sharded) = traced.shard(&mesh, &rules, 0).unwrap();
    println!("{whole}\n{}", sharded.rank_graph(0).unwrap());
    sharded
}

#[track_caller]
fn check(function: &dyn Fn(&[Array]) -> Array, inputs: &[Array], n_split: usize) {
    let sharded = shard(function, inputs, n_split);
    let traced = trace(|inputs: &Vec<Array>| function(inputs), &inputs.to_vec()).unwrap();
    simulate::check(traced.graph(), &sharded, inputs).unwrap();
}

/// Of 1 and -3: the sum is made before what may be infinite, and 0 * infinity is NaN.
#[rstest]
#[case(Op::Divide, 0.0)]
#[case(Op::Multiply, f32::INFINITY)]
fn sums_are_made_before_factors_that_may_be_infinite(#[case] op: Op, #[case] factor: f32) {
    let inputs = [array!([[1.0], [-3.0]]), array!([factor])];
    check(&|x| bind(op.clone(), &[&x[0].sum(0), &x[1]]), &inputs, 1);
    let constant = array!(factor);
    let by_constant = |x: &[Array]| bind(op.clone(), &[&x[0].sum(0), &constant]);
    check(&by_constant, &inputs[..1], 1);
}

/// An update is cast to the array's dtype: 0.75 and 0.75 make 1.
#[test]
fn sums_of_updates_are_made_before_they_are_cast() {
    let inputs = [
        ones([2, 3]).astype(Dtype::Int32),
        array!([[0.75, 0.75], [0.75, 0.25]]),
        array!([1]),
    ];
    let update = Op::SliceUpdate {
        start: vec![1],
        stop: vec![3],
        strides: vec![1],
    };
    let sums = |x: &[Array]| [x[0].sum(0), x[1].sum(0)];
    let fixed = |x: &[Array]| {
        let [array, new] = sums(x);
        bind(update.clone(), &[&array, &new])
    };
    check(&fixed, &inputs[..2], 2);
    let moving = |x: &[Array]| {
        let [array, new] = sums(x);
        bind(
            Op::SliceUpdateDynamic { axes: vec![0] },
            &[&array, &new, &x[2]],
        )
    };
    check(&moving, &inputs, 2);
}

/// Of integers the sum wraps around, of reals it does not.
#[rstest]
#[case(Op::Concatenate { axis: 0 }, 2)]
#[case(Op::Outer, 1)]
fn sums_of_integers_are_made_before_they_become_reals(#[case] op: Op, #[case] n_sums: usize) {
    let inputs = [
        array!([[1 << 30], [1 << 30]]),
        array!([[0.5], [0.25]]),
        array!([2.0]),
    ];
    let function = |x: &[Array]| {
        let other = match n_sums {
            2 => x[1].sum(0),
            _ => x[2].clone(),
        };
        bind(op.clone(), &[&x[0].sum(0), &other])
    };
    check(&function, &inputs, 2);
}

/// MLX leaves a part out whose factor is 0, and computes in the common dtype: compared with MLX itself.
#[rstest]
#[case(1.0, 0.0, f32::NAN, 1.0, Dtype::Float32)]
#[case(0.5, 0.0, f32::NAN, 1.0, Dtype::Float32)]
#[case(0.0, 1.0, 1.0, f32::NAN, Dtype::Float32)]
#[case(0.0, 2.0, 1.0, f32::NAN, Dtype::Float32)]
#[case(0.0, 0.0, 1.0, f32::NAN, Dtype::Float32)]
#[case(0.5, 2.0, 1.0, 1.0, Dtype::Float16)]
#[case(1.0, 0.0, 1.0, 1.0, Dtype::Float16)]
fn addmm_taken_apart_is_addmm(
    #[case] alpha: f32,
    #[case] beta: f32,
    #[case] added: f32,
    #[case] factor: f32,
    #[case] dtype: Dtype,
) {
    let fractions = |n: i32, shape: [i32; 2]| (mlx::arange(n).reshape(shape) / 7.0).astype(dtype);
    let inputs = [
        fractions(8, [2, 4]) * array!(factor).astype(dtype),
        ones([3]) * added,
        fractions(12, [4, 3]),
    ];
    let function = |x: &[Array]| bind(Op::Addmm { alpha, beta }, &[&x[1], &x[0], &x[2]]);
    let sharded = shard(&function, &inputs, 1);
    let parts = |rank: usize| {
        let all: Vec<&Array> = inputs.iter().collect();
        let parts = sharded.shard_inputs(rank, &all).unwrap();
        parts.iter().map(|part| Tensor::of(part).unwrap()).collect()
    };
    let got = interpret_ranks(&sharded, &[parts(0), parts(1)]).unwrap();
    let wanted = function(&inputs);
    assert_eq!(
        sharded.whole().output_types()[0].dtype,
        wanted.dtype().unwrap()
    );
    // The interpreter's numbers are all `f64`: that both matrices are cast is read from the graph.
    let n_casts = sharded.whole().to_string().matches("= astype ").count();
    assert_eq!(n_casts, if dtype == Dtype::Float16 { 2 } else { 0 });
    let wanted = wanted.astype(Dtype::Float32).to_vec::<f32>().unwrap();
    let got = got[0][0].to_f64();
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(wanted) {
        let error = (got - f64::from(wanted)).abs();
        assert!(error <= 1e-6 * got.abs().max(1.0), "{got} {wanted}");
    }
}

//! Where sums of parts are not parts of sums: factors of 0 and more than one dtype.

use mlx::{Array, Dtype, Op, array, bind, ones};
use mlx_compiler::sharding::{Mesh, Rules, ShardedGraph};
use mlx_compiler::trace;
use mlx_interpreter::{Tensor, interpret_ranks};
use rstest::rstest;

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

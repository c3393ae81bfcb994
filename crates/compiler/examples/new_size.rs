//! What a call of a shapeless function costs at sizes that came before, at new ones, and node by node, beside a new trace.

use std::time::{Duration, Instant};

use mlx::{Array, keepdims};
use mlx_compiler::{CompileOptions, jit, jit_with};

const LAYERS: usize = 12;

/// A network of many small operations.
fn network(x: &Array, weight: &Array) -> Array {
    (0..LAYERS).fold(x.clone(), |x, _| {
        let normed = &x * (x.square().mean(keepdims(-1)) + 1e-5).rsqrt();
        let hidden = normed.matmul(weight);
        x + &hidden * hidden.sigmoid()
    })
}

/// The time that a call takes until its result is there.
fn timed<T>(work: impl FnOnce() -> T, then: impl FnOnce(T)) -> Duration {
    let start = Instant::now();
    then(work());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> Result<(), mlx_compiler::Error> {
    let weight = mlx::ones([64, 64]) * 0.01;
    let x = |n: i32| mlx::ones([n, 64]);
    let options = CompileOptions {
        shapeless: true,
        cache_size: 64,
        ..CompileOptions::default()
    };
    let open = jit_with(network, options.clone());
    let finish = |y: mlx_compiler::Result<Array>| {
        y.and_then(|y| Ok(y.eval()?)).unwrap_or_default();
    };
    finish(open.call((&x(1), &weight)));
    let (mut by_node, mut made, mut again, mut traced, mut alone) =
        (vec![], vec![], vec![], vec![], vec![]);
    for n in 2..34 {
        let x = x(n);
        by_node.push(timed(|| open.call((&x, &weight)), finish));
        made.push(timed(|| open.call((&x, &weight)), finish));
        again.push(timed(|| open.call((&x, &weight)), finish));
        let closed = jit(network);
        traced.push(timed(|| closed.call((&x, &weight)), finish));
        alone.push(timed(|| closed.call((&x, &weight)), finish));
    }
    println!(
        "shapeless: node by node {:?}, form made {:?}, form called {:?}; one trace for each size: traced {:?}, called {:?}",
        median(by_node),
        median(made),
        median(again),
        median(traced),
        median(alone)
    );
    Ok(())
}

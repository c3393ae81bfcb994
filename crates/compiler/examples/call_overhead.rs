//! What a cached call of a small compiled function costs over the function that MLX replays.

use std::time::{Duration, Instant};

use mlx::compiler_api::CompiledClosure;
use mlx::{Array, array};
use mlx_compiler::jit;

fn small(x: &Array, y: &Array) -> Array {
    (x * y + x).exp()
}

/// The shortest of many rounds, for one call.
fn shortest(mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        (0..1000).for_each(|_| work());
        start.elapsed() / 1000
    };
    (0..50).map(once).min().unwrap_or_default()
}

fn main() -> Result<(), mlx_compiler::Error> {
    let (x, y) = (array!([1.0, 2.0]), array!([3.0, 4.0]));
    let closure = CompiledClosure::new(|x| Ok(vec![small(&x[0], &x[1])]))?;
    let compiled = jit(small);
    let warm = compiled.call((&x, &y))?;
    warm.eval()?;
    let replayed = shortest(|| drop(closure.call(&[&x, &y])));
    let called = shortest(|| drop(compiled.call((&x, &y))));
    let bound = shortest(|| drop(small(&x, &y)));
    println!("replayed by MLX {replayed:?}, called through jit {called:?}, built anew {bound:?}");
    Ok(())
}

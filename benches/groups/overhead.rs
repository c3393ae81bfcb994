//! The cost of a cached call of a compiled function beside the C library's own call.
//!
//! Nothing is computed here: the graph of `2x + 1` on one number is built and dropped. The contract is that `jit.call`
//! takes at most 3 microseconds more than `raw.apply`.

#[path = "../tests/support/raw_apply.rs"]
mod raw_apply;

use anyhow::Result;
use criterion::{Criterion, criterion_group, criterion_main};
use mlx::compiler_api::CompiledClosure;
use mlx::{Array, array};
use mlx_bench::{Work, bench_lazy};
use mlx_compiler::{CompileOptions, jit, jit_with};

use raw_apply::Raw;

criterion_group!(benches, overhead);
criterion_main!(benches);

fn overhead(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        eprintln!("overhead: {error:#}");
        std::process::exit(1);
    }
}

fn run(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("overhead");
    let x = array!(1.0_f32);
    x.eval()?;
    let formula = |x: &Array| (x + x) + 1.0_f32;

    let raw = Raw::new().map_err(anyhow::Error::msg)?;
    group.bench_function("raw.apply/float32/scalar/cpu", |bencher| {
        bencher.iter(|| raw.apply());
    });
    let closure = CompiledClosure::new(move |x| Ok(vec![formula(&x[0])]))?;
    closure.call(&[&x])?;
    group.bench_function("closure.call/float32/scalar/cpu", |bencher| {
        bencher.iter(|| closure.call(&[&x]));
    });
    let compiled = jit(formula);
    compiled.call(&x)?.eval()?;
    group.bench_function("jit.call/float32/scalar/cpu", |bencher| {
        bencher.iter(|| compiled.call(&x));
    });
    let plain = jit_with(formula, CompileOptions::without_fusions());
    plain.call(&x)?.eval()?;
    group.bench_function("jit.call.without_fusions/float32/scalar/cpu", |bencher| {
        bencher.iter(|| plain.call(&x));
    });
    group.bench_function("eager.build/float32/scalar/cpu", |bencher| {
        bencher.iter(|| formula(&x));
    });
    // What evaluating one number costs on top: a trip to the stream's thread and back.
    let name = "eager.eval/float32/scalar/cpu";
    bench_lazy(&mut group, name, Work::Calls, || Ok(formula(&x)))?;
    let name = "jit.eval/float32/scalar/cpu";
    bench_lazy(&mut group, name, Work::Calls, || Ok(compiled.call(&x)?))?;
    group.finish();
    Ok(())
}

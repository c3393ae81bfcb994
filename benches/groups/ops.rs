//! Plain operations: elementwise, reductions, products.

use criterion::{Criterion, criterion_group, criterion_main};
use mlx::Quantization;
use mlx_bench::{Work, bench_lazy, normal, ready};

criterion_group!(benches, ops);
criterion_main!(benches);

fn ops(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        eprintln!("ops: {error}");
        std::process::exit(1);
    }
}

fn run(criterion: &mut Criterion) -> mlx::Result<()> {
    let mut group = criterion.benchmark_group("ops");
    group.sample_size(20);
    for n in [256, 1024, 4096] {
        let (x, y) = (normal(&[n, n], 1)?, normal(&[n, n], 2)?);
        let size = u64::from(n.unsigned_abs()).pow(2);
        let name = |op: &str| format!("{op}/float32/{n}x{n}/cpu");
        bench_lazy(&mut group, &name("add"), Work::Bytes(12 * size), || {
            Ok(&x + &y)
        })?;
        bench_lazy(&mut group, &name("exp"), Work::Bytes(8 * size), || {
            Ok(x.exp())
        })?;
        bench_lazy(&mut group, &name("sum"), Work::Bytes(4 * size), || {
            Ok(x.sum(()))
        })?;
        bench_lazy(&mut group, &name("softmax"), Work::Bytes(8 * size), || {
            Ok(x.softmax(-1))
        })?;
        bench_lazy(&mut group, &name("gelu"), Work::Bytes(8 * size), || {
            Ok(mlx::fast::gelu(&x))
        })?;
        let row = normal(&[1, n], 3)?;
        let matvec = || Ok(row.matmul(&x.t()));
        bench_lazy(&mut group, &name("matvec"), Work::Bytes(4 * size), matvec)?;
        let packed = x.quantize(Quantization::default())?;
        ready([&packed.weight, &packed.scales])?;
        let name = format!("quantized_matvec/q4g64/{n}x{n}/cpu");
        let matvec = || Ok(row.quantized_matmul(&packed, true));
        bench_lazy(&mut group, &name, Work::Bytes(size * 9 / 16), matvec)?;
    }
    for n in [128, 512, 1024] {
        let (x, y) = (normal(&[n, n], 1)?, normal(&[n, n], 2)?);
        let flops = 2 * u64::from(n.unsigned_abs()).pow(3);
        let name = format!("matmul/float32/{n}x{n}x{n}/cpu");
        bench_lazy(&mut group, &name, Work::Flops(flops), || Ok(x.matmul(&y)))?;
    }
    group.finish();
    Ok(())
}

//! Fused functions beside the same formula composed and compiled, over sizes.

use criterion::{Criterion, criterion_group, criterion_main};
use mlx::Array;
use mlx::fast::{self, AttentionOptions, RopeOptions};
use mlx_bench::{Work, bench_lazy, normal};
use mlx_compiler::jit;

criterion_group!(benches, fast_functions);
criterion_main!(benches);

fn fast_functions(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        eprintln!("fast: {error}");
        std::process::exit(1);
    }
}

fn run(criterion: &mut Criterion) -> mlx::Result<()> {
    let mut group = criterion.benchmark_group("fast");
    group.sample_size(20);
    for (tokens, dim) in [(1, 576), (128, 1024), (4096, 4096)] {
        let (x, w, b) = (
            normal(&[tokens, dim], 1)?,
            normal(&[dim], 2)?,
            normal(&[dim], 3)?,
        );
        let bytes = Work::Bytes(8 * u64::from((tokens * dim).unsigned_abs()));
        let name = |op: &str, form: &str| format!("{op}.{form}/float32/{tokens}x{dim}/cpu");
        let composed = |x: &Array, w: &Array| fast::composed::rms_norm(x, w, 1e-5);
        let compiled = jit(composed);
        let op = "rms_norm";
        bench_lazy(&mut group, &name(op, "fused"), bytes, || {
            Ok(fast::rms_norm(&x, &w, 1e-5))
        })?;
        bench_lazy(&mut group, &name(op, "composed"), bytes, || {
            Ok(composed(&x, &w))
        })?;
        bench_lazy(&mut group, &name(op, "compiled"), bytes, || {
            Ok(compiled.call((&x, &w))?)
        })?;
        let op = "layer_norm";
        let fused = || Ok(fast::layer_norm(&x, &w, &b, 1e-5));
        bench_lazy(&mut group, &name(op, "fused"), bytes, fused)?;
        let composed = || Ok(fast::composed::layer_norm(&x, &w, &b, 1e-5));
        bench_lazy(&mut group, &name(op, "composed"), bytes, composed)?;
    }
    for seq in [1, 128, 512] {
        let shape = [1, 8, seq, 64];
        let (q, k, v) = (normal(&shape, 1)?, normal(&shape, 2)?, normal(&shape, 3)?);
        let seq = u64::from(seq.unsigned_abs());
        let flops = Work::Flops(4 * 8 * seq * seq * 64);
        let name = |op: &str, form: &str| format!("{op}.{form}/float32/1x8x{seq}x64/cpu");
        let options = AttentionOptions::default();
        let composed = |q: &Array, k: &Array, v: &Array| {
            fast::composed::scaled_dot_product_attention(q, k, v, &AttentionOptions::default())
        };
        let compiled = jit(composed);
        let op = "attention";
        let fused = || {
            Ok(fast::scaled_dot_product_attention_with(
                &q, &k, &v, &options,
            ))
        };
        bench_lazy(&mut group, &name(op, "fused"), flops, fused)?;
        bench_lazy(&mut group, &name(op, "composed"), flops, || {
            Ok(composed(&q, &k, &v))
        })?;
        let call = || Ok(compiled.call((&q, &k, &v))?);
        bench_lazy(&mut group, &name(op, "compiled"), flops, call)?;
        let (op, options) = ("rope", RopeOptions::default());
        let bytes = Work::Bytes(8 * 8 * seq * 64);
        bench_lazy(&mut group, &name(op, "fused"), bytes, || {
            Ok(fast::rope(&q, &options))
        })?;
        let composed = || Ok(fast::composed::rope(&q, &options));
        bench_lazy(&mut group, &name(op, "composed"), bytes, composed)?;
    }
    group.finish();
    Ok(())
}

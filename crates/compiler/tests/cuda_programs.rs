//! Compiled functions on CUDA as one recorded graph: values, caches, what callers keep, changed arguments, threads, errors.

mod decoder;

use mlx::fast::cuda_kernel_runs;
use mlx::{Array, Dtype, Quantization, array, fast, value_and_grad};
use mlx_compiler::jit;
use mlx_testdata::needs;
use rstest::rstest;

use decoder::{layer, normal};

/// Calls that were one launch of a recorded graph, and recordings, in this process.
fn runs() -> (u64, u64) {
    let count = |name| cuda_kernel_runs(name).unwrap();
    (count("CudaProgram"), count("CudaProgramRecorded"))
}

/// Whether graphs are recorded here, which a process can switch off.
fn are_recorded() -> bool {
    !["MLX_CUDA_PROGRAMS", "MLX_USE_CUDA_GRAPHS"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|switch| switch == "0"))
}

#[track_caller]
fn assert_close(what: &str, got: &Array, want: &Array, tolerance: f32) {
    let wide = |x: &Array| x.astype(Dtype::Float32);
    let error = (wide(got) - wide(want))
        .abs()
        .max(())
        .item::<f32>()
        .unwrap();
    assert!(
        error <= tolerance,
        "{what}: error {error:e} of {tolerance:e} allowed"
    );
}

fn layer_weights() -> Vec<Array> {
    let mut weights = vec![normal(1, &[128])];
    weights.extend((2..5).map(|seed| normal(seed, &[128, 128]) * 0.1));
    mlx::eval(&weights).unwrap();
    weights
}

fn empty_cache(capacity: i32) -> Array {
    mlx::zeros([1, 2, capacity, 64])
}

/// A prompt's products with packed weights: two of them, which read unpacked weights of their own in one graph.
#[rstest]
fn packed_weights_are_unpacked_in_a_graph(#[values([1, 80, 256], [2, 40, 256])] shape: [i32; 3]) {
    needs!(CudaKernels);
    let half = |seed, shape: &[i32]| normal(seed, shape).astype(Dtype::Bfloat16);
    let [up, down] = [(1, [512, 256]), (2, [256, 512])].map(|(seed, shape)| {
        let weights = half(seed, &shape) * 0.05;
        weights.quantize(Quantization::default()).unwrap()
    });
    let mlp = move |x: &Array| {
        let h = x.swapaxes(0, 1).quantized_matmul(&up, true);
        (&h * mlx::sigmoid(&h)).quantized_matmul(&down, true)
    };
    let compiled = jit(mlp.clone());
    let before = runs();
    for seed in 10..14 {
        let x = half(seed, &shape);
        let (got, want) = (compiled.call(&x).unwrap(), mlp(&x));
        assert_close(&format!("call {seed}"), &got, &want, 0.05);
    }
    if are_recorded() {
        assert!(runs().0 > before.0);
    }
}

/// 100 steps of a decoder, of which only `y` is evaluated, or the caches too.
#[rstest]
fn caches_are_written_in_place_over_many_steps(#[values(false, true)] evaluates_caches: bool) {
    needs!(CudaKernels);
    let weights = layer_weights();
    let (compiled, eager) = (jit(layer(&weights)), layer(&weights));
    let (mut keys, mut values) = (empty_cache(128), empty_cache(128));
    let (mut other_keys, mut other_values) = (empty_cache(128), empty_cache(128));
    let before = runs();
    for step in 0..100 {
        let (x, start) = (normal(10 + step, &[1, 1, 128]), Array::scalar(step as i32));
        let y;
        (y, keys, values) = compiled.call((&x, &keys, &values, &start)).unwrap();
        if evaluates_caches {
            mlx::eval([&y, &keys, &values]).unwrap();
        }
        let want;
        (want, other_keys, other_values) = eager(&x, &other_keys, &other_values, &start).unwrap();
        assert_close(&format!("step {step}"), &y, &want, 1e-4);
    }
    assert_close("keys", &keys, &other_keys, 1e-4);
    assert_close("values", &values, &other_values, 1e-4);
    if are_recorded() {
        let after = runs();
        assert!(after.0 - before.0 >= 90, "{before:?} {after:?}");
        assert!(after.1 - before.1 <= 3, "{before:?} {after:?}");
        let report = compiled.report().unwrap().to_string();
        assert!(report.contains("one CUDA graph of"), "{report}");
    }
}

/// What one kernel computes together gives the numbers of those that compute it apart: in half precision too, with norms of heads,
/// groups of heads, both layouts of rotary embeddings, and matrices whose sizes are no powers of two.
#[rstest]
fn joined_operations_have_their_numbers(
    #[values(Dtype::Float32, Dtype::Float16, Dtype::Bfloat16)] dtype: Dtype,
    #[values(false, true)] traditional: bool,
) {
    needs!(CudaKernels);
    let (width, heads, kv_heads, dim, hidden) = (192, 6, 3, 64, 200);
    let matrix = |seed, rows: i32, columns: i32| {
        (normal(seed, &[rows, columns]) * (columns as f32).powf(-0.5)).astype(dtype)
    };
    let weights = [
        matrix(1, heads * dim, width),
        matrix(2, kv_heads * dim, width),
        matrix(3, kv_heads * dim, width),
        matrix(4, width, heads * dim),
        matrix(5, hidden, width),
        matrix(6, hidden, width),
        matrix(7, width, hidden),
        normal(8, &[dim]).astype(dtype),
        normal(9, &[width]).astype(dtype),
    ];
    mlx::eval(&weights).unwrap();
    let step = move |x: &Array, keys: &Array, values: &Array, start: &Array| {
        let [q, k, v, out, gate, up, down, head_norm, norm] = &weights;
        let normed = fast::rms_norm(x, Some(norm), 1e-5);
        let apart = |w: &Array, n: i32| normed.matmul(&w.t()).reshape([1, 1, n, dim]);
        let by_head = |x: Array| x.transpose([0, 2, 1, 3]);
        let rope = fast::RopeOptions {
            offset: start.clone().into(),
            traditional,
            ..fast::RopeOptions::default()
        };
        let turned =
            |x: Array| fast::rope(&by_head(fast::rms_norm(&x, Some(head_norm), 1e-6)), &rope);
        let at = start.reshape([1]);
        let keys = keys.slice_update(&turned(apart(k, kv_heads)), &at, 2);
        let values = values.slice_update(&by_head(apart(v, kv_heads)), &at, 2);
        let mask = fast::AttentionMask::causal().offset(start.clone());
        let options = fast::AttentionOptions {
            mask,
            ..fast::AttentionOptions::default()
        };
        let q = turned(apart(q, heads));
        let mixed = fast::scaled_dot_product_attention_with(&q, &keys, &values, &options);
        let mixed = by_head(mixed).reshape([1, 1, heads * dim]);
        let x = x + mixed.matmul(&out.t());
        let normed = fast::rms_norm(&x, Some(norm), 1e-5);
        let gated = fast::swiglu(&normed.matmul(&gate.t()), &normed.matmul(&up.t()));
        (&x + gated.matmul(&down.t()), keys, values)
    };
    let compiled = jit(step.clone());
    let empty = || mlx::zeros_with([1, kv_heads, 40, dim], dtype);
    let (mut keys, mut values) = (empty(), empty());
    let (mut other_keys, mut other_values) = (empty(), empty());
    let count = |name| cuda_kernel_runs(name).unwrap();
    let names = ["TokenHeads", "MatmulSwiGlu", "AttentionSelect"];
    let before = names.map(count);
    // The worst of sums of some hundred products.
    let tolerance = match dtype {
        Dtype::Float32 => 2e-4,
        Dtype::Float16 => 2e-2,
        _ => 0.15,
    };
    for position in 0..40 {
        let (x, start) = (
            normal(20 + position, &[1, 1, width]).astype(dtype),
            Array::scalar(position as i32),
        );
        let (y, want);
        (y, keys, values) = compiled.call((&x, &keys, &values, &start)).unwrap();
        y.eval().unwrap();
        (want, other_keys, other_values) = step(&x, &other_keys, &other_values, &start);
        assert_close(&format!("step {position}"), &y, &want, tolerance);
    }
    assert_close("keys", &keys, &other_keys, tolerance);
    assert_close("values", &values, &other_values, tolerance);
    if are_recorded() {
        let after = names.map(count);
        for ((name, before), after) in names.iter().zip(before).zip(after) {
            assert!(after > before, "{name}: not used");
        }
    }
}

#[test]
fn caches_that_a_caller_keeps_have_their_numbers() {
    needs!(CudaKernels);
    let weights = layer_weights();
    let compiled = jit(layer(&weights));
    let (mut keys, mut values) = (empty_cache(32), empty_cache(32));
    let mut kept = Vec::new();
    for step in 0..16 {
        let (x, start) = (normal(10 + step, &[1, 1, 128]), Array::scalar(step as i32));
        let y;
        (y, keys, values) = compiled.call((&x, &keys, &values, &start)).unwrap();
        y.eval().unwrap();
        if step % 3 == 1 {
            // A view holds the memory too, and is all that is left of its array.
            let view = keys.transpose([0, 2, 1, 3]);
            let numbers = (&keys * 1.0).to_vec::<f32>().unwrap();
            kept.push((view, numbers));
        }
    }
    for (view, numbers) in kept {
        let now = view.transpose([0, 2, 1, 3]).to_vec::<f32>().unwrap();
        assert_eq!(now, numbers);
    }
}

/// As a chat has it: a prompt is written into the caches by other operations, then steps follow, and so on.
#[rstest]
fn caches_may_come_from_elsewhere_each_round(#[values(1, 2)] programs: usize) {
    needs!(CudaKernels);
    let weights = layer_weights();
    let compiled: Vec<_> = (0..programs).map(|_| jit(layer(&weights))).collect();
    let eager = layer(&weights);
    let (mut keys, mut values) = (empty_cache(64), empty_cache(64));
    let (mut other_keys, mut other_values) = (empty_cache(64), empty_cache(64));
    let (before, mut results) = (runs(), Vec::new());
    for step in 0..60 {
        let (x, start) = (normal(10 + step, &[1, 1, 128]), Array::scalar(step as i32));
        let (y, want);
        (want, other_keys, other_values) = eager(&x, &other_keys, &other_values, &start).unwrap();
        if step % 10 == 0 {
            (y, keys, values) = eager(&x, &keys, &values, &start).unwrap();
        } else {
            let step = &compiled[usize::from(step % 10 == 1).min(programs - 1)];
            (y, keys, values) = step.call((&x, &keys, &values, &start)).unwrap();
        }
        // The caches stay lazy, and steps are under way while the next are made.
        mlx::async_eval([&y]).unwrap();
        results.push((y, want));
    }
    for (step, (y, want)) in results.iter().enumerate() {
        assert_close(&format!("step {step}"), y, want, 1e-4);
    }
    assert_close("keys", &keys, &other_keys, 1e-4);
    if are_recorded() {
        let after = runs();
        assert!(after.0 - before.0 >= 36, "{before:?} {after:?}");
        assert!(
            after.1 - before.1 <= 3 * programs as u64,
            "{before:?} {after:?}"
        );
    }
}

#[test]
fn caches_may_be_read_on_the_host_between_steps() {
    needs!(CudaKernels);
    let weights = layer_weights();
    let (compiled, eager) = (jit(layer(&weights)), layer(&weights));
    let (mut keys, mut values) = (empty_cache(32), empty_cache(32));
    let (mut other_keys, mut other_values) = (empty_cache(32), empty_cache(32));
    for step in 0..12 {
        let (x, start) = (normal(10 + step, &[1, 1, 128]), Array::scalar(step as i32));
        let (y, want);
        (y, keys, values) = compiled.call((&x, &keys, &values, &start)).unwrap();
        (want, other_keys, other_values) = eager(&x, &other_keys, &other_values, &start).unwrap();
        assert_close(&format!("step {step}"), &y, &want, 1e-4);
        if step % 4 == 2 {
            // MLX moves what the host reads.
            let (keys, want) = (
                keys.to_vec::<f32>().unwrap(),
                other_keys.to_vec::<f32>().unwrap(),
            );
            assert!(keys.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4));
            weights[1].to_vec::<f32>().unwrap();
        }
    }
}

#[test]
fn arguments_may_change_whatever_their_size() {
    needs!(CudaKernels);
    let f = |x: &Array, w: &Array| (x.matmul(w).tanh(), x + 1.0);
    let compiled = jit(f);
    let before = runs();
    for call in 0..12 {
        // The weights are other arrays from the sixth call on.
        let (x, w) = (
            normal(call, &[4, 256]),
            normal(100 + call / 6 * call, &[256, 256]),
        );
        mlx::eval([&x, &w]).unwrap();
        let (got, more) = compiled.call((&x, &w)).unwrap();
        let (want, wanted_more) = f(&x, &w);
        assert_close(&format!("call {call}"), &got, &want, 1e-4);
        assert_close("sum", &more, &wanted_more, 0.0);
        // In columns, and a part of a larger array.
        let swapped = w.t().contiguous().t();
        let part = normal(call, &[8, 256]).i((4.., ..));
        let (got, _) = compiled.call((&part, &swapped)).unwrap();
        assert_close(
            &format!("call {call}, swapped"),
            &got,
            &f(&part, &w).0,
            1e-4,
        );
    }
    if are_recorded() {
        let after = runs();
        assert!(after.1 - before.1 <= 4, "{before:?} {after:?}");
    }
}

#[test]
fn results_may_be_arguments_constants_and_empty() {
    needs!(CudaKernels);
    let table = normal(1, &[300, 300]);
    table.eval().unwrap();
    let constant = table.clone();
    let f = move |x: &Array, y: &Array| {
        (
            x.clone(),
            constant.clone(),
            constant.t(),
            y.t(),
            x.exp(),
            y.i((..0, ..3)),
            x.clone(),
        )
    };
    let compiled = jit(f);
    for call in 0..6 {
        let (x, y) = (normal(call, &[7]), normal(50 + call, &[200, 200]));
        let (same, kept, turned, view, exp, none, again) = compiled.call((&x, &y)).unwrap();
        assert_close("argument", &same, &x, 0.0);
        assert_close("argument, again", &again, &x, 0.0);
        assert_close("constant", &kept, &table, 0.0);
        assert_close("view of a constant", &turned, &table.t(), 0.0);
        assert_close("view", &view, &y.t(), 0.0);
        assert_close("exp", &exp, &x.exp(), 1e-5);
        assert_eq!(none.size().unwrap(), 0);
    }
}

fn loss(w: &Array, v: &Array, x: &Array) -> Array {
    let hidden = x.matmul(w).maximum(0.0);
    (hidden.matmul(v) - x).square().mean(())
}

fn train(w: &Array, v: &Array, x: &Array) -> mlx::Result<(Array, Array, Array)> {
    let of_weights = |weights: &(Array, Array)| loss(&weights.0, &weights.1, x);
    let weights = (w.clone(), v.clone());
    let (value, (gw, gv)) = value_and_grad(of_weights).call(&weights)?;
    Ok((value, w - gw * 0.1, v - gv * 0.1))
}

#[test]
fn training_steps_give_what_eager_ones_give() {
    needs!(CudaKernels);
    let compiled = jit(train);
    let (mut w, mut v) = (normal(1, &[128, 192]) * 0.1, normal(2, &[192, 128]) * 0.1);
    let (mut other_w, mut other_v) = (w.clone(), v.clone());
    let before = runs();
    for step in 0..20 {
        let x = normal(10 + step, &[64, 128]);
        let (value, want);
        (value, w, v) = compiled.call((&w, &v, &x)).unwrap();
        (want, other_w, other_v) = train(&other_w, &other_v, &x).unwrap();
        mlx::eval([&value, &w, &v, &want, &other_w, &other_v]).unwrap();
        assert_close(&format!("step {step}"), &value, &want, 1e-4);
    }
    assert_close("weights", &w, &other_w, 1e-4);
    if are_recorded() {
        let after = runs();
        assert!(after.0 - before.0 >= 15, "{before:?} {after:?}");
    }
}

#[test]
fn errors_and_transforms_in_between_change_nothing() {
    needs!(CudaKernels);
    let f = |x: &Array| (x * 2.0).exp().sum(());
    let compiled = jit(f);
    for call in 0..8 {
        let x = normal(call, &[4, 5]) * 0.1;
        let want = f(&x);
        assert_close("value", &compiled.call(&x).unwrap(), &want, 1e-4);
        let wrong = x.matmul(&normal(1, &[3, 3]));
        assert!(compiled.call(&wrong).is_err());
        let slope = mlx::grad(|x: &Array| compiled.call(x)).call(&x).unwrap();
        assert_close("slope", &slope, &((&x * 2.0).exp() * 2.0), 1e-4);
        let rows = mlx::vmap(|row: &Array| compiled.call(row))
            .call(&x)
            .unwrap();
        assert_close("rows", &rows, &(&x * 2.0).exp().sum(1), 1e-4);
    }
}

#[test]
fn threads_have_programs_of_their_own() {
    needs!(CudaKernels);
    let work = |thread: u64| {
        let f = |x: &Array, at: &Array| {
            let next = x.slice_update(&(x.i((..1, ..)) + 1.0), at, 0);
            (fast::rms_norm(&next, None, 1e-5).matmul(&next.t()), next)
        };
        let compiled = jit(f);
        let mut x = normal(thread, &[64, 64]);
        let mut other = x.clone();
        for step in 0..40 {
            let at = array!([step % 64]);
            let (y, want);
            (y, x) = compiled.call((&x, &at)).unwrap();
            (want, other) = f(&other, &at);
            assert_close(&format!("thread {thread}, step {step}"), &y, &want, 1e-3);
        }
        let _ = other;
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || work(thread));
        }
    });
}

#[test]
fn what_cannot_be_recorded_runs_as_before_and_says_why() {
    needs!(CudaKernels);
    let f = |x: &Array| mlx::fft::irfft(&mlx::fft::rfft(x));
    let compiled = jit(f);
    for call in 0..4 {
        let x = normal(call, &[64]);
        assert_close("transform", &compiled.call(&x).unwrap(), &f(&x), 1e-4);
    }
    if are_recorded() {
        let report = compiled.report().unwrap().to_string();
        assert!(report.contains("no CUDA graph: "), "{report}");
    }
}

/// Elsewhere a function is replayed, and the report says nothing of graphs.
#[test]
fn there_is_no_graph_without_a_gpu() {
    let compiled = jit(|x: &Array| x + 1.0);
    for call in 0..3 {
        compiled.call(&normal(call, &[3])).unwrap().eval().unwrap();
    }
    let report = compiled.report().unwrap();
    let is_gpu = mlx::Device::current().is_ok_and(|device| device == mlx::Device::Gpu);
    assert!(is_gpu || report.cuda_graph.is_none(), "{report}");
}

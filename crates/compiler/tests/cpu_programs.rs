//! Programs on the CPU: what becomes one kernel, that nothing changes, and whose memory is written.

mod decoder;
mod kernels;

use mlx::fast::{AttentionMask, host_kernel_runs_of};
use mlx::index::Slice;
use mlx::{Array, Dtype, arange_with, array, fast, grad, vmap};
use mlx_compiler::{CompileOptions, KernelFusion, jit, jit_with};
use mlx_testdata::needs;
use rstest::rstest;

use decoder::{layer, normal};

/// Whether kernels are in use here, as they are on Linux unless they are switched off.
fn has_kernels() -> bool {
    kernels::are_used() && cfg!(target_os = "linux")
}

fn plain() -> CompileOptions {
    CompileOptions {
        kernel_fusion: KernelFusion::Off,
        ..CompileOptions::default()
    }
}

fn close(one: &Array, other: &Array) -> bool {
    (one - other).abs().max(()).item::<f32>().unwrap() < 1e-5
}

/// MLX does not repeat an update that begins where an array says, also along axes that have no start.
#[test]
fn an_update_smaller_than_its_axes_is_not_repeated() {
    let f = |memory: &Array, new: &Array, start: &Array| {
        let next = memory.slice_update(&new.exp(), start, 0);
        (next.clone() * 2.0 + 1.0, next)
    };
    let memory = normal(1, &[3, 4, 5]);
    for shape in [[1, 1, 1], [1, 1, 5], [1, 4, 1], [2, 2, 3], [1, 4, 5]] {
        let new = normal(2, &shape);
        let (wanted, next) = f(&memory, &new, &array!([1]));
        let start = memory.slice_update(&new.exp(), &array!([1]), 0);
        assert!(close(&next, &start));
        let (got, memory_got) = jit(f).call((&memory, &new, &array!([1]))).unwrap();
        assert!(
            close(&got, &wanted) && close(&memory_got, &next),
            "{shape:?}"
        );
    }
    let zeros = mlx::zeros([2, 3]);
    let one = mlx::full([1, 1], 5.0);
    let compiled = jit(|x: &Array, new: &Array, at: &Array| {
        (x + 0.0).slice_update(&(new * 1.0), at, 0) + x.exp() * 0.0
    });
    let got = compiled.call((&zeros, &one, &array!([1]))).unwrap();
    assert_eq!(got.to_vec::<f32>().unwrap(), [0.0, 0.0, 0.0, 5.0, 0.0, 0.0]);
}

#[test]
fn a_step_of_a_decoder_is_one_kernel_and_gives_what_its_operations_give() {
    let weights: Vec<Array> = vec![
        normal(1, &[64]),
        normal(2, &[64, 64]) * 0.1,
        normal(3, &[64, 64]) * 0.1,
        normal(4, &[64, 64]) * 0.1,
    ];
    let (compiled, eager) = (jit(layer(&weights)), layer(&weights));
    let empty = || mlx::zeros([1, 2, 16, 32]);
    let (mut keys, mut values) = (empty(), empty());
    let (mut other_keys, mut other_values) = (empty(), empty());
    for step in 0..16 {
        let (x, start) = (normal(10 + step, &[1, 1, 64]), Array::scalar(step as i32));
        let before = host_kernel_runs_of("program");
        let (y, k, v) = compiled.call((&x, &keys, &values, &start)).unwrap();
        (keys, values) = (k, v);
        mlx::eval([&y, &keys, &values]).unwrap();
        if has_kernels() {
            assert!(host_kernel_runs_of("program") > before, "step {step}");
        }
        let (wanted, k, v) = eager(&x, &other_keys, &other_values, &start).unwrap();
        (other_keys, other_values) = (k, v);
        assert!(close(&y, &wanted), "step {step}");
        assert!(close(&keys, &other_keys) && close(&values, &other_values));
    }
    if has_kernels() {
        let report = compiled.report().unwrap();
        assert!(report.programs.iter().sum::<usize>() >= 10, "{report}");
    }
}

/// Writes and then looks, so that two operations make a program.
fn written(memory: &Array, new: &Array, start: &Array) -> (Array, Array) {
    let next = memory.slice_update(new, start, 0);
    let looked = fast::rms_norm(&next, None, 1e-5);
    (next, looked)
}

#[test]
fn memory_that_somebody_else_holds_is_not_written() {
    let compiled = jit(written);
    let memory = normal(1, &[6, 8]);
    let kept = memory.to_vec::<f32>().unwrap();
    let twin = memory.clone();
    let (new, start) = (normal(2, &[2, 8]), array!([3]));
    let (next, looked) = compiled.call((&memory, &new, &start)).unwrap();
    let (wanted, wanted_looked) = written(&memory, &new, &start);
    assert!(close(&next, &wanted) && close(&looked, &wanted_looked));
    assert_eq!(memory.to_vec::<f32>().unwrap(), kept);
    assert_eq!(twin.to_vec::<f32>().unwrap(), kept);
}

#[test]
fn one_array_may_be_two_inputs_of_which_one_is_written() {
    let f = |memory: &Array, same: &Array, new: &Array| {
        let next = memory.slice_update(new, &array!([1]), 0);
        (fast::rms_norm(same, None, 1e-5), next)
    };
    let memory = normal(1, &[4, 8]);
    let new = normal(2, &[1, 8]);
    let wanted = f(&memory, &memory, &new);
    let compiled = jit(f);
    let inputs = (&memory, &memory, &new);
    let got = compiled.call(inputs).unwrap();
    drop(memory);
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1));
}

#[test]
fn a_view_of_what_is_written_keeps_the_old_values() {
    let f = |memory: &Array, new: &Array| {
        let old = memory.transpose([1, 0]);
        let next = memory.slice_update(new, &array!([0]), 0);
        (
            fast::rms_norm(&old, None, 1e-5),
            fast::rms_norm(&next, None, 1e-5),
            next,
        )
    };
    let wanted = f(&normal(1, &[4, 8]), &normal(2, &[1, 8]));
    let got = jit(f)
        .call((&normal(1, &[4, 8]), &normal(2, &[1, 8])))
        .unwrap();
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1) && close(&got.2, &wanted.2));
}

#[test]
fn caches_that_nobody_else_holds_keep_their_memory() {
    if !has_kernels() {
        return;
    }
    let f = |memory: &Array, new: &Array, start: &Array| written(memory, new, start).0;
    let compiled = jit(|memory: &Array, new: &Array, start: &Array| {
        let next = memory.slice_update(new, start, 0);
        let looked = fast::rms_norm(&next.i((..2,)), None, 1e-5);
        (next, looked)
    });
    let (new, start) = (normal(2, &[1, 1024]), array!([7]));
    let mut memory = mlx::zeros([4096, 1024]);
    let wanted = f(&memory, &new, &start);
    mlx::eval([&memory, &new, &start, &wanted]).unwrap();
    drop(wanted);
    let (next, looked) = compiled.call((&memory, &new, &start)).unwrap();
    memory = next;
    mlx::eval([&memory, &looked]).unwrap();
    drop(looked);
    mlx::synchronize().unwrap();
    mlx::memory::reset_peak().unwrap();
    let before = mlx::memory::usage().unwrap().active;
    for _ in 0..3 {
        let (next, looked) = compiled.call((&memory, &new, &start)).unwrap();
        memory = next;
        mlx::eval([&memory, &looked]).unwrap();
        mlx::synchronize().unwrap();
    }
    let grown = mlx::memory::usage().unwrap().peak.saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more were in use");
}

#[test]
fn inputs_may_lie_in_any_order() {
    let f = |x: &Array, memory: &Array, new: &Array| {
        let normed = fast::rms_norm(x, None, 1e-5);
        let next = memory.slice_update(new, &array!([1]), 0);
        (normed.softmax(-1), fast::rms_norm(&next, None, 1e-5), next)
    };
    let (x, memory, new) = (normal(1, &[5, 3]), normal(2, &[8, 4]), normal(3, &[8, 1]));
    let (x, memory, new) = (x.t(), memory.t(), new.t());
    let wanted = f(&x, &memory, &new);
    let got = jit(f).call((&x, &memory, &new)).unwrap();
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1) && close(&got.2, &wanted.2));
}

#[rstest]
#[case::beyond_the_end(5)]
#[case::below_zero(-1)]
fn a_start_out_of_range_is_an_error_that_names_the_operation(#[case] start: i32) {
    needs!(ErrorsOfValues);
    let compiled = jit(written);
    let inputs = (&normal(1, &[6, 8]), &normal(2, &[2, 8]), &array!([start]));
    let (next, _) = compiled.call(inputs).unwrap();
    let error = next.eval().unwrap_err().to_string();
    assert!(error.contains("slice_update_dynamic"), "{error}");
    assert!(error.contains(&start.to_string()), "{error}");
}

#[test]
fn views_of_results_and_inputs_may_be_results() {
    let f = |x: &Array| {
        let normed = fast::rms_norm(x, None, 1e-5);
        let turned = normed.t();
        let twice = fast::rms_norm(&turned, None, 1e-5);
        let part = normed.i((Slice::from(1..).by(2), Slice::from(..-1)));
        let wide = twice.i((..1,)).broadcast_to([3, 4]);
        (normed.clone(), turned, twice, part, wide, x.reshape([-1]))
    };
    let x = normal(1, &[4, 6]);
    let (wanted, got) = (f(&x), jit(f).call(&x).unwrap());
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1) && close(&got.2, &wanted.2));
    assert!(close(&got.3, &wanted.3) && close(&got.4, &wanted.4) && close(&got.5, &wanted.5));
}

/// Heads of three projections in one array, of which one only leaves.
fn heads(x: &Array) -> (Array, Array, Array) {
    let heads = x.reshape([1, 6, 3, 2, 4]).transpose([2, 0, 3, 1, 4]);
    let part = |k: i64| heads.i(k);
    let q = fast::rms_norm(&part(0), None, 1e-5);
    let k = fast::rms_norm(&part(1), None, 1e-5);
    (q, k, part(2))
}

#[test]
fn a_view_that_leaves_is_taken_outside_and_not_copied() {
    let x = normal(1, &[1, 6, 24]);
    let compiled = jit(heads);
    let (wanted, got) = (heads(&x), compiled.call(&x).unwrap());
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1) && close(&got.2, &wanted.2));
    if has_kernels() {
        let lowered = compiled.lower(&x).unwrap().to_string();
        // The norms leave the kernel; the view of all heads would be a copy.
        assert!(
            lowered.contains("%0: float32[1, 2, 6, 4], %1: float32[1, 2, 6, 4] = fused_group x0")
        );
    }
}

#[test]
fn a_view_of_a_result_that_leaves_takes_the_result_along() {
    let f = |x: &Array| {
        let normed = fast::rms_norm(x, None, 1e-5);
        let turned = normed.reshape([2, 3, 8]).transpose([1, 0, 2]);
        let twice = fast::rms_norm(&turned, None, 1e-5);
        // The shape of a turned array is no view: it leaves as a copy, and what is cut from it does not.
        let flat = turned.reshape([48]);
        (turned, twice, flat.i((8..16,)) * 2.0, flat)
    };
    let x = normal(1, &[6, 8]);
    let (wanted, got) = (f(&x), jit(f).call(&x).unwrap());
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1));
    assert!(close(&got.2, &wanted.2) && close(&got.3, &wanted.3));
}

#[test]
fn a_view_of_old_memory_that_leaves_keeps_the_old_values() {
    let f = |memory: &Array, new: &Array| {
        let turned = memory.t();
        let seen = fast::rms_norm(&turned, None, 1e-5);
        let next = memory.slice_update(new, &array!([1]), 0);
        (fast::rms_norm(&next, None, 1e-5), next, seen, turned)
    };
    let wanted = f(&normal(1, &[4, 8]), &normal(2, &[1, 8]));
    // Nobody else holds the memory, so that it could be written in place.
    let got = jit(f)
        .call((&normal(1, &[4, 8]), &normal(2, &[1, 8])))
        .unwrap();
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1));
    assert!(close(&got.2, &wanted.2) && close(&got.3, &wanted.3));
}

#[rstest]
#[case::an_axis_of_one_goes(&[1, 12, 8], &[12, 8])]
#[case::an_axis_is_divided(&[1, 12, 8], &[3, 4, 8])]
#[case::the_last_is_divided(&[1, 12, 8], &[12, 1, 2, 4])]
#[case::rows_are_joined(&[1, 12, 8], &[96])]
#[case::across_rows(&[1, 12, 8], &[8, 12])]
fn a_strided_array_gets_another_shape(#[case] from: &[i32], #[case] to: &[i32]) {
    let (from, to) = (from.to_vec(), to.to_vec());
    let f = move |x: &Array| {
        let part = fast::rms_norm(x, None, 1e-5).i((Slice::from(1..2), .., Slice::from(4..12)));
        let turned = part.reshape(from.clone()).reshape(to.clone());
        let back = x
            .transpose([2, 0, 1])
            .i((Slice::from(..).by(2),))
            .reshape([2, 4, 3, 12]);
        (
            fast::rms_norm(&turned, None, 1e-5),
            fast::rms_norm(&back, None, 1e-5),
        )
    };
    let x = normal(1, &[3, 12, 16]);
    let (wanted, got) = (f(&x), jit(f).call(&x).unwrap());
    assert!(close(&got.0, &wanted.0) && close(&got.1, &wanted.1));
}

#[test]
fn writes_with_strides_go_where_they_should() {
    let f = |x: &Array| {
        let places = (Slice::from(1..).by(2), Slice::from(..).by(3));
        let next = x.at(places).set(&fast::rms_norm(
            &arange_with(0.0, 6.0, 1.0, Dtype::Float32).reshape([2, 3]),
            None,
            1e-5,
        ));
        fast::rms_norm(&next, None, 1e-5)
    };
    let x = normal(1, &[4, 7]);
    assert!(close(&jit(f).call(&x).unwrap(), &f(&x)));
}

#[rstest]
#[case::one_row_for_two([1, 8])]
#[case::one_column_for_all([2, 1])]
fn an_update_is_repeated_as_mlx_repeats_it(#[case] update: [i32; 2]) {
    let f = |x: &Array, update: &Array| {
        let op = mlx::Op::SliceUpdate {
            start: vec![1, 0],
            stop: vec![-1, 8],
            strides: vec![1, 1],
        };
        let next = mlx::bind(op, &[x, &fast::rms_norm(update, None, 1e-5)]);
        fast::rms_norm(&next, None, 1e-5)
    };
    let (x, update) = (normal(1, &[4, 8]), normal(2, &update));
    let wanted = f(&x, &update);
    assert!(close(&jit(f).call((&x, &update)).unwrap(), &wanted));
}

#[test]
fn gradients_and_maps_go_through_programs() {
    let f = |x: &Array| {
        fast::rms_norm(&fast::rms_norm(x, None, 1e-5), None, 1e-5)
            .square()
            .sum(())
    };
    let x = normal(1, &[3, 8]);
    let (wanted, got) = (grad(f).call(&x).unwrap(), grad(jit(f)).call(&x).unwrap());
    assert!(close(&got, &wanted));
    let rows = |x: &Array| fast::rms_norm(&fast::rms_norm(x, None, 1e-5), None, 1e-5);
    let (wanted, got) = (
        vmap(rows).call(&x).unwrap(),
        vmap(jit(rows)).call(&x).unwrap(),
    );
    assert!(close(&got, &wanted));
}

#[test]
fn options_and_small_functions_make_none() {
    let f = |x: &Array| fast::rms_norm(&fast::rms_norm(x, None, 1e-5), None, 1e-5);
    let x = normal(1, &[3, 8]);
    let without = jit_with(f, plain());
    without.call(&x).unwrap().eval().unwrap();
    assert!(without.report().unwrap().programs.is_empty());
    let one = jit(|x: &Array| fast::rms_norm(x, None, 1e-5));
    one.call(&x).unwrap().eval().unwrap();
    assert!(one.report().unwrap().programs.is_empty());
}

#[test]
fn kernels_that_are_no_lines_of_the_table_are_in_programs_too() {
    let keys = fast::quantize_rows(&normal(2, &[1, 2, 16, 64]), 64);
    let attend = |q: &Array, at: &Array| {
        let row = fast::quantize_rows(&(q.i((.., 0..2)).stop_gradient() * 2.0), 64);
        let keys = keys.slice_update(&row, at, 2);
        let mask = AttentionMask::causal().offset(at.clone());
        let mixed = fast::quantized_scaled_dot_product_attention(q, &keys, &keys, &mask);
        fast::silu(&mixed) + q
    };
    let (q, at) = (normal(1, &[1, 4, 1, 64]), array!([5]));
    let compiled = jit(attend);
    // Other tests run programs meanwhile: their number is that of the report.
    assert!(close(&compiled.call((&q, &at)).unwrap(), &attend(&q, &at)));
    if has_kernels() {
        assert_eq!(compiled.report().unwrap().programs.len(), 1);
    }
    // Through queries only: bytes have no slope.
    let loss = |q: &Array| attend(q, &at).square().sum(());
    let (wanted, got) = (
        grad(loss).call(&q).unwrap(),
        grad(jit(loss)).call(&q).unwrap(),
    );
    assert!((wanted - got).abs().max(()).item::<f32>().unwrap() < 1e-4);
}

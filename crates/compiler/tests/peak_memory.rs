//! The peak that a report tells before anything runs is the one that is measured, and a limit is kept.

#[path = "random_graphs/random.rs"]
#[allow(dead_code)]
mod random;

use mlx::{Array, Device, Dtype, array, keepdims};
use mlx_compiler::{CompileOptions, Error, KernelFusion, Lowered, jit, jit_with, trace};
use random::Random;

/// How many random graphs are compared; `PEAK_MEMORY=3000` compares more, `PEAK_MEMORY_SEED=17` one.
const GRAPHS: u64 = 300;

/// The name of a test of this file in this program, which may hold other files too.
fn in_this_file(name: &str) -> String {
    let file = module_path!().split_once("::");
    file.map_or(name.to_owned(), |(_, file)| format!("{file}::{name}"))
}

/// Runs this test alone in a process of its own: other tests allocate too.
fn alone(name: &str, work: impl FnOnce()) {
    const INNER: &str = "MLX_TEST_ALONE";
    if std::env::var_os(INNER).is_some_and(|inner| inner == name) {
        return work();
    }
    // A GPU frees later.
    if !matches!(Device::current(), Ok(Device::Cpu)) {
        eprintln!("skipped: the peak is told for the CPU");
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            &in_this_file(name),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INNER, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    if std::env::var_os("PEAK_MEMORY_SHOW").is_some() {
        println!("{text}");
    }
}

/// Bytes of the inputs and constants at the start, and the most that a call adds to them.
fn measured<T: mlx::Tree>(lowered: Lowered<T>, inputs: &[&Array]) -> (usize, Vec<Array>) {
    let compiled = lowered.compile().unwrap();
    let call = || {
        let outputs = compiled.call_flat(inputs).unwrap();
        mlx::eval(&outputs).unwrap();
        outputs
    };
    drop(call());
    mlx::memory::clear_cache().unwrap();
    // Until MLX's stream thread is idle: then the calling thread runs each kernel before it allocates for the next.
    std::thread::sleep(std::time::Duration::from_millis(2));
    let before = mlx::memory::get_active_memory();
    mlx::memory::reset_peak().unwrap();
    let outputs = call();
    // The peak is counted when something is allocated.
    (mlx::memory::get_peak_memory().max(before) - before, outputs)
}

struct Builder {
    random: Random,
    values: Vec<Array>,
}

impl Builder {
    fn any(&mut self) -> Array {
        // Recent ones.
        let n = self.values.len();
        let back = self.random.below(n.min(6));
        self.values[n - 1 - back].clone()
    }

    fn step(&mut self) -> Array {
        let (x, y) = (self.any(), self.any());
        let n = self.random.below(27);
        let square = |x: &Array| x.dims::<2>().is_ok_and(|[a, b]| a == b);
        match n {
            0 => x.exp() * 0.5,
            1 => &x + &y,
            2 => (&x * &y).tanh(),
            3 => mlx::maximum(&x, &y),
            4 if square(&x) && square(&y) => x.matmul(&y),
            5 => x.t(),
            6 => x.softmax(-1),
            7 => &x - x.mean(keepdims(-1)),
            8 => (&x * &x).sum(keepdims(0)) + &y,
            9 => x.astype(Dtype::Float16).astype(Dtype::Float32),
            10 => x.t().reshape([-1]).reshape([SIZE, SIZE]),
            11 => mlx::where_(x.greater(&y), &x, &y),
            12 => mlx::concatenate(
                &[
                    x.slice(mlx::s![..SIZE / 2, ..]),
                    y.slice(mlx::s![SIZE / 2.., ..]),
                ],
                0,
            ),
            13 => x.cumsum(-1),
            14 => mlx::fast::rms_norm(&x, &mlx::ones([SIZE]), 1e-5),
            15 => mlx::sort(&x, -1),
            16 => x.slice_update(&y.slice(mlx::s![..1, ..]), &array!([3]), 0),
            17 => x.sin().square(),
            18 => {
                let (x, w) = (x.reshape([1, SIZE, SIZE]), y.reshape([SIZE, 1, SIZE]));
                x.conv1d(&w, 1).reshape([SIZE, SIZE])
            }
            19 => x.take(&mlx::arange(SIZE), 0),
            20 => x.pad(1).i(mlx::s![1..SIZE + 1, 1..SIZE + 1]) + &y,
            21 => mlx::fast::layer_norm(&x, None, None, 1e-5),
            22 => {
                let heads = |x: &Array| x.reshape([1, 4, SIZE, SIZE / 4]);
                let (q, k) = (heads(&x), heads(&y));
                let mixed = mlx::fast::scaled_dot_product_attention(&q, &k, &k, 0.125, None);
                mixed.transpose([0, 2, 1, 3]).reshape([SIZE, SIZE])
            }
            23 => {
                let loss = |x: &Array| (x.tanh() * x.softmax(-1)).sum(());
                mlx::grad(loss)(&x).unwrap()
            }
            24 if square(&x) && square(&y) => {
                let loss = |x: &Array, y: &Array| x.matmul(y).sigmoid().square().sum(());
                mlx::grad(loss)(&x, &y).unwrap()
            }
            25 => y.take_along_axis(&mlx::argsort(&x, -1), -1),
            _ => (x.astype(Dtype::Bfloat16) * 2.0).astype(Dtype::Float32) + x.max(keepdims(1)),
        }
    }
}

const SIZE: i32 = 256;

fn function(seed: u64, inputs: &[Array]) -> Vec<Array> {
    let mut builder = Builder {
        random: Random::new(seed),
        values: inputs.to_vec(),
    };
    for _ in 0..4 + builder.random.below(20) {
        let next = builder.step();
        builder.values.push(next);
    }
    let last = builder.values[builder.values.len() - 1].clone();
    match builder.random.below(3) {
        0 => vec![last, builder.any()],
        _ => vec![last],
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn peaks_of_random_graphs_are_those_measured() {
    alone("peaks_of_random_graphs_are_those_measured", || {
        let n = variable("PEAK_MEMORY").unwrap_or(GRAPHS);
        let seeds = match variable("PEAK_MEMORY_SEED") {
            Some(seed) => seed..seed + 1,
            None => 0..n,
        };
        let (mut wrong, mut exact, mut worst) = (Vec::new(), 0, 0.0_f64);
        for seed in seeds.clone() {
            let inputs = [
                mlx::ones([SIZE, SIZE]) * 0.5,
                mlx::ones([SIZE, SIZE]) * 0.25,
            ];
            mlx::eval(&inputs).unwrap();
            let kernel_fusion = [KernelFusion::Auto, KernelFusion::Off][(seed % 2) as usize];
            let options = CompileOptions {
                kernel_fusion,
                ..CompileOptions::default()
            };
            let f = |x: &Array, y: &Array| function(seed, &[x.clone(), y.clone()]);
            let traced = trace(f, (&inputs[0], &inputs[1])).unwrap();
            let lowered = traced.lower(&options).unwrap();
            let memory = lowered.report().memory().unwrap();
            let text = lowered.to_string();
            let (added, _outputs) = measured(lowered, &[&inputs[0], &inputs[1]]);
            let (told, got) = (memory.peak_bytes, memory.held_bytes + added);
            let error = (told as f64 - got as f64).abs() / got as f64;
            worst = worst.max(error);
            exact += usize::from(error < 0.001);
            if error > 0.05 {
                wrong.push((seed, told, got));
                if seeds.end - seeds.start == 1 {
                    println!("{text}\n{memory}");
                    for moment in &memory.timeline {
                        println!("{} {} {}", moment.bytes, moment.operation, moment.site);
                    }
                }
            }
        }
        println!("{exact} exact, worst {worst:.4}, wrong: {wrong:?}");
        assert!(wrong.is_empty(), "{} wrong: {wrong:?}", wrong.len());
    });
}

fn limited(x: &Array) -> Array {
    let scores = x.matmul(&x.t());
    let large = mlx::concatenate(&[&scores, &scores, &scores], 0);
    large.sum(0)
}

#[test]
fn a_limit_refuses_before_anything_runs_and_names_the_lines() {
    let options = CompileOptions {
        memory_limit: Some(1 << 20),
        ..CompileOptions::default()
    };
    let f = jit_with(limited, options);
    let x = mlx::ones([512, 4]);
    let Err(Error::Memory {
        limit,
        peak,
        largest,
        ..
    }) = f.call(&x)
    else {
        panic!("wanted a refusal");
    };
    assert_eq!(limit, 1 << 20);
    assert!(peak > 4 << 20, "{peak}");
    assert!(
        largest.contains("concatenate") && largest.contains("peak_memory.rs:"),
        "{largest}"
    );
    let enough = CompileOptions {
        memory_limit: Some(8 << 20),
        ..CompileOptions::default()
    };
    jit_with(limited, enough).call(&x).unwrap().eval().unwrap();
}

#[test]
fn loops_that_read_values_have_no_peak() {
    let f = jit(|x: &Array| {
        mlx_compiler::while_loop(x, |x: &Array| x.sum(()).less(10.0), |x: &Array| x + 1.0)
    });
    let lowered = f.lower(&array!([1.0])).unwrap();
    let error = lowered.report().peak_bytes().unwrap_err().to_string();
    assert!(error.contains("while_loop, which reads values"), "{error}");
}

/// Cheap values that are needed at both ends of a chain of products.
fn hourglass(x: &Array, w: &Array) -> Array {
    let layers: Vec<Array> = (0..6).map(|k| (x * (k as f32 + 1.0)).tanh()).collect();
    let mut y = x.clone();
    for layer in &layers {
        y = (y + layer).matmul(w);
    }
    for layer in layers.iter().rev() {
        y = (y * layer).matmul(w);
    }
    y
}

#[test]
fn rematerialization_lowers_the_peak_and_keeps_the_result() {
    alone(
        "rematerialization_lowers_the_peak_and_keeps_the_result",
        || {
            let (x, w) = (mlx::ones([256, 256]) * 0.01, mlx::ones([256, 256]) * 0.01);
            mlx::eval([&x, &w]).unwrap();
            let lower = |rematerialize| {
                let options = CompileOptions {
                    rematerialize,
                    kernel_fusion: KernelFusion::Off,
                    ..CompileOptions::default()
                };
                trace(hourglass, (&x, &w)).unwrap().lower(&options).unwrap()
            };
            let (plain, less) = (lower(false), lower(true));
            let done = less.report().rematerialization.clone().unwrap();
            println!("{}\n{}", plain.report().memory().unwrap(), less.report());
            assert!(done.operations > 0 && done.bytes > 0, "{done:?}");
            assert!(done.peak_after + (512 << 10) < done.peak_before, "{done:?}");
            assert_eq!(done.peak_after, less.report().peak_bytes().unwrap());
            let held = less.report().memory().unwrap().held_bytes;
            let (before, wanted) = measured(plain, &[&x, &w]);
            let (after, got) = measured(less, &[&x, &w]);
            assert_eq!(before + held, done.peak_before);
            assert_eq!(after + held, done.peak_after);
            let difference = (&wanted[0] - &got[0]).abs().max(()).item::<f32>().unwrap();
            assert!(difference == 0.0, "{difference}");
        },
    );
}

/// A chain of random operations that needs some of a few cheap values at each step.
fn chain(seed: u64, x: &Array, y: &Array) -> Array {
    let mut random = Random::new(seed);
    let cheap: Vec<Array> = (1..3 + random.below(4))
        .map(|k| (x * (k as f32 / 3.0)).tanh() + y)
        .collect();
    let mut last = y.clone();
    for _ in 0..4 + random.below(12) {
        let with = random.pick(&cheap);
        last = match random.below(5) {
            0 => (&last + with).matmul(y) / 100.0,
            1 => (&last * with).cumsum(-1) / 100.0,
            2 => mlx::sort(mlx::maximum(&last, with.t()), -1),
            3 => mlx::concatenate(
                &[with.slice(mlx::s![..9, ..]), last.slice(mlx::s![9.., ..])],
                0,
            ),
            _ => (&last - with).softmax(-1),
        };
    }
    last
}

#[test]
fn rematerialized_random_graphs_have_the_same_results() {
    let mut helped = 0;
    for seed in 0..100 {
        let x = (mlx::arange(SIZE * SIZE).reshape([SIZE, SIZE]) / 1e5).astype(Dtype::Float32);
        let y = &x * 0.5;
        let f = move |x: &Array, y: &Array| chain(seed, x, y);
        let options = CompileOptions {
            rematerialize: true,
            kernel_fusion: [KernelFusion::Auto, KernelFusion::Off][(seed % 2) as usize],
            ..CompileOptions::default()
        };
        let less = jit_with(f, options);
        let (wanted, got) = (f(&x, &y), less.call((&x, &y)).unwrap());
        let done = less.report().unwrap().rematerialization.unwrap();
        let close = mlx::CloseOptions {
            rtol: 1e-3,
            atol: 1e-3,
            equal_nan: true,
        };
        helped += usize::from(done.operations > 0);
        assert!(done.peak_after <= done.peak_before);
        let is_close = wanted.allclose_with(&got, close);
        assert!(is_close.item::<bool>().unwrap(), "seed {seed}");
    }
    println!("{helped} helped");
    assert!(helped > 2, "only {helped} were helped");
}

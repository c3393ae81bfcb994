//! The rows of a GPU: small ones run on the CPU, through our runner, in every form that is timed.

use std::path::Path;
use std::time::Duration;

use mlx_bench::harness::device;
use mlx_bench::harness::measure::{self, Participant};
use mlx_bench::harness::options::{Device, Options};
use mlx_bench::harness::process::{Runner, Spec};
use mlx_bench::harness::protocol::{Load, Verb};
use mlx_bench::harness::results::Results;
use mlx_bench::harness::rows::{self, Benchmark, Group, Size};
use mlx_bench::harness::{limits::Limits, table};

const LIMIT: Duration = Duration::from_secs(120);

fn spec(form: &str, folder: &Path) -> Spec {
    Spec {
        name: form.to_owned(),
        command: vec![
            env!("CARGO_BIN_EXE_mlx-bench-runner").to_owned(),
            form.to_owned(),
        ],
        environment: vec![("MLX_DEVICE".to_owned(), "cpu".to_owned())],
        log: folder.join(format!("{form}.log")),
    }
}

/// Runs rows in the usual form and in the others that are timed; all must give the same.
fn run(wanted: impl Fn(&Benchmark) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let start = |form: &str| Runner::start(&spec(form, folder.path()), 2, LIMIT).unwrap();
    let mut runners = ["fast", "eager", "compiled"].map(|form| (form, start(form)));
    let rows = rows::of_gpu(false, Size::Tiny).into_iter().filter(wanted);
    for row in rows {
        let row = device::with_folder(row, folder.path());
        let mut outcomes = Vec::new();
        for (form, runner) in &mut runners {
            if *form != "fast" && !row.forms.contains(form) {
                continue;
            }
            let output = folder.path().join("output.npy");
            let load = Load {
                op: row.op.to_owned(),
                params: row.params.clone(),
                inputs: Vec::new(),
                output: output.clone(),
            };
            let mut ask = |verb| runner.ask(Some(&row.id), verb, LIMIT).unwrap();
            let reply = ask(Verb::Load(load));
            assert_eq!(reply.loaded, Some(true), "{} {form}: {reply:?}", row.id);
            let outcome = row.check.outcome(&output, None).unwrap();
            let ms = ask(Verb::Run(2)).ms.unwrap_or_default();
            assert!(
                ms.len() == 2 && ms.iter().all(|ms| *ms > 0.0),
                "{}: {ms:?}",
                row.id
            );
            ask(Verb::Drop(true));
            outcomes.push(outcome);
        }
        if let [ours, other] = outcomes.as_slice() {
            assert_eq!(row.check.difference(ours, other), None, "{}", row.id);
        }
    }
}

#[test]
fn kernels_run() {
    run(|row| row.group == Group::GpuKernels);
}

#[test]
fn programs_compute_what_their_calls_do() {
    run(|row| row.group == Group::GpuPrograms);
}

#[test]
fn steps_of_training_run_compiled_and_eager() {
    run(|row| row.group == Group::GpuTraining);
}

#[test]
fn models_of_random_weights_run() {
    run(|row| row.group == Group::GpuModels);
}

#[test]
fn the_device_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mut ours = Participant::new("ours", Ok(spec("fast", folder.path())));
    let settings = device::settings(true, 2);
    let limits = device::limits(&mut ours, &mut [], &settings);
    assert!(
        limits.copy_gb_s > 0.0 && limits.bf16_gflop_s > 0.0,
        "{limits:?}"
    );
    assert!(ours.device.is_some());
}

#[test]
fn rows_of_an_earlier_run_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = rows::of_gpu(true, Size::Tiny);
    rows.retain(|row| row.id.starts_with("gpu/add/"));
    let mut ours = Participant::new("ours", Ok(spec("fast", folder.path())));
    let limits = Limits::default();
    let settings = device::settings(true, 2);
    let first = measure::row(&rows[0], &mut ours, &mut [], &mut [], &limits, &settings).unwrap();
    let failed = measure::row(
        &rows[1],
        &mut Participant::new("ours", Err("is not there".to_owned())),
        &mut [],
        &mut [],
        &limits,
        &settings,
    )
    .unwrap();
    let mut earlier = Results {
        rows: vec![first, failed],
        ..Results::default()
    };
    earlier.machine.gpu = Some("NVIDIA H200".to_owned());
    let page = table::page(&earlier, &[]);
    assert!(page.contains("## Kernels on the GPU"), "{page}");
    assert!(page.contains("Rows run on NVIDIA H200."), "{page}");
    let mut results = Results::default();
    let second = rows[1].id.clone();
    device::take_over(&mut results, &mut rows, earlier);
    assert_eq!(results.rows.len(), 1);
    // What had no time is measured again.
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].id, second);
}

#[test]
fn a_run_is_named_after_its_device() {
    let options = Options {
        device: Device::Gpu,
        quick: true,
        ..Options::default()
    };
    assert_eq!(device::mode(&options), "quick");
}

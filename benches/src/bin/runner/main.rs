//! Our side of the harness: reads requests, computes rows with this library, answers with times.
//!
//! The argument is the form: `fast`, `composed`, `compiled`, `eager`, or `one-thread` (the usual form; the harness
//! gives it fewer threads).
#![forbid(unsafe_code)]

mod gpu;
mod int8;
mod kernels;
mod language;
mod packed;
mod sweep;
mod whisper;
mod work;

use std::collections::HashMap;
use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use mlx_bench::harness::limits;
use mlx_bench::harness::protocol::{Load, Reply, Request, Verb};

use work::{Form, Work};

fn main() -> Result<()> {
    let form = Form::parse(&std::env::args().nth(1).unwrap_or_default())?;
    let mut rows = HashMap::new();
    let mut threads = 1;
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let id = request.id.clone();
        if let Verb::Hello { threads: all } = request.verb {
            threads = all;
        }
        let reply = answer(form, request, threads, &mut rows);
        let reply = reply.unwrap_or_else(|error| Reply {
            failed: Some(format!("{error:#}")),
            ..Reply::default()
        });
        let line = serde_json::to_string(&Reply { id, ..reply })?;
        writeln!(output, "{line}")?;
        output.flush()?;
    }
    Ok(())
}

/// The rows that are ready.
type Rows = HashMap<String, Box<dyn Work>>;

fn answer(form: Form, request: Request, threads: usize, rows: &mut Rows) -> Result<Reply> {
    let id = request.id.unwrap_or_default();
    let reply = Reply::default();
    Ok(match request.verb {
        Verb::Hello { .. } => Reply {
            name: Some("ours".to_owned()),
            version: Some(versions()),
            device: Some(gpu::device_name()),
            ..reply
        },
        Verb::Limits { gpu } => Reply {
            limits: Some(match gpu {
                true => gpu::limits::measure()?,
                false => limits::measure(threads)?,
            }),
            ..reply
        },
        Verb::Load(load) => {
            let Some(mut work) = prepare(form, &load)? else {
                return Ok(Reply {
                    unsupported: Some(format!("has no {} in this form", load.op)),
                    ..reply
                });
            };
            mlx::memory::reset_peak()?;
            let before = mlx::memory::usage()?.active;
            let text = work.first(&load.output)?;
            let peak = mlx::memory::usage()?.peak.saturating_sub(before);
            rows.insert(id, work);
            Reply {
                loaded: Some(true),
                text,
                peak_bytes: u64::try_from(peak).ok(),
                ..reply
            }
        }
        Verb::Run(n) => {
            let work = rows.get_mut(&id).context("the row is not loaded")?;
            let ms: Result<Vec<f64>> = (0..n).map(|_| work.run()).collect();
            Reply {
                ms: Some(ms?),
                ..reply
            }
        }
        Verb::Drop(_) => {
            rows.remove(&id);
            mlx::memory::clear_cache()?;
            Reply {
                dropped: Some(true),
                ..reply
            }
        }
    })
}

/// What computes: MLX, mlx-c, and the library behind matrix products.
fn versions() -> String {
    let this = env!("CARGO_PKG_VERSION");
    match mlx_sys::loaded() {
        Ok(loaded) => {
            let blas = match &loaded.blas {
                mlx_sys::Blas::OpenBlas { config, .. } => config.as_str(),
                mlx_sys::Blas::Bundled => "reference BLAS",
                mlx_sys::Blas::Accelerate => "Accelerate",
            };
            let versions = &loaded.versions;
            format!(
                "{this}, MLX {}, mlx-c {}, {blas}",
                versions.mlx, versions.mlxc
            )
        }
        Err(error) => format!("{this}, {error}"),
    }
}

fn prepare(form: Form, load: &Load) -> Result<Option<Box<dyn Work>>> {
    if load.op.starts_with("whisper") {
        return whisper::prepare(form, load).map(Some);
    }
    if load.op.starts_with("smollm2") {
        return language::prepare(form, load).map(Some);
    }
    if load.op == "sweep" {
        return sweep::prepare(load);
    }
    if load.op == "gpu" {
        return gpu::prepare(form, load);
    }
    kernels::prepare(form, load)
}

//! A run as a Markdown page, with a table for each part.

use std::fmt::Write;

use super::gpu_summary;
use super::limits::Limits;
use super::machine::TOO_BUSY;
use super::results::{Results, RowResult};
use super::rows::{Aim, Group};
use super::statistics;
use super::sweep_summary::Summary;

const PARTS: [(Group, &str, &str); 12] = [
    (
        Group::Kernels,
        "Operations",
        "One operation on `float32` unless the row says otherwise.",
    ),
    (Group::Models, "Models", "Real weights and real data."),
    (
        Group::Sweep,
        "Composed against fused",
        "The same formula as plain operations, compiled by `mlx-compiler`, and as the fused function. A number above 1 says how many times as long the other form takes: there fusing wins.",
    ),
    (
        Group::Scaling,
        "Cost against size",
        "The product with 4-bit weights, from one row to many.",
    ),
    (
        Group::Operations,
        "The sweep against PyTorch",
        "Operations at ordinary sizes, the worst ratio first.",
    ),
    (
        Group::Calls,
        "Small calls against PyTorch",
        "A call from Rust and one from Python that compute next to nothing, to the value.",
    ),
    (
        Group::Growth,
        "Cost against size, against PyTorch",
        "Sorting, convolution, the product in `bfloat16`, and gathering rows.",
    ),
    (
        Group::Training,
        "Training",
        "Gradients of small networks by all weights, eager and compiled (`_jit`), a step of Adam, and gradients of layers. JAX is compiled, PyTorch eager.",
    ),
    (
        Group::GpuKernels,
        "Kernels on the GPU",
        "One operation, or its gradients (`_grad`, for a cotangent that is given). A run gives the device as many calls at once as it computes in some milliseconds, all with results of their own, and waits once; the time is that of one call.",
    ),
    (
        Group::GpuPrograms,
        "Small kernels in a program",
        "Twenty calls, each of the last one's result, in one compiled function; PyTorch's in a CUDA graph. A run is ten such programs and one wait; the time is that of one call of the twenty.",
    ),
    (
        Group::GpuModels,
        "Models of random weights on the GPU",
        "Decoding is milliseconds of one token: 1000 over it are tokens a second.",
    ),
    (
        Group::GpuTraining,
        "Training on the GPU",
        "Gradients of all weights and plain descent along them, some steps given to the device at once; ours and Python MLX's compiled, PyTorch eager and compiled. The `eager` form is ours.",
    ),
];

/// Returns the page. `plots` are names of files beside it.
pub fn page(results: &Results, plots: &[(String, String)]) -> String {
    let mut page = String::new();
    let machine = &results.machine;
    let limits = &results.limits;
    line(&mut page, "# Benchmark results\n");
    line(
        &mut page,
        &format!(
            "{} run of {} on {} with {} threads, {} GiB, {}, {}{}.",
            title(&results.mode),
            results.date,
            machine.cpu,
            machine.threads,
            machine.memory_gib,
            machine.simd,
            machine.os,
            busy(results.busy)
        ),
    );
    let about = match &machine.gpu {
        Some(gpu) => about_gpu(gpu, limits),
        None => format!(
            "Measured limits: copy {:.1} GB/s (read and written), read {:.1} GB/s, sgemm {:.1} GFLOP/s.\n",
            limits.copy_gb_s, limits.read_gb_s, limits.sgemm_gflop_s
        ),
    };
    line(&mut page, &about);
    line(
        &mut page,
        "Milliseconds are medians over interleaved rounds; `±` is half the range of the rounds' medians.\n\
         The ratio is ours over the best rival's time, the median of the rounds' ratios: below 1 we are faster.\n\
         The limit's share is the time that the measured limits leave for the row's bytes and products, over ours; above 100 % where caches hold the row.\n",
    );
    for (caption, file) in plots {
        line(&mut page, &format!("![{caption}]({file})\n"));
    }
    line(&mut page, &gpu_summary::text(results));
    for (group, name, about) in PARTS {
        let mut rows: Vec<&RowResult> = results
            .rows
            .iter()
            .filter(|row| row.group == group)
            .collect();
        if group == Group::Operations {
            // Those without a ratio are above all others.
            let ratio = |row: &RowResult| row.target_ratio().unwrap_or(f64::INFINITY);
            rows.sort_by(|a, b| ratio(b).total_cmp(&ratio(a)));
        }
        if rows.is_empty() {
            continue;
        }
        line(&mut page, &format!("## {name}\n\n{about}\n"));
        line(&mut page, &table(&rows));
        if group == Group::Sweep {
            line(&mut page, &forms(&rows));
            line(&mut page, &memory(&rows));
        }
        if let Some(summary) = Summary::of(results).filter(|_| group == Group::Operations) {
            line(&mut page, &format!("{summary}{}", notes(&rows)));
        }
    }
    line(&mut page, &absences(results));
    line(
        &mut page,
        "## Versions\n\n| What | Version |\n| --- | --- |",
    );
    for (name, version) in &results.pins {
        line(&mut page, &format!("| {name} | {} |", escape(version)));
    }
    page
}

/// Returns what is to be known of a run on a GPU.
fn about_gpu(gpu: &str, limits: &Limits) -> String {
    format!(
        "Rows run on {gpu}. A share of the limit is one of its copy, ours {:.0} and PyTorch's {:.0} GB/s (the larger counts), or of its products, {:.0} GFLOP/s in `bfloat16` and {:.0} in `float32`, which is TF32 for all.\n\
         Inputs are made on the device by one formula; results are compared, before anything is timed, at up to 65,536 places spread evenly over each.\n",
        limits.copy_gb_s, limits.pytorch_copy_gb_s, limits.bf16_gflop_s, limits.sgemm_gflop_s
    )
}

/// Returns the table of some rows.
pub fn table(rows: &[&RowResult]) -> String {
    let mut out = String::from(
        "| Benchmark | Ours, ms | Best rival | Its ms | Ratio | Share of the limit | Target | Other rivals, ms |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let best = row.best_rival.as_deref();
        let best_ms = best.and_then(|name| row.samples.get(name));
        let others = row
            .rivals
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != best);
        let others: Vec<String> = others
            .map(|(name, ms)| format!("{name} {}", ms.map_or_else(|| "—".to_owned(), number)))
            .collect();
        let ours = match &row.ours {
            Some(ours) => format!("{} ± {:.0} %", number(ours.median_ms), ours.noise * 100.0),
            None => "failed".to_owned(),
        };
        let _ = writeln!(
            out,
            "| `{}` | {ours} | {} | {} | {} | {} | {} | {} |",
            row.id.trim_end_matches("/cpu"),
            best.unwrap_or("none"),
            best_ms.map_or_else(|| "—".to_owned(), |summary| number(summary.median_ms)),
            row.ratio.map_or_else(|| "—".to_owned(), ratio),
            row.limit_share.map_or_else(|| "—".to_owned(), percent),
            target(row),
            others.join(", "),
        );
    }
    out
}

/// Returns the table of our own forms.
fn forms(rows: &[&RowResult]) -> String {
    let mut out = String::from(
        "| Benchmark | Fused, ms | Composed, ms | Composed over fused | Compiled, ms | Compiled over fused |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let Some(ours) = &row.ours else { continue };
        let form = |name: &str| row.forms.get(name);
        let ms = |name| form(name).map_or_else(|| "—".to_owned(), |it| number(it.median_ms));
        let over = |name| {
            let ratio_of = form(name).and_then(|it| statistics::ratio(it, ours));
            ratio_of.map_or_else(|| "—".to_owned(), ratio)
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            row.id.trim_end_matches("/cpu"),
            number(ours.median_ms),
            ms("composed"),
            over("composed"),
            ms("compiled"),
            over("compiled"),
        );
    }
    out
}

/// Returns the table of what attention needs beyond its inputs, or an empty text when it was not measured.
fn memory(rows: &[&RowResult]) -> String {
    let mib = |summary: Option<&statistics::Summary>| {
        let bytes = summary.and_then(|summary| summary.peak_bytes);
        bytes.map(|bytes| bytes as f64 / f64::from(1 << 20))
    };
    let cell = |mib: Option<f64>| mib.map_or_else(|| "—".to_owned(), number);
    let mut out = String::from(
        "Peak of arrays beyond the inputs, with the result, which alone has the size in the second column:\n\n\
         | Benchmark | Result, MiB | Fused, MiB | Composed, MiB | Compiled, MiB |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let measured = rows
        .iter()
        .filter(|row| row.op == "attention" && mib(row.ours.as_ref()).is_some());
    let mut is_empty = true;
    for row in measured {
        is_empty = false;
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            row.id.trim_end_matches("/cpu"),
            number(row.cost.written / f64::from(1 << 20)),
            cell(mib(row.ours.as_ref())),
            cell(mib(row.forms.get("composed"))),
            cell(mib(row.forms.get("compiled"))),
        );
    }
    if is_empty { String::new() } else { out }
}

/// Returns what is to be known of some rows, a line each.
fn notes(rows: &[&RowResult]) -> String {
    let noted = rows.iter().filter(|row| !row.note.is_empty());
    let line =
        |row: &&RowResult| format!("- `{}`: {}\n", row.id.trim_end_matches("/cpu"), row.note);
    noted.map(line).collect()
}

/// Returns a warning when the numbers cannot be trusted.
fn busy(share: Option<f64>) -> String {
    match share {
        Some(share) if share > TOO_BUSY => format!(
            " (**others used {:.0} % of it, so do not trust these numbers**)",
            share * 100.0
        ),
        _ => String::new(),
    }
}

/// Returns which participants are absent, on which rows, and why.
fn absences(results: &Results) -> String {
    let mut out = String::from("## Who is absent, and why\n\n");
    for (name, why) in &results.absent {
        let _ = writeln!(out, "- {name}, everywhere: {}", escape(why));
    }
    // One line for each reason, with the rows it holds for.
    let mut reasons: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for row in &results.rows {
        for (name, why) in &row.failures {
            if results.absent.contains_key(name) {
                continue;
            }
            let key = (name.as_str(), why.as_str());
            match reasons.iter_mut().find(|(known, _)| *known == key) {
                Some((_, rows)) => rows.push(&row.id),
                None => reasons.push((key, vec![&row.id])),
            }
        }
    }
    reasons.sort();
    for ((name, why), rows) in reasons {
        let rows: Vec<String> = rows
            .iter()
            .map(|id| format!("`{}`", id.trim_end_matches("/cpu")))
            .collect();
        let _ = writeln!(out, "- {name}: {} ({})", escape(why), rows.join(", "));
    }
    if out.ends_with("why\n\n") {
        out.push_str("Nobody.\n");
    }
    out
}

fn target(row: &RowResult) -> String {
    let mut aims = Vec::new();
    if let Some(most) = row.target {
        let rival = row.target_rival.as_deref().map(|name| format!(" {name}"));
        let is = row.target_ratio().map(|is| format!(" (is {})", ratio(is)));
        let is = is.filter(|_| row.target_rival.is_some() && row.target_rival != row.best_rival);
        aims.push(format!(
            "≤ {most} x{}{}",
            rival.unwrap_or_default(),
            is.unwrap_or_default()
        ));
    }
    for aim in &row.aims {
        let of = Some(&aim.of).filter(|of| *of != Aim::OURS);
        let of = of.map(|of| format!("{of} "));
        let is = aim.is.map(|is| format!(" (is {})", ratio(is)));
        aims.push(format!(
            "{}≤ {} x {}{}",
            of.unwrap_or_default(),
            aim.most,
            aim.over,
            is.unwrap_or_default()
        ));
    }
    aims.extend(row.target_ms.map(|ms| format!("≤ {ms} ms")));
    aims.extend(
        row.target_share
            .map(|share| format!("≥ {:.0} % of the limit", share * 100.0)),
    );
    if aims.is_empty() {
        return "—".to_owned();
    }
    let verdict = match row.met {
        Some(true) => "met",
        Some(false) => "not met",
        None => "cannot be judged",
    };
    format!("{}: {verdict}", aims.join(", "))
}

/// Returns a number with three significant digits.
pub fn number(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms if ms >= 0.1 => format!("{ms:.3}"),
        ms => format!("{ms:.4}"),
    }
}

fn ratio(ratio: f64) -> String {
    format!(
        "{} x",
        if ratio >= 10.0 {
            format!("{ratio:.0}")
        } else {
            format!("{ratio:.2}")
        }
    )
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    first + letters.as_str()
}

/// Escapes text of other programs for a table.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
        .replace(['\n', '\r'], " ")
        .replace('<', "&lt;")
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

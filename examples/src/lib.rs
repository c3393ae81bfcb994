//! What all examples do besides their networks: options of the command line, a progress bar, the curve of the loss.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use mlx_plot::Chart;

/// Returns whether the example was started with `--short`, as tests do.
pub fn is_short() -> bool {
    std::env::args().any(|argument| argument == "--short")
}

/// Returns a progress bar of `steps` steps, with a message at its end.
///
/// # Errors
/// When its template is wrong, which does not happen.
pub fn progress(steps: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}")?;
    Ok(ProgressBar::new(u64::try_from(steps)?).with_style(style))
}

/// Draws the losses of all steps, says where, and returns it: a file in the folder for temporary files.
///
/// # Errors
/// When the file cannot be written.
pub fn save_curve(name: &str, losses: &[f32]) -> anyhow::Result<PathBuf> {
    let points = losses.iter().enumerate();
    let points = points.map(|(step, &loss)| (step as f64, f64::from(loss)));
    let chart = Chart::new(name).x_label("step").y_label("loss");
    let path = std::env::temp_dir().join(format!("mlx-{name}.svg"));
    std::fs::write(&path, chart.line("training", points).to_svg())?;
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        println!(
            "loss: first {first:.4} last {last:.4}, drawn in {}",
            path.display()
        );
    }
    Ok(path)
}

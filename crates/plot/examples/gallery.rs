//! Writes one picture of each kind into a folder, to see what a change does to them: `cargo run --example gallery -- DIR`.

use std::path::PathBuf;

use mlx_plot::{Chart, Heatmap, Table};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let wave =
        |scale: f64| (0..200).map(move |k| (f64::from(k) / 20.0, (f64::from(k) / scale).sin()));
    let names = ["cat", "dog", "horse", "bird"];
    let counts: Vec<f32> = (0..16_u8).map(|k| f32::from(k % 7 * (k % 3))).collect();
    let field: Vec<f32> = (0..80 * 300)
        .map(|k| ((k / 300) as f32 / 9.0).sin() * ((k % 300) as f32 / 30.0).cos())
        .collect();
    let times = [
        (16.0, 0.02),
        (64.0, 0.11),
        (256.0, 1.3),
        (1024.0, 19.0),
        (4096.0, 410.0),
    ];
    let pictures = [
        (
            "line",
            Chart::new("waves < tides & \"swell\"")
                .x_label("time, s")
                .y_label("height")
                .line("slow", wave(20.0))
                .line("fast", wave(7.0))
                .to_svg(),
        ),
        (
            "log",
            Chart::new("attention")
                .x_label("sequence")
                .y_label("ms")
                .log_x()
                .log_y()
                .line("composed", times)
                .line("fused", times.map(|(x, y)| (x, y / 3.0)))
                .to_svg(),
        ),
        (
            "points",
            Chart::new("sentences")
                .labelled(
                    "",
                    [
                        (0.1, 0.2, "a cat sat"),
                        (0.12, 0.21, "a dog sat"),
                        (0.9, -0.4, "the stock fell"),
                    ],
                )
                .to_svg(),
        ),
        (
            "bars",
            Chart::new("two series")
                .bars("a", (0..6).map(|k| (f64::from(k), f64::from(k * k))))
                .bars("b", (0..6).map(|k| (f64::from(k), f64::from(k * 3) - 4.0)))
                .to_svg(),
        ),
        (
            "histogram",
            Chart::new("weights")
                .x_label("value")
                .y_label("count")
                .histogram("", wave(9.0).map(|(_, y)| y), 30)
                .to_svg(),
        ),
        (
            "confusion",
            Heatmap::new("confusion", &counts, 4)
                .row_names(names)
                .column_names(names)
                .numbers()
                .x_label("predicted")
                .y_label("true")
                .to_svg(),
        ),
        (
            "field",
            Heatmap::new("mel spectrogram", &field, 300)
                .x_range(0.0, 11.0)
                .y_range(8000.0, 0.0)
                .x_label("time, s")
                .y_label("Hz")
                .to_svg(),
        ),
    ];
    for (name, svg) in pictures {
        std::fs::write(folder.join(format!("{name}.svg")), svg)?;
    }
    let table = Table::new(["size", "ms"])
        .row(["1024", "0.3"])
        .row(["<4096>", "11"]);
    std::fs::write(folder.join("table.html"), table.to_html())
}

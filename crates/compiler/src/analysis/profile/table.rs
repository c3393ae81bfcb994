//! A profile as a table, in text and in a notebook, and as JSON.

use std::fmt;
use std::time::Duration;

use html_escape::encode_text as escaped;
use serde_json::json;

use super::{Profile, ProfileRow};

/// Rows that are shown; the others are added up.
const SHOWN: usize = 24;

const HEAD: [&str; 7] = [
    "us",
    "share",
    "of limit",
    "KiB",
    "MFLOP",
    "operation",
    "line",
];

/// The columns of numbers, which are aligned to the right.
const NUMBERS: usize = 5;

impl Profile {
    /// Returns the table as HTML.
    pub fn to_html(&self) -> String {
        let line = |cells: &[String], tag: &str| -> String {
            let cell = |(column, cell): (usize, &String)| {
                let side = if column < NUMBERS { "right" } else { "left" };
                format!(
                    "<{tag} style=\"text-align:{side}\">{}</{tag}>",
                    escaped(cell)
                )
            };
            let cells: String = cells.iter().enumerate().map(cell).collect();
            format!("<tr>{cells}</tr>")
        };
        let rows: String = self.cells().iter().map(|row| line(row, "td")).collect();
        format!(
            "<p>{}</p><table>{}{rows}</table>",
            escaped(&self.summary()),
            line(&HEAD.map(str::to_owned), "th")
        )
    }

    /// Returns the profile as JSON: `whole_us`, `waited_us`, `is_gpu_clock`, `sum_us`, `calls`, `bytes_per_second`, `operations_per_second`, and
    /// `rows` of `operation`, `site`, `group`, `count`, `us`, `bytes`, `operations`.
    pub fn to_json(&self) -> String {
        let row = |row: &ProfileRow| {
            json!({
                "operation": row.operation,
                "site": row.site.to_string(),
                "group": row.group,
                "count": row.count,
                "us": row.time.as_secs_f64() * 1e6,
                "bytes": row.bytes,
                "operations": row.operations,
            })
        };
        let whole = json!({
            "whole_us": self.whole.as_secs_f64() * 1e6,
            "waited_us": self.waited.as_secs_f64() * 1e6,
            "is_gpu_clock": self.is_gpu_clock,
            "sum_us": self.sum().as_secs_f64() * 1e6,
            "calls": self.calls,
            "bytes_per_second": self.limits.bytes_per_second,
            "operations_per_second": self.limits.operations_per_second,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        });
        whole.to_string()
    }

    /// Shows the profile in a notebook run by evcxr, which calls this for the last expression of a cell.
    pub fn evcxr_display(&self) {
        println!(
            "EVCXR_BEGIN_CONTENT text/html\n{}\nEVCXR_END_CONTENT",
            self.to_html()
        );
        println!("EVCXR_BEGIN_CONTENT text/plain\n{self}\nEVCXR_END_CONTENT");
    }

    fn summary(&self) -> String {
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        let waited = match self.is_gpu_clock {
            false => String::new(),
            true => format!(
                " on the GPU's clock, and whoever waits for it {:.1} us",
                microseconds(self.waited)
            ),
        };
        format!(
            "a call takes {:.1} us{waited} (of {} the faster half), its operations one by one {:.1} us; \
             this machine moves {:.1} GB/s and computes {:.1} GFLOP/s",
            microseconds(self.whole),
            self.calls,
            microseconds(self.sum()),
            self.limits.bytes_per_second / 1e9,
            self.limits.operations_per_second / 1e9
        )
    }

    /// The cells of all rows that are shown.
    #[allow(clippy::cast_precision_loss)]
    fn cells(&self) -> Vec<Vec<String>> {
        let numbers =
            |time: f64, share: f64| vec![format!("{time:.1}"), format!("{:.1} %", share * 100.0)];
        let shown = self.rows.iter().take(SHOWN);
        let mut cells: Vec<Vec<String>> = shown
            .map(|row| {
                let mut line = numbers(row.time.as_secs_f64() * 1e6, self.share(row));
                let count = if row.count > 1 {
                    format!(" x {}", row.count)
                } else {
                    String::new()
                };
                let group = row.group.as_ref().map(|group| format!(" in a {group}"));
                line.extend([
                    format!("{:.0} %", self.share_of_limit(row) * 100.0),
                    format!("{:.1}", row.bytes as f64 / 1024.0),
                    format!("{:.1}", row.operations as f64 / 1e6),
                    format!("{}{count}{}", row.operation, group.unwrap_or_default()),
                    row.site.to_string(),
                ]);
                line
            })
            .collect();
        let rest = self.rows.get(SHOWN..).unwrap_or_default();
        if !rest.is_empty() {
            let time = rest.iter().map(|row| row.time.as_secs_f64() * 1e6).sum();
            let mut line = numbers(time, rest.iter().map(|row| self.share(row)).sum());
            line.extend(["", "", "", &format!("{} more", rest.len()), ""].map(str::to_owned));
            cells.push(line);
        }
        cells
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
        lines.extend(self.cells());
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        write!(f, "{}", self.summary())?;
        for line in &lines {
            let cell = |(column, cell): (usize, &String)| match column < NUMBERS {
                true => format!("{cell:>width$}", width = widths[column]),
                false => format!("{cell:<width$}", width = widths[column]),
            };
            let cells: Vec<String> = line.iter().enumerate().map(cell).collect();
            write!(f, "\n{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

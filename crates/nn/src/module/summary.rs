//! A table of a model: its modules, their parameters with shapes and dtypes, and how large they are.

use std::fmt;

use super::{Module, ModuleInfo, info};

/// What [`Module::summary`] gives: it prints as a table, and shows itself as one in a notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The modules, the whole first.
    pub modules: Vec<ModuleInfo>,
}

const HEAD: [&str; 6] = [
    "module",
    "type",
    "parameters",
    "count",
    "bytes",
    "trainable",
];
/// The columns of numbers, which are aligned to the right.
const FIRST_NUMBER: usize = 3;

impl Summary {
    pub(super) fn of(module: &impl Module) -> Self {
        Self {
            modules: info::modules(module),
        }
    }

    /// Returns the number of elements of all parameters. Packed weights count by their 32-bit words.
    pub fn n_parameters(&self) -> usize {
        self.total(|parameter| (!parameter.buffer).then(|| parameter.size()))
    }

    /// Returns the number of elements of all parameters that are trained.
    pub fn n_trainable(&self) -> usize {
        self.total(|parameter| parameter.trainable.then(|| parameter.size()))
    }

    /// Returns the bytes of all parameters and buffers.
    pub fn nbytes(&self) -> usize {
        self.total(|parameter| Some(parameter.nbytes()))
    }

    fn total(&self, size: impl Fn(&super::ParameterInfo) -> Option<usize>) -> usize {
        let parameters = self.modules.iter().flat_map(|module| &module.parameters);
        parameters.filter_map(size).sum()
    }

    /// Returns the table as HTML.
    pub fn to_html(&self) -> String {
        let line = |cells: &[String; 6], tag: &str| {
            let cell = |(column, cell): (usize, &String)| {
                let side = if column < FIRST_NUMBER {
                    "left"
                } else {
                    "right"
                };
                let cell = cell
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;");
                format!("<{tag} style=\"text-align:{side}\">{cell}</{tag}>")
            };
            let cells: String = cells.iter().enumerate().map(cell).collect();
            format!("<tr>{cells}</tr>")
        };
        let rows: String = self.rows().iter().map(|row| line(row, "td")).collect();
        format!(
            "<table><thead>{}</thead><tbody>{rows}</tbody><tfoot>{}</tfoot></table>",
            line(&HEAD.map(str::to_owned), "th"),
            line(&self.totals(), "th")
        )
    }

    /// Shows the table in a notebook run by evcxr, which calls this for the last expression of a cell.
    pub fn evcxr_display(&self) {
        println!(
            "EVCXR_BEGIN_CONTENT text/html\n{}\nEVCXR_END_CONTENT",
            self.to_html()
        );
        println!("EVCXR_BEGIN_CONTENT text/plain\n{self}\nEVCXR_END_CONTENT");
    }

    /// One line for each module that holds something itself, and for the whole.
    fn rows(&self) -> Vec<[String; 6]> {
        let shown = self
            .modules
            .iter()
            .filter(|module| !module.parameters.is_empty() || module.n_children == 0);
        shown.map(row).collect()
    }

    fn totals(&self) -> [String; 6] {
        [
            "total".to_owned(),
            self.modules
                .first()
                .map_or_else(String::new, |whole| whole.kind.to_owned()),
            String::new(),
            grouped(self.n_parameters()),
            grouped(self.nbytes()),
            grouped(self.n_trainable()),
        ]
    }
}

fn row(module: &ModuleInfo) -> [String; 6] {
    let local = |name: &str| {
        let rest = name.strip_prefix(module.name.as_str()).unwrap_or(name);
        rest.trim_start_matches('.').to_owned()
    };
    let shapes: Vec<String> = module
        .parameters
        .iter()
        .map(|parameter| match &parameter.array_type {
            Some(array) => format!("{} {array}", local(&parameter.name)),
            None => format!("{} failed", local(&parameter.name)),
        })
        .collect();
    let total = |is_wanted: fn(&super::ParameterInfo) -> bool| {
        let wanted = module.parameters.iter().filter(|one| is_wanted(one));
        wanted.map(super::ParameterInfo::size).sum()
    };
    [
        module.name.clone(),
        module.kind.to_owned(),
        shapes.join(", "),
        grouped(total(|parameter| !parameter.buffer)),
        grouped(
            module
                .parameters
                .iter()
                .map(super::ParameterInfo::nbytes)
                .sum(),
        ),
        grouped(total(|parameter| parameter.trainable)),
    ]
}

/// Returns a number with its digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The table as plain text, in columns.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.rows());
        lines.push(self.totals());
        let mut widths = [0; 6];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ if column < FIRST_NUMBER => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
        }
        Ok(())
    }
}

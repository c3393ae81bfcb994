//! A table of texts and numbers, as HTML and as plain text.

use std::fmt;

use html_escape::encode_quoted_attribute as escaped;

use crate::show;

/// A table with a line of headings.
///
/// ```
/// let table = mlx_plot::Table::new(["size", "ms"]).row(["1024", "0.3"]);
/// assert_eq!(table.to_string(), "size   ms\n1024  0.3");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns a table with these headings and no rows.
    pub fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Self {
        Self {
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    #[must_use]
    pub fn row<T: Into<String>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Returns the table as HTML: numbers to the right, texts to the left.
    pub fn to_html(&self) -> String {
        let line = |cells: &[String], tag: &str| {
            let cell = |(column, cell): (usize, &String)| {
                let side = if self.is_numeric(column) {
                    "right"
                } else {
                    "left"
                };
                format!(
                    "<{tag} style=\"text-align:{side}\">{}</{tag}>",
                    escaped(cell)
                )
            };
            let cells: String = cells.iter().enumerate().map(cell).collect();
            format!("<tr>{cells}</tr>")
        };
        let rows: String = self.rows.iter().map(|row| line(row, "td")).collect();
        format!(
            "<table><thead>{}</thead><tbody>{rows}</tbody></table>",
            line(&self.head, "th")
        )
    }

    /// Shows the table in a notebook run by evcxr.
    pub fn evcxr_display(&self) {
        show::html(&self.to_html());
    }

    fn is_numeric(&self, column: usize) -> bool {
        let is_number = |row: &Vec<String>| {
            row.get(column).is_none_or(|cell| {
                let number = cell.trim_end_matches(['%', 'x', 's', 'm', ' ', 'B', 'M', 'k']);
                number.is_empty() || number.parse::<f64>().is_ok()
            })
        };
        self.rows.iter().all(is_number)
    }
}

/// The table as plain text, in columns.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let n_columns = all().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let lines: Vec<String> = all()
            .map(|row| {
                let cells: Vec<String> = (0..n_columns)
                    .map(|column| {
                        let cell = row.get(column).map_or("", String::as_str);
                        let width = width(column);
                        if self.is_numeric(column) {
                            format!("{cell:>width$}")
                        } else {
                            format!("{cell:<width$}")
                        }
                    })
                    .collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_and_numbers_stand_right() {
        let html = Table::new(["name", "ms"]).row(["<b>", "1.5"]).to_html();
        assert!(
            html.contains("<td style=\"text-align:left\">&lt;b&gt;</td>"),
            "{html}"
        );
        assert!(
            html.contains("<td style=\"text-align:right\">1.5</td>"),
            "{html}"
        );
    }

    #[test]
    fn short_rows_leave_cells_empty() {
        let table = Table::new(["a", "b"]).row(["1"]).row(["2", "x"]);
        assert_eq!(table.to_string(), "a  b\n1\n2  x");
    }
}

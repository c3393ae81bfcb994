//! How an array shows itself in a notebook: a table in HTML, and plain text beside it.

use html_escape::encode_quoted_attribute as escaped;

use super::{EDGE, Formatted, PRECISION, formatted};
use crate::Array;

impl Array {
    /// Shows the array in a notebook run by evcxr, which calls this for the last expression of a cell.
    ///
    /// Writes to standard output, marked as evcxr wants it: a table for up to two axes and nested lists for more as
    /// HTML, and what `Display` prints as plain text. Large arrays are abbreviated, and only the ends copied.
    pub fn evcxr_display(&self) {
        let (html, text) = content(self);
        println!("{}", marked("text/html", &html));
        println!("{}", marked("text/plain", &text));
    }
}

fn marked(mime_type: &str, content: &str) -> String {
    format!("EVCXR_BEGIN_CONTENT {mime_type}\n{content}\nEVCXR_END_CONTENT")
}

/// Returns the array as HTML and as plain text.
fn content(array: &Array) -> (String, String) {
    match formatted(array, PRECISION) {
        Ok(shown) => (shown.to_html(), shown.to_text()),
        Err(text) => (format!("<pre>{}</pre>", escaped(&text)), text),
    }
}

impl Formatted {
    fn to_html(&self) -> String {
        let kind = self.array_type.to_string();
        let kind = escaped(&kind);
        let layout = &self.layout;
        if layout.shape.len() > 2 || layout.words.is_empty() {
            return format!("<pre>{}</pre>", escaped(&self.to_text()));
        }
        let n_columns = layout.shape.last().copied().unwrap_or(1);
        let skips_columns = layout.skips.last().copied().unwrap_or(false);
        let skips_rows = layout.shape.len() == 2 && layout.skips[0];
        let mut rows = Vec::new();
        for (k, words) in layout.words.chunks(n_columns).enumerate() {
            if k == EDGE && skips_rows {
                let n_cells = n_columns + usize::from(skips_columns);
                rows.push(row(&vec!["&#8942;".to_owned(); n_cells]));
            }
            let mut cells: Vec<String> = words
                .iter()
                .map(|word| escaped(word.trim()).into_owned())
                .collect();
            if skips_columns {
                cells.insert(EDGE, "&#8230;".to_owned());
            }
            rows.push(row(&cells));
        }
        format!("<table>{}</table><p><code>{kind}</code></p>", rows.concat())
    }
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|cell| format!("<td style=\"text-align:right\">{cell}</td>"))
        .collect();
    format!("<tr>{}</tr>", cells.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, Error, array, zeros, zeros_with};

    #[test]
    fn a_matrix_is_a_table() {
        let (html, text) = content(&array!([[1, 2], [3, 4]]));
        assert_eq!(html.matches("<tr>").count(), 2);
        assert_eq!(html.matches("<td").count(), 4);
        assert!(html.ends_with("<p><code>int32[2, 2]</code></p>"), "{html}");
        assert_eq!(text, "array([[1, 2],\n       [3, 4]], int32[2, 2])");
    }

    #[test]
    fn a_large_matrix_keeps_its_corners_only() {
        let (html, _) = content(&zeros([5000, 300]));
        assert_eq!(html.matches("<tr>").count(), 7);
        assert_eq!(html.matches("<td").count(), 49);
        assert!(html.len() < 3000);
    }

    #[test]
    fn errors_and_deep_arrays_are_escaped_text() {
        let (html, text) = content(&Array::failed(Error::op("f", "wanted <b> & 'c'")));
        assert!(
            html.contains("wanted &lt;b&gt; &amp; &#x27;c&#x27;"),
            "{html}"
        );
        assert!(text.contains("wanted <b> & 'c'"), "{text}");
        let (html, _) = content(&zeros_with([2, 2, 2], Dtype::Int32));
        assert!(html.starts_with("<pre>array([[[0, 0],"), "{html}");
    }

    #[test]
    fn is_marked_as_evcxr_wants_it() {
        assert_eq!(
            marked("text/html", "<p>"),
            "EVCXR_BEGIN_CONTENT text/html\n<p>\nEVCXR_END_CONTENT"
        );
    }
}

//! How the words of an array are laid out: brackets, commas, line breaks, and dots for what is left out.

use super::EDGE;

/// The printed part of an array: words in row-major order.
pub(super) struct Layout {
    /// How many words each axis has.
    pub(super) shape: Vec<usize>,
    /// Whether something is left out in the middle of each axis.
    pub(super) skips: Vec<bool>,
    /// The words, all of one width.
    pub(super) words: Vec<String>,
}

impl Layout {
    /// Returns nested lists, whose lines after the first are indented by `indent`, in lines of at most `width`.
    pub(super) fn to_text(&self, indent: usize, width: usize) -> String {
        if self.words.is_empty() {
            return "[]".to_owned();
        }
        match self.shape.len() {
            0 => self.words[0].clone(),
            _ => self.nested(0, 0, indent + 1, width),
        }
    }

    /// Returns the list at `axis` that begins with word `first`.
    fn nested(&self, axis: usize, first: usize, indent: usize, width: usize) -> String {
        let is_row = axis + 1 == self.shape.len();
        let inner = if is_row {
            self.row(first, indent, width)
        } else {
            self.rows(axis, first, indent, width)
        };
        format!("[{inner}]")
    }

    /// Returns the innermost list, broken into lines.
    fn row(&self, first: usize, indent: usize, width: usize) -> String {
        let len = self.shape[self.shape.len() - 1];
        let margin = " ".repeat(indent);
        let (mut text, mut line) = (String::new(), String::new());
        let mut put = |line: &mut String, word: &str, is_last: bool| {
            // One character stays free for what follows the word. A line with nothing on it is never broken.
            if !line.is_empty() && indent + line.len() + word.len() > width - 1 {
                text.push_str(line.trim_end());
                text.push('\n');
                text.push_str(&margin);
                line.clear();
            }
            line.push_str(word);
            if !is_last {
                line.push_str(", ");
            }
        };
        for k in 0..len {
            if k == EDGE && self.skips[self.shape.len() - 1] {
                put(&mut line, "...", false);
            }
            put(&mut line, &self.words[first + k], k + 1 == len);
        }
        text + &line
    }

    /// Returns a list of lists, with one empty line more between them for each axis below.
    fn rows(&self, axis: usize, first: usize, indent: usize, width: usize) -> String {
        let below: usize = self.shape[axis + 1..].iter().product();
        let breaks = "\n".repeat(self.shape.len() - axis - 1);
        let between = format!(",{breaks}{}", " ".repeat(indent));
        let mut parts = Vec::new();
        for k in 0..self.shape[axis] {
            if k == EDGE && self.skips[axis] {
                parts.push("...".to_owned());
            }
            parts.push(self.nested(axis + 1, first + k * below, indent + 1, width - 1));
        }
        parts.join(&between)
    }
}

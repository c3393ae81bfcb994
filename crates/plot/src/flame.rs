//! A flame graph: how a whole is made of parts, and those of others, as boxes as wide as what they are worth.

use std::fmt::Write;

use html_escape::encode_quoted_attribute as escaped;

use crate::show;

const WIDTH: f64 = 1200.0;
/// The height of a box.
const ROW: f64 = 18.0;
/// The width of a character of the text in boxes.
const CHARACTER: f64 = 6.6;
/// Boxes that are narrower are left out.
const NARROWEST: f64 = 0.3;

/// A flame graph of stacks of frames, each worth a number.
///
/// ```
/// let flames = mlx_plot::FlameGraph::new("a step", "us")
///     .stack(["encoder", "attention"], 30.0)
///     .stack(["encoder", "matmul"], 60.0)
///     .stack(["decoder", "matmul"], 10.0);
/// assert_eq!(flames.total(), 100.0);
/// assert!(flames.to_svg().contains("encoder: 90.0 us, 90.0 %"));
/// ```
#[derive(Clone, Debug)]
pub struct FlameGraph {
    unit: String,
    root: Frame,
}

/// A box, with those on it.
#[derive(Clone, Debug)]
struct Frame {
    name: String,
    value: f64,
    inner: Vec<Frame>,
}

impl Frame {
    fn new(name: String) -> Self {
        Self {
            name,
            value: 0.0,
            inner: Vec::new(),
        }
    }

    fn depth(&self) -> usize {
        1 + self.inner.iter().map(Frame::depth).max().unwrap_or(0)
    }
}

impl FlameGraph {
    /// Returns a graph of nothing, with a title and the unit of its numbers.
    pub fn new(title: impl Into<String>, unit: impl Into<String>) -> Self {
        Self {
            unit: unit.into(),
            root: Frame::new(title.into()),
        }
    }

    /// Adds a stack, its outermost frame first. What is negative or not finite is left out.
    #[must_use]
    pub fn stack<T: Into<String>>(
        mut self,
        frames: impl IntoIterator<Item = T>,
        value: f64,
    ) -> Self {
        if !(value.is_finite() && value > 0.0) {
            return self;
        }
        let mut frame = &mut self.root;
        frame.value += value;
        for name in frames {
            let name = name.into();
            let place = frame.inner.iter().position(|inner| inner.name == name);
            let place = place.unwrap_or_else(|| {
                frame.inner.push(Frame::new(name));
                frame.inner.len() - 1
            });
            frame = &mut frame.inner[place];
            frame.value += value;
        }
        self
    }

    /// Returns what all stacks are worth.
    pub fn total(&self) -> f64 {
        self.root.value
    }

    /// Returns the graph as SVG, the whole at the bottom; pointing at a box tells its name, number and share.
    pub fn to_svg(&self) -> String {
        let height = ROW * self.root.depth() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"monospace\" font-size=\"11\">"
        );
        if self.total() > 0.0 {
            self.draw(&mut svg, &self.root, 0.0, height - ROW);
        }
        svg + "</svg>"
    }

    fn draw(&self, svg: &mut String, frame: &Frame, left: f64, top: f64) {
        let share = frame.value / self.total();
        let width = share * WIDTH;
        if width < NARROWEST {
            return;
        }
        let (name, unit) = (escaped(&frame.name), escaped(&self.unit));
        let room = ((width - 4.0) / CHARACTER).max(0.0) as usize;
        let length = frame.name.chars().count();
        let shown: String = match length <= room {
            true => frame.name.clone(),
            // The end of a path says more than its beginning.
            false if room > 3 => {
                let end: String = frame.name.chars().skip(length - (room - 1)).collect();
                format!("\u{2026}{end}")
            }
            false => String::new(),
        };
        let _ = write!(
            svg,
            "<g><title>{name}: {:.1} {unit}, {:.1} %</title>\
             <rect x=\"{left:.2}\" y=\"{top}\" width=\"{width:.2}\" height=\"{:.1}\" fill=\"{}\"/>\
             <text x=\"{:.2}\" y=\"{:.1}\">{}</text></g>",
            frame.value,
            share * 100.0,
            ROW - 1.0,
            colour(&frame.name),
            left + 2.0,
            top + 12.0,
            escaped(&shown)
        );
        let mut inner: Vec<&Frame> = frame.inner.iter().collect();
        inner.sort_by(|a, b| b.value.total_cmp(&a.value));
        let mut left = left;
        for inner in inner {
            self.draw(svg, inner, left, top - ROW);
            left += inner.value / self.total() * WIDTH;
        }
    }

    /// Shows the graph in a notebook run by evcxr.
    pub fn evcxr_display(&self) {
        show::html(&self.to_svg());
    }
}

/// A warm colour that is the same for the same name.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(0_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    format!("hsl({}, 80%, {}%)", 10 + hash % 45, 62 + hash / 64 % 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_as_wide_as_what_they_are_worth() {
        let flames = FlameGraph::new("all", "us")
            .stack(["a", "b"], 75.0)
            .stack(["c"], 25.0);
        let svg = flames.to_svg();
        for width in ["1200.00", "900.00", "300.00"] {
            assert!(svg.contains(&format!("width=\"{width}\"")), "{svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 4);
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    }

    #[test]
    fn names_are_escaped_and_nothing_is_drawn_of_nothing() {
        let svg = FlameGraph::new("<all>", "us")
            .stack(["a & \"b\""], 1.0)
            .to_svg();
        assert!(
            svg.contains("&lt;all&gt;") && svg.contains("a &amp; &quot;b&quot;"),
            "{svg}"
        );
        let none = FlameGraph::new("all", "us")
            .stack(["a"], 0.0)
            .stack(["b"], f64::NAN);
        assert!(!none.to_svg().contains("<rect"));
    }
}

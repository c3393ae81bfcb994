//! Charts, heat maps, tables and flame graphs that a notebook shows: SVG and HTML as text.
//!
//! The last expression of a notebook cell shows itself when it is one of these; elsewhere `to_svg` and `to_html` give
//! the text. Numbers that are not finite are left out, never drawn. [`drawing`] is for pictures of other kinds.
//!
//! ```
//! use mlx_plot::Chart;
//!
//! let svg = Chart::new("loss")
//!     .x_label("step")
//!     .line("train", [(0.0, 2.3), (1.0, 1.1), (2.0, 0.6)])
//!     .to_svg();
//! assert!(svg.contains("polyline"));
//! ```
#![forbid(unsafe_code)]

mod axis;
mod chart;
pub mod drawing;
mod flame;
mod heatmap;
mod png;
mod show;
mod table;

pub use chart::Chart;
pub use flame::FlameGraph;
pub use heatmap::Heatmap;
pub use plotters;
pub use table::Table;

//! A report in other forms than text: as HTML that folds, also in notebooks, and as JSON.

mod html;
mod json;

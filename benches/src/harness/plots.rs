//! Pictures of a run (being written).
use super::results::Results;
/// A picture.
pub struct Plot {
    /// Caption.
    pub caption: String,
    /// File.
    pub file: String,
    /// Text.
    pub svg: String,
}
/// All pictures.
pub fn all(_: &Results) -> Vec<Plot> {
    Vec::new()
}

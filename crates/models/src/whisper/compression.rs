//! The compression ratio of a text, which detects repetition.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Returns the zlib compression ratio of a text; 0 for an empty one.
///
/// A repetitive text compresses well: above 2.4 it counts as a loop.
///
/// ```
/// use mlx_models::whisper::compression_ratio;
///
/// assert!(compression_ratio("ask not what your country can do for you") < 1.5);
/// assert!(compression_ratio(&"and so ".repeat(40)) > 2.4);
/// ```
pub fn compression_ratio(text: &str) -> f32 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing into memory cannot fail.
    let packed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    text.len() as f32 / packed.len().max(1) as f32
}

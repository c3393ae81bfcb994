//! The handwritten digits of scikit-learn, a small data set for training.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::{Error, Result};

/// Pixels of one image: 8 rows of 8.
pub const PIXELS: usize = 64;

/// Images of handwritten digits with their labels: 1797 in scikit-learn's data.
///
/// ```no_run
/// use mlx_testdata::{assets, digits::Digits};
///
/// # fn main() -> mlx_testdata::Result<()> {
/// let digits = Digits::open(assets::digits()?)?;
/// assert_eq!((digits.len(), digits.labels[0]), (1797, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Digits {
    /// Pixels from 0 (paper) to 1 (ink), `[digits, 8, 8]`.
    pub pixels: Vec<f32>,
    /// The digit of each image, from 0 to 9.
    pub labels: Vec<i32>,
}

impl Digits {
    /// Reads `digits.csv.gz`: a line for each image, 64 pixels from 0 to 16 and the digit.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Format`] when a line has other contents.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io(path))?;
        let mut text = String::new();
        GzDecoder::new(file)
            .read_to_string(&mut text)
            .map_err(Error::io(path))?;
        Self::parse(&text)
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    fn parse(text: &str) -> Result<Self> {
        let mut digits = Self::default();
        for (number, line) in text.lines().enumerate() {
            let values: Vec<f32> = line
                .split(',')
                .map_while(|value| value.trim().parse().ok())
                .collect();
            let label = match values.get(PIXELS) {
                Some(label @ 0.0..=9.0) if values.len() == PIXELS + 1 => *label,
                _ => {
                    let n = number + 1;
                    let got = values.len();
                    return Err(Error::Format(format!(
                        "digits: wanted 64 pixels and a digit in line {n}, got {got} numbers"
                    )));
                }
            };
            let pixels = values.iter().take(PIXELS);
            digits.pixels.extend(pixels.map(|pixel| pixel / 16.0));
            digits.labels.push(label as i32);
        }
        Ok(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_images_and_labels() {
        let line = format!("{}16,7\n", "0,".repeat(63));
        let digits = Digits::parse(&line.repeat(2)).unwrap();
        assert_eq!((digits.len(), digits.pixels.len()), (2, 128));
        assert_eq!((digits.pixels[63], digits.labels[1]), (1.0, 7));
    }

    #[test]
    fn says_which_line_is_wrong() {
        let text = Digits::parse("1,2,3\n").unwrap_err().to_string();
        assert!(
            text.contains("64 pixels and a digit in line 1, got 3 numbers"),
            "{text}"
        );
    }
}

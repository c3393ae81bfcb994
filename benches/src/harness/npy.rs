//! Arrays between processes, as `.npy` files, which every rival reads.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Values of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// `float32`.
    F32(Vec<f32>),
    /// `uint8`.
    U8(Vec<u8>),
    /// `int32`.
    I32(Vec<i32>),
}

/// Writes a file in NumPy's format, version 1.0.
pub fn write(path: &Path, shape: &[usize], values: &Values) -> Result<()> {
    let (descr, length) = match values {
        Values::F32(values) => ("<f4", values.len()),
        Values::U8(values) => ("|u1", values.len()),
        Values::I32(values) => ("<i4", values.len()),
    };
    let count: usize = shape.iter().product();
    ensure!(
        count == length,
        "npy: wanted {count} values for {shape:?}, got {length}"
    );
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    // As NumPy writes it, to the comma: one reader stumbles over any other form.
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let sizes = sizes.join(", ") + if shape.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Magic, version and length are 10 bytes; the header ends in a line feed on a multiple of 64.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    match values {
        Values::F32(values) => {
            for value in values {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        Values::U8(values) => out.write_all(values)?,
        Values::I32(values) => {
            for value in values {
                out.write_all(&value.to_le_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Reads the `float32` values of a file, whatever their shape.
pub fn read_f32(path: &Path) -> Result<Vec<f32>> {
    let bytes =
        std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let short = || format!("{} is cut off", path.display());
    ensure!(
        bytes.starts_with(b"\x93NUMPY"),
        "{} is not in NumPy's format",
        path.display()
    );
    let wide = bytes.get(6) != Some(&1);
    let (start, length) = if wide {
        let length = bytes.get(8..12).with_context(short)?;
        (12, u32::from_le_bytes(length.try_into()?) as usize)
    } else {
        let length = bytes.get(8..10).with_context(short)?;
        (10, usize::from(u16::from_le_bytes(length.try_into()?)))
    };
    let header = bytes.get(start..start + length).with_context(short)?;
    let header = String::from_utf8_lossy(header);
    if !header.contains("'<f4'") || header.contains("'fortran_order': True") {
        bail!(
            "{}: wanted float32 values row by row, got {header}",
            path.display()
        );
    }
    let data = bytes.get(start + length..).with_context(short)?;
    let (values, rest) = data.as_chunks::<4>();
    ensure!(rest.is_empty(), short());
    Ok(values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let values = vec![1.0, -2.5, f32::INFINITY];
        write(file.path(), &[3, 1], &Values::F32(values.clone())).unwrap();
        assert_eq!(read_f32(file.path()).unwrap(), values);
    }

    #[test]
    fn refuses_values_that_do_not_fill_the_shape() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(file.path(), &[2], &Values::U8(vec![1])).unwrap_err();
        assert_eq!(error.to_string(), "npy: wanted 2 values for [2], got 1");
    }
}

//! NumPy's npy format: a short header in Python's notation, and then the elements of one array.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::fault;
use super::lazy::Part;
use super::source::Source;
use super::write::{STREAM, write};
use crate::{Array, ArrayType, Dtype, Result};

pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself reads no header of more than 10,000 bytes unless told to.
const MAX_HEADER: u64 = 1 << 16;

/// Loads the array of an npy file; its elements are read when it is computed.
///
/// Reads what NumPy and Python MLX write: any order of bytes and axes, and `bfloat16` as the two bytes it is for
/// NumPy (`V2`).
///
/// # Errors
/// When the file is missing, cut short, not of this format, or of a type that MLX has nothing for, such as
/// `complex128` or text.
#[track_caller]
pub fn load_npy(path: impl AsRef<Path>) -> Result<Array> {
    read(&Arc::new(Source::open_for("load_npy", path.as_ref())?), "")
}

/// Computes an array and saves it in an npy file. The file is replaced whole or not at all.
///
/// `bfloat16`, which NumPy does not have, is written as Python MLX writes it.
///
/// # Errors
/// When the array cannot be computed or the file cannot be written.
#[track_caller]
pub fn save_npy(path: impl AsRef<Path>, array: &Array) -> Result<()> {
    const OP: &str = "save_npy";
    let path = path.as_ref();
    array.eval()?;
    write(OP, path, |file| {
        put(OP, array, file)?.map_err(|error| fault(OP, path, error))
    })
}

/// Computes an array and writes it in the npy format to a writer.
///
/// # Errors
/// When the array cannot be computed or the writer fails.
#[track_caller]
pub fn save_npy_to(mut writer: impl Write, array: &Array) -> Result<()> {
    const OP: &str = "save_npy_to";
    array.eval()?;
    let failed = |error| fault(OP, Path::new(STREAM), error);
    put(OP, array, &mut writer)?.map_err(failed)
}

/// Writes the header and the elements of an array.
#[track_caller]
pub(super) fn put(
    op: &'static str,
    array: &Array,
    to: &mut impl Write,
) -> Result<std::io::Result<()>> {
    let header = header_of(&array.array_type()?);
    array.with_bytes(op, |bytes| {
        to.write_all(&header)?;
        to.write_all(bytes)
    })
}

/// Returns the array of a source that is an npy file, or a member of an npz called `name`.
pub(super) fn read(source: &Arc<Source>, name: &str) -> Result<Array> {
    let before = if name.is_empty() {
        String::new()
    } else {
        format!("{name}: ")
    };
    let refused = |message: String| source.fault(format!("{before}{message}"));
    let (header, start) = header_text(source).map_err(refused)?;
    let header = Header::parse(&header).map_err(refused)?;
    let elements = header
        .shape
        .iter()
        .try_fold(1_u64, |n, &size| n.checked_mul(size as u64));
    let wanted = elements.and_then(|n| n.checked_mul(header.dtype.size() as u64));
    let there = source.len() - start;
    match wanted {
        Some(wanted) if wanted <= there => {}
        Some(wanted) => {
            return Err(refused(format!(
                "wanted {wanted} bytes of elements, got {there}; the file is cut short"
            )));
        }
        None => {
            return Err(refused(format!(
                "wanted a shape that can be, got {:?}",
                header.shape
            )));
        }
    }
    let mut shape = header.shape;
    if header.column_order {
        shape.reverse();
    }
    let array = source.array(Part {
        name,
        offset: start,
        array_type: ArrayType {
            shape,
            dtype: header.dtype,
        },
        big_endian: header.big_endian,
    })?;
    Ok(if header.column_order {
        array.t()
    } else {
        array
    })
}

/// Returns the header's text, and where the elements begin.
fn header_text(source: &Source) -> std::result::Result<(String, u64), String> {
    let no_npy = || "wanted an npy file, got something else".to_owned();
    let read = |offset, len: u64| {
        let there = source.len().saturating_sub(offset);
        if len > there {
            return Err(format!(
                "wanted a header of {len} bytes, got {there}; the file is cut short"
            ));
        }
        let len = usize::try_from(len).map_err(|error| error.to_string())?;
        source.read(offset, len).map_err(|error| error.to_string())
    };
    let start = read(0, 8).map_err(|_| no_npy())?;
    if !start.starts_with(MAGIC) {
        return Err(no_npy());
    }
    let (length, at) = match start[6] {
        1 => (read(8, 2)?, 10),
        2 | 3 => (read(8, 4)?, 12),
        version => {
            return Err(format!(
                "wanted version 1, 2 or 3 of the format, got {version}"
            ));
        }
    };
    let length = length
        .iter()
        .rev()
        .fold(0, |n, &byte| n << 8 | u64::from(byte));
    if length > MAX_HEADER {
        return Err(format!(
            "wanted a header of {MAX_HEADER} bytes at most, got {length}"
        ));
    }
    let text =
        String::from_utf8(read(at, length)?).map_err(|_| "wanted a header of text".to_owned())?;
    Ok((text, at + length))
}

/// Returns the whole beginning of an npy file, of a multiple of 64 bytes.
fn header_of(array_type: &ArrayType) -> Vec<u8> {
    let sizes: Vec<String> = array_type.shape.iter().map(ToString::to_string).collect();
    let comma = if sizes.len() == 1 { "," } else { "" };
    let text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        descr(array_type.dtype),
        sizes.join(", ")
    );
    let len = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut header = MAGIC.to_vec();
    header.extend([1, 0]);
    // 32 axes of ten digits are far below 64 KiB.
    header.extend(u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    header.extend(format!("{text:<0$}\n", len - 1).into_bytes());
    header
}

/// Returns NumPy's name of a dtype.
fn descr(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Bool => "|b1",
        Dtype::Uint8 => "|u1",
        Dtype::Uint16 => "<u2",
        Dtype::Uint32 => "<u4",
        Dtype::Uint64 => "<u8",
        Dtype::Int8 => "|i1",
        Dtype::Int16 => "<i2",
        Dtype::Int32 => "<i4",
        Dtype::Int64 => "<i8",
        Dtype::Float16 => "<f2",
        Dtype::Float32 => "<f4",
        Dtype::Float64 => "<f8",
        Dtype::Bfloat16 => "<V2",
        Dtype::Complex64 => "<c8",
    }
}

/// What the header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: Dtype,
    big_endian: bool,
    column_order: bool,
    shape: Vec<i32>,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, in any order.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let whole = || {
            format!(
                "wanted a header such as {{'descr': '<f4', ..}}, got {:?}",
                text.trim_end()
            )
        };
        let (mut kind, mut column_order, mut shape) = (None, None, None);
        let inner = text
            .trim()
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        let mut rest = inner.ok_or_else(whole)?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest).ok_or_else(whole)?;
            let after = after
                .trim_start()
                .strip_prefix(':')
                .ok_or_else(whole)?
                .trim_start();
            let after = match key {
                "descr" => {
                    let (text, after) = quoted(after).ok_or_else(|| {
                        "wanted elements of one type, got a record; MLX has no dtype for that"
                            .to_owned()
                    })?;
                    kind = Some(text);
                    after
                }
                "fortran_order" => {
                    let word = after.split([',', ' ']).next().unwrap_or("");
                    column_order = Some(match word {
                        "True" => true,
                        "False" => false,
                        _ => return Err(whole()),
                    });
                    &after[word.len()..]
                }
                "shape" => {
                    let (sizes, after) = after
                        .strip_prefix('(')
                        .and_then(|text| text.split_once(')'))
                        .ok_or_else(whole)?;
                    shape = Some(sizes_of(sizes)?);
                    after
                }
                _ => return Err(whole()),
            };
            let after = after.trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        }
        match (kind, column_order, shape) {
            (Some(kind), Some(column_order), Some(shape)) => {
                let (dtype, big_endian) = dtype_of(kind)?;
                Ok(Self {
                    dtype,
                    big_endian,
                    column_order,
                    shape,
                })
            }
            _ => Err(whole()),
        }
    }
}

/// Returns the text in quotes that `text` begins with, and what comes after.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text
        .chars()
        .next()
        .filter(|letter| matches!(letter, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn sizes_of(text: &str) -> std::result::Result<Vec<i32>, String> {
    let refused = || format!("wanted sizes of 31 bits, got ({text})");
    let words = text
        .split(',')
        .map(|word| word.trim().trim_end_matches('L'));
    let mut words: Vec<&str> = words.collect();
    // A last comma, or no size at all.
    if words.last().is_some_and(|word| word.is_empty()) {
        words.pop();
    }
    let size = |word: &&str| word.parse().ok().filter(|&size| size >= 0);
    words
        .iter()
        .map(|word| size(word).ok_or_else(refused))
        .collect()
}

/// Returns the dtype with NumPy's name, and whether its most significant byte comes first.
fn dtype_of(name: &str) -> std::result::Result<(Dtype, bool), String> {
    let (big_endian, kind) = match name.split_at_checked(1) {
        Some(("<" | "|", kind)) => (false, kind),
        Some((">", kind)) => (true, kind),
        Some(("=", kind)) => (cfg!(target_endian = "big"), kind),
        _ => (cfg!(target_endian = "big"), name),
    };
    let same = |dtype: &Dtype| descr(*dtype)[1..] == *kind;
    match Dtype::ALL.into_iter().find(same) {
        Some(dtype) => Ok((dtype, big_endian)),
        None => Err(format!("MLX has no dtype for {name:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", Dtype::Float32, false, false, &[2, 3])]
    #[case("{'shape': (), 'fortran_order': True, 'descr': '>i8'}", Dtype::Int64, true, true, &[])]
    #[case("{\"descr\": \"|b1\", \"fortran_order\": False, \"shape\": (5,)}", Dtype::Bool, false, false, &[5])]
    #[case("{'descr':'|V2','fortran_order':False,'shape':(3L,4L)}", Dtype::Bfloat16, false, false, &[3, 4])]
    fn reads_headers(
        #[case] text: &str,
        #[case] dtype: Dtype,
        #[case] big_endian: bool,
        #[case] column_order: bool,
        #[case] shape: &[i32],
    ) {
        let want = Header {
            dtype,
            big_endian,
            column_order,
            shape: shape.to_vec(),
        };
        assert_eq!(Header::parse(text), Ok(want));
    }

    #[rstest]
    #[case("", "wanted a header such as")]
    #[case("{'descr': '<f4'}", "wanted a header such as")]
    #[case(
        "{'descr': '<f4', 'fortran_order': None, 'shape': ()}",
        "wanted a header such as"
    )]
    #[case(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "wanted sizes of 31 bits, got (-1,)"
    )]
    #[case(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3000000000,)}",
        "wanted sizes"
    )]
    #[case(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,,2)}",
        "wanted sizes"
    )]
    #[case(
        "{'descr': '<c16', 'fortran_order': False, 'shape': ()}",
        "MLX has no dtype for \"<c16\""
    )]
    #[case(
        "{'descr': '|O', 'fortran_order': False, 'shape': ()}",
        "MLX has no dtype for \"|O\""
    )]
    #[case(
        "{'descr': '', 'fortran_order': False, 'shape': ()}",
        "MLX has no dtype for \"\""
    )]
    #[case(
        "{'descr': 'é', 'fortran_order': False, 'shape': ()}",
        "MLX has no dtype for"
    )]
    #[case(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}",
        "got a record"
    )]
    fn refuses_headers(#[case] text: &str, #[case] want: &str) {
        let message = Header::parse(text).unwrap_err();
        assert!(message.contains(want), "{message}");
    }

    #[test]
    fn writes_headers_of_whole_lines() {
        for shape in [vec![], vec![7], vec![1; 40]] {
            let header = header_of(&ArrayType::new(shape.clone(), Dtype::Float32));
            assert_eq!(header.len() % 64, 0);
            let text = std::str::from_utf8(&header[10..]).unwrap();
            assert_eq!(Header::parse(text).unwrap().shape, shape);
        }
    }
}

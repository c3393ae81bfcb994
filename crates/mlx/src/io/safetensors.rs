//! The safetensors format: a JSON header with names, types and places, and then the elements.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype as Stored, Metadata, TensorInfo};

use super::fault;
use super::lazy::Part;
use super::named::NamedArray;
use super::source::Source;
use super::write::{STREAM, write};
use crate::{Array, ArrayType, Dtype, Result, eval};

/// What a safetensors file has.
#[derive(Clone, Debug, Default)]
pub struct Safetensors {
    /// The arrays by name.
    pub arrays: BTreeMap<String, Array>,
    /// The text that was saved with them.
    pub metadata: BTreeMap<String, String>,
}

/// `loaded["weight"]` is an array, as of the map.
impl Deref for Safetensors {
    type Target = BTreeMap<String, Array>;
    fn deref(&self) -> &Self::Target {
        &self.arrays
    }
}

/// The most bytes a header may have, as in the format's own library.
const MAX_HEADER: u64 = 100_000_000;

/// Loads a safetensors file; elements are read when an array is computed.
///
/// All dtypes of MLX are read, and 8-bit floats as the `uint8` of their bits (see
/// [`from_fp8`](Array::from_fp8)). An array of a type that MLX has nothing for carries an error.
///
/// # Errors
/// When the file is missing, cut short, or not of this format.
#[track_caller]
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Safetensors> {
    read(Source::open_for("load_safetensors", path.as_ref())?)
}

/// Returns what a source that is a safetensors file has.
pub(super) fn read(source: Source) -> Result<Safetensors> {
    let source = Arc::new(source);
    let (header, start) = read_header(&source)?;
    let mut loaded = Safetensors::default();
    for (name, info) in header.tensors() {
        let array = match array_type(&name, info, &source) {
            Ok(array_type) => source.array(Part {
                name: &name,
                offset: start + info.data_offsets.0 as u64,
                array_type,
                big_endian: false,
            })?,
            Err(error) => Array::failed(error),
        };
        loaded.arrays.insert(name, array);
    }
    loaded
        .metadata
        .extend(header.metadata().clone().unwrap_or_default());
    Ok(loaded)
}

/// Returns the checked header, and where the elements begin.
fn read_header(source: &Source) -> Result<(Metadata, u64)> {
    let file_len = source.len();
    if file_len < 8 {
        return Err(source.fault(format!("wanted 8 bytes at least, got a file of {file_len}")));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&source.read(0, 8)?);
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > file_len - 8 {
        return Err(source.fault(format!(
            "wanted a header that fits in {} bytes, got a length of {length}; the file is cut short or not safetensors",
            MAX_HEADER.min(file_len - 8)
        )));
    }
    let text = source.read(8, usize::try_from(length).unwrap_or(usize::MAX))?;
    let header: Metadata = serde_json::from_slice(&text)
        .map_err(|error| source.fault(format!("wanted a safetensors header: {error}")))?;
    let wanted = header.data_len() as u64;
    if wanted.checked_add(8 + length) != Some(file_len) {
        return Err(source.fault(format!(
            "wanted {wanted} bytes of elements, got {}; the file is cut short or damaged",
            file_len - 8 - length
        )));
    }
    Ok((header, 8 + length))
}

fn array_type(name: &str, info: &TensorInfo, source: &Source) -> Result<ArrayType> {
    let dtype = match info.dtype {
        Stored::BOOL => Dtype::Bool,
        Stored::U8 | Stored::F8_E4M3 | Stored::F8_E5M2 | Stored::F8_E8M0 => Dtype::Uint8,
        Stored::I8 => Dtype::Int8,
        Stored::U16 => Dtype::Uint16,
        Stored::I16 => Dtype::Int16,
        Stored::U32 => Dtype::Uint32,
        Stored::I32 => Dtype::Int32,
        Stored::U64 => Dtype::Uint64,
        Stored::I64 => Dtype::Int64,
        Stored::F16 => Dtype::Float16,
        Stored::BF16 => Dtype::Bfloat16,
        Stored::F32 => Dtype::Float32,
        Stored::F64 => Dtype::Float64,
        Stored::C64 => Dtype::Complex64,
        other => return Err(source.fault(format!("{name}: MLX has no dtype for {other}"))),
    };
    let size = |&size: &usize| i32::try_from(size);
    match info
        .shape
        .iter()
        .map(size)
        .collect::<std::result::Result<Vec<_>, _>>()
    {
        Ok(shape) => Ok(ArrayType { shape, dtype }),
        Err(_) => Err(source.fault(format!(
            "{name}: wanted sizes of 31 bits, got {:?}",
            info.shape
        ))),
    }
}

fn stored(dtype: Dtype) -> Stored {
    match dtype {
        Dtype::Bool => Stored::BOOL,
        Dtype::Uint8 => Stored::U8,
        Dtype::Int8 => Stored::I8,
        Dtype::Uint16 => Stored::U16,
        Dtype::Int16 => Stored::I16,
        Dtype::Uint32 => Stored::U32,
        Dtype::Int32 => Stored::I32,
        Dtype::Uint64 => Stored::U64,
        Dtype::Int64 => Stored::I64,
        Dtype::Float16 => Stored::F16,
        Dtype::Bfloat16 => Stored::BF16,
        Dtype::Float32 => Stored::F32,
        Dtype::Float64 => Stored::F64,
        Dtype::Complex64 => Stored::C64,
    }
}

/// Computes arrays and saves them in a safetensors file: a map of them, or pairs of a name and an array.
///
/// # Errors
/// As [`save_safetensors_with`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("weights.safetensors");
/// let weights = std::collections::HashMap::from([("w".to_string(), mlx::array!([1.0, 2.0]))]);
/// mlx::save_safetensors(&path, &weights)?;
/// assert_eq!(mlx::load_safetensors(&path)?["w"].to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn save_safetensors<A: NamedArray>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = A>,
) -> Result<()> {
    let arrays: Vec<A> = arrays.into_iter().collect();
    let arrays = arrays.iter().map(|one| (one.name(), one.array()));
    save_safetensors_with(path, arrays, &BTreeMap::new())
}

/// Computes arrays and saves them in a safetensors file, with `metadata`, which may be empty.
///
/// The file is replaced whole or not at all. Sorted by size of elements and then by name, as the format asks for.
///
/// # Errors
/// When an array cannot be computed, a name is there twice or is `__metadata__`, or the file cannot be written.
#[track_caller]
pub fn save_safetensors_with<'a, N: AsRef<str>>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    const OP: &str = "save_safetensors";
    let path = path.as_ref();
    let file = Contents::of(OP, path, arrays, metadata)?;
    write(OP, path, |to| file.put(OP, path, to))
}

/// Writes what [`save_safetensors_with`] saves to a writer.
///
/// # Errors
/// As [`save_safetensors_with`], and when the writer fails.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let mut bytes = Vec::new();
/// let x = mlx::array!([1.0, 2.0]);
/// mlx::io::save_safetensors_to(&mut bytes, [("x", &x)], &Default::default())?;
/// assert_eq!(mlx::io::load_from(&bytes[..])?["x"].to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn save_safetensors_to<'a, N: AsRef<str>>(
    mut writer: impl Write,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    const OP: &str = "save_safetensors_to";
    let path = Path::new(STREAM);
    Contents::of(OP, path, arrays, metadata)?.put(OP, path, &mut writer)
}

/// The header, and the arrays in the order of the file.
struct Contents<'a> {
    header: Vec<u8>,
    arrays: Vec<&'a Array>,
}

impl<'a> Contents<'a> {
    #[track_caller]
    fn of<N: AsRef<str>>(
        op: &'static str,
        path: &Path,
        arrays: impl IntoIterator<Item = (N, &'a Array)>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut arrays: Vec<(String, &Array)> = arrays
            .into_iter()
            .map(|(name, array)| (name.as_ref().to_owned(), array))
            .collect();
        eval(arrays.iter().map(|(_, array)| *array))?;
        let mut keyed = Vec::new();
        for (name, array) in arrays.drain(..) {
            keyed.push((Reverse(array.dtype()?.size()), name, array));
        }
        keyed.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let header = header_of(&keyed, metadata).map_err(|message| fault(op, path, message))?;
        let arrays = keyed.into_iter().map(|(_, _, array)| array).collect();
        Ok(Self { header, arrays })
    }

    #[track_caller]
    fn put(&self, op: &'static str, path: &Path, to: &mut impl Write) -> Result<()> {
        let failed = |error| fault(op, path, error);
        to.write_all(&(self.header.len() as u64).to_le_bytes())
            .map_err(failed)?;
        to.write_all(&self.header).map_err(failed)?;
        for array in &self.arrays {
            array
                .with_bytes(op, |bytes| to.write_all(bytes))?
                .map_err(failed)?;
        }
        Ok(())
    }
}

/// Returns the header for arrays in the order they are written, padded to a multiple of 8 bytes.
fn header_of(
    arrays: &[(Reverse<usize>, String, &Array)],
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<Vec<u8>, String> {
    let (mut tensors, mut names) = (Vec::new(), BTreeSet::new());
    let mut end = 0;
    for (_, name, array) in arrays {
        if name == "__metadata__" || !names.insert(name) {
            return Err(format!(
                "wanted different names, none of them __metadata__, got {name:?}"
            ));
        }
        let array_type = array.array_type().map_err(|error| error.to_string())?;
        let start = end;
        end += array.nbytes().map_err(|error| error.to_string())?;
        let shape = array_type
            .shape
            .iter()
            .map(|&size| usize::try_from(size).unwrap_or(0));
        let info = TensorInfo {
            dtype: stored(array_type.dtype),
            shape: shape.collect(),
            data_offsets: (start, end),
        };
        tensors.push((name.clone(), info));
    }
    let text = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let header = Metadata::new(text, tensors).map_err(|error| error.to_string())?;
    let mut header = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER {
        return Err(format!(
            "wanted a header of {MAX_HEADER} bytes at most, got {}",
            header.len()
        ));
    }
    Ok(header)
}

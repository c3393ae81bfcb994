//! NumPy's npz format: a zip archive of npy files, one for each array.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::named::NamedArray;
use super::source::Source;
use super::write::{STREAM, write};
use super::{fault, npy};
use crate::ffi::memory;
use crate::{Array, Result, eval};

/// No more bytes than this come out of one that is compressed, with the method that npz files use.
const MOST_EXPANSION: u64 = 1032;

/// Loads the arrays of an npz file by name. Members that are no npy file are left out.
///
/// # Errors
/// When the file is missing, cut short, damaged, not of this format, or an array is of a type that MLX has nothing for.
#[track_caller]
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Array>> {
    const OP: &str = "load_npz";
    let path = path.as_ref();
    // Checks that there is a file.
    drop(Source::open_for(OP, path)?);
    let file = File::open(path).map_err(|error| fault(OP, path, error))?;
    read(OP, path, BufReader::new(file))
}

/// Returns the arrays of an npz file, which `path` names in errors.
#[track_caller]
pub(super) fn read(
    op: &'static str,
    path: &Path,
    file: impl Read + Seek,
) -> Result<BTreeMap<String, Array>> {
    let mut archive = ZipArchive::new(file).map_err(|error| fault(op, path, error))?;
    let mut arrays = BTreeMap::new();
    for k in 0..archive.len() {
        let (name, bytes) = member(&mut archive, k).map_err(|message| fault(op, path, message))?;
        if let Some(name) = name.strip_suffix(".npy") {
            let source = Arc::new(Source::in_memory(op, path, bytes));
            let array = npy::read(&source, name)?;
            // Now, so that the bytes of one array are held twice and not those of all.
            array.eval()?;
            arrays.insert(name.to_owned(), array);
        }
    }
    Ok(arrays)
}

/// Returns the name of a member, and its bytes if it is an npy file.
fn member(
    archive: &mut ZipArchive<impl Read + Seek>,
    k: usize,
) -> std::result::Result<(String, Vec<u8>), String> {
    let mut file = archive.by_index(k).map_err(|error| error.to_string())?;
    let name = file.name().map_err(|error| error.to_string())?.into_owned();
    let len = file.size();
    if !name.ends_with(".npy") {
        return Ok((name, Vec::new()));
    }
    let limit = memory::get(memory::Get::Limit).map_or(u64::MAX, |limit| limit as u64);
    if len
        > file
            .compressed_size()
            .saturating_mul(MOST_EXPANSION)
            .saturating_add(1024)
        || len > limit
    {
        return Err(format!(
            "{name}: {} bytes cannot become the {len} it claims, or the memory limit of {limit} is less",
            file.compressed_size()
        ));
    }
    let mut bytes = Vec::new();
    // One more than there should be, to see that it ends; this is where the checksum is compared.
    let read = file.by_ref().take(len + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 != len {
        return Err(format!("{name}: wanted {len} bytes, got {}", bytes.len()));
    }
    Ok((name, bytes))
}

/// Computes arrays and saves them in an npz file, not compressed, as NumPy's `savez`.
///
/// # Errors
/// When an array cannot be computed, a name is there twice, or the file cannot be written.
#[doc(alias = "savez")]
#[track_caller]
pub fn save_npz<A: NamedArray>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = A>,
) -> Result<()> {
    let arrays: Vec<A> = arrays.into_iter().collect();
    let arrays = named(arrays.iter().map(|one| (one.name(), one.array())));
    save("save_npz", path.as_ref(), arrays, CompressionMethod::Stored)
}

/// Computes arrays and saves them in a compressed npz file, as NumPy's `savez_compressed`.
///
/// # Errors
/// When an array cannot be computed, a name is there twice, or the file cannot be written.
#[doc(alias = "savez_compressed")]
#[track_caller]
pub fn save_npz_compressed<'a, N: AsRef<str>>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
) -> Result<()> {
    save(
        "save_npz_compressed",
        path.as_ref(),
        named(arrays),
        CompressionMethod::Deflated,
    )
}

/// Computes arrays and writes them in the npz format to a writer, not compressed.
///
/// The archive is made in memory first.
///
/// # Errors
/// When an array cannot be computed, a name is there twice, or the writer fails.
#[track_caller]
pub fn save_npz_to<'a, N: AsRef<str>>(
    mut writer: impl Write,
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
) -> Result<()> {
    const OP: &str = "save_npz_to";
    let (path, arrays) = (Path::new(STREAM), named(arrays));
    eval(arrays.iter().map(|(_, array)| *array))?;
    let mut bytes = Cursor::new(Vec::new());
    archive(OP, path, &mut bytes, &arrays, CompressionMethod::Stored)?;
    let written = writer.write_all(bytes.get_ref());
    written.map_err(|error| fault(OP, path, error))
}

fn named<'a, N: AsRef<str>>(
    arrays: impl IntoIterator<Item = (N, &'a Array)>,
) -> Vec<(String, &'a Array)> {
    let arrays = arrays.into_iter();
    arrays
        .map(|(name, array)| (name.as_ref().to_owned(), array))
        .collect()
}

#[track_caller]
fn save(
    op: &'static str,
    path: &Path,
    arrays: Vec<(String, &Array)>,
    method: CompressionMethod,
) -> Result<()> {
    eval(arrays.iter().map(|(_, array)| *array))?;
    write(op, path, |file| archive(op, path, file, &arrays, method))
}

#[track_caller]
fn archive(
    op: &'static str,
    path: &Path,
    file: impl Write + Seek,
    arrays: &[(String, &Array)],
    method: CompressionMethod,
) -> Result<()> {
    let mut zip = ZipWriter::new(file);
    for (name, array) in arrays {
        let is_large = array.nbytes()? as u64 > u64::from(u32::MAX) - (1 << 16);
        // The same arrays give the same bytes: no time of day.
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .large_file(is_large)
            .last_modified_time(zip::DateTime::default());
        zip.start_file(format!("{name}.npy"), options)
            .map_err(|error| fault(op, path, error))?;
        npy::put(op, array, &mut zip)?.map_err(|error| fault(op, path, error))?;
    }
    zip.finish()
        .map(drop)
        .map_err(|error| fault(op, path, error))
}

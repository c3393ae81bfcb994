//! A file of `Lowered::save`: its graph, and its arrays where they are in the file's bytes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlx::ArrayType;
use mlx::cpu::{HostArray, HostMemory};
use mlx_compiler::graph::Graph;
use mlx_compiler::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype as Stored;

use crate::n_arrays;

/// What a file of a saved function holds.
pub(crate) struct SavedFile {
    pub(crate) path: PathBuf,
    pub(crate) graph: Graph,
    /// The arrays that the graph and those inside it captured, in the order of the text.
    pub(crate) constants: Vec<HostArray>,
}

impl SavedFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file is missing, damaged, or of another version; the error names it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = read_bytes(path).and_then(|memory| parsed(&Arc::new(memory)));
        match read {
            Ok((graph, constants)) => Ok(Self {
                path: path.to_path_buf(),
                graph,
                constants,
            }),
            Err(text) => Err(Error::Unsupported(format!(
                "open: {}: {text}",
                path.display()
            ))),
        }
    }
}

fn read_bytes(path: &Path) -> std::result::Result<HostMemory, String> {
    let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    let len = usize::try_from(len).map_err(|error| error.to_string())?;
    let mut memory = HostMemory::zeros(len)?;
    file.read_exact(memory.as_mut_bytes())
        .map_err(|error| error.to_string())?;
    Ok(memory)
}

fn parsed(memory: &Arc<HostMemory>) -> std::result::Result<(Graph, Vec<HostArray>), String> {
    let bytes = memory.as_bytes();
    let unread = |error: safetensors::SafeTensorError| error.to_string();
    let file = SafeTensors::deserialize(bytes).map_err(unread)?;
    let (header_len, header) = SafeTensors::read_metadata(bytes).map_err(unread)?;
    let entries = header.metadata().clone().unwrap_or_default();
    let entry = |name: &str| entries.get(name).map_or("nothing", String::as_str);
    if entry("format") != "mlx-compiler graph" || entry("version") != "1" {
        let (format, version) = (entry("format"), entry("version"));
        return Err(format!(
            "wanted mlx-compiler graph, version 1, got {format}, version {version}"
        ));
    }
    let graph = entry("graph").parse::<Graph>();
    let graph = graph.map_err(|error| error.to_string())?;
    graph.verify().map_err(|error| error.to_string())?;
    let wanted = n_arrays(&graph);
    if file.len() != wanted {
        return Err(format!("wanted {wanted} arrays, got {}", file.len()));
    }
    // After the header's length and the header.
    let data = 8 + header_len;
    let mut constants = Vec::with_capacity(wanted);
    for number in 0..wanted {
        let info = header.info(&number.to_string());
        let info = info.ok_or_else(|| format!("wanted an array {number}, got none"))?;
        let dtype = dtype_of(info.dtype)
            .ok_or_else(|| format!("wanted a dtype of MLX's, got {:?}", info.dtype))?;
        let shape: Option<Vec<i32>> = info.shape.iter().map(|&n| i32::try_from(n).ok()).collect();
        let shape = shape.ok_or_else(|| format!("wanted sizes of arrays, got {:?}", info.shape))?;
        let start = data + info.data_offsets.0;
        let array = HostArray::within(memory, start, ArrayType::new(shape, dtype));
        constants.push(array.map_err(|error| format!("array {number}: {error}"))?);
    }
    Ok((graph, constants))
}

fn dtype_of(stored: Stored) -> Option<mlx::Dtype> {
    use mlx::Dtype;
    Some(match stored {
        Stored::BOOL => Dtype::Bool,
        Stored::U8 => Dtype::Uint8,
        Stored::U16 => Dtype::Uint16,
        Stored::U32 => Dtype::Uint32,
        Stored::U64 => Dtype::Uint64,
        Stored::I8 => Dtype::Int8,
        Stored::I16 => Dtype::Int16,
        Stored::I32 => Dtype::Int32,
        Stored::I64 => Dtype::Int64,
        Stored::F16 => Dtype::Float16,
        Stored::BF16 => Dtype::Bfloat16,
        Stored::F32 => Dtype::Float32,
        Stored::F64 => Dtype::Float64,
        Stored::C64 => Dtype::Complex64,
        _ => return None,
    })
}

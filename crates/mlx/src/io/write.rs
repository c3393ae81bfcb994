//! Writing a file whole or not at all.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::fault;
use crate::Result;

/// What errors name in the place of a path, where something is written to a writer.
pub(super) const STREAM: &str = "(writer)";

/// Writes a file beside `path` with `write`, and puts it in the place of `path` when that is done.
pub(super) fn write(
    op: &'static str,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&fs::File>) -> Result<()>,
) -> Result<()> {
    let failed = |error: io::Error| fault(op, path, error);
    // A link stays one: the file it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(&target).ok();
    if before.as_ref().is_some_and(|before| !before.is_file()) {
        return Err(fault(
            op,
            path,
            "wanted a file to replace, got something else",
        ));
    }
    let temporary = beside(&target).map_err(failed)?;
    let mut buffered = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut buffered)?;
    buffered.flush().map_err(failed)?;
    drop(buffered);
    if let Some(before) = before {
        temporary
            .as_file()
            .set_permissions(before.permissions())
            .map_err(failed)?;
    }
    // On the disk before it has the name, so that a crash leaves the old file or this one.
    temporary.as_file().sync_all().map_err(failed)?;
    temporary
        .persist(&target)
        .map_err(|error| failed(error.error))?;
    Ok(())
}

/// Returns a new file in the folder of `target`, removed again unless it is kept.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".mlx-").suffix(".tmp");
    #[cfg(unix)]
    {
        // As for any new file: what the umask leaves.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

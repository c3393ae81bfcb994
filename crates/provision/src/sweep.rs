//! What killed processes left in `.tmp/` is removed, and nothing that a living one works on.

use std::fs;
use std::path::Path;

use crate::lock;

/// Removes what no process works on any more.
///
/// Everything in `.tmp/` is `NAME.PROCESS` and is made by a process that holds the lock of NAME until it is done with
/// it. So a process that gets the lock knows that the maker has ended. What cannot be removed is left: it does no harm.
pub(crate) fn leftovers(root: &Path) {
    let Ok(entries) = fs::read_dir(root.join(".tmp")) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let file = entry.file_name();
        let Some(name) = file.to_str().and_then(item) else {
            continue;
        };
        if let Some(_lock) = lock::try_hold(root, name) {
            remove(&entry.path());
        }
    }
}

/// Removes what killed processes left of one item, whose lock the caller holds.
pub(crate) fn leftovers_of(root: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(root.join(".tmp")) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_str().and_then(item) == Some(name) {
            remove(&entry.path());
        }
    }
}

/// Returns the item's name in `NAME.PROCESS`, or in `probe.PROCESS.cpp` as earlier versions left it.
fn item(file: &str) -> Option<&str> {
    let file = file.strip_suffix(".cpp").unwrap_or(file);
    let (name, process) = file.rsplit_once('.')?;
    let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then_some(name)
}

fn remove(path: &Path) {
    let _ = match path.symlink_metadata() {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
}

#[cfg(test)]
mod tests {
    use super::item;

    #[test]
    fn knows_whose_a_leftover_is() {
        assert_eq!(
            item("mlx-cpu-0.32.4-0e0a24fa.123"),
            Some("mlx-cpu-0.32.4-0e0a24fa")
        );
        assert_eq!(item("probe.77.cpp"), Some("probe"));
        assert_eq!(item("probe.77"), Some("probe"));
        assert_eq!(item("mlx-cpu-0.32.4-0e0a24fa"), None);
        assert_eq!(item("notes.txt"), None);
        assert_eq!(item(".123"), None);
    }
}

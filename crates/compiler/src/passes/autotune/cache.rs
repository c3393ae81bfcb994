//! The cache of measurements: a JSON file that several processes share, and that can be shipped.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use mlx_provision::{environment, places};
use serde_json::{Value, json};

use super::key::Machine;
use crate::report::FormTiming;

/// What the file says that it is.
const FORMAT: &str = "mlx-autotune";

/// The version of the file's form, which changes when a field changes its meaning.
const VERSION: u64 = 1;

/// A larger file is not read.
const MAX_BYTES: u64 = 64 << 20;

/// A file with more entries is not written.
const MAX_ENTRIES: usize = 50_000;

/// A time in the file is at most this many nanoseconds: a day.
const MAX_NANOSECONDS: f64 = 86_400e9;

/// What was measured at a site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) forms: Vec<FormTiming>,
    pub(crate) chosen: String,
}

/// Measurements of several machines, by machine and key.
pub(crate) type Entries = BTreeMap<(Machine, String), Entry>;

/// What this process measured, by file: it is known too where no file can be written.
static MEASURED: Mutex<BTreeMap<PathBuf, Entries>> = Mutex::new(BTreeMap::new());

/// Returns the file in use where no other is named.
pub(crate) fn default_path() -> PathBuf {
    environment::value(environment::AUTOTUNE_CACHE)
        .map_or_else(|| places::user_cache().join("autotune.json"), PathBuf::from)
}

/// Returns what a file has; nothing when there is none.
///
/// # Errors
/// When it cannot be read, or is no such file, in words.
pub(crate) fn read(path: &Path) -> Result<Entries, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(MAX_BYTES + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("wanted at most {MAX_BYTES} bytes, got more"));
    }
    parse(&bytes)
}

/// Reads the entries of a file's text.
///
/// # Errors
/// When it is no JSON, or another file, or of a later version, or an entry lacks something.
pub(crate) fn parse(bytes: &[u8]) -> Result<Entries, String> {
    let file: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file["format"] != FORMAT {
        return Err(format!(
            "wanted the format {FORMAT}, got {}",
            short(&file["format"])
        ));
    }
    if file["version"] != VERSION {
        return Err(format!(
            "wanted version {VERSION}, got {}",
            short(&file["version"])
        ));
    }
    let Some(list) = file["entries"].as_array() else {
        return Err(format!(
            "wanted a list of entries, got {}",
            short(&file["entries"])
        ));
    };
    let entries = list.iter().enumerate().map(|(number, value)| {
        entry(value).ok_or_else(|| {
            format!(
                "wanted key, device, library, mlx, chosen and forms of entry {number}, got {}",
                short(value)
            )
        })
    });
    entries.collect()
}

/// Returns the beginning of a value's text.
fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn entry(value: &Value) -> Option<((Machine, String), Entry)> {
    let text = |name: &str| Some(value[name].as_str()?.to_owned());
    let time = |value: &Value| {
        let nanoseconds = value.as_f64()?;
        let is_time = (0.0..=MAX_NANOSECONDS).contains(&nanoseconds);
        is_time.then(|| Duration::from_secs_f64(nanoseconds / 1e9))
    };
    let form = |value: &Value| {
        Some(FormTiming {
            form: value["form"].as_str()?.to_owned(),
            median: time(&value["median_ns"])?,
            spread: time(&value["spread_ns"])?,
        })
    };
    let machine = Machine {
        device: text("device")?,
        library: text("library")?,
        mlx: text("mlx")?,
    };
    let forms = value["forms"].as_array()?.iter().map(form);
    let entry = Entry {
        forms: forms.collect::<Option<_>>()?,
        chosen: text("chosen")?,
    };
    Some(((machine, text("key")?), entry))
}

/// Returns the text of a file with these entries, one a line.
pub(crate) fn to_text(entries: &Entries) -> String {
    let lines = entries.iter().map(|((machine, key), entry)| {
        let forms = entry.forms.iter().map(|form| {
            let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            json!({
                "form": form.form,
                "median_ns": nanoseconds(form.median),
                "spread_ns": nanoseconds(form.spread),
            })
        });
        let value = json!({
            "key": key,
            "device": machine.device,
            "library": machine.library,
            "mlx": machine.mlx,
            "chosen": entry.chosen,
            "forms": forms.collect::<Vec<_>>(),
        });
        value.to_string()
    });
    let lines: Vec<String> = lines.collect();
    format!(
        "{{\"format\": \"{FORMAT}\", \"version\": {VERSION}, \"entries\": [\n{}\n]}}\n",
        lines.join(",\n")
    )
}

/// Returns what this process measured for a file.
pub(crate) fn measured(path: &Path) -> Entries {
    let measured = MEASURED.lock();
    let measured = measured.unwrap_or_else(std::sync::PoisonError::into_inner);
    measured.get(path).cloned().unwrap_or_default()
}

/// Keeps new measurements in this process, and adds them to a file: all of it is replaced at once, and another process that
/// does the same is waited for.
///
/// # Errors
/// When the file cannot be written, or is another one, in words.
pub(crate) fn add(path: &Path, new: &Entries) -> Result<(), String> {
    {
        let measured = MEASURED.lock();
        let mut measured = measured.unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = measured.entry(path.to_owned()).or_default();
        known.extend(new.iter().map(|(key, entry)| (key.clone(), entry.clone())));
    }
    write(path, new).map_err(|error| error.to_string())
}

fn write(path: &Path, new: &Entries) -> io::Result<()> {
    // A link stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    let lock = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.with_file_name(name))?;
    // Released when it is closed, also by a process that is killed.
    lock.lock()?;
    let mut entries = read(path).map_err(io::Error::other)?;
    entries.extend(new.iter().map(|(key, entry)| (key.clone(), entry.clone())));
    if entries.len() > MAX_ENTRIES {
        let text = format!(
            "wanted at most {MAX_ENTRIES} entries, got {}",
            entries.len()
        );
        return Err(io::Error::other(text));
    }
    let mut builder = tempfile::Builder::new();
    // As files are made otherwise, for all who may read the folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(to_text(&entries).as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

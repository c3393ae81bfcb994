//! Two archives of a folder, cut into parts that are named with their hashes, and the script that joins them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use mlx_provision::sha256;

/// The largest part, in bytes.
const PART: usize = 50_000_000;

/// The script beside the parts.
const RUN: &str = include_str!("run.sh");

/// What changes seldom and takes long to pack, and what each build changes.
const ARCHIVES: [(&str, &[&str]); 2] = [
    ("libraries", &["lib", "include", "licences"]),
    ("programs", &["bin", "tests", "crates", "benches"]),
];

/// Packs a folder into `out`, in the place of what an earlier call packed; returns what was written.
pub fn write(folder: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("{} could not be made", out.display()))?;
    let mut written = Vec::new();
    for (name, places) in ARCHIVES {
        let places: Vec<&str> = places
            .iter()
            .copied()
            .filter(|place| folder.join(place).is_dir())
            .collect();
        if places.is_empty() {
            continue;
        }
        let packed = pack(folder, &places, name)?;
        written.extend(cut(&packed, out, name)?);
    }
    let kept = |path: &Path| written.iter().any(|part| part == path);
    for entry in fs::read_dir(out)?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_part = ARCHIVES
            .iter()
            .any(|(archive, _)| name.starts_with(&format!("{archive}.tar.xz.")));
        if is_part && !kept(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    let run = out.join("run.sh");
    fs::write(&run, RUN).with_context(|| format!("{} could not be written", run.display()))?;
    make_executable(&run)?;
    written.push(run);
    Ok(written)
}

/// Packs folders, unless the very same files are packed already.
fn pack(folder: &Path, places: &[&str], name: &str) -> Result<PathBuf> {
    let key = key(folder, places)?;
    let archive = folder.with_file_name(format!("{name}-{}.tar.xz", &key[..16]));
    if archive.is_file() {
        return Ok(archive);
    }
    println!("packing {name} (minutes: xz at its best)");
    let partial = archive.with_extension("partial");
    let file = File::create(&partial)
        .with_context(|| format!("{} could not be written", partial.display()))?;
    let mut tar = Command::new("tar")
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mtime=@0",
            "-C",
        ])
        .arg(folder)
        .arg("-c")
        .args(places)
        .stdout(Stdio::piped())
        .spawn()
        .context("tar could not be started")?;
    let stream = tar.stdout.take().context("tar has no output")?;
    // The programs have most of their code in common: the window spans all of them.
    let status = Command::new("xz")
        .args(["--lzma2=preset=9e,dict=256MiB", "-c"])
        .stdin(stream)
        .stdout(file)
        .status()
        .context("xz could not be started")?;
    ensure!(
        tar.wait()?.success() && status.success(),
        "packing {name} failed"
    );
    fs::rename(&partial, &archive)?;
    Ok(archive)
}

/// A hash of all files in folders.
fn key(folder: &Path, places: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for place in places {
        add_files(&folder.join(place), &mut files)?;
    }
    let list = folder.with_extension("list");
    let mut text = String::new();
    for file in &files {
        text += &format!(
            "{} {}\n",
            sha256(file)?,
            file.strip_prefix(folder).unwrap_or(file).display()
        );
    }
    fs::write(&list, text)?;
    let key = sha256(&list)?;
    fs::remove_file(&list)?;
    Ok(key)
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            add_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Cuts an archive into parts `NAME.tar.xz.NUMBER-HASH`; the hash is the first 16 digits of the part's sha256.
fn cut(archive: &Path, out: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let from = File::open(archive)?;
    let mut parts = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        (&from).take(PART as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(parts);
        }
        let partial = out.join(format!("{name}.partial"));
        File::create(&partial)?.write_all(&bytes)?;
        let hash = sha256(&partial)?;
        let part = out.join(format!("{name}.tar.xz.{:02}-{}", parts.len(), &hash[..16]));
        fs::rename(&partial, &part)?;
        parts.push(part);
    }
}

/// Removes a program's symbols; where there is no `strip` it keeps them.
pub fn strip(program: &Path) {
    let is_stripped = Command::new("strip").arg("-s").arg(program).status();
    if !is_stripped.is_ok_and(|status| status.success()) {
        let name = program.file_name().unwrap_or(OsStr::new("a program"));
        eprintln!("{} keeps its symbols: strip failed", name.to_string_lossy());
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

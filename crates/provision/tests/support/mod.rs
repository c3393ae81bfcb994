//! Small wheels, a Python that plays pip, and settings that see nothing of the real machine.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mlx_provision::pins::Pin;
use mlx_provision::places::StagingRoot;
use mlx_provision::{Platform, Progress, Settings};
use sha2::{Digest, Sha256};

/// A scratch folder with a `bin` for fake programs and a `stage` to stage into.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scratch.path("bin")).unwrap();
        fs::write(scratch.path("log"), "").unwrap();
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Settings that stage into the scratch folder and find the fake programs only.
    pub fn settings(&self) -> Settings {
        settings_in(self.0.path())
    }

    /// Writes a fake program; `body` is shell.
    pub fn program(&self, name: &str, body: &str) {
        let file = self.path("bin").join(name);
        let log = self.path("log");
        let text = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"{name} $*\" >> '{}'\n{body}\n",
            log.display()
        );
        // Copied by another process: a program that this one has open for writing while another thread forks could
        // not be run ("text file busy").
        let draft = self.path("draft").with_extension(name);
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        let copied = Command::new("cp").arg(&draft).arg(&file).status().unwrap();
        assert!(copied.success());
    }

    /// Writes a Python whose pip does `download`, which is shell and sees `$dest`.
    pub fn python(&self, download: &str) {
        self.python_of_version("3.11.2", download);
    }

    pub fn python_of_version(&self, version: &str, download: &str) {
        self.program("python3", &python_body(version, download));
    }

    /// Writes a Python that runs `first`, which is shell, and goes on as that of [`Scratch::python`].
    pub fn python_after(&self, first: &str, download: &str) {
        let body = format!("{first}\n{}", python_body("3.11.2", download));
        self.program("python3", &body);
    }

    /// Writes a Python whose pip delivers this wheel.
    pub fn python_with(&self, wheel: &Path) {
        self.python(&format!("cp '{}' \"$dest\"", wheel.display()));
    }

    /// Returns how often pip was asked to download.
    pub fn n_downloads(&self) -> usize {
        let log = fs::read_to_string(self.path("log")).unwrap();
        log.lines()
            .filter(|line| line.contains("pip download"))
            .count()
    }

    /// Writes a wheel and returns it with its pin.
    pub fn wheel(&self, package: &str) -> (PathBuf, Pin) {
        let file = format!("{package}-1.0-py3-none-manylinux_2_17_x86_64.whl");
        let path = self.path(&file);
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let plain = zip::write::SimpleFileOptions::default();
        for (name, text, mode) in [
            ("pkg/lib/libpkg.so", "library", 0o644),
            ("pkg/bin/tool", "#!/bin/sh\n", 0o755),
        ] {
            zip.start_file(name, plain.unix_permissions(mode)).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let pin = Pin {
            role: "test".into(),
            platform: "any".into(),
            package: package.into(),
            version: "1.0".into(),
            sha256: sha256(&path),
            file,
            licence: "MIT".into(),
            members: Vec::new(),
        };
        (path, pin)
    }

    /// Returns what is in the stage folder, without locks and logs; empty when there is nothing.
    pub fn staged(&self) -> Vec<String> {
        names(&self.path("stage"))
            .into_iter()
            .filter(|name| !name.starts_with('.') && name != "logs")
            .collect()
    }

    /// Returns what is half done.
    pub fn half_done(&self) -> Vec<String> {
        names(&self.path("stage/.tmp"))
    }
}

/// Settings for a scratch folder that exists already, for a helper process.
pub fn settings_in(dir: &Path) -> Settings {
    Settings {
        root: StagingRoot {
            path: dir.join("stage"),
            why: "a test",
        },
        offline: None,
        mlx_dir: None,
        backend: None,
        platform: Platform::named("linux", "x86_64"),
        native_source: Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-sys/native"),
        path: dir.join("bin").into_os_string(),
        python: None,
        cxx: None,
        cxxflags: Default::default(),
        cmake: None,
        libclang: None,
        cargo: "cargo".into(),
        cargo_home: dir.join("cargo-home"),
        child: None,
        jobs: 1,
        progress: Progress::quiet(),
    }
}

fn python_body(version: &str, download: &str) -> String {
    format!(
        "case \"$*\" in\n\
         *version_info*) echo {version} ;;\n\
         *'pip --version'*) echo 'pip 23.0 from somewhere' ;;\n\
         *'pip download'*)\n\
           dest=\n\
           while [ $# -gt 0 ]; do if [ \"$1\" = --dest ]; then dest=\"$2\"; fi; shift; done\n\
           {download} ;;\n\
         *) exit 1 ;;\n\
         esac"
    )
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub fn sha256(file: &Path) -> String {
    let hash = Sha256::digest(fs::read(file).unwrap());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

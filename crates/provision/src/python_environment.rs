//! Virtual environments of Python with pinned packages, made once and again when their pins change.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::download::{PipSettings, find_python};
use crate::stage::{is_made_from, make_in_place};
use crate::{Error, Result, Settings, process};

/// A virtual environment. It is not moved once it is made, because Python writes its path into it.
#[derive(Clone, Debug)]
pub struct PythonEnvironment {
    /// The folder of the environment.
    pub folder: PathBuf,
    /// The list of pinned packages. It is complete: pip installs no dependency that it does not name.
    pub requirements: PathBuf,
    /// Further arguments of `pip install`.
    pub arguments: Vec<String>,
    /// Environment variables of `pip install`.
    pub variables: Vec<(String, String)>,
    /// The file for what the programs write.
    pub log: PathBuf,
}

impl PythonEnvironment {
    /// Returns the interpreter.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        match cfg!(windows) {
            true => self.folder.join("Scripts/python.exe"),
            false => self.folder.join("bin/python"),
        }
    }

    /// Returns whether the environment is made from the present list.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn is_made(&self) -> Result<bool> {
        Ok(is_made_from(&self.folder, &self.pins()?))
    }

    /// Makes the environment unless it is made, and returns the interpreter.
    ///
    /// # Errors
    /// When there is no Python, the network is forbidden, or a package cannot be installed.
    pub fn make(&self, settings: &Settings) -> Result<PathBuf> {
        let pins = self.pins()?;
        make_in_place(settings, &self.folder, &pins, || self.install(settings))?;
        Ok(self.python())
    }

    fn pins(&self) -> Result<String> {
        fs::read_to_string(&self.requirements)
            .map_err(|error| Error::io("read", &self.requirements, error))
    }

    fn install(&self, settings: &Settings) -> Result<()> {
        if let Some(reason) = settings.offline {
            return Err(Error::OfflineEnvironment {
                reason,
                folder: self.folder.clone(),
            });
        }
        let base = find_python(settings)?;
        let _busy = settings.progress.task(&format!(
            "making the Python environment {}",
            self.folder.display()
        ));
        let failed = |error| Error::io("write", &self.log, error);
        if let Some(dir) = self.log.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let log = File::create(&self.log).map_err(failed)?;
        let mut venv = process::command(&base.path, settings);
        venv.args(["-m", "venv", "--clear"]).arg(&self.folder);
        self.run(venv, &log)?;
        let mut pip = process::command(&self.python(), settings);
        PipSettings::of_user(&base.path, settings).apply(&mut pip);
        pip.args(["-m", "pip", "install", "--no-deps"])
            .args(&self.arguments)
            .arg("--requirement")
            .arg(&self.requirements)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.run(pip, &log)
    }

    fn run(&self, mut command: Command, log: &File) -> Result<()> {
        let failed = |error| Error::io("write", &self.log, error);
        command
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log.try_clone().map_err(failed)?);
        let status = command.status().map_err(|reason| Error::Run {
            program: PathBuf::from(command.get_program()),
            reason,
        })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Environment {
            folder: self.folder.clone(),
            tail: tail_of(&self.log),
            log: self.log.clone(),
        })
    }
}

fn tail_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    process::tail(&String::from_utf8_lossy(&text), 6)
}

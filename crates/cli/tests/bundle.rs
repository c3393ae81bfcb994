//! A program in a bundle runs where nothing else of this workspace is.

use std::path::{Path, PathBuf};
use std::process::Command;

use mlx_provision::{Settings, bundle, setup};

#[test]
fn a_bundled_program_loads_what_is_beside_it() {
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-sys/native");
    let staged = setup(&Settings::from_env(&native)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_mlx"));
    let files = bundle(&staged, &[program], dir.path()).unwrap();
    assert!(
        files
            .iter()
            .any(|file| file.ends_with("lib/libmlxc.so") || file.ends_with("lib/libmlxc.dylib"))
    );
    assert!(
        files
            .iter()
            .any(|file| file.starts_with(dir.path().join("licences")))
    );

    let doctor = Command::new(dir.path().join("bin/mlx"))
        .args(["doctor", "--json"])
        .current_dir(dir.path())
        .env_clear()
        // Neither the stage folder of this build nor the user's cache may help.
        .env("HOME", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        doctor.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&doctor.stderr)
    );
    assert!(text.contains("beside the executable"), "{text}");
    let lib = dir.path().canonicalize().unwrap().join("lib");
    assert!(
        text.contains(&lib.display().to_string()) || text.contains("/lib/libmlx"),
        "{text}"
    );
}

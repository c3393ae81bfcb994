//! A staged item is whole or not there: with two processes, after a kill, on a full disk, after a deletion.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mlx_provision::{Error, Settings, setup, stage_archive, stage_with};
use support::{Scratch, settings_in};

/// Stages in a process of its own, which the tests below start, watch and kill.
#[test]
fn stage_in_this_process() {
    let Some(dir) = std::env::var_os("SCRATCH").map(PathBuf::from) else {
        // Not started by another test.
        return;
    };
    let (_, pin) = Scratch::new().wheel("pkg");
    stage_archive(&settings_in(&dir), &pin).unwrap();
}

fn start(scratch: &Scratch) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stage_in_this_process"])
        .env("SCRATCH", scratch.path(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lets_two_processes_share_one_download() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    scratch.python(&format!("sleep 0.3; cp '{}' \"$dest\"", wheel.display()));
    let mut children = [start(&scratch), start(&scratch), start(&scratch)];
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(scratch.n_downloads(), 1);
    assert_eq!(scratch.staged(), [pin.folder()]);
    assert!(scratch.half_done().is_empty());
}

#[test]
fn repairs_what_a_killed_process_left() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    scratch.python("echo half > \"$dest/half\"; sleep 2; exit 1");
    let mut child = start(&scratch);
    wait_until(|| scratch.n_downloads() == 1 && !scratch.half_done().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(scratch.staged().is_empty());
    assert_eq!(scratch.half_done().len(), 1);

    scratch.python_with(&wheel);
    stage_archive(&scratch.settings(), &pin).unwrap();
    assert_eq!(scratch.staged(), [pin.folder()]);
    assert!(scratch.half_done().is_empty());
}

#[test]
fn removes_what_killed_processes_left_and_not_what_living_ones_do() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    let temps = scratch.path("stage/.tmp");
    let folder = format!("{}.1", pin.folder());
    for left in ["probe.77", "old-mlx-0.1-abcdef01.5", folder.as_str()] {
        fs::create_dir_all(temps.join(left)).unwrap();
        fs::write(temps.join(left).join("large"), "").unwrap();
    }
    fs::write(temps.join("probe.78.cpp"), "").unwrap();
    fs::write(temps.join("a note.txt"), "").unwrap();
    fs::create_dir_all(scratch.path("stage/.locks")).unwrap();
    // A process that lives and works on the item, whose number is not that of the leftover.
    scratch.python("sleep 3; exit 1");
    let mut child = start(&scratch);
    wait_until(|| scratch.n_downloads() == 1);
    let mine = |name: &String| name.starts_with(&pin.folder());
    let working: Vec<_> = scratch.half_done().into_iter().filter(mine).collect();
    assert_eq!(working.len(), 1, "{working:?}");

    // Set-up fails when it fetches, and so behind the cleaning.
    scratch.python("exit 1");
    scratch.program("c++", "echo 'c++ 12'");
    setup(&scratch.settings()).unwrap_err();
    let left: Vec<_> = scratch.half_done();
    assert_eq!(left, [vec!["a note.txt".to_owned()], working].concat());
    child.wait().unwrap();
}

#[test]
fn stages_again_what_somebody_deleted_a_part_of() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    scratch.python_with(&wheel);
    let dir = stage_archive(&scratch.settings(), &pin).unwrap();
    let library = dir.join("pkg/lib/libpkg.so");
    let delete: fn(&PathBuf) = |file| fs::remove_file(file).unwrap();
    let truncate: fn(&PathBuf) = |file| fs::write(file, "short").unwrap();
    for damage in [delete, truncate] {
        damage(&library);
        stage_archive(&scratch.settings(), &pin).unwrap();
        assert_eq!(fs::read_to_string(&library).unwrap(), "library");
    }
    assert!(scratch.half_done().is_empty());
}

#[test]
fn says_so_when_the_disk_is_full_and_leaves_nothing() {
    let scratch = Scratch::new();
    let full = std::path::Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: no /dev/full on this system");
        return;
    }
    let error = stage_with(&scratch.settings(), "item", |_, out| {
        fs::write(out.join("a part"), "of it").unwrap();
        fs::write(full, "more").map_err(|error| Error::io("write", full, error))
    })
    .unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("MLX_BUILD_DIR"), "{error}");
    assert!(scratch.staged().is_empty() && scratch.half_done().is_empty());
}

#[test]
fn understands_that_the_disk_is_full_when_pip_says_it() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    scratch.python("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1");
    let error = stage_archive(&scratch.settings(), &pin).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
}

/// With a real full disk, where this process may mount one.
#[test]
fn unpacks_onto_a_disk_that_is_too_small() {
    let scratch = Scratch::new();
    let (wheel, pin) = scratch.wheel("pkg");
    let small = scratch.path("stage");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a small disk cannot be mounted here");
        return;
    }
    scratch.python_with(&wheel);
    let result = stage_with(&scratch.settings(), &pin.folder(), |_, out| {
        let file = out.join("large");
        fs::write(&file, vec![0; 1 << 20]).map_err(|error| Error::io("write", &file, error))
    });
    let _ = Command::new("umount").arg(&small).output();
    let error = result.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
}

#[test]
fn says_which_folder_cannot_be_written() {
    let scratch = Scratch::new();
    let (_, pin) = scratch.wheel("pkg");
    let file = scratch.path("a file");
    fs::write(&file, "").unwrap();
    let mut settings: Settings = scratch.settings();
    settings.root.path = file.join("stage");
    let text = stage_archive(&settings, &pin).unwrap_err().to_string();
    assert!(
        text.contains("cannot create") && text.contains("a file"),
        "{text}"
    );
}

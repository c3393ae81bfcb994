//! The cache's file: written and read, damaged, foreign, read-only, and by several threads at once.

use std::time::Duration;

use super::cache::{Entries, Entry, add, measured, parse, read, to_text};
use super::key::Machine;
use crate::report::FormTiming;

fn timing(form: &str, micros: u64) -> FormTiming {
    FormTiming {
        form: form.to_owned(),
        median: Duration::from_micros(micros),
        spread: Duration::from_nanos(7),
    }
}

/// An entry of a machine by this name.
fn entry(device: &str, key: &str) -> Entries {
    let machine = Machine {
        device: device.to_owned(),
        library: "0.1.0".to_owned(),
        mlx: "0.32.4".to_owned(),
    };
    let entry = Entry {
        forms: vec![timing("kernel", 12), timing("composed", 34)],
        chosen: "kernel".to_owned(),
    };
    Entries::from([((machine, key.to_owned()), entry)])
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let mut entries = entry("cpu \"A\\B\"\n", "silu(float32[64]) 00");
    entries.extend(entry("gpu X", "silu(float32[64]) 00"));
    assert_eq!(parse(to_text(&entries).as_bytes()).unwrap(), entries);
    assert_eq!(
        parse(to_text(&Entries::new()).as_bytes()).unwrap(),
        Entries::new()
    );
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let text = to_text(&entry("cpu", "key")).into_bytes();
    let end = text.iter().rposition(|byte| *byte == b'}').unwrap();
    for length in 0..=end {
        assert!(parse(&text[..length]).is_err(), "{length}");
    }
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut damaged = text.clone();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let place = usize::try_from(state >> 33).unwrap() % damaged.len();
            damaged[place] = u8::try_from(state >> 24 & 0xff).unwrap();
        }
        if let Ok(entries) = parse(&damaged) {
            // What is read can be written, and read again.
            parse(to_text(&entries).as_bytes()).unwrap();
        }
    }
    let nested = "[".repeat(1_000_000);
    assert!(parse(nested.as_bytes()).is_err());
}

#[test]
fn foreign_files_say_what_they_are() {
    let error = |text: &str| parse(text.as_bytes()).unwrap_err();
    assert_eq!(error("[]"), "wanted the format mlx-autotune, got null");
    assert_eq!(
        error(r#"{"format": "mlx-autotune", "version": 2, "entries": []}"#),
        "wanted version 1, got 2"
    );
    assert_eq!(
        error(r#"{"format": "mlx-autotune", "version": 1, "entries": {}}"#),
        "wanted a list of entries, got {}"
    );
    let negative = to_text(&entry("cpu", "key")).replace("12000", "-1");
    assert!(
        error(&negative).contains("of entry 0"),
        "{}",
        error(&negative)
    );
}

#[test]
fn a_file_that_is_no_cache_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.json");
    std::fs::write(&path, "my notes").unwrap();
    assert!(add(&path, &entry("cpu", "key")).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
    // The process knows what it measured.
    assert_eq!(measured(&path), entry("cpu", "key"));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let path = file.join("autotune.json");
    assert!(add(&path, &entry("cpu", "key")).is_err());
    assert_eq!(measured(&path), entry("cpu", "key"));
}

#[test]
fn several_writers_lose_nothing_and_a_reader_sees_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/autotune.json");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..25 {
                    add(path, &entry("cpu", &format!("{writer}.{number}"))).unwrap();
                    read(path).unwrap();
                }
            });
        }
    });
    assert_eq!(read(&path).unwrap().len(), 100);
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["autotune.json", "autotune.json.lock"]);
}

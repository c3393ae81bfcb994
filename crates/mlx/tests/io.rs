//! Files against those of NumPy and Python MLX (`golden/io`, made by `golden/make_io.py`), damaged ones, and saving.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx::{Array, Complex64, Dtype, Error, array, eval, io, iota, zeros};
use mlx_testdata::needs;
use rstest::rstest;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/golden/io")
        .join(name)
}

/// 0, 1, 2, .. as the golden files have them.
fn counted(dtype: Dtype, shape: &[i32]) -> Array {
    let x = iota(shape.iter().product::<i32>()).reshape(shape);
    match dtype {
        Dtype::Bool => (x % 2).equal(1),
        Dtype::Complex64 => x.astype(dtype) * Complex64::new(1.0, -1.0),
        _ => x.astype(dtype),
    }
}

#[track_caller]
fn same(got: &Array, want: &Array) {
    assert_eq!(got.array_type().unwrap(), want.array_type().unwrap());
    assert!(
        got.array_equal_with(want, true).item::<bool>().unwrap(),
        "{got} is not {want}"
    );
}

/// An array of every dtype, of no elements, of no axes, and one that is not contiguous.
fn all() -> BTreeMap<String, Array> {
    let mut arrays: BTreeMap<String, Array> = Dtype::ALL
        .iter()
        .map(|&dtype| (dtype.name().to_owned(), counted(dtype, &[2, 3])))
        .collect();
    arrays.insert("empty".to_owned(), zeros([0, 3]));
    arrays.insert("scalar".to_owned(), Array::scalar(0.0_f32));
    arrays.insert("transposed".to_owned(), iota(6).reshape([3, 2]).t());
    arrays
}

#[test]
fn reads_safetensors_of_python_mlx() {
    let loaded = io::load_safetensors(golden("mlx.safetensors")).unwrap();
    for (name, want) in all() {
        if name != "float64" && name != "transposed" {
            same(&loaded.arrays[&name], &want);
        }
    }
    assert_eq!(loaded.arrays.len(), 15);
    assert_eq!(loaded.metadata["key"], "wert ä");
}

#[test]
fn reads_what_mlx_does_not_and_says_what_it_cannot() {
    needs!(Float64);
    let loaded = io::load_safetensors(golden("other.safetensors"))
        .unwrap()
        .arrays;
    same(&loaded["f64"], &counted(Dtype::Float64, &[3]));
    assert_eq!(loaded["f8"].to_vec::<u8>().unwrap(), [0, 1, 2]);
    let text = loaded["f4"].eval().unwrap_err().to_string();
    assert!(
        text.contains("other.safetensors: f4: MLX has no dtype for F4"),
        "{text}"
    );
}

#[rstest]
#[case("f4.npy", Dtype::Float32)]
#[case("fortran.npy", Dtype::Int32)]
#[case("big_endian.npy", Dtype::Int16)]
#[case("big_complex.npy", Dtype::Complex64)]
#[case("bool.npy", Dtype::Bool)]
#[case("f2.npy", Dtype::Float16)]
#[case("f8.npy", Dtype::Float64)]
#[case("u8.npy", Dtype::Uint8)]
#[case("version2.npy", Dtype::Uint16)]
#[case("bfloat16.npy", Dtype::Bfloat16)]
fn reads_npy(#[case] name: &str, #[case] dtype: Dtype) {
    needs!(Float64 if dtype);
    same(
        &io::load_npy(golden(name)).unwrap(),
        &counted(dtype, &[2, 3]),
    );
}

#[test]
fn reads_npy_of_other_shapes() {
    same(
        &io::load_npy(golden("scalar.npy")).unwrap(),
        &Array::scalar(2.5_f32),
    );
    same(&io::load_npy(golden("empty.npy")).unwrap(), &zeros([0, 3]));
    same(
        &io::load_npy(golden("one.npy")).unwrap(),
        &counted(Dtype::Int64, &[3]),
    );
    same(
        &io::load_npy(golden("columns.npy")).unwrap(),
        &counted(Dtype::Float32, &[3, 2]).t(),
    );
}

#[rstest]
#[case("complex128.npy", "MLX has no dtype for \"<c16\"")]
#[case("text.npy", "MLX has no dtype for \"<U2\"")]
#[case("stored.npz", "wanted an npy file")]
#[case("nowhere.npy", "nowhere.npy: ")]
#[case(".", "wanted a file")]
fn refuses_what_is_no_npy_for_it(#[case] name: &str, #[case] want: &str) {
    let error = io::load_npy(golden(name)).unwrap_err();
    assert!(matches!(error, Error::Io { op: "load_npy", .. }));
    assert!(error.to_string().contains(want), "{error}");
}

#[test]
fn reads_npz() {
    let stored = io::load_npz(golden("stored.npz")).unwrap();
    same(&stored["a"], &counted(Dtype::Float32, &[2, 3]));
    same(&stored["b"], &counted(Dtype::Int64, &[3]));
    let deflated = io::load_npz(golden("deflated.npz")).unwrap();
    same(&deflated["a"], &zeros([50, 20]));
    same(&deflated["b"], &counted(Dtype::Int64, &[2, 3]));
    let mlx = io::load_npz(golden("mlx.npz")).unwrap();
    same(&mlx["a"], &counted(Dtype::Bfloat16, &[2, 3]));
}

#[test]
fn writes_the_bytes_that_numpy_writes() {
    needs!(Float64);
    let folder = tempfile::tempdir().unwrap();
    for (name, dtype) in [
        ("f4.npy", Dtype::Float32),
        ("bool.npy", Dtype::Bool),
        ("f2.npy", Dtype::Float16),
        ("f8.npy", Dtype::Float64),
        ("u8.npy", Dtype::Uint8),
    ] {
        let path = folder.path().join(name);
        io::save_npy(&path, &counted(dtype, &[2, 3])).unwrap();
        assert_eq!(
            fs::read(path).unwrap(),
            fs::read(golden(name)).unwrap(),
            "{name}"
        );
    }
    let path = folder.path().join("one.npy");
    io::save_npy(&path, &counted(Dtype::Int64, &[3])).unwrap();
    assert_eq!(
        fs::read(path).unwrap(),
        fs::read(golden("one.npy")).unwrap()
    );
}

#[test]
fn what_is_saved_is_loaded() {
    needs!(Float64);
    let (folder, arrays) = (tempfile::tempdir().unwrap(), all());
    let path = |name: &str| folder.path().join(name);
    let text = BTreeMap::from([("who".to_owned(), "ich < du".to_owned())]);
    io::save_safetensors_with(path("a.safetensors"), &arrays, &text).unwrap();
    let loaded = io::load_safetensors(path("a.safetensors")).unwrap();
    assert_eq!(loaded.metadata, text);
    io::save_npz(path("a.npz"), &arrays).unwrap();
    io::save_npz_compressed(path("b.npz"), &arrays).unwrap();
    let (stored, deflated) = (
        io::load_npz(path("a.npz")).unwrap(),
        io::load_npz(path("b.npz")).unwrap(),
    );
    for from in [&loaded.arrays, &stored, &deflated] {
        assert_eq!(from.len(), arrays.len());
        arrays
            .iter()
            .for_each(|(name, want)| same(&from[name], want));
    }
    for want in arrays.values() {
        io::save_npy(path("a.npy"), want).unwrap();
        same(&io::load_npy(path("a.npy")).unwrap(), want);
    }
    io::save_safetensors(path("none.safetensors"), &BTreeMap::<String, Array>::new()).unwrap();
    assert!(
        io::load_safetensors(path("none.safetensors"))
            .unwrap()
            .arrays
            .is_empty()
    );
}

/// For `golden/make_io.py check FOLDER`, which reads the files with NumPy and Python MLX.
#[test]
#[ignore = "writes to the folder in MLX_IO_FOLDER"]
fn writes_for_python() {
    let folder = PathBuf::from(std::env::var("MLX_IO_FOLDER").unwrap());
    let text = BTreeMap::from([("who".to_owned(), "ich < du".to_owned())]);
    io::save_safetensors_with(
        folder.join("rust.safetensors"),
        all().iter().filter(|(name, _)| *name != "float64"),
        &text,
    )
    .unwrap();
    io::save_npz(folder.join("rust.npz"), &all()).unwrap();
    io::save_npz_compressed(folder.join("rust_compressed.npz"), &all()).unwrap();
    for (name, array) in all() {
        io::save_npy(folder.join(format!("rust_{name}.npy")), &array).unwrap();
    }
}

#[test]
fn elements_are_read_when_they_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let n = 1 << 22;
    io::save_safetensors(&path, [("a", &(iota(n) + 1)), ("b", &iota(n))]).unwrap();
    let before = mlx::memory::usage().unwrap().active;
    let arrays = io::load_safetensors(&path).unwrap().arrays;
    assert!(mlx::memory::usage().unwrap().active < before + (1 << 22));
    // A part of one of them; the other is never read, as its place in the file would tell.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8 + 200 + (4 << 22)).unwrap();
    assert_eq!(
        arrays["a"].i((n - 2)..).to_vec::<i32>().unwrap(),
        [n - 1, n]
    );
    let text = arrays["b"].eval().unwrap_err().to_string();
    assert!(
        text.contains("large.safetensors: b: the file has become shorter"),
        "{text}"
    );
    assert!(arrays["b"].to_vec::<i32>().is_err());
}

#[test]
fn saving_over_the_file_that_is_being_read_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    io::save_safetensors(&path, [("a", &iota(1000))]).unwrap();
    let old = io::load_safetensors(&path).unwrap().arrays;
    io::save_safetensors(&path, [("a", &(&old["a"] * 2))]).unwrap();
    let new = io::load_safetensors(&path).unwrap().arrays;
    io::save_safetensors(&path, [("b", &iota(3))]).unwrap();
    assert_eq!(old["a"].i(-1).item::<i32>().unwrap(), 999);
    assert_eq!(new["a"].i(-1).item::<i32>().unwrap(), 1998);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}

#[test]
fn a_failed_save_leaves_what_was_there() {
    needs!(ErrorsOfValues);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    io::save_npy(&path, &iota(3)).unwrap();
    let bad = iota(4).take(array!([1, 2]) + 9, 0);
    assert!(io::save_npy(&path, &bad).is_err());
    assert!(io::save_safetensors(&path, [("a", &iota(1)), ("a", &iota(2))]).is_err());
    assert!(io::save_safetensors(&path, [("__metadata__", &iota(1))]).is_err());
    assert!(io::save_npz(&path, [("a", &iota(1)), ("a", &iota(2))]).is_err());
    same(&io::load_npy(&path).unwrap(), &iota(3));
    let nowhere = folder.path().join("no/such/folder.npy");
    let text = io::save_npy(&nowhere, &iota(3)).unwrap_err().to_string();
    assert!(
        text.starts_with("save_npy: ") && text.contains("folder.npy: "),
        "{text}"
    );
    assert!(
        io::save_npy(folder.path(), &iota(3))
            .unwrap_err()
            .to_string()
            .contains("wanted a file")
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_saved_file_has_the_rights_of_the_one_before_and_links_stay() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("x.npy"), folder.path().join("link.npy"));
    io::save_npy(&path, &iota(3)).unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), mode(&plain));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    io::save_npy(&link, &iota(4)).unwrap();
    assert_eq!(mode(&path), 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    same(&io::load_npy(&path).unwrap(), &iota(4));
}

#[test]
fn shards_are_found_through_their_index() {
    needs!(Float64);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (arrays, text) = (
        all(),
        BTreeMap::from([("format".to_owned(), "mlx".to_owned())]),
    );
    io::save_sharded(folder.path(), &arrays, &text, 50).unwrap();
    assert!(fs::read_dir(folder.path()).unwrap().count() > 3);
    let loaded = io::load_sharded(folder.path()).unwrap();
    assert_eq!(loaded.arrays.len(), arrays.len());
    arrays
        .iter()
        .for_each(|(name, want)| same(&loaded.arrays[name], want));
    let total: usize = arrays.values().map(|array| array.nbytes().unwrap()).sum();
    assert_eq!(loaded.metadata["total_size"], total.to_string());
    assert_eq!(loaded.metadata["format"], "mlx");
    // In one file when they fit; then the index goes.
    io::save_sharded(folder.path(), &loaded.arrays, &text, 1 << 20).unwrap();
    assert!(!at("model.safetensors.index.json").exists());
    let loaded = io::load_sharded(folder.path()).unwrap();
    arrays
        .iter()
        .for_each(|(name, want)| same(&loaded.arrays[name], want));
}

#[rstest]
#[case("", "wanted model.safetensors.index.json or model.safetensors")]
#[case("{", "index.json: EOF")]
#[case("{}", "wanted a weight_map")]
#[case(
    r#"{"weight_map": {"a": "../x.safetensors"}}"#,
    "wanted a file in this folder for a"
)]
#[case(
    r#"{"weight_map": {"a": "/etc/passwd"}}"#,
    "wanted a file in this folder for a"
)]
#[case(r#"{"weight_map": {"a": 3}}"#, "wanted a file in this folder for a")]
#[case(r#"{"weight_map": {"a": "gone.safetensors"}}"#, "gone.safetensors: ")]
#[case(
    r#"{"weight_map": {"a": "x.safetensors"}}"#,
    "a is not in x.safetensors"
)]
fn refuses_an_index_that_leads_nowhere(#[case] index: &str, #[case] want: &str) {
    let folder = tempfile::tempdir().unwrap();
    io::save_safetensors(folder.path().join("x.safetensors"), [("b", &iota(1))]).unwrap();
    if !index.is_empty() {
        fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    }
    let text = io::load_sharded(folder.path()).unwrap_err().to_string();
    assert!(text.contains(want), "{text}");
}

/// A safetensors file with this header, its length as told.
fn with_header(length: u64, header: &str, data: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), header.as_bytes(), data].concat()
}

fn tensor(shape: &str, start: u64, end: u64) -> Vec<u8> {
    let header =
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#);
    with_header(header.len() as u64, &header, &[0; 16])
}

#[rstest]
#[case(vec![], "wanted 8 bytes at least, got a file of 0")]
#[case(vec![1, 2, 3], "wanted 8 bytes at least")]
#[case(b"garbage garbage garbage".to_vec(), "wanted a header that fits")]
#[case(with_header(u64::MAX, "{}", &[]), "got a length of 18446744073709551615")]
#[case(with_header(1 << 40, "{}", &[]), "wanted a header that fits")]
#[case(with_header(2, "{}", &[0]), "wanted 0 bytes of elements, got 1")]
#[case(with_header(2, "[]", &[]), "wanted a safetensors header")]
#[case(with_header(2, "\u{1}\u{2}", &[]), "wanted a safetensors header")]
#[case(tensor("[4]", 0, 12), "wanted a safetensors header")]
#[case(tensor("[5]", 0, 20), "wanted 20 bytes of elements, got 16")]
#[case(tensor("[4]", 16, 32), "wanted a safetensors header")]
#[case(tensor("[4]", 16, 0), "wanted a safetensors header")]
#[case(tensor("[-4]", 0, 16), "wanted a safetensors header")]
#[case(
    tensor("[4294967296,4294967296,4294967296]", 0, 16),
    "wanted a safetensors header"
)]
#[case(
    tensor("[1000000000000]", 0, 4000000000000),
    "wanted 4000000000000 bytes of elements"
)]
fn refuses_damaged_safetensors(#[case] bytes: Vec<u8>, #[case] want: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    fs::write(&path, bytes).unwrap();
    let error = io::load_safetensors(&path).unwrap_err();
    assert!(matches!(
        error,
        Error::Io {
            op: "load_safetensors",
            ..
        }
    ));
    assert!(
        error.to_string().contains("bad.safetensors: ") && error.to_string().contains(want),
        "{error}"
    );
}

#[test]
fn a_tensor_of_more_elements_than_an_axis_has_carries_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.safetensors");
    fs::write(&path, tensor("[3000000000, 0]", 0, 0)[..].split_at(0).1).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 16]).unwrap();
    let text = io::load_safetensors(&path).unwrap().arrays["a"]
        .eval()
        .unwrap_err()
        .to_string();
    assert!(text.contains("a: wanted sizes of 31 bits"), "{text}");
}

#[rstest]
#[case(
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }",
    "wanted 4000000000000 bytes"
)]
#[case(
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000, 2000000000, 2000000000), }",
    "can be"
)]
#[case(
    "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }",
    "wanted 20 bytes of elements, got 16"
)]
fn refuses_npy_with_absurd_sizes(#[case] header: &str, #[case] want: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.npy");
    let length = (header.len() as u16).to_le_bytes();
    fs::write(
        &path,
        [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &[0; 16]].concat(),
    )
    .unwrap();
    let text = io::load_npy(&path).unwrap_err().to_string();
    assert!(text.contains(want), "{text}");
    fs::write(&path, b"\x93NUMPY\x02\0\xff\xff\xff\xffxxxxxxxx").unwrap();
    let text = io::load_npy(&path).unwrap_err().to_string();
    assert!(
        text.contains("wanted a header of 65536 bytes at most"),
        "{text}"
    );
}

#[test]
fn refuses_npz_members_that_claim_more_than_they_can_become() {
    let mut bytes = fs::read(golden("deflated.npz")).unwrap();
    let entry = bytes
        .windows(4)
        .position(|part| part == b"PK\x01\x02")
        .unwrap();
    bytes[entry + 24..entry + 28].copy_from_slice(&0xF000_0000_u32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.npz");
    fs::write(&path, bytes).unwrap();
    let text = io::load_npz(&path).unwrap_err().to_string();
    assert!(
        text.contains("cannot become the 4026531840 it claims"),
        "{text}"
    );
}

/// Loads a file of any kind, and computes what it gives.
fn load(path: &Path) -> mlx::Result<()> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => io::load_npy(path)?.eval(),
        Some("npz") => eval(io::load_npz(path)?.values()),
        _ => eval(io::load_safetensors(path)?.arrays.values()),
    }
}

#[rstest]
#[case("mlx.safetensors")]
#[case("fortran.npy")]
#[case("bool.npy")]
#[case("stored.npz")]
#[case("deflated.npz")]
fn files_cut_short_are_errors_and_changed_ones_never_end_the_process(#[case] name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = (folder.path().join(name), fs::read(golden(name)).unwrap());
    load(&golden(name)).unwrap();
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(load(&path).is_err(), "{name} cut to {len} bytes");
    }
    let mut random = 12345_u32;
    let mut next = |n: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % n
    };
    for _ in 0..500 {
        let mut changed = bytes.clone();
        for _ in 0..=next(3) {
            // Mostly in the header.
            let place = if next(4) == 0 {
                next(changed.len())
            } else {
                next(changed.len().min(200))
            };
            changed[place] = if next(2) == 0 {
                next(256) as u8
            } else {
                b"0123456789[](){},:'\"-<>"[next(23)]
            };
        }
        fs::write(&path, &changed).unwrap();
        let _ = load(&path);
    }
}

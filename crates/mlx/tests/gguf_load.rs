//! Loading GGUF files: those of Python MLX and ours (`golden/io`, made by `golden/make_gguf.py`), and damaged ones.

#[path = "support/gguf_file.rs"]
mod gguf_file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gguf_file::GgufWriter;
use mlx::io::gguf::GgmlType;
use mlx::io::{GgufValue, LoadedGguf};
use mlx::{Array, Dtype, array, eval, io, zeros};
use mlx_testdata::needs;
use rstest::rstest;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/golden/io")
        .join(name)
}

/// The arrays of `make_gguf.py`.
fn arrays() -> BTreeMap<String, Array> {
    let x = array!([[1.0, -2.5, 3.0], [4.0, 5.0, 6.5]]);
    let mut arrays: BTreeMap<String, Array> = [
        Dtype::Float32,
        Dtype::Float16,
        Dtype::Int8,
        Dtype::Int16,
        Dtype::Int32,
    ]
    .map(|dtype| (dtype.name().to_owned(), x.astype(dtype)))
    .into();
    arrays.insert("turned".to_owned(), x.t());
    arrays.insert("scalar".to_owned(), array!(2.5));
    arrays.insert("empty".to_owned(), zeros([0, 3]));
    arrays.insert("deep".to_owned(), zeros([1; 8]));
    arrays
}

/// The metadata of `make_gguf.py`.
fn metadata() -> BTreeMap<String, GgufValue> {
    let dtypes = [
        ("uint8", Dtype::Uint8),
        ("int8", Dtype::Int8),
        ("uint16", Dtype::Uint16),
        ("int16", Dtype::Int16),
        ("uint32", Dtype::Uint32),
        ("int32", Dtype::Int32),
        ("uint64", Dtype::Uint64),
        ("int64", Dtype::Int64),
        ("float32", Dtype::Float32),
        ("bool_", Dtype::Bool),
    ];
    let mut metadata = BTreeMap::new();
    for (name, dtype) in dtypes {
        metadata.insert(format!("one.{name}"), array!(1).astype(dtype).into());
        metadata.insert(
            format!("list.{name}"),
            array!([1, 0, 1]).astype(dtype).into(),
        );
    }
    metadata.insert("general.name".to_owned(), "tiny ä".into());
    let words = ["a", "", "bc"].map(str::to_owned).to_vec();
    metadata.insert("words".to_owned(), words.into());
    metadata
}

#[track_caller]
fn same(name: &str, got: &Array, want: &Array) {
    assert_eq!(
        got.array_type().unwrap(),
        want.array_type().unwrap(),
        "{name}"
    );
    assert!(
        got.array_equal_with(want, true).item::<bool>().unwrap(),
        "{name}: {got} is not {want}"
    );
}

#[track_caller]
fn same_file(
    loaded: &LoadedGguf,
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, GgufValue>,
) {
    assert!(loaded.arrays.keys().eq(arrays.keys()), "{loaded:?}");
    for (name, want) in arrays {
        same(name, &loaded[name], want);
    }
    assert!(loaded.metadata.keys().eq(metadata.keys()), "{loaded:?}");
    for (key, want) in metadata {
        match (&loaded.metadata[key], want) {
            (GgufValue::Array(got), GgufValue::Array(want)) => same(key, got, want),
            (got, want) => assert_eq!(format!("{got:?}"), format!("{want:?}"), "{key}"),
        }
    }
}

#[test]
fn reads_what_python_mlx_writes() {
    let loaded = io::load_gguf(golden("python.gguf")).unwrap();
    same_file(&loaded, &arrays(), &metadata());
}

/// For `golden/make_gguf.py check FOLDER`, which reads the file with Python MLX.
#[test]
#[ignore = "writes to the folder in MLX_IO_FOLDER"]
fn writes_gguf_for_python() {
    let folder = PathBuf::from(std::env::var("MLX_IO_FOLDER").unwrap());
    io::save_gguf(folder.join("rust.gguf"), &arrays(), &metadata()).unwrap();
}

#[test]
fn blocks_are_the_arrays_of_python_mlx() {
    let mut loaded = io::load_gguf(golden("blocks.gguf")).unwrap();
    let mut wanted = io::load_safetensors(golden("blocks.safetensors")).unwrap();
    assert_eq!(wanted.arrays.len(), 12);
    // Python MLX has every second group of Q4_K wrong: docs/upstream.md. `gguf_blocks.rs` has a reference for all.
    for arrays in [&mut loaded.arrays, &mut wanted.arrays] {
        let groups = arrays["q4_k.weight"].reshape([3, 8, 2, 32]);
        let first = groups.take(0, 2);
        arrays.insert("q4_k.weight".to_owned(), first);
    }
    same_file(&loaded, &wanted.arrays, &BTreeMap::new());
}

#[test]
fn packed_arrays_are_those_of_quantized_products() {
    let loaded = io::load_gguf(golden("blocks.gguf")).unwrap();
    let file = io::gguf::Gguf::open(golden("blocks.gguf")).unwrap();
    for (name, bits) in [("q4_0", 4), ("q4_1", 4), ("q8_0", 8)] {
        let part = |part: &str| loaded[&format!("{name}.{part}")].astype(Dtype::Float32);
        let packed = mlx::Quantized {
            weight: loaded[&format!("{name}.weight")].clone(),
            scales: part("scales"),
            biases: Some(part("biases")),
            quantization: mlx::Quantization {
                group_size: 32,
                bits,
                mode: mlx::QuantizationMode::Affine,
            },
        };
        let values = packed.dequantize(None).to_vec::<f32>().unwrap();
        let tensor = file.tensor(&format!("{name}.weight")).unwrap();
        for (got, want) in values.iter().zip(tensor.to_f32().unwrap()) {
            // Biases are rounded to `float16`, up to 12.8.
            assert!((got - want).abs() <= 0.004, "{name}: {got} {want}");
        }
    }
}

#[test]
fn what_is_saved_is_loaded() {
    needs!(Float64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.GGUF");
    let (mut arrays, mut metadata) = (arrays(), metadata());
    for dtype in [Dtype::Bfloat16, Dtype::Float64, Dtype::Int64] {
        let x = array!([1.5, -2.0]).astype(dtype);
        arrays.insert(dtype.name().to_owned(), x);
    }
    let doubles = array!([0.1, 0.2]).astype(Dtype::Float64);
    metadata.insert("doubles".to_owned(), doubles.into());
    metadata.insert("nothing".to_owned(), zeros([0]).into());
    for alignment in [None, Some(1_u32), Some(64), Some(4096)] {
        metadata.extend(alignment.map(|n| ("general.alignment".to_owned(), array!(n).into())));
        io::save_gguf(&path, &arrays, &metadata).unwrap();
        same_file(&io::load_gguf(&path).unwrap(), &arrays, &metadata);
    }
    let loaded = mlx::load(&path).unwrap();
    assert!(loaded.keys().eq(arrays.keys()));
    let text = BTreeMap::from([("general.name".to_owned(), "tiny ä".to_owned())]);
    assert_eq!(loaded.metadata, text);
    let loaded = io::load_from(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(loaded.metadata, text);
    same("turned", &loaded["turned"], &arrays["turned"]);
}

#[test]
fn elements_are_read_when_they_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    let zeros = |kind: GgmlType| vec![0; 2 * kind.block_bytes()];
    let file = GgufWriter::default()
        .floats("a", &[2], &[1.0, 2.0])
        .floats("b", &[2], &[3.0, 4.0])
        .tensor("p.weight", &[2, 32], GgmlType::Q4_0, zeros(GgmlType::Q4_0))
        .tensor("u", &[2, 256], GgmlType::Q6_K, zeros(GgmlType::Q6_K))
        .finish();
    fs::write(&path, &file).unwrap();
    let names = ["a", "b", "p.weight", "p.scales", "p.biases", "u"];
    let loaded = names.map(|name| io::load_gguf(&path).unwrap()[name].clone());
    // Tensors begin at 0, 32, 64 and 128, and the last one has 420 bytes.
    let data = file.len() - (128 + 420);
    let open = fs::OpenOptions::new().write(true).open(&path).unwrap();
    open.set_len(data as u64 + 8).unwrap();
    assert_eq!(loaded[0].to_vec::<f32>().unwrap(), [1.0, 2.0]);
    for (name, array) in names.iter().zip(&loaded).skip(1) {
        let text = array.eval().unwrap_err().to_string();
        let tensor = name.replace("scales", "weight").replace("biases", "weight");
        assert!(
            text.contains(&format!(
                "load_gguf: {}: {tensor}: the file has become shorter",
                path.display()
            )),
            "{text}"
        );
    }
}

#[test]
fn packed_tensors_of_other_names_and_shapes_have_parts_too() {
    let bytes: Vec<u8> = (0..34).collect();
    let file = GgufWriter::default()
        .tensor("x", &[32], GgmlType::Q8_0, bytes)
        .tensor("none.weight", &[0, 32], GgmlType::Q4_1, Vec::new())
        .tensor("none", &[2, 0], GgmlType::Q5_K, Vec::new())
        .finish();
    let loaded = io::load_from(&file[..]).unwrap();
    let shape = |name: &str| loaded[name].shape().unwrap();
    assert_eq!(shape("x"), [8]);
    assert_eq!(shape("x.scales"), [1]);
    assert_eq!(shape("x.biases"), [1]);
    assert_eq!(shape("none.weight"), [0, 4]);
    assert_eq!(shape("none.scales"), [0, 1]);
    assert_eq!(shape("none"), [2, 0]);
    eval(loaded.values()).unwrap();
    // Signed codes from 2 to 33 become 130 to 161.
    let words = loaded["x"].to_vec::<u32>().unwrap();
    assert_eq!(words[0], u32::from_le_bytes([130, 131, 132, 133]));
}

#[test]
fn says_what_it_cannot_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    let says = |text: &str, wanted: &str| {
        let named = text.starts_with(&format!("load_gguf: {}: ", path.display()));
        assert!(named && text.contains(wanted), "{text}");
    };
    says(
        &io::load_gguf(&path).unwrap_err().to_string(),
        "No such file",
    );
    let packed = || {
        let file = GgufWriter::default();
        file.tensor("x.weight", &[1, 32], GgmlType::Q4_0, vec![0; 18])
    };
    let level = [&4_u32.to_le_bytes()[..], &0_u64.to_le_bytes()].concat();
    for (file, wanted) in [
        (
            packed().floats("x.scales", &[1], &[0.0]).finish(),
            "x.scales: wanted one array of this name, got two",
        ),
        (
            packed().list("k", 9, 1, &level).finish(),
            "k: wanted a list of numbers or texts, got a list of lists",
        ),
        (b"GGML".to_vec(), "wanted a file that begins with"),
    ] {
        fs::write(&path, file).unwrap();
        says(&io::load_gguf(&path).unwrap_err().to_string(), wanted);
    }
    let text = mlx::load("x.ggml").unwrap_err().to_string();
    assert!(text.contains("npy, npz, safetensors or gguf"), "{text}");
    let text = io::load_from(&b"GGML"[..]).unwrap_err().to_string();
    assert!(text.contains("npy, npz, safetensors or gguf"), "{text}");
}

#[test]
fn refuses_to_write_an_alignment_that_is_none() {
    for value in [array!(24_u32).into(), array!(0).into(), "32".into()] {
        let metadata = BTreeMap::from([("general.alignment".to_owned(), value)]);
        let none: [(&str, &Array); 0] = [];
        let error = io::save_gguf_to(Vec::new(), none, &metadata).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("general.alignment: wanted a power of two, got "),
            "{text}"
        );
    }
}

/// Loads a file and computes what it gives.
fn load(path: &Path) -> mlx::Result<()> {
    eval(io::load_gguf(path)?.arrays.values())
}

/// Numbers from a seed, below `n`.
fn random(seed: u32) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |n| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % n
    }
}

#[rstest]
#[case("python.gguf")]
#[case("blocks.gguf")]
fn files_cut_short_are_errors_and_changed_ones_never_end_the_process(#[case] name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = (folder.path().join(name), fs::read(golden(name)).unwrap());
    load(&golden(name)).unwrap();
    // Python MLX pads behind the last tensor.
    for len in 0..bytes.len() - 32 {
        fs::write(&path, &bytes[..len]).unwrap();
        assert!(load(&path).is_err(), "{name} cut to {len} bytes");
    }
    let mut next = random(12345);
    for _ in 0..500 {
        let mut changed = bytes.clone();
        for _ in 0..=next(3) {
            let place = next(changed.len());
            changed[place] = next(256) as u8;
        }
        fs::write(&path, &changed).unwrap();
        let _ = load(&path);
    }
}

#[test]
fn random_bytes_never_end_the_process() {
    let mut next = random(99);
    for n in 0..300 {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        // Few tensors and metadata, so that some are read.
        for _ in 0..2 {
            file.extend((next(4) as u64).to_le_bytes());
        }
        // Small numbers are lengths and types more often than others.
        file.extend((0..n).map(|_| match next(3) {
            0 => next(256) as u8,
            1 => next(14) as u8,
            _ => 0,
        }));
        if let Ok(loaded) = io::load_from(&file[..]) {
            let _ = eval(loaded.values());
        }
    }
}

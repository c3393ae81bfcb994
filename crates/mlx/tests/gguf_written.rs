//! GGUF files that `mlx` writes, as they are read.

use std::collections::BTreeMap;

use mlx::io::gguf::Gguf;
use mlx::io::{GgufValue, save_gguf, save_gguf_to};
use mlx::{Array, Dtype, array};

fn arrays() -> BTreeMap<&'static str, Array> {
    let x = array!([[1.0, -2.5, 3.0], [4.0, 5.0, 6.5]]);
    BTreeMap::from([
        ("half", x.astype(Dtype::Float16)),
        ("brain", x.astype(Dtype::Bfloat16)),
        ("turned", x.t()),
        ("x", x),
        ("line", mlx::arange(5.0)),
    ])
}

#[test]
fn written_files_are_read_with_their_values() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.gguf");
    let arrays = arrays();
    let metadata: BTreeMap<String, GgufValue> = BTreeMap::from([
        ("general.name".to_owned(), "tiny".into()),
        ("tiny.layers".to_owned(), array!(7_u32).into()),
        ("tiny.scales".to_owned(), array!([0.5, 0.25]).into()),
        (
            "tiny.words".to_owned(),
            vec!["a".to_owned(), "bc".to_owned()].into(),
        ),
    ]);
    save_gguf(&path, &arrays, &metadata)?;
    let file = Gguf::open(&path)?;
    assert_eq!(file.tensors().count(), arrays.len());
    for (name, array) in &arrays {
        let read = file.tensor(name)?.to_array()?;
        assert_eq!(read.shape()?, array.shape()?, "{name}");
        let same = read
            .astype(Dtype::Float32)
            .array_equal(array.astype(Dtype::Float32));
        assert!(same.item::<bool>()?, "{name}");
    }
    let text = format!("{:?}", file.metadata);
    for part in ["tiny", "7", "0.25", "bc"] {
        assert!(text.contains(part), "{text}");
    }
    let mut bytes = Vec::new();
    save_gguf_to(&mut bytes, &arrays, &metadata)?;
    assert_eq!(bytes, std::fs::read(&path)?);
    Ok(())
}

#[test]
fn what_gguf_has_nothing_for_is_refused() {
    let says = |arrays: &[(&str, Array)], metadata: GgufValue, text: &str| {
        let metadata = BTreeMap::from([("key".to_owned(), metadata)]);
        let arrays = arrays.iter().map(|(name, array)| (*name, array));
        let error = save_gguf_to(Vec::new(), arrays, &metadata)
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    };
    let one = || array!(1.0);
    says(
        &[("x", array!([true]))],
        "".into(),
        "x: GGUF has no arrays of bool",
    );
    says(
        &[("x", one()), ("x", one())],
        "".into(),
        "wanted different names",
    );
    says(
        &[],
        array!([[1.0]]).into(),
        "key: wanted metadata of one axis at most, got [1, 1]",
    );
    says(
        &[],
        one().astype(Dtype::Float16).into(),
        "key: GGUF has no values of float16",
    );
}

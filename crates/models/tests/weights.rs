//! Are weight files read rightly, and corrupt ones refused?

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use mlx_models::Result;
use mlx_models::weights::{Dtype, Format, Source, Weights, read_ct2, read_safetensors};
use mlx_models::whisper::{Config, whisper_names};
use mlx_testdata::{assets, if_available};
use rstest::rstest;

mod support;

/// Writes the CTranslate2 format.
#[derive(Default)]
struct Ct2Writer {
    variables: Vec<(String, Vec<u32>, u8, Vec<u8>)>,
    aliases: Vec<(String, String)>,
}

impl Ct2Writer {
    fn add(&mut self, name: &str, shape: &[u32], dtype: u8, bytes: Vec<u8>) -> &mut Self {
        self.variables
            .push((name.to_string(), shape.to_vec(), dtype, bytes));
        self
    }

    fn floats(&mut self, name: &str, shape: &[u32], values: &[f32]) -> &mut Self {
        self.add(
            name,
            shape,
            0,
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        )
    }

    fn finish(&self, version: u32) -> Vec<u8> {
        let string = |text: &str| {
            let mut bytes = (text.len() as u16 + 1).to_le_bytes().to_vec();
            bytes.extend(text.as_bytes());
            bytes.push(0);
            bytes
        };
        let mut file = version.to_le_bytes().to_vec();
        if version >= 2 {
            file.extend(string("WhisperSpec"));
            file.extend(3_u32.to_le_bytes());
        }
        file.extend((self.variables.len() as u32).to_le_bytes());
        for (name, shape, dtype, bytes) in &self.variables {
            file.extend(string(name));
            file.push(shape.len() as u8);
            shape.iter().for_each(|dim| file.extend(dim.to_le_bytes()));
            let size = [4, 1, 2, 4, 2, 2][usize::from(*dtype)];
            file.push(if version >= 4 { *dtype } else { size });
            let n = if version >= 4 {
                bytes.len()
            } else {
                bytes.len() / usize::from(size)
            };
            file.extend((n as u32).to_le_bytes());
            file.extend(bytes);
        }
        if version >= 3 {
            file.extend((self.aliases.len() as u32).to_le_bytes());
            for (alias, name) in &self.aliases {
                file.extend(string(alias));
                file.extend(string(name));
            }
        }
        file
    }
}

fn parse(bytes: Vec<u8>) -> Result<Weights> {
    read_ct2(Arc::new(Source::from_bytes(bytes)))
}

/// One variable of each type, a quantised weight, and aliases of both.
fn sample() -> Ct2Writer {
    let mut writer = Ct2Writer::default();
    writer.floats("a", &[2, 2], &[1.0, -2.0, 3.5, 0.0]);
    writer.add(
        "b",
        &[2],
        4,
        [1.5_f32, -0.25]
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
    );
    writer.add("c", &[2], 5, vec![0x80, 0x3f, 0x00, 0xc0]);
    writer.add("q/weight", &[2, 3], 1, vec![127, 0, 129, 64, 1, 255]);
    writer.floats("q/weight_scale", &[2], &[127.0, 2.0]);
    writer.add(
        "s/weight",
        &[2],
        2,
        [100_i16, -50]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect(),
    );
    writer.floats("s/weight_scale", &[], &[10.0]);
    writer.add("n", &[], 2, 6_i16.to_le_bytes().to_vec());
    writer.add("i", &[], 3, (-7_i32).to_le_bytes().to_vec());
    writer.aliases.push(("q2/weight".into(), "q/weight".into()));
    writer
        .aliases
        .push(("q2/weight_scale".into(), "q/weight_scale".into()));
    writer
}

#[test]
fn reads_every_type_of_ctranslate2() {
    let weights = parse(sample().finish(6)).unwrap();
    let values = |name: &str| weights.get(name).unwrap().to_f32().unwrap();
    assert_eq!(values("a"), [1.0, -2.0, 3.5, 0.0]);
    assert_eq!(values("b"), [1.5, -0.25]);
    assert_eq!(values("c"), [1.0, -2.0]);
    assert_eq!(values("q/weight"), [1.0, 0.0, -1.0, 32.0, 0.5, -0.5]);
    assert_eq!(values("q2/weight"), values("q/weight"));
    assert_eq!(values("s/weight"), [10.0, -5.0]);
    assert_eq!(weights.get("n").unwrap().to_integer().unwrap(), 6);
    assert_eq!(weights.get("i").unwrap().to_integer().unwrap(), -7);
    assert_eq!(weights.len(), 8);
    assert!(!weights.contains("q/weight_scale"));
    let Format::Ct2(header) = &weights.format else {
        panic!("wanted CTranslate2")
    };
    assert_eq!(
        (header.version, header.spec.as_str(), header.revision),
        (6, "WhisperSpec", 3)
    );
}

#[rstest]
#[case(1)]
#[case(2)]
#[case(3)]
#[case(4)]
#[case(5)]
fn reads_older_versions(#[case] version: u32) {
    let mut writer = Ct2Writer::default();
    writer
        .floats("a", &[2], &[1.0, 2.0])
        .add("q", &[2], 1, vec![1, 2]);
    let weights = parse(writer.finish(version)).unwrap();
    assert_eq!(weights.get("a").unwrap().to_f32().unwrap(), [1.0, 2.0]);
    assert_eq!(weights.get("q").unwrap().dtype, Dtype::I8);
}

#[test]
fn rows_of_a_quantised_weight_keep_their_scales() {
    let weights = parse(sample().finish(6)).unwrap();
    let row = weights
        .get("q/weight")
        .unwrap()
        .rows("second", 1, 2)
        .unwrap();
    assert_eq!(
        (row.name.as_str(), row.shape.as_slice()),
        ("second", &[1, 3][..])
    );
    assert_eq!(row.to_f32().unwrap(), [32.0, 0.5, -0.5]);
    let text = row.rows("third", 1, 3).unwrap_err().to_string();
    assert_eq!(text, "weights: second: wanted rows 1..3, got [1, 3]");
}

#[rstest]
#[case::empty(vec![], "weights: version: wanted 4 bytes at 0, got the end of the file at 0")]
#[case::too_new(7_u32.to_le_bytes().to_vec(), "weights: model.bin version: wanted 1 to 6, got 7")]
#[case::only_a_version(6_u32.to_le_bytes().to_vec(), "weights: specification: wanted 2 bytes at 4")]
#[case::an_unknown_type(Ct2Writer::default().add("a", &[1], 0, vec![0; 4]).finish(6).iter().enumerate().map(|(i, &b)| if i == 35 { 9 } else { b }).collect(), "weights: a: wanted a type from 0 to 5, got 9")]
#[case::a_huge_shape(Ct2Writer::default().add("a", &[u32::MAX, u32::MAX, u32::MAX], 0, vec![0; 4]).finish(6), "weights: a: wanted F32 [4294967295, 4294967295, 4294967295] at byte")]
#[case::a_shape_unlike_the_size(Ct2Writer::default().add("a", &[2], 0, vec![0; 4]).finish(6), "weights: a: wanted 8 bytes for F32 [2], got 4")]
#[case::two_of_a_name(Ct2Writer::default().floats("a", &[1], &[0.0]).floats("a", &[1], &[0.0]).finish(6), "weights: a: wanted one variable of this name, got two")]
fn refuses(#[case] file: Vec<u8>, #[case] message: &str) {
    let text = parse(file).unwrap_err().to_string();
    assert!(text.starts_with(message), "{text}");
}

#[test]
fn every_truncation_is_an_error() {
    let file = sample().finish(6);
    for length in 0..file.len() {
        assert!(
            parse(file[..length].to_vec()).is_err(),
            "cut to {length} bytes"
        );
    }
}

#[test]
fn damaged_files_never_panic_or_allocate_what_they_claim() {
    let file = sample().finish(6);
    for at in 0..file.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[at] = value;
            if let Ok(weights) = parse(damaged) {
                for tensor in weights.iter() {
                    let _ = (tensor.to_f32(), tensor.to_integer(), tensor.rows("x", 0, 1));
                }
                let _ = whisper_names(&weights);
            }
        }
    }
}

/// A safetensors file of one tensor per entry.
fn safetensors(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let mut header = Vec::new();
    let mut data = Vec::new();
    for (name, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.push(format!(
            "\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{start},{}]}}",
            values.len(),
            data.len()
        ));
    }
    let header = format!("{{{}}}", header.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

#[test]
fn reads_safetensors_and_survives_damage() {
    let file = safetensors(&[("x", &[1.0, 2.0]), ("y", &[3.0])]);
    let read = |bytes: Vec<u8>| read_safetensors(Arc::new(Source::from_bytes(bytes)));
    let weights = read(file.clone()).unwrap();
    assert_eq!(weights.get("x").unwrap().to_f32().unwrap(), [1.0, 2.0]);
    assert_eq!(weights.get("y").unwrap().to_f32().unwrap(), [3.0]);
    assert_eq!(
        weights.get("z").unwrap_err().to_string(),
        "weights: z: wanted a tensor, got none"
    );
    for length in 0..file.len() {
        assert!(
            read(file[..length].to_vec()).is_err(),
            "cut to {length} bytes"
        );
    }
    for at in 0..file.len() {
        for value in [0, 0x22, 0x39, 0xff] {
            let mut damaged = file.clone();
            damaged[at] = value;
            if let Ok(weights) = read(damaged) {
                weights.iter().for_each(|tensor| drop(tensor.to_f32()));
            }
        }
    }
}

#[test]
fn reads_the_shards_of_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("one.safetensors", &safetensors(&[("x", &[1.0])]));
    write("two.safetensors", &safetensors(&[("y", &[2.0])]));
    write(
        "model.safetensors.index.json",
        br#"{"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}"#,
    );
    let weights = Weights::open(folder.path()).unwrap();
    assert_eq!(
        weights
            .iter()
            .map(|tensor| tensor.name.as_str())
            .collect::<Vec<_>>(),
        ["x", "y"]
    );

    write(
        "model.safetensors.index.json",
        br#"{"weight_map": {"z": "one.safetensors"}}"#,
    );
    let text = Weights::open(folder.path()).unwrap_err().to_string();
    assert_eq!(text, "weights: z: wanted it in one.safetensors, got none");

    write(
        "model.safetensors.index.json",
        br#"{"weight_map": {"z": "../one.safetensors"}}"#,
    );
    let text = Weights::open(folder.path()).unwrap_err().to_string();
    assert_eq!(
        text,
        "weights: index: wanted the name of a file, got \"../one.safetensors\""
    );
}

/// As MLX's tools do where there is no index.
#[test]
fn reads_shards_without_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write(
        "model-00001-of-00002.safetensors",
        &safetensors(&[("x", &[1.0])]),
    );
    write(
        "model-00002-of-00002.safetensors",
        &safetensors(&[("y", &[2.0])]),
    );
    write("other.safetensors", b"");
    let weights = Weights::open(folder.path()).unwrap();
    let names: Vec<&str> = weights.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["x", "y"]);
    write("model-00003.safetensors", &safetensors(&[("x", &[3.0])]));
    let text = Weights::open(folder.path()).unwrap_err().to_string();
    assert!(
        text.contains("x: wanted it in one shard, got it in two"),
        "{text}"
    );
}

#[test]
fn a_folder_without_weights_lists_what_was_looked_for() {
    let text = Weights::open(Path::new("no/such")).unwrap_err().to_string();
    assert!(
        text.contains("wanted model.safetensors, model.safetensors.index.json or model.bin"),
        "{text}"
    );
}

#[test]
fn a_file_that_shrinks_after_opening_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    std::fs::write(&path, sample().finish(6)).unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert!(weights.get("a").unwrap().to_f32().is_err());
}

#[test]
fn joined_projections_are_split_and_the_zero_bias_left_out() {
    let mut writer = Ct2Writer::default();
    writer.floats(
        "encoder/layer_0/self_attention/linear_0/weight",
        &[6, 1],
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    );
    writer.floats(
        "encoder/layer_0/self_attention/linear_0/bias",
        &[6],
        &[1.0, 2.0, 0.0, 0.0, 5.0, 6.0],
    );
    writer.floats(
        "decoder/layer_11/attention/linear_1/weight",
        &[4, 1],
        &[1.0, 2.0, 3.0, 4.0],
    );
    writer.floats("decoder/layer_11/ffn/layer_norm/gamma", &[1], &[9.0]);
    writer.add("encoder/num_heads", &[], 2, vec![6, 0]);
    writer.aliases.push((
        "decoder/projection/weight".into(),
        "decoder/layer_11/attention/linear_1/weight".into(),
    ));
    let named = whisper_names(&parse(writer.finish(6)).unwrap()).unwrap();
    let got: HashMap<&str, Vec<f32>> = named
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.to_f32().unwrap()))
        .collect();
    let wanted = [
        (
            "model.encoder.layers.0.self_attn.q_proj.weight",
            vec![1.0, 2.0],
        ),
        (
            "model.encoder.layers.0.self_attn.k_proj.weight",
            vec![3.0, 4.0],
        ),
        (
            "model.encoder.layers.0.self_attn.v_proj.weight",
            vec![5.0, 6.0],
        ),
        (
            "model.encoder.layers.0.self_attn.q_proj.bias",
            vec![1.0, 2.0],
        ),
        (
            "model.encoder.layers.0.self_attn.v_proj.bias",
            vec![5.0, 6.0],
        ),
        (
            "model.decoder.layers.11.encoder_attn.k_proj.weight",
            vec![1.0, 2.0],
        ),
        (
            "model.decoder.layers.11.encoder_attn.v_proj.weight",
            vec![3.0, 4.0],
        ),
        ("model.decoder.layers.11.final_layer_norm.weight", vec![9.0]),
    ];
    assert_eq!(got, HashMap::from(wanted));
}

#[rstest]
#[case::another_layer("encoder/layer_0/self_attention/linear_9/weight", &[2], "wanted a variable of Whisper, got another")]
#[case::no_slash("weight", &[2], "wanted a variable of Whisper, got another")]
#[case::unequal_parts("decoder/layer_0/self_attention/linear_0/weight", &[2], "wanted 3 equal parts, got [2]")]
fn refuses_variables_that_whisper_lacks(
    #[case] name: &str,
    #[case] shape: &[u32],
    #[case] message: &str,
) {
    let file = Ct2Writer::default()
        .floats(name, shape, &[1.0, 2.0])
        .finish(6);
    let text = whisper_names(&parse(file).unwrap())
        .unwrap_err()
        .to_string();
    assert_eq!(text, format!("weights: {name}: {message}"));
}

#[test]
fn tiny_en_opens_with_the_names_and_shapes_of_hugging_face() {
    let Some(folder) = if_available(assets::whisper_tiny_en()) else {
        return;
    };
    let stored = Weights::open(&folder).unwrap();
    let weights = whisper_names(&stored).unwrap();
    assert_eq!(weights.len(), 167);
    assert_eq!(
        Config::from_weights(&weights).unwrap(),
        Config::named("tiny.en").unwrap()
    );
    let shape = |name: &str| weights.get(name).unwrap().shape.clone();
    assert_eq!(shape("model.encoder.conv1.weight"), [384, 80, 3]);
    assert_eq!(
        shape("model.decoder.layers.3.encoder_attn.v_proj.weight"),
        [384, 384]
    );
    assert_eq!(shape("model.decoder.embed_tokens.weight"), [51864, 384]);
    // Split rows are the joined ones, in order.
    let joined = stored
        .get("encoder/layer_2/self_attention/linear_0/weight")
        .unwrap()
        .to_f32()
        .unwrap();
    let split: Vec<f32> = ["q", "k", "v"]
        .iter()
        .flat_map(|p| {
            weights
                .get(&format!("model.encoder.layers.2.self_attn.{p}_proj.weight"))
                .unwrap()
                .to_f32()
                .unwrap()
        })
        .collect();
    assert_eq!(split, joined);
}

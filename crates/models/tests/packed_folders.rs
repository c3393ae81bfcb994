//! Folders that MLX's tools packed in more ways than one, and folders with tensors of types that nothing here reads.

#[path = "support/llama_reference.rs"]
mod reference;

use std::path::Path;

use mlx::{Array, Dtype, Quantization, QuantizationMode};
use mlx_compiler::CompileOptions;
use mlx_models::llama::{Checkpoint, Network, NetworkOptions};
use mlx_models::weights::{Dtype as Stored, Weights};
use mlx_nn::{Activations, FastOps};
use mlx_testdata::needs;
use reference::{Random, Shape, llama};
use rstest::rstest;

type Tensor = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

fn tensor(name: &str, array: &Array) -> Tensor {
    let shape = array.shape().unwrap().iter().map(|&n| n as usize).collect();
    let (dtype, bytes) = match array.dtype().unwrap() {
        Dtype::Uint32 => {
            let values = array.to_vec::<u32>().unwrap();
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (safetensors::Dtype::U32, bytes)
        }
        Dtype::Uint8 => (safetensors::Dtype::U8, array.to_vec::<u8>().unwrap()),
        _ => {
            let values = array.to_vec::<f32>().unwrap();
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (safetensors::Dtype::F32, bytes)
        }
    };
    (name.to_owned(), dtype, shape, bytes)
}

fn save(folder: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

fn way(mode: QuantizationMode, group_size: i32, bits: i32) -> Quantization {
    Quantization {
        group_size,
        bits,
        mode,
    }
}

/// Quantizes matrices; returns the contents of a file, and the weights that they decode to.
fn pack(weights: &Random, how: impl Fn(&str) -> Option<Quantization>) -> (Vec<Tensor>, Random) {
    let (mut tensors, mut stands_for) = (Vec::new(), weights.clone());
    for (name, (sizes, values)) in weights {
        let sizes: Vec<i32> = sizes.iter().map(|&size| size as i32).collect();
        let array = Array::from_slice(values, sizes.clone()).unwrap();
        let stem = name.strip_suffix(".weight").unwrap();
        let Some(way) = how(stem).filter(|_| sizes.len() == 2) else {
            tensors.push(tensor(name, &array));
            continue;
        };
        let packed = array.quantize(way).unwrap();
        let unpacked = packed.dequantize(Dtype::Float32).to_vec::<f32>().unwrap();
        stands_for.get_mut(name).unwrap().1 = unpacked;
        tensors.push(tensor(name, &packed.weight));
        tensors.push(tensor(&format!("{stem}.scales"), &packed.scales));
        if let Some(biases) = &packed.biases {
            tensors.push(tensor(&format!("{stem}.biases"), biases));
        }
    }
    (tensors, stands_for)
}

const TOKENS: [usize; 3] = [1, 7, 3];

fn scores(folder: &Path, unpacked: bool) -> mlx_models::Result<Vec<f32>> {
    let checkpoint = Checkpoint::open(folder)?;
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        unpacked,
        ..NetworkOptions::default()
    };
    let network = Network::new(&checkpoint, &options)?;
    let tokens = Array::from_slice(&TOKENS.map(|token| token as u32), [1, 3]).unwrap();
    let scores = network
        .next_token_logits(&tokens, network.new_kv_cache(1, 4), 0)
        .unwrap()
        .0;
    Ok(scores.to_vec::<f32>().unwrap())
}

fn same_as_reference(folder: &Path, shape: &Shape, weights: &Random) {
    let wanted = shape.forward(weights, &TOKENS, &shape.radians());
    for unpacked in [false, true] {
        let got = scores(folder, unpacked).unwrap();
        for (got, wanted) in got.iter().zip(&wanted[2]) {
            assert!(
                (f64::from(*got) - wanted).abs() < 1e-3,
                "{got}, wanted {wanted}"
            );
        }
    }
}

/// As mlx-lm writes them: the way of all, and by the path of a module another one, whole, in part, or none.
#[rstest]
#[case::quantization("quantization")]
#[case::config("quantization_config")]
fn single_modules_are_packed_in_other_ways(#[case] key: &str) {
    let affine = QuantizationMode::Affine;
    let extra = r#", "KEY": {"group_size": 32, "bits": 4, "mode": "affine",
        "model.layers.0.self_attn.q_proj": {"group_size": 32, "bits": 8},
        "model.layers.1.mlp.down_proj": {"bits": 3},
        "model.layers.1.mlp.up_proj": {"mode": "mxfp4"},
        "model.layers.0.mlp.up_proj": {"mode": "nvfp4"},
        "model.layers.0.mlp.gate_proj": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
        "model.embed_tokens": {"group_size": 32, "bits": 6, "mode": "affine"},
        "model.layers.1.self_attn.k_proj": true,
        "lm_head": false}"#;
    let shape = Shape {
        extra: extra.replace("KEY", key).leak(),
        ..llama()
    };
    let (tensors, stands_for) = pack(&shape.weights(4), |module| match module {
        "model.layers.0.self_attn.q_proj" => Some(way(affine, 32, 8)),
        "model.layers.1.mlp.down_proj" => Some(way(affine, 64, 3)),
        "model.layers.1.mlp.up_proj" => Some(way(QuantizationMode::Mxfp4, 32, 4)),
        "model.layers.0.mlp.up_proj" => Some(way(QuantizationMode::Nvfp4, 16, 4)),
        "model.layers.0.mlp.gate_proj" => Some(way(QuantizationMode::Mxfp8, 32, 8)),
        "model.embed_tokens" => Some(way(affine, 32, 6)),
        "lm_head" => None,
        _ => Some(way(affine, 32, 4)),
    });
    let folder = tempfile::tempdir().unwrap();
    shape.save(&Random::new(), folder.path());
    save(folder.path(), &tensors);
    same_as_reference(folder.path(), &shape, &stands_for);
    // Weights in memory that threads share are the same.
    let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
    checkpoint.weights = checkpoint.weights.share(Dtype::Float32).unwrap();
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        ..NetworkOptions::default()
    };
    let network = Network::new(&checkpoint, &options).unwrap();
    let tokens = Array::from_slice(&TOKENS.map(|token| token as u32), [1, 3]).unwrap();
    let shared = network
        .next_token_logits(&tokens, network.new_kv_cache(1, 4), 0)
        .unwrap()
        .0;
    let shared = shared.to_vec::<f32>().unwrap();
    let own = scores(folder.path(), false).unwrap();
    assert!(shared.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[rstest]
#[case::four_bits(false, Some((QuantizationMode::Affine, 4)), None)]
#[case::six_bits(
    false,
    Some((QuantizationMode::Affine, 6)),
    Some("weights: model.layers.0.self_attn.q_proj: activations int8: wanted affine weights of 4 or 8 bits, got Affine with 6")
)]
#[case::mxfp4(false, Some((QuantizationMode::Mxfp4, 4)), Some("got Mxfp4 with 4"))]
#[case::plain(
    false,
    None,
    Some("config: activations int8: wanted quantized matrices, got plain ones")
)]
#[case::unpacked(true, Some((QuantizationMode::Affine, 4)), Some("got plain ones"))]
fn activations_are_rounded_for_matrices_of_4_or_8_bits(
    #[case] unpacked: bool,
    #[case] packing: Option<(QuantizationMode, i32)>,
    #[case] refused: Option<&str>,
) {
    needs!(CpuKernels);
    let extra = packing.map_or(String::new(), |(mode, bits)| {
        let mode = format!("{mode:?}").to_lowercase();
        format!(r#", "quantization": {{"group_size": 32, "bits": {bits}, "mode": "{mode}"}}"#)
    });
    let shape = Shape {
        extra: extra.leak(),
        ..llama()
    };
    let (tensors, _) = pack(&shape.weights(4), |_| {
        packing.map(|(mode, bits)| way(mode, 32, bits))
    });
    let folder = tempfile::tempdir().unwrap();
    shape.save(&Random::new(), folder.path());
    save(folder.path(), &tensors);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let options = NetworkOptions {
        dtype: Some(Dtype::Float32),
        unpacked,
        activations: Activations::Int8,
        ..NetworkOptions::default()
    };
    let network = match (Network::new(&checkpoint, &options), refused) {
        (Ok(network), None) => network,
        (Err(error), Some(says)) => {
            assert!(error.to_string().contains(says), "{error}");
            return;
        }
        (result, _) => panic!("{:?}, wanted {refused:?}", result.err()),
    };
    let tokens = Array::from_slice(&TOKENS.map(|token| token as u32), [1, 3]).unwrap();
    let logits = |network: &Network| {
        let cache = network.new_kv_cache(1, 4);
        let (logits, _) = network.next_token_logits(&tokens, cache, 0).unwrap();
        logits.to_vec::<f32>().unwrap()
    };
    let most = |a: &[f32], b: &[f32]| {
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        off.fold(0.0, f32::max)
    };
    let (exact, rounded) = (scores(folder.path(), false).unwrap(), logits(&network));
    let size = most(&exact, &vec![0.0; exact.len()]);
    let off = most(&exact, &rounded);
    assert!(off > 0.0 && off < 0.05 * size, "{off} of {size}");
    // Composed formulas do not round, and compiled networks do.
    assert!(most(&exact, &logits(&network.with_kernels(FastOps::Composed))) < 1e-4 * size);
    let compiled = network.compiled(CompileOptions::default());
    assert!(most(&rounded, &logits(&compiled)) < 0.01 * size);
}

/// Methods of other tools have their weights elsewhere: a folder that only names one is read as it is.
#[rstest]
#[case(r#", "quantization_config": {"quant_method": "bitsandbytes", "bits": 4, "group_size": 64}"#)]
#[case(r#", "quantization": null"#)]
fn folders_that_are_not_packed_by_mlx(#[case] extra: &'static str) {
    let shape = Shape { extra, ..llama() };
    let weights = shape.weights(3);
    let folder = tempfile::tempdir().unwrap();
    shape.save(&weights, folder.path());
    same_as_reference(folder.path(), &shape, &weights);
}

#[rstest]
#[case(
    r#", "quantization": {"group_size": 32}"#,
    "quantization: wanted group_size, bits"
)]
#[case(r#", "quantization": 4"#, "quantization: wanted group_size, bits")]
#[case(
    r#", "quantization": {"group_size": 32, "bits": 4, "mode": "odd"}"#,
    "got {"
)]
#[case(
    r#", "quantization": {"group_size": 32, "bits": 4, "lm_head": {"bits": 0}}"#,
    "lm_head: wanted group_size, bits"
)]
#[case(
    r#", "quantization": {"group_size": 32, "bits": 4, "lm_head": {"group_size": "x"}}"#,
    "lm_head: wanted"
)]
fn says_which_way_of_packing_is_wrong(#[case] extra: &'static str, #[case] says: &str) {
    let shape = Shape { extra, ..llama() };
    let folder = tempfile::tempdir().unwrap();
    shape.save(&shape.weights(3), folder.path());
    let text = Checkpoint::open(folder.path()).err().unwrap().to_string();
    assert!(text.contains(says), "{text}");
}

fn plain(weights: &Random) -> Vec<Tensor> {
    pack(weights, |_| None).0
}

fn with_types() -> (Shape, Random, tempfile::TempDir, Vec<Tensor>) {
    let shape = llama();
    let weights = shape.weights(3);
    let folder = tempfile::tempdir().unwrap();
    shape.save(&Random::new(), folder.path());
    let tensors = plain(&weights);
    (shape, weights, folder, tensors)
}

#[rstest]
#[case(safetensors::Dtype::F8_E4M3, 1)]
#[case(safetensors::Dtype::F8_E5M2, 1)]
#[case(safetensors::Dtype::F8_E8M0, 1)]
#[case(safetensors::Dtype::F64, 8)]
#[case(safetensors::Dtype::C64, 8)]
#[case(safetensors::Dtype::U64, 8)]
#[case(safetensors::Dtype::U16, 2)]
fn a_tensor_that_is_not_used_refuses_no_folder(
    #[case] dtype: safetensors::Dtype,
    #[case] bytes: usize,
) {
    let (shape, weights, folder, mut tensors) = with_types();
    let name = String::from("model.layers.0.self_attn.rotary_emb.inv_freq");
    tensors.push((name, dtype, vec![4], vec![1; 4 * bytes]));
    tensors.push((
        String::from("other.table"),
        dtype,
        vec![2, 3],
        vec![1; 6 * bytes],
    ));
    save(folder.path(), &tensors);
    let opened = Weights::open(folder.path()).unwrap();
    assert_eq!(opened.get("other.table").unwrap().shape, [2, 3]);
    if dtype != safetensors::Dtype::F64 {
        let name = match opened.get("other.table").unwrap().dtype {
            Stored::Other(name) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name, format!("{dtype:?}"));
        let table = opened.get("other.table").unwrap();
        for text in [
            table.to_f32().err().unwrap().to_string(),
            table.bytes().err().unwrap().to_string(),
            table.to_array().err().unwrap().to_string(),
            table
                .rows("row", 0, 1)
                .unwrap()
                .to_f32()
                .err()
                .unwrap()
                .to_string(),
        ] {
            assert!(
                text.contains("wanted f64, f32, f16, bf16 or an integer, got"),
                "{text}"
            );
        }
    }
    same_as_reference(folder.path(), &shape, &weights);
}

#[test]
fn doubles_are_read_and_8_bit_floats_are_refused_where_they_are_used() {
    let (shape, weights, folder, tensors) = with_types();
    let name = "model.layers.1.input_layernorm.weight";
    let other = |dtype, bytes: Vec<u8>| {
        let mut tensors = tensors.clone();
        let tensor = tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
        (tensor.1, tensor.3) = (dtype, bytes);
        save(folder.path(), &tensors);
    };
    let doubles: Vec<f64> = weights[name].1.iter().map(|&value| value.into()).collect();
    let bytes = doubles
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    other(safetensors::Dtype::F64, bytes);
    same_as_reference(folder.path(), &shape, &weights);
    other(safetensors::Dtype::F8_E4M3, vec![1; 32]);
    let text = scores(folder.path(), false).unwrap_err().to_string();
    let wanted = format!("weights: {name}: wanted f64, f32, f16, bf16 or an integer, got F8_E4M3");
    assert_eq!(text, wanted);
}

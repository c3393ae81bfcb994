//! Sentence encoders of random numbers: every step that sentence-transformers' files name is done, or refused by name.
//!
//! What is wanted is worked out in plain loops over `f64` from the vectors of single tokens, as
//! sentence-transformers 5 does it.

use std::path::Path;

use mlx::{Array, Dtype};
use mlx_models::bert::SentenceEncoder;
use rstest::rstest;

const HIDDEN: usize = 8;
const SENTENCES: [&str; 3] = ["a b c", "B", "c a a b b c a"];

/// Numbers between -0.5 and 0.5.
fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    }
}

type Tensor = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

fn floats(name: &str, shape: &[usize], mut next: impl FnMut() -> f32) -> Tensor {
    let n = shape.iter().product();
    let bytes = (0..n).flat_map(|_| next().to_le_bytes()).collect();
    (
        name.to_owned(),
        safetensors::Dtype::F32,
        shape.to_vec(),
        bytes,
    )
}

fn save(folder: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    std::fs::write(
        folder.join("model.safetensors"),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// An encoder with one layer; names of weights begin with `prefix`.
fn encoder(folder: &Path, model_type: &str, prefix: &str) {
    let config = format!(
        r#"{{"model_type": "{model_type}", "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
        "num_hidden_layers": 1, "max_position_embeddings": 12, "type_vocab_size": 2, "vocab_size": 8,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 1}}"#
    );
    write(folder, "config.json", &config);
    let tokenizer = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "model": {"type": "WordLevel", "unk_token": "[UNK]",
            "vocab": {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "c": 6, "q": 7}}}"#;
    write(folder, "tokenizer.json", tokenizer);
    let mut next = random(5);
    let mut tensors = Vec::new();
    let mut add = |name: &str, shape: &[usize]| {
        tensors.push(floats(&format!("{prefix}{name}"), shape, &mut next));
    };
    add("embeddings.word_embeddings.weight", &[8, 8]);
    add("embeddings.position_embeddings.weight", &[12, 8]);
    add("embeddings.token_type_embeddings.weight", &[2, 8]);
    let layer = "encoder.layer.0";
    for norm in [
        "embeddings.LayerNorm".into(),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.output.LayerNorm"),
    ] {
        add(&format!("{norm}.weight"), &[8]);
        add(&format!("{norm}.bias"), &[8]);
    }
    for name in [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    ] {
        add(&format!("{layer}.{name}.weight"), &[8, 8]);
        add(&format!("{layer}.{name}.bias"), &[8]);
    }
    add(&format!("{layer}.intermediate.dense.weight"), &[16, 8]);
    add(&format!("{layer}.intermediate.dense.bias"), &[16]);
    add(&format!("{layer}.output.dense.weight"), &[8, 16]);
    add(&format!("{layer}.output.dense.bias"), &[8]);
    // Not used: a head for other work, and a type that nothing reads.
    add("pooler.dense.weight", &[8, 8]);
    tensors.push((
        String::from("embeddings.position_ids"),
        safetensors::Dtype::I64,
        vec![1, 12],
        vec![0; 96],
    ));
    tensors.push((
        String::from("scale"),
        safetensors::Dtype::F8_E4M3,
        vec![4],
        vec![1; 4],
    ));
    save(folder, &tensors);
}

const TRANSFORMER: &str =
    r#"{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}"#;
const POOLING: &str = r#"{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}"#;
const NORMALIZE: &str = r#"{"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}"#;
const DENSE: &str =
    r#"{"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}"#;

fn modules(folder: &Path, list: &[&str], pooling: &str) {
    write(folder, "modules.json", &format!("[{}]", list.join(", ")));
    write(folder, "1_Pooling/config.json", pooling);
}

/// The vectors of a sentence's tokens, by the encoder alone.
fn hidden(encoder: &SentenceEncoder, sentence: &str) -> Vec<Vec<f64>> {
    let tokens = encoder.tokens(sentence).unwrap();
    let shape = [1, tokens.len() as i32];
    let visible = Array::from_slice(&vec![true; tokens.len()], shape).unwrap();
    let tokens = Array::from_slice(&tokens, shape).unwrap();
    let hidden = encoder
        .network()
        .forward(&tokens, &visible)
        .astype(Dtype::Float32);
    let hidden = hidden.to_vec::<f32>().unwrap();
    let row = |row: &[f32]| row.iter().map(|&value| value.into()).collect();
    hidden.chunks_exact(HIDDEN).map(row).collect()
}

fn pooled(mode: &str, rows: &[Vec<f64>]) -> Vec<f64> {
    let n = rows.len() as f64;
    let feature = |i: usize| {
        let column = rows.iter().map(|row| row[i]);
        let weights: f64 = (1..=rows.len()).map(|at| at as f64).sum();
        match mode {
            "cls" => rows[0][i],
            "max" => column.fold(f64::NEG_INFINITY, f64::max),
            "mean" => column.sum::<f64>() / n,
            "mean_sqrt_len_tokens" => column.sum::<f64>() / n.sqrt(),
            "weightedmean" => {
                column
                    .zip(1..)
                    .map(|(v, at)| v * f64::from(at))
                    .sum::<f64>()
                    / weights
            }
            _ => rows[rows.len() - 1][i],
        }
    };
    (0..HIDDEN).map(feature).collect()
}

fn unit(vector: &[f64]) -> Vec<f64> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.iter().map(|value| value / length).collect()
}

fn same(encoder: &SentenceEncoder, wanted: impl Fn(&[Vec<f64>]) -> Vec<f64>) {
    let all = encoder.embed(&SENTENCES).unwrap().to_vec::<f32>().unwrap();
    let dims = all.len() / SENTENCES.len();
    for (sentence, got) in SENTENCES.iter().zip(all.chunks_exact(dims)) {
        let wanted = wanted(&hidden(encoder, sentence));
        assert_eq!(wanted.len(), dims);
        for (got, wanted) in got.iter().zip(&wanted) {
            assert!(
                (f64::from(*got) - wanted).abs() < 1e-4,
                "{sentence}: {got}, wanted {wanted}"
            );
        }
    }
}

#[rstest]
#[case::old_cls(r#"{"word_embedding_dimension": 8, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#, &["cls"])]
#[case::old_mean(r#"{"pooling_mode_mean_tokens": true}"#, &["mean"])]
#[case::old_max(r#"{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}"#, &["max"])]
#[case::old_last(r#"{"pooling_mode_lasttoken": true}"#, &["lasttoken"])]
#[case::old_sqrt(r#"{"pooling_mode_mean_sqrt_len_tokens": true}"#, &["mean_sqrt_len_tokens"])]
#[case::old_weighted(r#"{"pooling_mode_weightedmean_tokens": true}"#, &["weightedmean"])]
#[case::old_none(r#"{"pooling_mode_mean_tokens": false}"#, &["mean"])]
#[case::old_several(r#"{"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true,
    "pooling_mode_max_tokens": true, "pooling_mode_mean_sqrt_len_tokens": true, "pooling_mode_weightedmean_tokens": true}"#,
    &["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])]
#[case::new(r#"{"embedding_dimension": 8, "pooling_mode": "lasttoken", "include_prompt": true}"#, &["lasttoken"])]
#[case::new_several(r#"{"pooling_mode": ["max", "cls"]}"#, &["max", "cls"])]
fn tokens_are_pooled_as_the_file_says(#[case] pooling: &str, #[case] modes: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path(), "bert", "");
    for normalized in [false, true] {
        let list = [TRANSFORMER, POOLING, NORMALIZE];
        modules(folder.path(), &list[..2 + usize::from(normalized)], pooling);
        let encoder = SentenceEncoder::open(folder.path()).unwrap();
        same(&encoder, |rows| {
            let vector: Vec<f64> = modes.iter().flat_map(|mode| pooled(mode, rows)).collect();
            if normalized { unit(&vector) } else { vector }
        });
    }
}

#[test]
fn a_folder_without_modules_has_the_mean_of_length_1() {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path(), "bert", "bert.");
    let encoder = SentenceEncoder::open(folder.path()).unwrap();
    same(&encoder, |rows| unit(&pooled("mean", rows)));
}

#[rstest]
#[case("torch.nn.modules.activation.Tanh", f64::tanh)]
#[case("torch.nn.modules.linear.Identity", |x| x)]
#[case("torch.nn.modules.activation.ReLU", |x: f64| x.max(0.0))]
#[case("torch.nn.modules.activation.Sigmoid", |x: f64| 1.0 / (1.0 + (-x).exp()))]
fn a_dense_module_maps_what_was_pooled(#[case] name: &str, #[case] function: fn(f64) -> f64) {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path(), "bert", "");
    modules(
        folder.path(),
        &[TRANSFORMER, POOLING, DENSE, NORMALIZE],
        "{}",
    );
    for bias in [true, false] {
        let config = format!(
            r#"{{"in_features": 8, "out_features": 3, "bias": {bias}, "activation_function": "{name}"}}"#
        );
        write(folder.path(), "2_Dense/config.json", &config);
        let tensors = [
            floats("linear.weight", &[3, 8], random(9)),
            floats("linear.bias", &[3], random(10)),
        ];
        save(&folder.path().join("2_Dense"), &tensors);
        let encoder = SentenceEncoder::open(folder.path()).unwrap();
        same(&encoder, |rows| {
            let mean = pooled("mean", rows);
            let (mut weight, mut shift) = (random(9), random(10));
            let mut row = || {
                let products = mean.iter().map(|x| x * f64::from(weight()));
                let sum: f64 = products.sum();
                function(sum + if bias { f64::from(shift()) } else { 0.0 })
            };
            unit(&[row(), row(), row()])
        });
    }
}

#[test]
fn sentences_are_cut_and_lowered_as_the_files_say() {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path(), "bert", "");
    let long = "a b c a b c a b c a b c a b c";
    let tokens = |text: &str| {
        SentenceEncoder::open(folder.path())
            .unwrap()
            .tokens(text)
            .unwrap()
    };
    // Positions are for twelve.
    assert_eq!(tokens(long).len(), 12);
    write(
        folder.path(),
        "sentence_bert_config.json",
        r#"{"max_seq_length": 5, "do_lower_case": false}"#,
    );
    assert_eq!(tokens(long), [2, 4, 5, 6, 3]);
    assert_eq!(tokens("A b"), [2, 0, 5, 3]);
    write(
        folder.path(),
        "sentence_bert_config.json",
        r#"{"max_seq_length": 6, "do_lower_case": true}"#,
    );
    assert_eq!(tokens("A b"), [2, 4, 5, 3]);
    assert_eq!(tokens(long).len(), 6);
    let own = folder.path().join("sentence_bert_config.json");
    let older = folder.path().join("sentence_roberta_config.json");
    std::fs::rename(&own, &older).unwrap();
    assert_eq!(tokens(long).len(), 6);
    std::fs::remove_file(older).unwrap();
    // More than there are positions for.
    write(
        folder.path(),
        "sentence_bert_config.json",
        r#"{"max_seq_length": 4000}"#,
    );
    assert_eq!(tokens(long).len(), 12);
    // Without a number of its own the tokenizer's counts.
    write(
        folder.path(),
        "sentence_bert_config.json",
        r#"{"max_seq_length": null}"#,
    );
    write(
        folder.path(),
        "tokenizer_config.json",
        r#"{"model_max_length": 7}"#,
    );
    assert_eq!(tokens(long).len(), 7);
    write(
        folder.path(),
        "tokenizer_config.json",
        r#"{"model_max_length": 1e30}"#,
    );
    assert_eq!(tokens(long).len(), 12);
    write(
        folder.path(),
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": "q ", "document": ""}, "default_prompt_name": "query"}"#,
    );
    assert_eq!(tokens("a"), [2, 7, 4, 3]);
}

#[test]
fn the_encoder_may_lie_in_a_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    encoder(&folder.path().join("."), "bert", "");
    let inner = folder.path().join("0_Transformer");
    std::fs::create_dir(&inner).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::rename(folder.path().join(name), inner.join(name)).unwrap();
    }
    let transformer = TRANSFORMER.replace(r#""path": """#, r#""path": "0_Transformer""#);
    modules(
        folder.path(),
        &[&transformer, POOLING],
        r#"{"pooling_mode": "cls"}"#,
    );
    write(
        folder.path(),
        "0_Transformer/sentence_bert_config.json",
        r#"{"max_seq_length": 4}"#,
    );
    let encoder = SentenceEncoder::open(folder.path()).unwrap();
    assert_eq!(encoder.tokens("a a a a a").unwrap().len(), 4);
    same(&encoder, |rows| pooled("cls", rows));
}

/// RoBERTa's positions begin behind the number of the token that fills texts.
#[test]
fn positions_of_roberta_begin_later() {
    let bert = tempfile::tempdir().unwrap();
    encoder(bert.path(), "bert", "bert.");
    let roberta = tempfile::tempdir().unwrap();
    encoder(roberta.path(), "xlm-roberta", "roberta.");
    let bert = SentenceEncoder::open(bert.path()).unwrap();
    let roberta = SentenceEncoder::open(roberta.path()).unwrap();
    assert_eq!(roberta.tokens("a b c a b c a b c a b c").unwrap().len(), 10);
    // Two tokens in front that are not seen push the others to the same places.
    let seen = Array::from_slice(&[false, false, true, true, true], [1, 5]).unwrap();
    let tokens = Array::from_slice(&[1_u32, 1, 2, 4, 3], [1, 5]).unwrap();
    let late = bert
        .network()
        .forward(&tokens, &seen)
        .to_vec::<f32>()
        .unwrap();
    let seen = Array::from_slice(&[true, true, true], [1, 3]).unwrap();
    let tokens = Array::from_slice(&[2_u32, 4, 3], [1, 3]).unwrap();
    let own = roberta
        .network()
        .forward(&tokens, &seen)
        .to_vec::<f32>()
        .unwrap();
    let close = late[16..]
        .iter()
        .zip(&own)
        .all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "{:?}, wanted {own:?}", &late[16..]);
}

#[rstest]
#[case(
    "modules.json",
    r#"[{"type": "sentence_transformers.models.Transformer", "path": ""}]"#,
    "wanted a Transformer and a Pooling"
)]
#[case(
    "modules.json",
    r#"[{"type": "sentence_transformers.models.WordEmbeddings", "path": ""}]"#,
    "got \"sentence_transformers.models.WordEmbeddings\""
)]
#[case(
    "modules.json",
    r#"[{"type": "sentence_transformers.models.Transformer", "path": "../other"}]"#,
    "a path inside the model's folder, got \"../other\""
)]
#[case("modules.json", "[", "modules.json: EOF")]
#[case(
    "1_Pooling/config.json",
    r#"{"pooling_mode": "median"}"#,
    "pooling_mode: wanted one of cls, max"
)]
#[case(
    "1_Pooling/config.json",
    r#"{"pooling_mode": 3}"#,
    "pooling_mode: wanted one of"
)]
#[case(
    "sentence_bert_config.json",
    r#"{"max_seq_length": 0}"#,
    "max_seq_length: wanted a number from 1 on, got 0"
)]
#[case(
    "config_sentence_transformers.json",
    r#"{"default_prompt_name": "x", "prompts": {}}"#,
    "default_prompt_name: wanted one of the prompts"
)]
#[case("2_Dense/config.json", r#"{"in_features": 8, "out_features": 3, "activation_function": "torch.nn.modules.activation.Mish"}"#, "got Mish")]
#[case(
    "2_Dense/config.json",
    r#"{"in_features": 8, "out_features": 4}"#,
    "linear.weight: wanted [out_features, in_features]"
)]
#[case("2_Dense/model.safetensors", "", "2_Dense")]
#[case(
    "2_Dense/config.json",
    r#"{"in_features": 8, "out_features": 3, "module_input_name": "token_embeddings"}"#,
    "got token_embeddings"
)]
#[case(
    "2_Dense/config.json",
    r#"{"in_features": 8, "out_features": 8, "use_residual": true}"#,
    "wanted use_residual false, got true"
)]
#[case("config.json", r#"{"model_type": "mpnet", "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
    "num_hidden_layers": 1, "max_position_embeddings": 12, "type_vocab_size": 2, "vocab_size": 8, "layer_norm_eps": 1e-12,
    "hidden_act": "gelu"}"#, "model_type: wanted bert, roberta, xlm-roberta or camembert, got mpnet")]
fn says_what_is_not_understood(#[case] file: &str, #[case] contents: &str, #[case] says: &str) {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path(), "bert", "");
    modules(folder.path(), &[TRANSFORMER, POOLING, DENSE], "{}");
    write(
        folder.path(),
        "2_Dense/config.json",
        r#"{"in_features": 8, "out_features": 3}"#,
    );
    let tensors = [
        floats("linear.weight", &[3, 8], random(9)),
        floats("linear.bias", &[3], random(10)),
    ];
    save(&folder.path().join("2_Dense"), &tensors);
    assert!(SentenceEncoder::open(folder.path()).is_ok());
    write(folder.path(), file, contents);
    let text = SentenceEncoder::open(folder.path())
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains(says), "{text}");
}

/// Batches of any number of sentences of any length, by one trace.
#[test]
fn sentences_of_any_length_are_one_trace() {
    let folder = tempfile::tempdir().unwrap();
    encoder(folder.path(), "bert", "bert.");
    let encoder = SentenceEncoder::open(folder.path()).unwrap();
    let network = encoder.network();
    let options = mlx_compiler::CompileOptions {
        shapeless: true,
        ..mlx_compiler::CompileOptions::default()
    };
    let forward = |tokens: &Array, visible: &Array| network.forward(tokens, visible);
    let compiled = mlx_compiler::jit_with(forward, options).max_traces(1);
    for [n, length] in [
        [2, 5],
        [1, 1],
        [3, 9],
        [3, 9],
        [3, 9],
        [1, 1],
        [4, 3],
        [2, 5],
    ] {
        let places = mlx::iota(n * length).reshape([n, length]);
        let tokens = &places % 7;
        let visible = places.less(n * length - 1);
        let got = compiled.call((&tokens, &visible)).unwrap();
        let wanted = network.forward(&tokens, &visible);
        assert_eq!(got.shape().unwrap(), [n, length, 8]);
        let most = (got - wanted).abs().max(()).item::<f32>().unwrap();
        assert!(most < 1e-5, "{n} x {length}: {most}");
    }
    assert_eq!(compiled.stats().misses, 1);
}

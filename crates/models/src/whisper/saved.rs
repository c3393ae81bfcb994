//! Whisper from files of saved functions, which runs without MLX.

use std::path::Path;

use mlx::cpu::HostArray;
use mlx::{ArrayType, Dtype};
use mlx_interpreter::InferenceSession;

use super::{Checkpoint, Config, GenerationConfig, Logits, Mel, Model, Session, Tokenizer};
use crate::{Error, Result};

/// The files of a folder.
const ENCODER: &str = "encoder.safetensors";
const DECODER: &str = "decoder.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const GENERATION: &str = "generation_config.json";
const CONFIG: &str = "config.json";

/// Writes a model of a folder as functions to another one, which [`SavedModel`] opens.
///
/// The encoder is a function of a window's spectrogram, the decoder one of a token, its position, and the caches.
///
/// # Errors
/// When the folder is not that of a Whisper model, or a file cannot be written.
pub fn save_functions(model: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<()> {
    let (model, folder) = (model.as_ref(), folder.as_ref());
    let (checkpoint, network) = Checkpoint::open_with_network(model, Some(Dtype::Float32))?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    // Both have a configuration and a tokenizer of the same name.
    let real = |folder: &Path| folder.canonicalize().map_err(Error::io(folder));
    let exists = |name: &&str| folder.join(name).exists();
    let is_model = [CONFIG, GENERATION, TOKENIZER].iter().any(exists) && !exists(&DECODER);
    if is_model || real(model)? == real(folder)? {
        let message = "wanted a folder that has no model, got one whose files would be overwritten";
        return Err(Error::Weights(format!("{}: {message}", folder.display())));
    }
    network.save(&folder.join(ENCODER), &folder.join(DECODER))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::io(&path))
    };
    write(CONFIG, checkpoint.config.to_json())?;
    write(GENERATION, checkpoint.generation.to_json())?;
    let (from, to) = (model.join(TOKENIZER), folder.join(TOKENIZER));
    std::fs::copy(&from, to).map_err(Error::io(&from))?;
    Ok(())
}

/// A Whisper model as saved functions, with what decoding needs. It runs on the CPU without MLX, which is not loaded.
#[derive(Debug)]
pub struct SavedModel {
    /// The dimensions.
    pub config: Config,
    /// The tokens that may be generated.
    pub generation: GenerationConfig,
    /// The encoder and the decoder.
    pub network: SavedNetwork,
}

/// The encoder and the decoder of a Whisper model as functions of files.
#[derive(Debug)]
pub struct SavedNetwork {
    config: Config,
    encoder: InferenceSession,
    decoder: InferenceSession,
    /// The types of the caches of tokens: keys and values of each layer.
    cache: Vec<ArrayType>,
}

impl SavedModel {
    /// Opens a folder that [`save_functions`] wrote, and its tokenizer.
    ///
    /// # Errors
    /// When a file is missing or damaged, or the functions are not those of such a model.
    pub fn open(folder: impl AsRef<Path>) -> Result<(Self, Tokenizer)> {
        let folder = folder.as_ref();
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(Error::io(&path))
        };
        let config = Config::from_json(&read(CONFIG)?)?;
        let path = folder.join(TOKENIZER);
        // The tokenizer takes as long as the weights.
        let (tokenizer, network) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new();
            match thread.spawn_scoped(scope, || Tokenizer::open(&path)) {
                Ok(reader) => {
                    let network = SavedNetwork::open(folder, config);
                    let failed = |_| Err(Error::Tokenizer(format!("{}: panicked", path.display())));
                    (reader.join().unwrap_or_else(failed), network)
                }
                Err(_) => (Tokenizer::open(&path), SavedNetwork::open(folder, config)),
            }
        });
        let tokenizer = tokenizer?;
        let generation = GenerationConfig::from_json(&read(GENERATION)?, &tokenizer)?;
        let is_multilingual = generation
            .is_multilingual
            .unwrap_or(config.is_multilingual());
        let model = Self {
            config,
            generation,
            network: network?,
        };
        Ok((model, tokenizer.with_multilingual(is_multilingual)))
    }
}

impl SavedNetwork {
    /// Opens the encoder and the decoder of a folder.
    ///
    /// # Errors
    /// When a file is missing or damaged, or its function is not that of a model of these dimensions.
    pub fn open(folder: impl AsRef<Path>, config: Config) -> Result<Self> {
        let open = |name: &str| {
            let path = folder.as_ref().join(name);
            InferenceSession::open(path).map_err(Error::model)
        };
        let (encoder, decoder) = (open(ENCODER)?, open(DECODER)?);
        let size = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let float = |shape: Vec<i32>| ArrayType::new(shape, Dtype::Float32);
        let n_layers = config.n_text_layer;
        let mel = float(vec![1, size(2 * config.n_audio_ctx), size(config.n_mels)]);
        let heads = config.n_text_head.max(1);
        let kv = |length: usize| {
            let dim = size(config.n_text_state / heads);
            float(vec![1, size(heads), size(length), dim])
        };
        let (encoder_kv, cache) = (kv(config.n_audio_ctx), kv(config.n_text_ctx));
        let mut step = vec![ArrayType::new([1, 1], Dtype::Int32)];
        for _ in 0..n_layers {
            step.extend([&encoder_kv, &encoder_kv, &cache, &cache].map(Clone::clone));
        }
        step.push(ArrayType::new((), Dtype::Int32));
        let mut scores = vec![float(vec![1, 1, size(config.n_vocab)])];
        scores.extend(vec![cache.clone(); 2 * n_layers]);
        check(ENCODER, encoder.input_types(), &[mel])?;
        check(
            ENCODER,
            encoder.output_types(),
            &vec![encoder_kv; 2 * n_layers],
        )?;
        check(DECODER, decoder.input_types(), &step)?;
        check(DECODER, decoder.output_types(), &scores)?;
        Ok(Self {
            config,
            encoder,
            decoder,
            cache: vec![cache; 2 * n_layers],
        })
    }
}

fn check(name: &str, got: &[ArrayType], wanted: &[ArrayType]) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    let text = |types: &[ArrayType]| {
        let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let (wanted, got) = (text(wanted), text(got));
    Err(Error::Weights(format!(
        "{name}: wanted a function of or to {wanted}, got {got}"
    )))
}

/// The encoder's output for a window: keys and values of cross-attention for every decoder layer.
#[derive(Debug)]
pub struct SavedFeatures(Vec<HostArray>);

/// The decoding state of one window: each row runs by itself.
#[derive(Debug)]
pub struct SavedSession<'a> {
    network: &'a SavedNetwork,
    features: &'a SavedFeatures,
    rows: Vec<Row>,
}

/// Keys and values of the tokens of a text, and how many there are.
#[derive(Clone, Debug)]
struct Row {
    cache: Vec<HostArray>,
    n_tokens: usize,
}

impl Model for SavedNetwork {
    type Features = SavedFeatures;
    type Session<'a> = SavedSession<'a>;

    fn config(&self) -> &Config {
        &self.config
    }

    fn encode(&self, mel: &Mel) -> Result<SavedFeatures> {
        let shape = [1, mel.frames(), mel.n_mels()];
        let mel = HostArray::new(shape, mel.data()).map_err(Error::model)?;
        let encoder_kv = self.encoder.run(vec![mel]).map_err(Error::model)?;
        Ok(SavedFeatures(encoder_kv))
    }

    fn start<'a>(&'a self, features: &'a SavedFeatures) -> Result<SavedSession<'a>> {
        let empty = self.cache.iter().cloned().map(HostArray::zeros);
        let row = Row {
            cache: empty.collect::<mlx::Result<_>>().map_err(Error::model)?,
            n_tokens: 0,
        };
        Ok(SavedSession {
            network: self,
            features,
            rows: vec![row],
        })
    }
}

impl SavedSession<'_> {
    /// Appends a token to a row and returns the logits that follow it.
    fn append(&mut self, row: usize, token: u32) -> Result<Vec<f32>> {
        let capacity = self.network.config.n_text_ctx;
        let Some(row) = self.rows.get_mut(row) else {
            return Err(Error::Decoding(format!("wanted a row, got {row}")));
        };
        if row.n_tokens >= capacity {
            return Err(Error::Decoding(format!(
                "wanted at most {capacity} tokens in the context, got {}",
                row.n_tokens + 1
            )));
        }
        let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let start = i32::try_from(row.n_tokens).unwrap_or(i32::MAX);
        let mut inputs = vec![HostArray::new([1, 1], &[whole(token)]).map_err(Error::model)?];
        // Taken out: the function writes in place what nothing else has.
        let mut cache = std::mem::take(&mut row.cache).into_iter();
        for layer in self.features.0.chunks(2) {
            inputs.extend(layer.iter().cloned());
            inputs.extend(cache.by_ref().take(2));
        }
        inputs.push(HostArray::new((), &[start]).map_err(Error::model)?);
        let mut outputs = self.network.decoder.run(inputs).map_err(Error::model)?;
        row.cache = outputs.split_off(1.min(outputs.len()));
        row.n_tokens += 1;
        let scores = outputs.first().map(HostArray::to_vec::<f32>);
        let scores = scores.ok_or_else(|| Error::Decoding("wanted logits, got none".into()))?;
        scores.map_err(Error::model)
    }
}

impl Session for SavedSession<'_> {
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits> {
        let n_vocab = self.network.config.n_vocab;
        if let Some(position) = positions.iter().find(|&&at| at >= tokens.len()) {
            let n = tokens.len();
            let message = format!("wanted positions of {n} tokens, got {position}");
            return Err(Error::Decoding(message));
        }
        let mut logits = vec![0.0; positions.len() * n_vocab];
        for (place, &token) in tokens.iter().enumerate() {
            let scores = self.append(0, token)?;
            for (row, &position) in logits.chunks_exact_mut(n_vocab).zip(positions) {
                if position == place && scores.len() == n_vocab {
                    row.copy_from_slice(&scores);
                }
            }
        }
        Logits::new(logits, n_vocab)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits> {
        if tokens.len() != self.rows.len() {
            let (wanted, got) = (self.rows.len(), tokens.len());
            let message = format!("wanted a token for each of {wanted} rows, got {got}");
            return Err(Error::Decoding(message));
        }
        let mut logits = Vec::new();
        for (row, &token) in tokens.iter().enumerate() {
            logits.extend(self.append(row, token)?);
        }
        Logits::new(logits, self.network.config.n_vocab)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        let chosen = rows.iter().map(|&row| self.rows.get(row).cloned());
        let chosen: Option<Vec<Row>> = chosen.collect();
        let missing = || Error::Decoding(format!("wanted rows, got {rows:?}"));
        self.rows = chosen.ok_or_else(missing)?;
        Ok(())
    }
}

//! A model that follows a script instead of listening.
#![allow(dead_code)]

use std::cell::RefCell;

use mlx_models::whisper::{Config, GenerationConfig, Logits, Mel, Model, Session};
use mlx_models::{Error, Result};

use super::{EOT, N_VOCAB, SPACE};

/// What the script is asked: which window and attempt, and what was read since the prompt.
pub struct Asked<'a> {
    /// Windows encoded before this one.
    pub window: usize,
    /// Sessions opened on this model before this one.
    pub attempt: usize,
    /// The tokens of the prompt.
    pub prompt: &'a [u32],
    /// The tokens behind the prompt.
    pub written: &'a [u32],
}

/// What the model was asked to do.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Frames, bands and first value of each window.
    pub windows: Vec<(usize, usize, f32)>,
    /// Each session's prompt.
    pub prompts: Vec<Vec<u32>>,
    /// The positions asked for with each prompt.
    pub positions: Vec<Vec<usize>>,
    /// The rows of each selection.
    pub selections: Vec<Vec<usize>>,
    /// The number of rows of each step.
    pub steps: Vec<usize>,
}

type Script = Box<dyn Fn(&Asked<'_>) -> Vec<(u32, f32)>>;

/// A model whose logits are -30 but for what the script says.
pub struct Fake {
    config: Config,
    script: Script,
    log: RefCell<Log>,
}

impl Fake {
    pub fn new(script: impl Fn(&Asked<'_>) -> Vec<(u32, f32)> + 'static) -> Self {
        let config = Config {
            n_vocab: N_VOCAB,
            ..Config::named("tiny").expect("tiny is known")
        };
        Self {
            config,
            script: Box::new(script),
            log: RefCell::default(),
        }
    }

    /// A model that writes these tokens, window by window, and ends.
    pub fn writing(windows: Vec<Vec<u32>>) -> Self {
        Self::new(move |asked| {
            let text = &windows[asked.window.min(windows.len() - 1)];
            vec![(text.get(asked.written.len()).copied().unwrap_or(EOT), 0.0)]
        })
    }

    /// What the script answers.
    pub fn asked(&self, asked: &Asked<'_>) -> Vec<(u32, f32)> {
        (self.script)(asked)
    }

    pub fn with_text_ctx(mut self, n_text_ctx: usize) -> Self {
        self.config.n_text_ctx = n_text_ctx;
        self
    }

    pub fn log(&self) -> Log {
        self.log.borrow().clone()
    }
}

/// Nothing suppressed but a blank or an end at the beginning.
pub fn generation() -> GenerationConfig {
    GenerationConfig {
        suppress_at_begin: vec![SPACE, EOT],
        ..GenerationConfig::default()
    }
}

impl Model for Fake {
    type Features = usize;
    type Session<'a> = FakeSession<'a>;

    fn config(&self) -> &Config {
        &self.config
    }

    fn encode(&self, mel: &Mel) -> Result<usize> {
        let mut log = self.log.borrow_mut();
        log.windows
            .push((mel.frames(), mel.n_mels(), mel.data()[0]));
        Ok(log.windows.len() - 1)
    }

    fn start<'a>(&'a self, features: &'a usize) -> Result<FakeSession<'a>> {
        let attempt = self.log.borrow().prompts.len();
        Ok(FakeSession {
            model: self,
            window: *features,
            attempt,
            n_prompt: 0,
            rows: vec![Vec::new()],
        })
    }
}

pub struct FakeSession<'a> {
    model: &'a Fake,
    window: usize,
    attempt: usize,
    n_prompt: usize,
    rows: Vec<Vec<u32>>,
}

impl FakeSession<'_> {
    fn logits(&self, row: &[u32], data: &mut Vec<f32>) {
        let (prompt, written) = row.split_at(self.n_prompt.min(row.len()));
        let asked = Asked {
            window: self.window,
            attempt: self.attempt,
            prompt,
            written,
        };
        let mut logits = vec![-30.0; N_VOCAB];
        for (token, logit) in (self.model.script)(&asked) {
            logits[token as usize] = logit;
        }
        data.extend(logits);
    }
}

impl Session for FakeSession<'_> {
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits> {
        assert!(positions.iter().all(|&position| position < tokens.len()));
        let mut log = self.model.log.borrow_mut();
        log.prompts.push(tokens.to_vec());
        log.positions.push(positions.to_vec());
        self.n_prompt = tokens.len();
        self.rows[0] = tokens.to_vec();
        let mut data = Vec::new();
        for &position in positions {
            self.logits(&tokens[..=position], &mut data);
        }
        Logits::new(data, N_VOCAB)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits> {
        if self.rows.len() != tokens.len() {
            return Err(Error::model(format!(
                "wanted {} tokens, got {}",
                self.rows.len(),
                tokens.len()
            )));
        }
        self.model.log.borrow_mut().steps.push(tokens.len());
        let mut data = Vec::new();
        for (row, &token) in self.rows.iter_mut().zip(tokens) {
            row.push(token);
            if row.len() > self.model.config.n_text_ctx {
                return Err(Error::model(format!(
                    "wanted at most {} positions",
                    self.model.config.n_text_ctx
                )));
            }
        }
        self.rows.iter().for_each(|row| self.logits(row, &mut data));
        Logits::new(data, N_VOCAB)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        let same =
            rows.len() == self.rows.len() && rows.iter().enumerate().all(|(i, &row)| i == row);
        assert!(!same, "a selection that changes nothing");
        self.model.log.borrow_mut().selections.push(rows.to_vec());
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Ok(())
    }
}

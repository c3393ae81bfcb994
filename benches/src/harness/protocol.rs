//! The protocol between the harness and a runner: one JSON object a line, a request and its reply.
//!
//! ```text
//! {"hello": {"threads": 2}}                              {"name": "numpy", "version": "2.4.6"}
//! {"id": "add/float32/8/cpu", "load": {"op": "add", ..}} {"id": .., "loaded": true}
//!                                                        {"id": .., "unsupported": "why"} or {"id": .., "failed": "why"}
//! {"id": "add/float32/8/cpu", "run": 3}                  {"id": .., "ms": [0.011, 0.010, 0.010]}
//! {"id": "add/float32/8/cpu", "drop": true}              {"id": .., "dropped": true}
//! ```
//!
//! `load` prepares a row, computes it once (which is the warm-up) and writes its result to the file `output`, or puts
//! its words into the reply as `text`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the harness asks.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Request {
    /// The row that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is wanted.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What is wanted of a runner.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// To say who it is.
    Hello {
        /// The number of threads that everyone may use.
        threads: usize,
    },
    /// To prepare a row, run it once and write the result.
    Load(Load),
    /// To run it this number of times and measure each.
    Run(usize),
    /// To forget it.
    Drop(bool),
    /// To measure the machine, or the GPU when that computes (our own runner, and PyTorch's for a GPU).
    Limits {
        /// Whether the GPU computes.
        gpu: bool,
    },
}

/// A row as a runner needs to know it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Load {
    /// The operation.
    pub op: String,
    /// Its attributes: `eps`, `group_size`, paths of models.
    pub params: Value,
    /// Files of its inputs, in `.npy`.
    pub inputs: Vec<PathBuf>,
    /// Where to write its result, in `.npy`.
    pub output: PathBuf,
}

/// What a runner answers. Which of the fields are there depends on the request.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Reply {
    /// The row that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The rival's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Versions, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The device that computes (our own runner only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whether the row is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<bool>,
    /// The words that a model wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How the row was done, when that is worth saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The most bytes of arrays at once while the row was computed first, beyond its inputs (our own runner only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Why the rival does not have this row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Milliseconds of each run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<Vec<f64>>,
    /// Whether the row is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<bool>,
    /// What the machine can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<super::limits::Limits>,
}

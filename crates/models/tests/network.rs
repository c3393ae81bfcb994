//! The network on real weights and real speech, with composed formulas and with fused kernels.
//!
//! Needs Whisper tiny.en and a recording, fetched once into the build folder; says so and passes where they cannot
//! be had, unless `MLX_REQUIRE_ASSETS` is set.

mod support;

use mlx_models::Error;
use mlx_models::audio::Audio;
use mlx_models::whisper::{
    Checkpoint, Mel, Model, Network, Session, TranscribeOptions, Transcriber, Transcript,
};
use mlx_nn::FastOps;
use mlx_testdata::{assets, if_available};

const JFK: &str = "and so my fellow americans ask not what your country can do for you ask what you can do for your country";

/// The words of a text: lower case, without punctuation.
fn words(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| {
            if c.is_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                ' '
            }
        })
        .collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Tiny {
    checkpoint: Checkpoint,
    network: Network,
}

fn tiny() -> Option<Tiny> {
    let folder = if_available(assets::whisper_tiny_en())?;
    let checkpoint = Checkpoint::open(folder).unwrap();
    let dtype = mlx_nn::preferred_dtype().unwrap();
    let network = Network::new(checkpoint.config, &checkpoint.weights, dtype).unwrap();
    Some(Tiny {
        checkpoint,
        network,
    })
}

impl Tiny {
    fn transcribe(
        &self,
        kernels: FastOps,
        samples: &[f32],
        options: &TranscribeOptions,
    ) -> Transcript {
        let network = self.network.with_kernels(kernels);
        let checkpoint = &self.checkpoint;
        let transcriber =
            Transcriber::new(&network, &checkpoint.tokenizer, &checkpoint.generation).unwrap();
        transcriber.transcribe(samples, options).unwrap()
    }
}

#[test]
fn jfk_is_exactly_right_with_both_kernels() {
    let (Some(tiny), Some(path)) = (tiny(), if_available(assets::jfk_wav())) else {
        return;
    };
    let samples = Audio::load(path).unwrap().samples;
    let composed = tiny.transcribe(FastOps::Composed, &samples, &TranscribeOptions::default());
    let fused = tiny.transcribe(FastOps::Fused, &samples, &TranscribeOptions::default());
    assert_eq!(words(&composed.text), JFK);
    assert_eq!(composed.text, fused.text);
    assert_eq!(composed.segments[0].tokens, fused.segments[0].tokens);
    let last = fused.segments.last().unwrap();
    assert!(
        last.end > 9.0 && last.end <= 11.1,
        "the speech ends near 10.5 s, got {}",
        last.end
    );
}

#[test]
fn beams_and_no_timestamps_give_the_same_words() {
    let (Some(tiny), Some(path)) = (tiny(), if_available(assets::jfk_wav())) else {
        return;
    };
    let samples = Audio::load(path).unwrap().samples;
    let mut options = TranscribeOptions::default();
    options.decode.timestamps = false;
    assert_eq!(
        words(&tiny.transcribe(FastOps::Fused, &samples, &options).text),
        JFK
    );
    options.decode.beam_size = 5;
    assert_eq!(
        words(&tiny.transcribe(FastOps::Fused, &samples, &options).text),
        JFK
    );
}

#[test]
fn mp3_and_telephone_quality_are_understood_too() {
    let (Some(tiny), Some(path)) = (tiny(), if_available(assets::jfk_mp3())) else {
        return;
    };
    let audio = Audio::load(path).unwrap();
    assert_eq!(
        words(
            &tiny
                .transcribe(
                    FastOps::Fused,
                    &audio.samples,
                    &TranscribeOptions::default()
                )
                .text
        ),
        JFK
    );
    // Every other sample of a band-limited copy: 8 kHz, as a telephone has it.
    let halved: Vec<f32> = audio
        .samples
        .windows(2)
        .step_by(2)
        .map(|pair| (pair[0] + pair[1]) / 2.0)
        .collect();
    let telephone = Audio::from_samples(&halved, 8000).unwrap();
    let text = words(
        &tiny
            .transcribe(
                FastOps::Fused,
                &telephone.samples,
                &TranscribeOptions::default(),
            )
            .text,
    );
    assert!(
        text.contains("ask not what your country can do for you"),
        "{text}"
    );
}

#[test]
fn a_long_recording_is_heard_window_by_window() {
    let (Some(tiny), Some(jfk)) = (tiny(), if_available(assets::jfk_wav())) else {
        return;
    };
    let Some(beckett) = if_available(assets::beckett_wav()) else {
        return;
    };
    let (jfk, beckett) = (
        Audio::load(jfk).unwrap().samples,
        Audio::load(beckett).unwrap().samples,
    );
    let pause = vec![0.0; 16_000];
    let samples = [&jfk[..], &pause, &beckett, &pause, &jfk].concat();
    // Without other temperatures, which would try again where a text repeats itself, as this one does.
    let options = TranscribeOptions {
        temperatures: vec![0.0],
        ..TranscribeOptions::default()
    };
    let transcript = tiny.transcribe(FastOps::Fused, &samples, &options);
    let text = words(&transcript.text);
    assert!(
        text.starts_with("and so my fellow americans") && text.contains("fail again fail better"),
        "{text}"
    );
    assert_eq!(text.matches("your country").count(), 4, "{text}");
    assert!(transcript.timings.windows >= 2);
    let ordered = transcript
        .segments
        .windows(2)
        .all(|pair| pair[0].start <= pair[1].start);
    assert!(ordered, "{:?}", transcript.segments);
}

#[test]
fn silence_has_no_text() {
    let Some(tiny) = tiny() else { return };
    assert_eq!(
        tiny.transcribe(FastOps::Fused, &[], &TranscribeOptions::default())
            .text
            .trim(),
        ""
    );
    assert_eq!(
        tiny.transcribe(
            FastOps::Fused,
            &vec![0.0; 48_000],
            &TranscribeOptions::default()
        )
        .text
        .trim(),
        ""
    );
}

#[test]
fn step_by_step_equals_all_at_once() {
    let Some(tiny) = tiny() else { return };
    let mel = loud_mel(tiny.network.config().n_mels);
    let features = tiny.network.encode(&mel).unwrap();
    let tokens = [50257_u32, 50362, 843, 523, 616, 5891];
    let positions: Vec<usize> = (0..tokens.len()).collect();
    let at_once = tiny
        .network
        .start(&features)
        .unwrap()
        .prompt(&tokens, &positions)
        .unwrap();
    let mut session = tiny.network.start(&features).unwrap();
    let mut stepwise = vec![session.prompt(&tokens[..1], &[0]).unwrap()];
    stepwise.extend(
        tokens[1..]
            .iter()
            .map(|&token| session.step(&[token]).unwrap()),
    );
    for (position, step) in stepwise.iter().enumerate() {
        let worst = step
            .row(0)
            .iter()
            .zip(at_once.row(position))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 2e-3, "position {position} differs by {worst}");
    }
}

#[test]
fn rows_that_are_selected_go_on_as_the_row_they_came_from() {
    let Some(tiny) = tiny() else { return };
    let mel = loud_mel(tiny.network.config().n_mels);
    let features = tiny.network.encode(&mel).unwrap();
    let mut one = tiny.network.start(&features).unwrap();
    one.prompt(&[50257, 50362], &[1]).unwrap();
    one.step(&[843]).unwrap();
    let wanted = one.step(&[523]).unwrap();
    let mut many = tiny.network.start(&features).unwrap();
    many.prompt(&[50257, 50362], &[1]).unwrap();
    many.select(&[0, 0, 0]).unwrap();
    many.step(&[616, 843, 5891]).unwrap();
    many.select(&[1, 2]).unwrap();
    let got = many.step(&[523, 616]).unwrap();
    let worst = got
        .row(0)
        .iter()
        .zip(wanted.row(0))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 2e-3, "differs by {worst}");
}

#[test]
fn more_tokens_than_the_context_holds_are_refused() {
    let Some(tiny) = tiny() else { return };
    let features = tiny
        .network
        .encode(&loud_mel(tiny.network.config().n_mels))
        .unwrap();
    let mut session = tiny.network.start(&features).unwrap();
    let error = session.prompt(&[50257; 449], &[448]).unwrap_err();
    assert!(
        matches!(error, Error::Decoding(_)) && error.to_string().contains("448"),
        "{error}"
    );
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let Some(tiny) = tiny() else { return };
    let mut config = tiny.checkpoint.config;
    config.n_text_layer = 5;
    let error = Network::new(config, &tiny.checkpoint.weights, mlx::Dtype::Float32)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("missing: model.decoder.layers.4."),
        "{error}"
    );
}

/// A window of features that is not silence: a slow pattern over bands and time.
fn loud_mel(n_mels: usize) -> Mel {
    let samples: Vec<f32> = (0..480_000_u32)
        .map(|i| (f64::from(i) * 0.05).sin() as f32 * 0.3)
        .collect();
    mlx_models::whisper::LogMel::new(n_mels)
        .unwrap()
        .padded(&samples)
}

#[test]
fn each_token_looks_at_the_sound_once_and_later_ones_further_on() {
    let Some(tiny) = tiny() else {
        return;
    };
    let Some(path) = if_available(assets::jfk_wav()) else {
        return;
    };
    let sound = Audio::load(&path).unwrap();
    let mel = mlx_models::whisper::LogMel::new(80)
        .unwrap()
        .padded(&sound.samples);
    let features = tiny.network.encode(&mel).unwrap();
    let tokenizer = &tiny.checkpoint.tokenizer;
    let mut tokens = tokenizer
        .start(None, mlx_models::whisper::Task::Transcribe)
        .unwrap();
    let first = i32::try_from(tokens.len()).unwrap();
    tokens.extend(
        tokenizer
            .encode(" And so my fellow Americans, ask not")
            .unwrap(),
    );
    let looks = tiny.network.cross_attention(&features, &tokens).unwrap();
    let n = i32::try_from(tokens.len()).unwrap();
    assert_eq!(looks.shape().unwrap(), [4, 6, n, 1500]);
    let sums = looks.sum(-1) - 1.0;
    assert!(sums.abs().max(()).item::<f32>().unwrap() < 1e-3);
    let places = looks.mean([0, 1]).argmax(-1).astype(mlx::Dtype::Int32);
    let places = places.to_vec::<i32>().unwrap();
    let (early, late) = (
        places[usize::try_from(first).unwrap()],
        places[tokens.len() - 1],
    );
    assert!(early < late && late < 550, "{places:?}");
    let none = tiny.network.cross_attention(&features, &[]).unwrap_err();
    assert!(
        none.to_string()
            .contains("cross_attention: wanted tokens, got none")
    );
    assert!(tiny.network.cross_attention(&features, &[0; 449]).is_err());
}

/// Ends a process at another moment of a transcription each time: it ends, with its code.
#[test]
fn a_process_ends_while_it_transcribes() {
    const CHILD: &str = "MLX_TEST_EXIT_AFTER_MS";
    let Some(path) = if_available(assets::jfk_wav()) else {
        return;
    };
    if let Ok(delay) = std::env::var(CHILD) {
        std::thread::spawn(move || {
            let samples = Audio::load(path).unwrap().samples;
            let tiny = tiny().unwrap();
            loop {
                tiny.transcribe(FastOps::Fused, &samples, &TranscribeOptions::default());
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(delay.parse().unwrap()));
        std::process::exit(7);
    }
    for run in 0..14 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("a_process_ends_while_it_transcribes")
            .env(CHILD, (600 + 97 * run).to_string())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let since = std::time::Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if since.elapsed().as_secs() > 60 => break None,
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            let _ = child.kill();
        }
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(7), "run {run}: {status:?}");
    }
}

//! How long does the log-mel front end take? `cargo run --release -p mlx-models --example mel_speed`

use std::time::Instant;

use mlx_models::audio::Audio;
use mlx_models::whisper::LogMel;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).map_or_else(
        || mlx_testdata::assets::speech().map(|s| s.path),
        |p| Ok(p.into()),
    )?;
    let clock = Instant::now();
    let audio = Audio::load(&path)?;
    println!(
        "load {}: {:.1} s of audio in {:.2?}",
        path.display(),
        audio.seconds(),
        clock.elapsed()
    );
    let full: Vec<f32> = audio
        .samples
        .iter()
        .copied()
        .cycle()
        .take(480_000)
        .collect();
    for n_mels in [80, 128] {
        let mel = LogMel::new(n_mels)?;
        for (name, samples) in [
            ("padded to 30 s", &audio.samples),
            ("30 s of speech", &full),
        ] {
            let mut times: Vec<_> = (0..50)
                .map(|_| {
                    let clock = Instant::now();
                    std::hint::black_box(mel.padded(samples));
                    clock.elapsed()
                })
                .collect();
            times.sort();
            println!(
                "{n_mels} mels, {name}: min {:.2?}, median {:.2?}",
                times[0], times[25]
            );
        }
    }
    Ok(())
}

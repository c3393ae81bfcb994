//! Are recordings read as ffmpeg reads them: with sizes that are wrong, joined end to end, and of every container?
//!
//! The files in `data` are sines of 440 Hz and half of full scale, encoded by ffmpeg.

use std::io::Read;

use mlx_models::audio::{Audio, Truncated};
use rstest::rstest;

const FLAC: &[u8] = include_bytes!("data/sine_44100_stereo.flac");
const MP3: &[u8] = include_bytes!("data/sine_22050_mono.mp3");
const VORBIS: &[u8] = include_bytes!("data/sine_vorbis.ogg");
const OPUS: &[u8] = include_bytes!("data/sine.opus");
const OPUS_WEBM: &[u8] = include_bytes!("data/sine_opus.webm");
const AAC_M4A: &[u8] = include_bytes!("data/sine_aac.m4a");
/// 0.4 s of noise at a high rate of bits and 0.8 s of a sine at a low one, without a Xing header.
const VARIABLE_MP3: &[u8] = include_bytes!("data/variable_rate.mp3");

fn sine(rate: u32, n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| 0.5 * (std::f64::consts::TAU * 440.0 * i as f64 / f64::from(rate)).sin())
        .collect()
}

fn int16(samples: &[f64]) -> Vec<u8> {
    let int = |x: &f64| (x * 32768.0).round() as i16;
    samples.iter().flat_map(|x| int(x).to_le_bytes()).collect()
}

/// The 8000 samples at 16 kHz that most of these files have.
fn pcm() -> Vec<u8> {
    int16(&sine(16_000, 8_000))
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&name[..], &(body.len() as u32).to_le_bytes(), body].concat()
}

fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits / 8;
    [
        &tag.to_le_bytes()[..],
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &bits.to_le_bytes(),
    ]
    .concat()
}

fn format_chunk() -> Vec<u8> {
    chunk(b"fmt ", &format(1, 1, 16_000, 16))
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    chunk(b"RIFF", &[b"WAVE".to_vec(), chunks.concat()].concat())
}

fn wav() -> Vec<u8> {
    riff(&[format_chunk(), chunk(b"data", &pcm())])
}

/// Writes sizes into the two fields of [`wav`] that have one.
fn sized(riff: u32, data: u32) -> Vec<u8> {
    let mut file = wav();
    file[4..8].copy_from_slice(&riff.to_le_bytes());
    file[40..44].copy_from_slice(&data.to_le_bytes());
    file
}

/// The largest difference from the sine, away from the ends, when it begins `delay` samples late.
fn off(samples: &[f32], delay: usize) -> f64 {
    let wanted = sine(16_000, 8_000);
    (600..wanted.len().min(samples.len() - delay) - 600)
        .map(|i| (f64::from(samples[i + delay]) - wanted[i]).abs())
        .fold(0.0, f64::max)
}

#[track_caller]
fn is_sine(audio: &Audio) {
    assert_eq!((audio.samples.len(), audio.truncated), (8_000, None));
    assert!(off(&audio.samples, 0) < 1e-4);
}

#[rstest]
#[case::right(16_036, 16_000)]
#[case::no_riff_size(0, 16_000)]
#[case::short_riff_size(36, 16_000)]
#[case::long_riff_size(1_000_000, 16_000)]
#[case::ffmpeg_to_a_pipe(u32::MAX, u32::MAX)]
#[case::sox_to_a_pipe(0x7fff_f024, 0x7fff_f000)]
#[case::arecord_to_a_pipe(0x8000_0024, 0x8000_0000)]
#[case::killed_recorder(0, 0)]
#[case::killed_recorder_that_counted_the_header(36, 0)]
#[case::no_data_size(16_036, 0)]
#[case::short_data_size(16_036, 1_000)]
fn wrong_sizes_of_a_wav_lose_nothing(#[case] riff: u32, #[case] data: u32) {
    is_sine(&Audio::from_bytes(sized(riff, data)).unwrap());
}

#[test]
fn a_data_size_beyond_the_file_is_a_truncation() {
    let audio = Audio::from_bytes(sized(16_036, 20_000)).unwrap();
    assert_eq!(audio.samples.len(), 8_000);
    let text = audio.truncated.unwrap().to_string();
    assert_eq!(text, "truncated: wanted 20000 bytes, got 16000");
}

#[rstest]
#[case::counted_by_the_standard(&[0][..], 5)]
#[case::missing(&[], 5)]
#[case::behind_an_even_size(&[0], 6)]
fn the_byte_that_pads_a_chunk_may_be_anywhere(#[case] padding: &[u8], #[case] length: usize) {
    let list = [chunk(b"LIST", &vec![b'x'; length]), padding.to_vec()].concat();
    let file = riff(&[format_chunk(), list.clone(), chunk(b"data", &pcm())]);
    is_sine(&Audio::from_bytes(file).unwrap());
    // Behind the samples it is no sound.
    let file = riff(&[format_chunk(), chunk(b"data", &pcm()), list]);
    is_sine(&Audio::from_bytes(file).unwrap());
}

#[test]
fn a_chunk_longer_than_the_file_does_not_hide_the_samples() {
    let mut file = riff(&[
        format_chunk(),
        chunk(b"LIST", b"INFOxx"),
        chunk(b"data", &pcm()),
    ]);
    file[40..44].copy_from_slice(&0x00ff_ffff_u32.to_le_bytes());
    is_sine(&Audio::from_bytes(file).unwrap());
}

#[test]
fn no_samples_before_a_list_are_no_samples() {
    let file = riff(&[
        format_chunk(),
        chunk(b"data", b""),
        chunk(b"LIST", &[b'x'; 400]),
    ]);
    let text = Audio::from_bytes(file).unwrap_err().to_string();
    assert_eq!(text, "audio: wanted samples, got a file without any");
}

/// The 64-bit forms of a wav file.
fn long(name: &[u8; 4], data_size: u64) -> Vec<u8> {
    let sizes = [16_072_u64, data_size, 8_000]
        .map(u64::to_le_bytes)
        .concat();
    let sizes = chunk(b"ds64", &[sizes, vec![0; 4]].concat());
    let mut data = chunk(b"data", &pcm());
    data[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut file = riff(&[sizes, format_chunk(), data]);
    file[..4].copy_from_slice(name);
    file[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    file
}

fn wave64() -> Vec<u8> {
    let tail = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
    let guid_chunk = |name: &[u8; 4], body: &[u8]| {
        let size = (24 + body.len() as u64).to_le_bytes();
        let padding = vec![0; body.len().next_multiple_of(8) - body.len()];
        [&name[..], tail, &size, body, &padding].concat()
    };
    let body = [
        [b"wave", &tail[..]].concat(),
        guid_chunk(b"fmt ", &[format(1, 1, 16_000, 16), vec![0, 0]].concat()),
        guid_chunk(b"data", &pcm()),
    ]
    .concat();
    let size = (24 + body.len() as u64).to_le_bytes();
    let riff = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
    [&riff[..], &size, &body].concat()
}

#[rstest]
#[case::rf64(long(b"RF64", 16_000))]
#[case::bw64(long(b"BW64", 16_000))]
#[case::rf64_that_was_never_closed(long(b"RF64", 0))]
#[case::wave64(wave64())]
fn wavs_of_64_bits_are_read(#[case] file: Vec<u8>) {
    is_sine(&Audio::from_bytes(file).unwrap());
}

#[rstest]
#[case::whole_bytes(24, 24)]
#[case::twenty_of_24_bits(20, 24)]
fn an_extensible_format_is_what_its_guid_says(#[case] valid: u16, #[case] bits: u16) {
    let mut extended = format(0xfffe, 1, 16_000, bits);
    extended.extend(22_u16.to_le_bytes());
    extended.extend(valid.to_le_bytes());
    extended.extend(4_u32.to_le_bytes());
    extended.extend(b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
    let data: Vec<u8> = sine(16_000, 8_000)
        .iter()
        .flat_map(|x| ((x * 8_388_608.0) as i32).to_le_bytes()[..3].to_vec())
        .collect();
    let file = riff(&[chunk(b"fmt ", &extended), chunk(b"data", &data)]);
    is_sine(&Audio::from_bytes(file).unwrap());
}

#[rstest]
#[case::gsm(0x31, "GSM 6.10 (format 0x0031)")]
#[case::g722(0x28f, "G.722 (format 0x028f)")]
#[case::unknown(0x7777, "another coding (format 0x7777)")]
fn a_wav_of_another_coding_is_refused_by_name(#[case] tag: u16, #[case] got: &str) {
    let file = riff(&[
        chunk(b"fmt ", &format(tag, 1, 16_000, 16)),
        chunk(b"data", &pcm()),
    ]);
    let text = Audio::from_bytes(file).unwrap_err().to_string();
    let wanted = format!("audio: wav: wanted PCM, float, A-law, mu-law, ADPCM or MP3, got {got}");
    assert_eq!(text, wanted);
}

/// Mu-law by its definition, ITU-T G.711.
fn mu_law(x: f64) -> u8 {
    let (sign, value) = (x < 0.0, ((x.abs() * 8159.0) as i32 + 33).min(8191));
    let segment = (31 - value.leading_zeros() as i32 - 5).clamp(0, 7);
    let code = segment << 4 | (value >> (segment + 1)) & 15;
    !(code as u8 | if sign { 0x80 } else { 0 })
}

#[test]
fn mu_law_with_the_shortest_format_chunk_is_read() {
    let data: Vec<u8> = sine(16_000, 8_000).iter().map(|&x| mu_law(x)).collect();
    let file = riff(&[
        chunk(b"fmt ", &format(7, 1, 16_000, 8)),
        chunk(b"data", &data),
    ]);
    let audio = Audio::from_bytes(file).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (8_000, None));
    assert!(off(&audio.samples, 0) < 0.02);
}

// Lengths and delays are those of `ffmpeg -i FILE -f f32le -`, whose AAC and MP3 begin with the encoder's delay where
// the file does not tell it.
#[rstest]
#[case::adpcm_of_microsoft(include_bytes!("data/sine_adpcm_ms.wav"), 8_144, 0, 0.02)]
#[case::adpcm_of_the_ima(include_bytes!("data/sine_adpcm_ima.wav"), 8_164, 0, 0.02)]
#[case::mp3_in_wav(include_bytes!("data/sine_mp3.wav"), 9_216, 1_105, 0.03)]
#[case::vorbis(VORBIS, 8_000, 0, 0.03)]
#[case::opus(OPUS, 8_000, 0, 0.07)]
#[case::opus_in_webm(OPUS_WEBM, 8_216, 0, 0.07)]
#[case::opus_in_mp4(include_bytes!("data/sine_opus.mp4"), 8_216, 0, 0.07)]
#[case::aac(include_bytes!("data/sine.aac"), 9_216, 1_024, 0.1)]
#[case::aac_in_m4a(AAC_M4A, 9_216, 1_024, 0.1)]
fn other_containers_and_codecs_are_read(
    #[case] file: &[u8],
    #[case] length: usize,
    #[case] delay: usize,
    #[case] tolerance: f64,
) {
    let audio = Audio::from_bytes(file).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (length, None));
    let off = off(&audio.samples, delay);
    assert!(off < tolerance, "off by {off}");
}

#[test]
fn opus_of_six_channels_is_their_mean() {
    let audio = Audio::from_bytes(include_bytes!("data/sine_51.opus")).unwrap();
    assert_eq!((audio.source_channels, audio.samples.len()), (6, 8_000));
    // The sine is in the centre, and silence in the others.
    let centre: Vec<f32> = audio.samples.iter().map(|x| x * 6.0).collect();
    assert!(off(&centre, 0) < 0.08);
}

fn aiff(form: u32, sound: u32) -> Vec<u8> {
    let swapped: Vec<u8> = pcm().chunks(2).flat_map(|x| [x[1], x[0]]).collect();
    [
        &b"FORM"[..],
        &form.to_be_bytes(),
        b"AIFFCOMM\x00\x00\x00\x12\x00\x01",
        &8_000_u32.to_be_bytes(),
        // 16 bits; 16000 as an extended float.
        b"\x00\x10\x40\x0c\xfa\x00\x00\x00\x00\x00\x00\x00SSND",
        &sound.to_be_bytes(),
        &[0; 8],
        &swapped,
    ]
    .concat()
}

fn caf(data: i64) -> Vec<u8> {
    [
        &b"caff\x00\x01\x00\x00desc\x00\x00\x00\x00\x00\x00\x00\x20"[..],
        &16_000_f64.to_be_bytes(),
        // Integers, the lowest byte first, in packets of one frame of one channel.
        b"lpcm\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x10data",
        &data.to_be_bytes(),
        &[0; 4],
        &pcm(),
    ]
    .concat()
}

#[rstest]
#[case::aiff(aiff(16_054, 16_008))]
#[case::aiff_to_a_pipe(aiff(0, 0))]
#[case::caf(caf(16_004))]
#[case::caf_to_a_pipe(caf(-1))]
fn aiff_and_caf_are_read_with_any_sizes(#[case] file: Vec<u8>) {
    is_sine(&Audio::from_bytes(file).unwrap());
}

#[rstest]
#[case::wav(&wav(), 16_000)]
#[case::flac(FLAC, 16_000)]
#[case::mp3_with_lengths(MP3, 16_000)]
#[case::vorbis(VORBIS, 16_000)]
#[case::opus(OPUS, 16_000)]
// 18 frames of 576 samples each, in both.
#[case::mp3_without_lengths(VARIABLE_MP3, 2 * 20_736)]
fn joined_files_give_all_of_their_samples(#[case] file: &[u8], #[case] length: usize) {
    let audio = Audio::from_bytes([file, file].concat()).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (length, None));
    let (first, second) = audio.samples.split_at(length / 2);
    // The decoder's state reaches from one into the other, where nothing tells them apart.
    let differ = first[600..].iter().zip(&second[600..]);
    let most = differ.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(most < 2e-3, "differ by {most}");
}

#[test]
fn joined_mp3s_of_different_rates_and_tags_are_all_read() {
    let id3 = [
        &b"ID3\x03\x00\x00\x00\x00\x00\x14"[..],
        b"\xff\xfe\x41\x00\xff\xfb\x90\x00 not a frame",
    ]
    .concat();
    let file = [&id3[..24 + 6], MP3, &id3[..24 + 6], VARIABLE_MP3, MP3].concat();
    let audio = Audio::from_bytes(file).unwrap();
    assert_eq!(audio.truncated, None);
    assert_eq!(audio.samples.len(), 8_000 + 20_736 + 8_000);
    assert!(off(&audio.samples, 0) < 0.03);
    assert!(off(&audio.samples[28_736..], 0) < 0.03);
}

#[test]
fn a_variable_rate_without_a_header_loses_no_end() {
    // 36 frames of 576 samples, as ffmpeg counts; a guess by the first frames' rate ends sooner.
    let audio = Audio::from_bytes(VARIABLE_MP3).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (20_736, None));
    let loud = |part: &[f32]| part.iter().map(|x| x * x).sum::<f32>() / part.len() as f32;
    assert!((loud(&audio.samples[18_000..19_000]) - 0.125).abs() < 0.01);
}

#[rstest]
#[case::wav(wav())]
#[case::wave64(wave64())]
#[case::aiff(aiff(16_054, 16_008))]
#[case::caf(caf(16_004))]
#[case::flac(FLAC.to_vec())]
#[case::mp3(MP3.to_vec())]
#[case::vorbis(VORBIS.to_vec())]
#[case::opus(OPUS.to_vec())]
#[case::opus_in_webm(OPUS_WEBM.to_vec())]
#[case::aac_in_m4a(AAC_M4A.to_vec())]
fn a_file_that_was_cut_says_so(#[case] mut file: Vec<u8>) {
    file.truncate(file.len() * 7 / 8);
    match Audio::from_bytes(file) {
        Ok(audio) => {
            assert!(audio.truncated.is_some());
            assert!(audio.samples.len() < 9_216);
        }
        // The one page of a small ogg file is a whole or nothing.
        Err(error) => assert!(
            error.to_string().ends_with("(unexpected end of file)"),
            "{error}"
        ),
    }
}

#[test]
fn a_webm_without_a_length_is_not_cut() {
    // As a browser records: the segment's size is not known.
    let mut file = OPUS_WEBM.to_vec();
    let segment = file
        .windows(4)
        .position(|id| id == b"\x18\x53\x80\x67")
        .unwrap();
    assert_eq!(file[segment + 4], 1, "a size of 8 bytes");
    file[segment + 5..segment + 12].fill(0xff);
    let audio = Audio::from_bytes(file).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (8_216, None));
}

#[rstest]
#[case::windows_media(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11".to_vec(), "Windows Media (wma)")]
#[case::amr(b"#!AMR\n".to_vec(), "AMR")]
#[case::sun(b".snd".to_vec(), "Sun audio (au)")]
#[case::film(b"RIFF\x00\x00\x00\x00AVI LIST".to_vec(), "RIFF that is not wav, as avi is")]
#[case::speex([&b"OggS\x00\x02"[..], &[0; 22], b"Speex   1.2"].concat(), "Speex")]
fn what_is_not_read_is_called_by_its_name(#[case] mut file: Vec<u8>, #[case] got: &str) {
    file.resize(4_000, 0);
    let text = Audio::from_bytes(file).unwrap_err().to_string();
    let wanted = "audio: wanted wav, flac, mp3, ogg, opus, m4a, webm, aiff or caf, got ";
    assert_eq!(text, format!("{wanted}{got}"));
}

/// Counts what is read of an endless stream.
struct Endless(u64, u8);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(self.1);
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }
}

#[rstest]
#[case::zeros(0)]
#[case::letters(b'y')]
#[case::ones(0xff)]
fn an_endless_stream_of_no_recording_is_given_up(#[case] byte: u8) {
    let mut stream = Endless(0, byte);
    let text = Audio::from_reader(&mut stream).unwrap_err().to_string();
    assert!(text.ends_with("got something else"), "{text}");
    assert!(stream.0 <= 4 << 20, "read {} bytes", stream.0);
}

#[test]
#[cfg(unix)]
fn a_device_is_given_up_as_well() {
    let text = Audio::load("/dev/zero").unwrap_err().to_string();
    assert!(text.starts_with("audio: /dev/zero: wanted wav, "), "{text}");
}

#[test]
fn a_recording_is_read_from_a_pipe() {
    let audio = Audio::from_reader(OPUS).unwrap();
    assert_eq!((audio.samples.len(), audio.truncated), (8_000, None));
}

#[test]
fn damaged_files_never_panic_and_truncations_print() {
    let mut state = 7_u64;
    let files = [
        OPUS,
        OPUS_WEBM,
        AAC_M4A,
        VORBIS,
        VARIABLE_MP3,
        &aiff(16_054, 16_008),
        &wave64(),
    ];
    for original in files {
        for _ in 0..150 {
            let mut damaged = original.to_vec();
            for _ in 0..4 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (state >> 33) as usize % damaged.len();
                damaged[at] = (state >> 20) as u8;
            }
            let _ = Audio::from_bytes(damaged);
        }
    }
    let text = Truncated::Broken.to_string();
    assert_eq!(text, "truncated: a packet is incomplete or damaged");
}

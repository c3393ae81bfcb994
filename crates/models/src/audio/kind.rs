//! Recognition of file formats: readable ones, known ones that are not read, and files that are no recordings.

use super::{decode, mpeg, wav};
use crate::{Error, Result};

/// What recordings can be, for error texts.
const WANTED: &str = "wav, flac, mp3, ogg, opus, m4a, webm, aiff or caf";

/// Number of leading bytes that are enough to recognize a format.
pub(super) const HEAD: usize = 1 << 20;

/// Formats that are not read, by their magic bytes.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (wma)"),
    (b"#!AMR", "AMR"),
    (b"wvpk", "WavPack"),
    (b"MAC ", "Monkey's Audio"),
    (b"TTA1", "True Audio"),
    (b"MPCK", "Musepack"),
    (b"MP+", "Musepack"),
    (b"\x0b\x77", "AC-3"),
    (b"\x7f\xfe\x80\x01", "DTS"),
    (b".snd", "Sun audio (au)"),
    (b"RIFX", "wav with the highest byte first (RIFX)"),
    (b"RIFF", "RIFF that is not wav, as avi is"),
    (b"DSD ", "DSD"),
    (b"FRM8", "DSD"),
    (b".RMF", "RealMedia"),
    (b".ra\xfd", "RealAudio"),
    (b"FLV", "Flash video"),
    (b"MThd", "MIDI, which has notes and no sound"),
    (b"\x00\x00\x01\xba", "an MPEG program stream"),
    (b"Creative Voice", "Creative Voice"),
];

/// Refuses a file that is no recording; `head` is its first [`HEAD`] bytes, or all of them.
///
/// # Errors
/// [`Error::Audio`] with the format's name where it is known.
pub(super) fn check(head: &[u8]) -> Result<()> {
    if is_known(head) {
        return Ok(());
    }
    let got = match foreign(head) {
        Some(name) => name,
        None if head.is_empty() => "an empty file",
        None if decode::probes(head) => return Ok(()),
        None => "something else",
    };
    Err(Error::Audio(format!("wanted {WANTED}, got {got}")))
}

/// Returns whether the file begins like a container that is read.
fn is_known(head: &[u8]) -> bool {
    let starts: [&[u8]; 4] = [b"fLaC", b"caff", b"\x1a\x45\xdf\xa3", b"OggS"];
    let boxes: [&[u8; 4]; 6] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"];
    let is = |at: usize, name: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(name));
    let is_aiff = is(0, b"FORM") && (is(8, b"AIFF") || is(8, b"AIFC"));
    (starts.iter().any(|start| is(0, start)) && foreign(head).is_none())
        || boxes.iter().any(|name| is(4, *name))
        || is_aiff
        || wav::is_wav(head)
        || mpeg::id3_end(head, 0).is_some()
}

/// Returns the name of a known format that is not read.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let by_start = FOREIGN.iter().find(|(start, _)| head.starts_with(start));
    let is_transport = || (0..4).all(|packet| head.get(188 * packet) == Some(&0x47));
    let is_speex = || head.starts_with(b"OggS") && head.get(28..36) == Some(b"Speex   ");
    match by_start {
        Some((_, name)) => Some(name),
        None if is_transport() => Some("an MPEG transport stream"),
        None if is_speex() => Some("Speex"),
        None => None,
    }
}

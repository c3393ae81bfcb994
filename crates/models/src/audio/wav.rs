//! Format and samples of a wav file, also where its sizes are wrong.
//!
//! A recording that was truncated, streamed or joined has wrong sizes; RF64 and Wave64 store them elsewhere. The chunks
//! are therefore parsed here, leniently, and the decoder gets a plain file with one format and one data chunk.

use std::ops::Range;

use crate::{Error, Result};

/// The samples that the header of a wav file states and those that the file holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataLength {
    pub(super) wanted: u64,
    pub(super) got: u64,
}

/// One recording of a wav file.
#[derive(Debug, PartialEq)]
pub(super) struct Wav {
    /// The coding of the samples.
    pub(super) coding: Coding,
    /// The bytes of the samples.
    pub(super) data: Range<usize>,
    /// Set when there are fewer samples than stated.
    pub(super) short: Option<DataLength>,
    /// The offset after this recording, where another file may follow.
    pub(super) end: usize,
}

/// The coding of the samples of a wav file.
#[derive(Debug, PartialEq)]
pub(super) enum Coding {
    /// A coding of the wav decoder, with the format chunk that it reads.
    Wave(Vec<u8>),
    /// A stream of MPEG frames.
    Mpeg,
}

/// Tags of the format chunk.
mod tag {
    pub(super) const PCM: u16 = 1;
    pub(super) const ADPCM: u16 = 2;
    pub(super) const FLOAT: u16 = 3;
    pub(super) const A_LAW: u16 = 6;
    pub(super) const MU_LAW: u16 = 7;
    pub(super) const IMA_ADPCM: u16 = 0x11;
    pub(super) const MPEG: u16 = 0x50;
    pub(super) const MP3: u16 = 0x55;
    pub(super) const EXTENSIBLE: u16 = 0xfffe;
}

/// Codings that are not decoded, by their tags.
const FOREIGN: &[(u16, &str)] = &[
    (0x31, "GSM 6.10"),
    (0x40, "G.721"),
    (0x42, "G.723.1"),
    (0x45, "G.726"),
    (0x64, "G.726"),
    (0x65, "G.722"),
    (0x83, "G.729"),
    (0xff, "AAC"),
    (0x160, "WMA"),
    (0x161, "WMA"),
    (0x162, "WMA"),
    (0x163, "WMA"),
    (0x270, "ATRAC3"),
    (0x28f, "G.722"),
    (0x1600, "AAC"),
    (0x2000, "AC-3"),
    (0x2001, "DTS"),
    (0xa109, "Speex"),
];

/// Names of chunks that are in use: where the padding of a chunk is ambiguous, one of these is the next.
const NAMES: &[&[u8; 4]] = &[
    b"data", b"fmt ", b"LIST", b"fact", b"JUNK", b"junk", b"bext", b"cue ", b"smpl", b"inst",
    b"PEAK", b"iXML", b"id3 ", b"ID3 ", b"PAD ", b"FLLR", b"minf", b"elm1", b"cart", b"acid",
    b"plst", b"DISP", b"axml", b"_PMX", b"LGWV", b"levl", b"note", b"ltxt", b"labl", b"umid",
    b"chna", b"dbmd", b"ds64", b"wavl", b"slnt", b"AFAn", b"SAUR", b"regn", b"strc", b"tlst",
];

/// The end of a Wave64 GUID, which begins with the chunk's name in lower case.
const GUID: &[u8; 12] = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";

/// Returns whether a wav file begins here.
pub(super) fn is_wav(bytes: &[u8]) -> bool {
    Container::of(bytes).is_some()
}

/// Finds the recording that begins at the start of `bytes`.
///
/// # Errors
/// [`Error::Audio`] when there is no format or no data chunk, or the coding is not known.
pub(super) fn parse(bytes: &[u8]) -> Result<Wav> {
    let container = Container::of(bytes)
        .ok_or_else(|| Error::Audio("wav: wanted a RIFF header, got something else".into()))?;
    let chunks = container.walk(bytes);
    let find = |name: &[u8; 4]| chunks.iter().find(|chunk| chunk.name == *name);
    let format = find(b"fmt ")
        .and_then(|chunk| bytes.get(chunk.body..chunk.body.checked_add(chunk.size as usize)?))
        .filter(|body| body.len() >= 14)
        .ok_or_else(|| Error::Audio("wav: wanted a format chunk, got none that is whole".into()))?;
    let format = Format::read(format);
    let coding = format.coding()?;
    let data =
        find(b"data").ok_or_else(|| Error::Audio("wav: wanted a data chunk, got none".into()))?;
    let long = find(b"ds64")
        .and_then(|chunk| read_u64(bytes, chunk.body + 8))
        .filter(|&size| size > 0);
    let extent = Extent {
        container,
        bytes,
        start: data.body,
        block: format.block,
    };
    Ok(extent.recording(long.unwrap_or(data.size), long.is_some(), coding))
}

/// Returns a wav file with this format chunk and these samples, as the decoder reads it.
pub(super) fn plain(format: &[u8], data: &[u8]) -> Vec<u8> {
    // The longest size means "to the end": none of the sizes can be larger.
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut file = Vec::with_capacity(20 + format.len() + 8 + data.len());
    file.extend(b"RIFF");
    file.extend(size(20 + format.len() + data.len()));
    file.extend(b"WAVEfmt ");
    file.extend(size(format.len()));
    file.extend(format);
    file.extend(b"data");
    file.extend(size(data.len()));
    file.extend(data);
    file
}

/// The two layouts of chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Container {
    /// A name of 4 bytes and a size of 4; also RF64 and BW64.
    Riff,
    /// A GUID and a size of 8 bytes that counts both; chunks are aligned to 8 bytes.
    Wave64,
}

/// A chunk with the fields of its header.
#[derive(Debug)]
struct Chunk {
    name: [u8; 4],
    body: usize,
    size: u64,
}

impl Container {
    fn of(bytes: &[u8]) -> Option<Self> {
        let riff = matches!(bytes.get(..4)?, b"RIFF" | b"RF64" | b"BW64");
        if riff && bytes.get(8..12)? == b"WAVE" {
            return Some(Self::Riff);
        }
        let wave64 = bytes.get(..4)? == b"riff" && bytes.get(24..28)? == b"wave";
        (wave64 && bytes.get(28..40)? == GUID).then_some(Self::Wave64)
    }

    /// Lists the chunks up to the data chunk, which is searched by name where the sizes are wrong.
    fn walk(self, bytes: &[u8]) -> Vec<Chunk> {
        let mut at = match self {
            Self::Riff => 12,
            Self::Wave64 => 40,
        };
        let mut chunks: Vec<Chunk> = Vec::new();
        while let Some(chunk) = self.chunk(bytes, at) {
            let (body, size, is_data) = (chunk.body, chunk.size, &chunk.name == b"data");
            let lost = !is_data && size > (bytes.len() - body) as u64;
            if !lost {
                chunks.push(chunk);
            }
            if is_data {
                return chunks;
            }
            match (!lost).then(|| self.next(bytes, body + size as usize)) {
                Some(Some(next)) => at = next,
                _ => break,
            }
        }
        let from = chunks.last().map_or(at, |chunk| chunk.body);
        let found = bytes[from.min(bytes.len())..]
            .windows(4)
            .position(|name| name == b"data");
        chunks.extend(found.and_then(|offset| self.chunk(bytes, from + offset)));
        chunks
    }

    fn chunk(self, bytes: &[u8], at: usize) -> Option<Chunk> {
        let name: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let (body, size) = match self {
            Self::Riff => (at + 8, u64::from(read_u32(bytes, at + 4)?)),
            Self::Wave64 => (at + 24, read_u64(bytes, at + 16)?.saturating_sub(24)),
        };
        Some(Chunk { name, body, size })
    }

    /// Returns the start of the next chunk: the next even offset, unless the writer padded otherwise.
    fn next(self, bytes: &[u8], end: usize) -> Option<usize> {
        if self == Self::Wave64 {
            return Some(end.next_multiple_of(8));
        }
        let name = |at: usize| bytes.get(at..at.checked_add(4)?);
        let is_known = |at: usize| {
            name(at).is_some_and(|name| NAMES.iter().any(|known| known.as_slice() == name))
        };
        let is_name = |at: usize| {
            name(at).is_some_and(|name| name.iter().all(|byte| (b' '..=b'~').contains(byte)))
        };
        let padded = end + end % 2;
        let candidates = [padded, end, end + 1];
        let known = candidates.into_iter().find(|&at| is_known(at));
        known.or_else(|| candidates.into_iter().find(|&at| is_name(at)))
    }
}

/// The start of the samples, from which their end is found.
struct Extent<'a> {
    container: Container,
    bytes: &'a [u8],
    start: usize,
    block: usize,
}

impl Extent<'_> {
    fn recording(&self, wanted: u64, is_long: bool, coding: Coding) -> Wav {
        let there = (self.bytes.len() - self.start) as u64;
        let streamed = !is_long && self.is_streamed(wanted);
        let to_the_end = streamed || wanted > there || self.goes_on(wanted);
        let size = if to_the_end { there } else { wanted } as usize;
        // Whole frames only: the reader refuses a last packet that is a byte short.
        let got = size - size % self.block;
        let data = self.start..self.start + got;
        let end = match to_the_end {
            true => self.bytes.len(),
            false => self
                .container
                .next(self.bytes, self.start + size)
                .unwrap_or(self.start + size),
        };
        let short = (!streamed && wanted > there).then_some(DataLength {
            wanted,
            got: got as u64,
        });
        Wav {
            coding,
            data,
            short,
            end,
        }
    }

    /// Returns whether the size is a placeholder for an unknown one.
    fn is_streamed(&self, size: u64) -> bool {
        // ffmpeg writes all ones, sox 0x7ffff000 and a bit, arecord 0x80000000.
        let unknown = (0x7fff_f000..=0x8000_0100).contains(&size) || size >= 0xffff_f000;
        unknown || size == 0 && !self.is_chunk(self.start)
    }

    /// Returns whether samples follow after `length` bytes of them: the file's own size covers more, and it is no
    /// chunk.
    fn goes_on(&self, size: u64) -> bool {
        let (Some(end), Some(whole)) = (
            usize::try_from(size)
                .ok()
                .and_then(|n| self.start.checked_add(n)),
            read_u32(self.bytes, 4),
        ) else {
            return false;
        };
        let covered = (whole as usize).saturating_add(8) >= self.bytes.len().max(end + 16);
        self.container == Container::Riff
            && covered
            && [0, 1].iter().all(|&pad| !self.is_chunk(end + pad))
    }

    /// Returns whether a chunk or another file begins at an offset.
    fn is_chunk(&self, at: usize) -> bool {
        let Some(name) = self.bytes.get(at..at + 4) else {
            return false;
        };
        NAMES.iter().any(|known| known.as_slice() == name)
            || Container::of(&self.bytes[at..]).is_some()
    }
}

/// The fields of a format chunk.
struct Format<'a> {
    tag: u16,
    channels: u16,
    rate: u32,
    block: usize,
    bits: u16,
    body: &'a [u8],
}

impl<'a> Format<'a> {
    /// Reads a chunk of at least 14 bytes; the oldest chunks end before the bits.
    fn read(body: &'a [u8]) -> Self {
        let field = |at| read_u16(body, at).unwrap_or(0);
        let tag = match field(0) {
            // The format tag is the beginning of a GUID.
            tag::EXTENSIBLE if body.len() >= 26 => field(24),
            tag => tag,
        };
        let (channels, block) = (field(2), usize::from(field(12)));
        let bits = match field(14) {
            0 => (8 * block).checked_div(usize::from(channels)).unwrap_or(0) as u16,
            bits => bits,
        };
        // Samples of 12 or 20 bits fill whole bytes, from the most significant bit.
        let bits = bits.checked_next_multiple_of(8).unwrap_or(bits);
        let is_plain = matches!(tag, tag::PCM | tag::FLOAT | tag::A_LAW | tag::MU_LAW);
        let block = match tag {
            _ if is_plain => usize::from(channels) * usize::from(bits / 8),
            // Frames have no fixed size.
            tag::MPEG | tag::MP3 => 1,
            _ => block,
        };
        Self {
            tag,
            channels,
            rate: read_u32(body, 4).unwrap_or(0),
            block: block.max(1),
            bits,
            body,
        }
    }

    fn coding(&self) -> Result<Coding> {
        if !(1..=64).contains(&self.channels) {
            return Err(Error::Audio(format!(
                "channels: wanted 1 to 64, got {}",
                self.channels
            )));
        }
        match self.tag {
            tag::PCM | tag::FLOAT => Ok(Coding::Wave(self.plain())),
            tag::A_LAW | tag::MU_LAW => {
                // Their decoder requires the size of an extension that they do not have.
                Ok(Coding::Wave([self.plain(), vec![0, 0]].concat()))
            }
            tag::ADPCM | tag::IMA_ADPCM => Ok(Coding::Wave(self.body.to_vec())),
            tag::MPEG | tag::MP3 => Ok(Coding::Mpeg),
            other => {
                let name = FOREIGN.iter().find(|(tag, _)| *tag == other);
                Err(Error::Audio(format!(
                    "wav: wanted PCM, float, A-law, mu-law, ADPCM or MP3, got {} (format {other:#06x})",
                    name.map_or("another coding", |(_, name)| name)
                )))
            }
        }
    }

    /// The oldest form of the chunk, without extensions.
    fn plain(&self) -> Vec<u8> {
        let per_second = self.rate.saturating_mul(self.block as u32);
        [
            &self.tag.to_le_bytes()[..],
            &self.channels.to_le_bytes(),
            &self.rate.to_le_bytes(),
            &per_second.to_le_bytes(),
            &(self.block as u16).to_le_bytes(),
            &self.bits.to_le_bytes(),
        ]
        .concat()
    }
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(field.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

//! How long is the data of a wav file really, and is its format plausible?
//!
//! A recording that was cut short, or streamed, has a header that promises more than the file holds.

/// Is what the header of a wav file promises and what the file holds, in bytes of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataLength {
    pub(super) wanted: u64,
    pub(super) got: u64,
}

/// Cuts the length in the data chunk's header to what is there, and returns both when they differ.
///
/// Lengths of all ones or zero with data behind them mean "not known when the header was written"
/// and are not a sign of truncation, so they are mended in silence.
pub(super) fn mend_length(bytes: &mut [u8]) -> Option<DataLength> {
    let (header, block) = find_data(bytes)?;
    let start = header + 8;
    let wanted = read_u32(bytes, header + 4)?;
    let there = (bytes.len() - start) as u64;
    let streamed = wanted == u32::MAX || (wanted == 0 && there > 0 && read_u32(bytes, 4)? == 0);
    if u64::from(wanted) <= there && !streamed {
        return None;
    }
    // Whole frames only: the reader refuses a last packet that is short by a byte.
    let got =
        u32::try_from(there - there % u64::from(block)).unwrap_or(u32::MAX - u32::from(block));
    bytes[header + 4..start].copy_from_slice(&got.to_le_bytes());
    (!streamed).then_some(DataLength {
        wanted: u64::from(wanted),
        got: u64::from(got),
    })
}

/// Returns the number of channels, when it is more than any recording has.
///
/// The reader multiplies it without a check.
pub(super) fn absurd_channels(bytes: &[u8]) -> Option<u16> {
    let at = find_chunk(bytes, b"fmt ")?;
    read_u16(bytes, at + 10).filter(|&channels| channels > 64)
}

/// Returns the offset of the data chunk's header and the bytes per frame.
fn find_data(bytes: &[u8]) -> Option<(usize, u16)> {
    let block = find_chunk(bytes, b"fmt ")
        .and_then(|at| read_u16(bytes, at + 20))
        .unwrap_or(1);
    Some((find_chunk(bytes, b"data")?, block.max(1)))
}

/// Returns the offset of a chunk's header.
fn find_chunk(bytes: &[u8], wanted: &[u8; 4]) -> Option<usize> {
    if bytes.get(..4)? != b"RIFF" || bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at = 12_usize;
    loop {
        let id = bytes.get(at..at.checked_add(4)?)?;
        let length = read_u32(bytes, at + 4)? as usize;
        if id == wanted {
            return Some(at);
        }
        // Chunks are padded to even lengths.
        at = at
            .checked_add(8)?
            .checked_add(length)?
            .checked_add(length % 2)?;
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

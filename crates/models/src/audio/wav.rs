//! How long is the data of a wav file really?
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
    if bytes.get(..4)? != b"RIFF" || bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let (header, block) = find_data(bytes)?;
    let start = header + 8;
    let wanted = read_u32(bytes, header + 4)?;
    let there = (bytes.len() - start) as u64;
    let streamed = wanted == u32::MAX || (wanted == 0 && there > 0 && read_u32(bytes, 4)? == 0);
    if u64::from(wanted) <= there && !streamed {
        return None;
    }
    // Whole frames only: the reader refuses a last packet that is short by a byte.
    let got = u32::try_from(there - there % u64::from(block)).unwrap_or(u32::MAX - u32::from(block));
    bytes[header + 4..start].copy_from_slice(&got.to_le_bytes());
    (!streamed).then_some(DataLength { wanted: u64::from(wanted), got: u64::from(got) })
}

/// Returns the offset of the data chunk's header and the bytes per frame.
fn find_data(bytes: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    let mut block = 1;
    loop {
        let id = bytes.get(at..at + 4)?;
        let length = read_u32(bytes, at + 4)? as usize;
        match id {
            b"data" => return Some((at, block)),
            b"fmt " => block = u16::from_le_bytes(bytes.get(at + 20..at + 22)?.try_into().ok()?).max(1),
            _ => {}
        }
        // Chunks are padded to even lengths.
        at = at.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

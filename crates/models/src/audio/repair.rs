//! Aiff and caf files with wrong sizes: a recording that was truncated or streamed has them, and its reader refuses the
//! file.

use super::wav::DataLength;

/// Returns the file with its actual sizes, when the stated ones are wrong, and how many samples are missing.
pub(super) fn with_actual_sizes(bytes: &[u8]) -> Option<(Vec<u8>, Option<DataLength>)> {
    match bytes.get(..4)? {
        b"FORM" => aiff(bytes),
        b"caff" => caf(bytes),
        _ => None,
    }
}

fn aiff(bytes: &[u8]) -> Option<(Vec<u8>, Option<DataLength>)> {
    if !matches!(bytes.get(8..12)?, b"AIFF" | b"AIFC") {
        return None;
    }
    let mut at = 12_usize;
    loop {
        let wanted = u32::from_be_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?);
        let body = at + 8;
        if &bytes[at..at + 4] == b"SSND" {
            // Its body begins with an offset and a block size.
            let available = bytes.len() - body;
            let streamed = wanted == u32::MAX || (wanted as usize <= 8 && available > 8 + 8);
            if wanted as usize <= available && !streamed {
                return None;
            }
            let mut file = bytes.to_vec();
            file[4..8].copy_from_slice(&u32::try_from(bytes.len() - 8).ok()?.to_be_bytes());
            file[at + 4..body].copy_from_slice(&u32::try_from(available).ok()?.to_be_bytes());
            return Some((file, short(streamed, wanted.into(), available)));
        }
        at = body
            .checked_add(wanted as usize)?
            .checked_next_multiple_of(2)?;
    }
}

fn caf(bytes: &[u8]) -> Option<(Vec<u8>, Option<DataLength>)> {
    let mut at = 8_usize;
    loop {
        let wanted = i64::from_be_bytes(bytes.get(at + 4..at + 12)?.try_into().ok()?);
        let body = at + 12;
        let available = bytes.len() - body;
        if &bytes[at..at + 4] == b"data" {
            // Its body begins with a count of edits. -1 means that the samples extend to the end of the file.
            let streamed = wanted <= 4 && available > 4;
            if !streamed && usize::try_from(wanted).is_ok_and(|wanted| wanted <= available) {
                return None;
            }
            let mut file = bytes.to_vec();
            file[at + 4..body].copy_from_slice(&i64::try_from(available).ok()?.to_be_bytes());
            return Some((file, short(streamed, wanted.unsigned_abs(), available)));
        }
        at = body.checked_add(usize::try_from(wanted).ok()?)?;
    }
}

fn short(streamed: bool, wanted: u64, available: usize) -> Option<DataLength> {
    let got = available as u64;
    (!streamed && wanted > got).then_some(DataLength { wanted, got })
}

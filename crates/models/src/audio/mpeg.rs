//! The parts of a joined MP3, and the encoder padding of each.

use std::ops::Range;

/// Splits a stream of MPEG frames where another file was appended: at its `Xing` or `Info` tag, or at its ID3 tag.
///
/// Each part has its own delay, length and rate.
pub(super) fn parts(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut at = 1;
    while let Some(found) = next_mark(bytes, at) {
        let start = match bytes[found] {
            b'I' => id3_end(bytes, found).map(|_| found),
            _ => lengths_frame(bytes, found),
        };
        // The first file's own tags start no other part: they come before its first frame.
        let previous = starts.last().copied().unwrap_or(0);
        let is_next = |start: &usize| *start > skip_id3(bytes, previous);
        if let Some(start) = start.filter(is_next) {
            starts.push(start);
            // Frames inside an ID3 tag are not audio.
            at = skip_id3(bytes, start).max(found + 1);
        } else {
            at = found + 1;
        }
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(a, b)| a..b)
        .collect()
}

/// The lengths that the header of a part states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lengths {
    /// Samples before the recording, which encoder and decoder add.
    pub(super) delay: usize,
    /// Samples of the recording.
    pub(super) frames: usize,
    /// Samples after the recording, which fill its last packet.
    pub(super) padding: usize,
}

impl Lengths {
    /// Removes the padding; without lengths in the header everything is kept.
    pub(super) fn trim(&self, samples: &mut Vec<f32>) {
        let end = self.delay.saturating_add(self.frames);
        if end < samples.len() {
            let behind = end.saturating_add(self.padding).min(samples.len());
            samples.drain(end..behind);
        }
        samples.drain(..self.delay.min(samples.len()));
    }
}

/// Returns the next offset that may be a tag.
fn next_mark(bytes: &[u8], from: usize) -> Option<usize> {
    let marks = bytes.get(from..)?.windows(4);
    let is_mark = |window: &[u8]| window == b"Xing" || window == b"Info" || &window[..3] == b"ID3";
    Some(from + marks.enumerate().find(|(_, window)| is_mark(window))?.0)
}

/// Returns the start of the frame whose `Xing` or `Info` tag is at `tag`.
fn lengths_frame(bytes: &[u8], tag: usize) -> Option<usize> {
    // The tag follows the frame's header and the side information, whose size depends on the header.
    [32_usize, 17, 9].into_iter().find_map(|side| {
        let start = tag.checked_sub(4 + side)?;
        let header = &bytes[start..start + 4];
        let is_sync = header[0] == 0xff && header[1] & 0xe0 == 0xe0;
        let is_layer_3 = header[1] & 0x06 == 0x02;
        let (is_first_version, is_mono) = (header[1] & 0x18 == 0x18, header[3] & 0xc0 == 0xc0);
        let wanted = match (is_first_version, is_mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        (is_sync && is_layer_3 && side == wanted && header[2] & 0xf0 != 0xf0).then_some(start)
    })
}

/// Returns where the frames begin after the ID3 tags at `start`.
pub(super) fn skip_id3(bytes: &[u8], mut start: usize) -> usize {
    while let Some(end) = id3_end(bytes, start) {
        start = end;
    }
    start
}

/// Returns where the ID3 tag at `start` ends, when there is one.
pub(super) fn id3_end(bytes: &[u8], start: usize) -> Option<usize> {
    let header = bytes.get(start..start.checked_add(10)?)?;
    let is_tag = &header[..3] == b"ID3"
        && (2..=4).contains(&header[3])
        && header[4] != 0xff
        && header[6..].iter().all(|&byte| byte < 0x80);
    let size = header[6..]
        .iter()
        .fold(0_usize, |size, &byte| size << 7 | usize::from(byte));
    let footer = if header[5] & 0x10 != 0 { 10 } else { 0 };
    is_tag.then_some(start + 10 + size + footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::as_told(12, vec![2.0, 3.0, 4.0])]
    #[case::cut(4, vec![2.0, 3.0])]
    #[case::cut_in_the_delay(1, vec![])]
    #[case::more_behind(15, vec![2.0, 3.0, 4.0, 12.0, 13.0, 14.0])]
    fn trims_what_was_not_recorded(#[case] decoded: usize, #[case] wanted: Vec<f32>) {
        let lengths = Lengths {
            delay: 2,
            frames: 3,
            padding: 7,
        };
        let mut samples: Vec<f32> = (0..decoded).map(|n| n as f32).collect();
        lengths.trim(&mut samples);
        assert_eq!(samples, wanted);
    }

    #[test]
    fn tags_of_another_file_begin_a_part() {
        let mut frame = vec![0xff, 0xfb, 0x90, 0x00];
        frame.extend([0; 32]);
        frame.extend(b"Xing");
        frame.extend([0; 60]);
        let id3 = [&b"ID3\x04\x00\x00\x00\x00\x00\x06"[..], b"a Info"].concat();
        let whole = [
            &id3[..],
            &frame,
            &[7; 50],
            &frame,
            &id3,
            &frame,
            b"ID3 is a tag",
        ]
        .concat();
        let starts: Vec<usize> = parts(&whole).iter().map(|part| part.start).collect();
        assert_eq!(starts, [0, 16 + 100 + 50, 16 + 100 + 50 + 100]);
        assert_eq!(parts(&whole).last().unwrap().end, whole.len());
    }
}

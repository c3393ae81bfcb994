//! Pictures of one byte a pixel with a table of colours, as PNG in base64, so that a heat map of any size is one image.

/// Returns a picture, row by row, whose pixels are numbers in `palette`.
pub(crate) fn encode(pixels: &[u8], width: usize, palette: &[[u8; 3]; 256]) -> String {
    let height = pixels.len().checked_div(width).unwrap_or(0);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // 8 bits, palette, the only compression and filter there are, not interlaced.
    header.extend([8, 3, 0, 0, 0]);
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"PLTE", palette.as_flattened());
    let mut rows = Vec::with_capacity(pixels.len() + height);
    for row in pixels.chunks_exact(width.max(1)) {
        rows.push(0);
        rows.extend(row);
    }
    chunk(&mut file, *b"IDAT", &stored(&rows));
    chunk(&mut file, *b"IEND", &[]);
    base64(&file)
}

/// Wraps bytes as a zlib stream without compressing them.
fn stored(bytes: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 65_535;
    let mut stream = vec![0x78, 0x01];
    let blocks = bytes.chunks(LONGEST);
    let last = blocks.len().saturating_sub(1);
    for (k, block) in blocks.enumerate() {
        stream.push(u8::from(k == last));
        stream.extend((block.len() as u16).to_le_bytes());
        stream.extend((!(block.len() as u16)).to_le_bytes());
        stream.extend(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    stream.extend(((b << 16) | a).to_be_bytes());
    stream
}

fn chunk(file: &mut Vec<u8>, name: [u8; 4], content: &[u8]) {
    file.extend((content.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(name);
    file.extend(content);
    let check = file[start..].iter().fold(u32::MAX, |check, &byte| {
        (0..8).fold(check ^ u32::from(byte), |check, _| {
            if check & 1 == 1 {
                (check >> 1) ^ 0xedb8_8320
            } else {
                check >> 1
            }
        })
    });
    file.extend((!check).to_be_bytes());
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |k: usize| u32::from(three.get(k).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for k in 0..4 {
            if k <= three.len() {
                text.push(char::from(LETTERS[(bits >> (18 - 6 * k)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_the_standard_says() {
        let texts = [&b""[..], b"f", b"fo", b"foo", b"foob"].map(base64);
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn the_end_chunk_has_its_known_checksum() {
        let mut file = Vec::new();
        chunk(&mut file, *b"IEND", &[]);
        assert_eq!(
            file,
            [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82]
        );
    }

    #[test]
    fn a_stored_stream_ends_with_its_sum() {
        // The Adler-32 of "Wikipedia" is 0x11e60398.
        assert!(stored(b"Wikipedia").ends_with(&[0x11, 0xe6, 0x03, 0x98]));
    }
}

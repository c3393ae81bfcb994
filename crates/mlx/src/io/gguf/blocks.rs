//! The block formats of GGUF: quantized values of one block.
//!
//! Every block format has one form: integer codes of a few bits, in groups that share a scale and a bias,
//! `value = code * scale + bias`. Where a format subtracts a constant from its codes, that is part of the bias.

use half::f16;

use super::kind::GgmlType;

/// The codes of a block; formats of 32 fill the first 32.
pub(super) struct Block {
    /// The codes, from 0 on.
    pub(super) codes: [u8; 256],
    /// The scale of each group.
    pub(super) scales: [f32; 16],
    /// The bias of each group.
    pub(super) biases: [f32; 16],
}

impl Block {
    pub(super) fn new() -> Self {
        Self {
            codes: [0; 256],
            scales: [0.0; 16],
            biases: [0.0; 16],
        }
    }

    /// Reads a block of exactly [`GgmlType::block_bytes`]; types without blocks leave it unchanged.
    pub(super) fn read(&mut self, kind: GgmlType, bytes: &[u8]) {
        match kind {
            GgmlType::Q4_0 => {
                self.one_group(float(bytes, 0), -8.0);
                self.nibbles(&bytes[2..18], 0);
            }
            GgmlType::Q4_1 => {
                (self.scales[0], self.biases[0]) = (float(bytes, 0), float(bytes, 2));
                self.nibbles(&bytes[4..20], 0);
            }
            GgmlType::Q5_0 => {
                self.one_group(float(bytes, 0), -16.0);
                self.nibbles(&bytes[6..22], 0);
                self.fifth_bits(&bytes[2..6]);
            }
            GgmlType::Q5_1 => {
                (self.scales[0], self.biases[0]) = (float(bytes, 0), float(bytes, 2));
                self.nibbles(&bytes[8..24], 0);
                self.fifth_bits(&bytes[4..8]);
            }
            GgmlType::Q8_0 => {
                self.one_group(float(bytes, 0), -128.0);
                for (code, &byte) in self.codes.iter_mut().zip(&bytes[2..34]) {
                    // From -128..=127 to 0..=255.
                    *code = byte ^ 0x80;
                }
            }
            GgmlType::Q2_K => self.q2_k(bytes),
            GgmlType::Q3_K => self.q3_k(bytes),
            GgmlType::Q4_K => self.q4_k(bytes),
            GgmlType::Q5_K => self.q5_k(bytes),
            GgmlType::Q6_K => self.q6_k(bytes),
            _ => {}
        }
    }

    fn one_group(&mut self, scale: f32, zero: f32) {
        self.scales[0] = scale;
        self.biases[0] = zero * scale;
    }

    /// 32 codes from 16 bytes: the low halves, then the high halves.
    fn nibbles(&mut self, bytes: &[u8], at: usize) {
        for (i, &byte) in bytes.iter().enumerate() {
            self.codes[at + i] = byte & 15;
            self.codes[at + 16 + i] = byte >> 4;
        }
    }

    fn fifth_bits(&mut self, bytes: &[u8]) {
        for (i, code) in self.codes[..32].iter_mut().enumerate() {
            *code |= (bytes[i / 8] >> (i % 8) & 1) << 4;
        }
    }

    /// `scales[16], codes[64], d, dmin`: a byte holds one code of each of 4 runs of 32.
    fn q2_k(&mut self, bytes: &[u8]) {
        let (d, dmin) = (float(bytes, 80), float(bytes, 82));
        for (group, &byte) in bytes[..16].iter().enumerate() {
            self.scales[group] = d * f32::from(byte & 15);
            self.biases[group] = -dmin * f32::from(byte >> 4);
        }
        self.two_bits(&bytes[16..80]);
    }

    /// `high[32], codes[64], scales[12], d`: an unset bit of `high` subtracts 4.
    fn q3_k(&mut self, bytes: &[u8]) {
        let (scales, d) = (&bytes[96..108], float(bytes, 108));
        for group in 0..16 {
            let low = scales[group % 8] >> (4 * (group / 8)) & 15;
            let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
            let scale = d * (f32::from(low | high << 4) - 32.0);
            self.scales[group] = scale;
            self.biases[group] = -4.0 * scale;
        }
        self.two_bits(&bytes[32..96]);
        for (i, code) in self.codes.iter_mut().enumerate() {
            *code |= (bytes[i % 32] >> (i / 32) & 1) << 2;
        }
    }

    fn two_bits(&mut self, bytes: &[u8]) {
        for (i, code) in self.codes.iter_mut().enumerate() {
            let (half, run, place) = (i / 128, i / 32 % 4, i % 32);
            *code = bytes[32 * half + place] >> (2 * run) & 3;
        }
    }

    /// `d, dmin, scales[12], codes[128]`.
    fn q4_k(&mut self, bytes: &[u8]) {
        self.six_bit_scales(bytes);
        self.runs_of_nibbles(&bytes[16..144]);
    }

    /// `d, dmin, scales[12], high[32], codes[128]`: run `r` of 32 has its fifth bits in bit `r` of `high`.
    fn q5_k(&mut self, bytes: &[u8]) {
        self.six_bit_scales(bytes);
        self.runs_of_nibbles(&bytes[48..176]);
        for (i, code) in self.codes.iter_mut().enumerate() {
            *code |= (bytes[16 + i % 32] >> (i / 32) & 1) << 4;
        }
    }

    /// A byte holds a code of one run of 32 and one of the next.
    fn runs_of_nibbles(&mut self, bytes: &[u8]) {
        for (i, code) in self.codes.iter_mut().enumerate() {
            let (pair, high, place) = (i / 64, i / 32 % 2, i % 32);
            *code = bytes[32 * pair + place] >> (4 * high) & 15;
        }
    }

    /// 8 scales and 8 offsets of 6 bits in 12 bytes; the upper two bits of the last four are stored with the first
    /// four.
    fn six_bit_scales(&mut self, bytes: &[u8]) {
        let (d, dmin, packed) = (float(bytes, 0), float(bytes, 2), &bytes[4..16]);
        for group in 0..8 {
            let (scale, offset) = if group < 4 {
                (packed[group] & 63, packed[group + 4] & 63)
            } else {
                let low = packed[group + 4];
                (
                    low & 15 | packed[group - 4] >> 6 << 4,
                    low >> 4 | packed[group] >> 6 << 4,
                )
            };
            self.scales[group] = d * f32::from(scale);
            self.biases[group] = -dmin * f32::from(offset);
        }
    }

    /// `low[128], high[64], scales[16], d`: a byte of `high` holds two bits of each of 4 runs of 32.
    fn q6_k(&mut self, bytes: &[u8]) {
        let d = float(bytes, 208);
        for (group, &byte) in bytes[192..208].iter().enumerate() {
            let scale = d * f32::from(byte as i8);
            self.scales[group] = scale;
            self.biases[group] = -32.0 * scale;
        }
        for (i, code) in self.codes.iter_mut().enumerate() {
            let (half, run, place) = (i / 128, i / 32 % 4, i % 32);
            let low = bytes[64 * half + 32 * (run % 2) + place] >> (4 * (run / 2)) & 15;
            let high = bytes[128 + 32 * half + place] >> (2 * run) & 3;
            *code = low | high << 4;
        }
    }
}

/// Returns the group size of codes that share a scale, and their bits.
pub(super) fn groups(kind: GgmlType) -> Option<(usize, usize)> {
    match kind {
        GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q4_K => Some((32, 4)),
        GgmlType::Q5_0 | GgmlType::Q5_1 | GgmlType::Q5_K => Some((32, 5)),
        GgmlType::Q8_0 => Some((32, 8)),
        GgmlType::Q2_K => Some((16, 2)),
        GgmlType::Q3_K => Some((16, 3)),
        GgmlType::Q6_K => Some((16, 6)),
        _ => None,
    }
}

fn float(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

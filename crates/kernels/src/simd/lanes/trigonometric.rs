//! `sin` and `cos` of a register, for arguments up to [`TRIGONOMETRIC_LIMIT`].

use pulp::Simd;

use super::{Lanes, exponential::ROUND};

/// `pi / 2` in three parts, for a reduction with products that are rounded once.
const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_5e-15];
/// Up to this magnitude three parts of `pi / 2` reduce an argument to full precision.
pub(crate) const TRIGONOMETRIC_LIMIT: f32 = 32_768.0;
const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];

impl<S: Simd> Lanes<S> {
    /// The sine, for `|x|` up to the limit.
    #[inline(always)]
    pub(crate) fn sin(self) -> Self {
        // The sign of a zero would be lost in the reduction.
        Self::select(self.equal(self.constant(0.0)), self, self.quarter_turns(0))
    }

    /// The cosine, for `|x|` up to the limit.
    #[inline(always)]
    pub(crate) fn cos(self) -> Self {
        self.quarter_turns(1)
    }

    /// `sin(self + turns * pi / 2)`.
    #[inline(always)]
    fn quarter_turns(self, turns: u32) -> Self {
        let s = self.simd;
        let round = self.constant(ROUND);
        let shifted = self.mul_add(self.constant(std::f32::consts::FRAC_2_PI), round);
        let quarter = s.add_u32s(
            s.sub_u32s(shifted.bits(), round.bits()),
            s.splat_u32s(turns),
        );
        let n = shifted - round;
        let mut r = self;
        for part in HALF_PI {
            r = n.mul_add_exact(self.constant(-part), r);
        }
        let square = r * r;
        let sin = (square.polynomial(SIN) * square).mul_add(r, r);
        let cos = (square.polynomial(COS) * square).mul_add(
            square,
            square.mul_add(self.constant(-0.5), self.constant(1.0)),
        );
        let zero = s.splat_u32s(0);
        let even = s.equal_u32s(s.and_u32s(quarter, s.splat_u32s(1)), zero);
        let value = Self::select(even, sin, cos);
        let sign = s.wrapping_dyn_shl_u32s(s.and_u32s(quarter, s.splat_u32s(2)), s.splat_u32s(30));
        Self::from_bits(s, s.xor_u32s(value.bits(), sign))
    }
}

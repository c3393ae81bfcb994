//! Random choices, the same for the same seed, and memory around outputs that nobody may write to.

/// A small generator.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| {
            dice.below(2);
        });
        dice
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % count
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// A length up to `most`: often small, or next to a boundary of registers, blocks and pieces.
    pub fn length(&mut self, most: usize) -> usize {
        let near = self.pick(&[
            1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16_384, 65_536,
        ]);
        let length = match self.below(3) {
            0 => self.below(20),
            1 => near + self.below(3) - usize::from(near > 0),
            _ => self.below(most + 1),
        };
        length.min(most)
    }

    /// As [`length`](Self::length), but not 0.
    pub fn size(&mut self, most: usize) -> usize {
        self.length(most).max(1)
    }

    /// Numbers in `[-1, 1)`.
    pub fn numbers(&mut self, count: usize) -> Vec<f32> {
        let one = |_| self.below(1 << 24) as f32 / 8_388_608.0 - 1.0;
        (0..count).map(one).collect()
    }
}

/// Elements between others that must stay as they are, beginning at any alignment.
pub struct Guarded<T> {
    all: Vec<T>,
    start: usize,
    length: usize,
    guard: T,
}

impl<T: Copy + PartialEq> Guarded<T> {
    pub fn new(dice: &mut Dice, length: usize, guard: T) -> Self {
        let start = 1 + dice.below(20);
        Self {
            all: vec![guard; start + length + 20],
            start,
            length,
            guard,
        }
    }

    pub fn get(&mut self) -> &mut [T] {
        &mut self.all[self.start..self.start + self.length]
    }

    /// The elements, if all around them is unchanged.
    pub fn checked(&self) -> Result<&[T], String> {
        let (before, rest) = self.all.split_at(self.start);
        let (inside, after) = rest.split_at(self.length);
        match before.iter().chain(after).all(|value| *value == self.guard) {
            true => Ok(inside),
            false => Err("wrote outside of the output".to_owned()),
        }
    }

    /// Whether nothing was written at all.
    pub fn untouched(&self) -> Result<(), String> {
        match self.all.iter().all(|value| *value == self.guard) {
            true => Ok(()),
            false => Err("wrote although it refused".to_owned()),
        }
    }
}

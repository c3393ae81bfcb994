//! What layers take besides a sequence, where Python has further arguments: tuples such as `(&x, &hidden)`.

use mlx::Array;
use mlx::fast::Offset;

/// A sequence, and the hidden state before its first step: `&x`, `(&x, &hidden)`, or `(&x, Some(&hidden))`.
#[derive(Clone, Copy)]
pub struct RecurrentInput<'a> {
    /// The sequence.
    pub x: &'a Array,
    /// The state before the first step; `None` for 0.
    pub hidden: Option<&'a Array>,
}

/// A sequence, and hidden state and cell before its first step: `&x`, `(&x, &hidden, &cell)`, or
/// `(&x, Some((&hidden, &cell)))`.
#[derive(Clone, Copy)]
pub struct LstmInput<'a> {
    /// The sequence.
    pub x: &'a Array,
    /// The state before the first step; `None` for 0.
    pub hidden: Option<&'a Array>,
    /// The cell before the first step; `None` for 0.
    pub cell: Option<&'a Array>,
}

/// A sequence and the position of its first element: `&x`, or `(&x, offset)`.
#[derive(Clone)]
pub struct RopeInput<'a> {
    /// The sequence.
    pub x: &'a Array,
    /// The position of the first element, 0 by default.
    pub offset: Offset,
}

impl<'a> From<&'a Array> for RecurrentInput<'a> {
    fn from(x: &'a Array) -> Self {
        Self { x, hidden: None }
    }
}

impl<'a> From<&'a &Array> for RecurrentInput<'a> {
    fn from(x: &'a &Array) -> Self {
        Self::from(*x)
    }
}

impl<'a, H: Into<Option<&'a Array>>> From<(&'a Array, H)> for RecurrentInput<'a> {
    fn from((x, hidden): (&'a Array, H)) -> Self {
        let hidden = hidden.into();
        Self { x, hidden }
    }
}

impl<'a> From<&'a Array> for LstmInput<'a> {
    fn from(x: &'a Array) -> Self {
        let (hidden, cell) = (None, None);
        Self { x, hidden, cell }
    }
}

impl<'a> From<&'a &Array> for LstmInput<'a> {
    fn from(x: &'a &Array) -> Self {
        Self::from(*x)
    }
}

impl<'a, H, C> From<(&'a Array, H, C)> for LstmInput<'a>
where
    H: Into<Option<&'a Array>>,
    C: Into<Option<&'a Array>>,
{
    fn from((x, hidden, cell): (&'a Array, H, C)) -> Self {
        let (hidden, cell) = (hidden.into(), cell.into());
        Self { x, hidden, cell }
    }
}

impl<'a, S: Into<Option<(&'a Array, &'a Array)>>> From<(&'a Array, S)> for LstmInput<'a> {
    fn from((x, states): (&'a Array, S)) -> Self {
        let (hidden, cell) = states.into().unzip();
        Self { x, hidden, cell }
    }
}

impl<'a> From<&'a Array> for RopeInput<'a> {
    fn from(x: &'a Array) -> Self {
        let offset = Offset::default();
        Self { x, offset }
    }
}

impl<'a> From<&'a &Array> for RopeInput<'a> {
    fn from(x: &'a &Array) -> Self {
        Self::from(*x)
    }
}

impl<'a, O: Into<Offset>> From<(&'a Array, O)> for RopeInput<'a> {
    fn from((x, offset): (&'a Array, O)) -> Self {
        let offset = offset.into();
        Self { x, offset }
    }
}

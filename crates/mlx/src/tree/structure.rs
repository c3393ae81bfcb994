//! What tells two trees of one type apart besides their arrays, as an exact key.

use std::fmt::{self, Write};

/// What tells two trees of one type apart besides their arrays: lengths, keys, which options are set, settings.
///
/// Equal for two trees exactly when everything written was equal: it keeps what was written, not a hash of it. Each
/// entry says its own length, so entries never run into one another. What a type fixes (an array, the arity of a
/// tuple) writes nothing, so that the key of a function of plain arrays is empty and costs nothing.
///
/// ```
/// use mlx::tree::Structure;
/// let (mut a, mut b) = (Structure::default(), Structure::default());
/// a.text("ab");
/// b.text("a");
/// b.text("b");
/// assert_ne!(a, b);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Structure {
    bytes: Vec<u8>,
}

impl Structure {
    /// Writes one byte: which of a few forms a value has.
    pub fn tag(&mut self, tag: u8) {
        self.bytes.push(tag);
    }

    /// Writes a count, or the number of a variant.
    pub fn len(&mut self, len: usize) {
        // Seven bits a byte, lowest first, the high bit says that more follow: no number is the start of another.
        let mut rest = len;
        while rest >= 0x80 {
            self.bytes.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest.to_le_bytes()[0]);
    }

    /// Writes a name.
    pub fn text(&mut self, text: &str) {
        self.len(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Writes a setting by its `Debug` text, which must differ where settings differ.
    pub fn value(&mut self, value: &(impl fmt::Debug + ?Sized)) {
        let mut text = String::new();
        // A `Debug` that fails has written something all the same; the mark keeps it apart from one that did not.
        let ended = write!(text, "{value:?}").is_ok();
        self.text(&text);
        self.tag(u8::from(ended));
    }

    /// Returns the bytes written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns whether nothing has been written, as for plain arrays and tuples of them.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what was written and keeps the memory, for a key that is built again and again.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl fmt::Debug for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Structure({})", self.bytes.escape_ascii())
    }
}

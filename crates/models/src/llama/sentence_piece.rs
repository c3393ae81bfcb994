//! SentencePiece's byte-pair encoding with scores, as Llama 2 and Mistral have it.
//!
//! Characters are merged in pairs, the pair whose token has the highest score first, the leftmost among equals;
//! characters without a token are encoded as bytes. Spaces are written `▁`, and one is put before a text.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use tokenizers::normalizers::precompiled::Precompiled;
use tokenizers::{NormalizedString, Normalizer};

use crate::guarded::guarded;
use crate::{Error, Result};

/// The replacement of a space.
const SPACE: char = '▁';

/// The type of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of text.
    Normal,
    /// An intermediate piece of merging, which is replaced by its parts.
    Unused,
    /// The unknown token.
    Unknown,
    /// A token that never occurs in a text.
    Control,
    /// A token that is found in texts before merging.
    UserDefined,
    /// One byte.
    Byte(u8),
}

/// A token.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// The normalization of a text. Models of Llama's kind change nothing but spaces.
#[derive(Debug, Default)]
pub(super) struct Normalization {
    /// The replacement of characters, in SentencePiece's own format.
    pub(super) charsmap: Option<Precompiled>,
    /// Whether spaces at both ends are removed, and runs of them collapsed.
    pub(super) remove_extra_whitespaces: bool,
    /// Whether a space is put before the text.
    pub(super) add_space_prefix: bool,
}

impl Normalization {
    /// Returns a text with `▁` for its spaces.
    fn apply(&self, text: &str) -> Result<String> {
        let text = match &self.charsmap {
            Some(charsmap) => Cow::Owned(guarded(|| {
                let mut normalized = NormalizedString::from(text);
                charsmap.normalize(&mut normalized)?;
                Ok(normalized.get().to_owned())
            })?),
            None => Cow::Borrowed(text),
        };
        let text = match self.remove_extra_whitespaces {
            true => {
                let words = text.split(' ').filter(|word| !word.is_empty());
                Cow::Owned(words.collect::<Vec<&str>>().join(" "))
            }
            false => text,
        };
        let mut escaped = String::with_capacity(text.len() + SPACE.len_utf8());
        if self.add_space_prefix && !text.is_empty() {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        if self.remove_extra_whitespaces {
            // Also what was `▁` in the text.
            escaped.truncate(escaped.trim_end_matches(SPACE).len());
        }
        Ok(escaped)
    }
}

/// A vocabulary with scores.
#[derive(Debug)]
pub(super) struct SentencePiece {
    pieces: Vec<Piece>,
    ids: HashMap<String, u32>,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Tokens that are found in texts as they are, by their first character, longest first.
    special: HashMap<char, Vec<u32>>,
    normalization: Normalization,
}

impl SentencePiece {
    /// Returns the vocabulary of these pieces; `unknown` replaces what they cannot encode.
    pub(super) fn new(
        pieces: Vec<Piece>,
        unknown: Option<u32>,
        normalization: Normalization,
    ) -> Self {
        let mut ids = HashMap::with_capacity(pieces.len());
        let mut bytes = [None; 256];
        let mut special: HashMap<char, Vec<u32>> = HashMap::new();
        for (piece, id) in pieces.iter().zip(0_u32..) {
            ids.entry(piece.text.clone()).or_insert(id);
            match piece.kind {
                Kind::Byte(byte) => {
                    bytes[usize::from(byte)].get_or_insert(id);
                }
                Kind::Control | Kind::UserDefined | Kind::Unknown => {
                    if let Some(first) = piece.text.chars().next() {
                        special.entry(first).or_default().push(id);
                    }
                }
                Kind::Normal | Kind::Unused => {}
            }
        }
        for list in special.values_mut() {
            list.sort_by_key(|&id| std::cmp::Reverse(pieces[id as usize].text.len()));
        }
        Self {
            pieces,
            ids,
            bytes,
            unknown,
            special,
            normalization,
        }
    }

    /// Returns the number of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Returns a token's text in the vocabulary.
    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.pieces.get(id as usize).map(|piece| &*piece.text)
    }

    /// Returns the number of tokens.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the tokens of a text. Special tokens that occur in it are recognized; text after them begins
    /// with a space as the whole text does.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            match self.special_at(first, &text[at..]) {
                Some(id) => {
                    self.encode_between(&text[start..at], &mut tokens)?;
                    tokens.push(id);
                    at += self.pieces[id as usize].text.len();
                    start = at;
                }
                None => at += first.len_utf8(),
            }
        }
        self.encode_between(&text[start..], &mut tokens)?;
        Ok(tokens)
    }

    /// Returns the text of tokens; special ones are left out, and invalid UTF-8 becomes replacement characters.
    pub(super) fn decode(&self, tokens: &[u32]) -> String {
        let mut text = String::new();
        let mut bytes = Vec::new();
        let mut first = true;
        let known = tokens.iter().filter_map(|&id| self.pieces.get(id as usize));
        for piece in known {
            match piece.kind {
                Kind::Control | Kind::Unknown => continue,
                Kind::Byte(byte) => bytes.push(byte),
                Kind::UserDefined => {
                    push_bytes(&mut text, &mut bytes);
                    text.push_str(&piece.text);
                }
                Kind::Normal | Kind::Unused => {
                    push_bytes(&mut text, &mut bytes);
                    // Where spaces at the ends are removed, all leading ones are.
                    let front = &self.normalization;
                    let put_in_front = match front.remove_extra_whitespaces {
                        true => text.is_empty(),
                        false => first && front.add_space_prefix,
                    };
                    let shown = match piece.text.strip_prefix(SPACE) {
                        Some(rest) if put_in_front => rest,
                        _ => &piece.text,
                    };
                    text.extend(shown.chars().map(|c| if c == SPACE { ' ' } else { c }));
                }
            }
            first = false;
        }
        push_bytes(&mut text, &mut bytes);
        text
    }

    /// Returns the longest special token that a text begins with.
    fn special_at(&self, first: char, text: &str) -> Option<u32> {
        let mut candidates = self.special.get(&first)?.iter().copied();
        candidates.find(|&id| text.starts_with(&self.pieces[id as usize].text))
    }

    fn encode_between(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let escaped = self.normalization.apply(text)?;
        let mut merging = Merging::new(self, &escaped);
        merging.run();
        let symbols = merging.symbols.iter().filter(|symbol| !symbol.is_empty());
        let before = tokens.len();
        for symbol in symbols {
            self.spell(&merging, (symbol.start, symbol.end), before, tokens)?;
        }
        Ok(())
    }

    /// Writes the tokens of a piece after merging; `before` is the number of tokens of other texts.
    fn spell(
        &self,
        merging: &Merging<'_>,
        piece: (usize, usize),
        before: usize,
        tokens: &mut Vec<u32>,
    ) -> Result<()> {
        let mut left = vec![piece];
        while let Some((start, end)) = left.pop() {
            let text = &merging.text[start..end];
            if let Some(id) = self.mergeable(text) {
                let middle = match self.pieces[id as usize].kind {
                    Kind::Unused => merging.unused.get(text).map(|length| start + length),
                    _ => None,
                };
                match middle {
                    Some(middle) => left.extend([(middle, end), (start, middle)]),
                    None => tokens.push(id),
                }
                continue;
            }
            let bytes = text.bytes().map(|byte| self.bytes[usize::from(byte)]);
            match (bytes.collect::<Option<Vec<u32>>>(), self.unknown) {
                (Some(bytes), _) => tokens.extend(bytes),
                // Text without an encoding is one unknown token, whatever its length.
                (None, Some(unknown)) => {
                    if tokens.len() == before || tokens.last() != Some(&unknown) {
                        tokens.push(unknown);
                    }
                }
                (None, None) => {
                    return Err(Error::Tokenizer(format!(
                        "encode: wanted text that the vocabulary can spell, got {text:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Returns the token of this text, if text can become it.
    fn mergeable(&self, text: &str) -> Option<u32> {
        let id = *self.ids.get(text)?;
        match self.pieces[id as usize].kind {
            Kind::Normal | Kind::UserDefined | Kind::Unused => Some(id),
            Kind::Control | Kind::Unknown | Kind::Byte(_) => None,
        }
    }
}

/// Writes bytes as text, with replacement characters for invalid UTF-8.
fn push_bytes(text: &mut String, bytes: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(
            char::REPLACEMENT_CHARACTER,
            chunk.invalid().len(),
        ));
    }
    bytes.clear();
}

/// A part of a text, as a byte range, with its neighbours.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Symbol {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Two neighbours that form a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Number of bytes of both; fewer when one of them has been merged since.
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// A text in the course of merging.
struct Merging<'a> {
    vocabulary: &'a SentencePiece,
    text: &'a str,
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
    /// The byte length of the first part of each intermediate token.
    unused: HashMap<&'a str, usize>,
}

impl<'a> Merging<'a> {
    fn new(vocabulary: &'a SentencePiece, text: &'a str) -> Self {
        let symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| {
                let end = start + c.len_utf8();
                Symbol {
                    start,
                    end,
                    previous: i.checked_sub(1),
                    next: (end < text.len()).then_some(i + 1),
                }
            })
            .collect();
        Self {
            vocabulary,
            text,
            symbols,
            pairs: BinaryHeap::new(),
            unused: HashMap::new(),
        }
    }

    fn run(&mut self) {
        for right in 1..self.symbols.len() {
            self.offer(Some(right - 1), Some(right));
        }
        while let Some(pair) = self.pairs.pop() {
            let (left, right) = (&self.symbols[pair.left], &self.symbols[pair.right]);
            let stale = left.is_empty()
                || right.is_empty()
                || right.end - left.start != pair.length
                || left.next != Some(pair.right);
            if stale {
                continue;
            }
            let (end, next) = (right.end, right.next);
            self.symbols[pair.left].end = end;
            self.symbols[pair.left].next = next;
            self.symbols[pair.right].start = end;
            if let Some(next) = next {
                self.symbols[next].previous = Some(pair.left);
            }
            self.offer(self.symbols[pair.left].previous, Some(pair.left));
            self.offer(Some(pair.left), next);
        }
    }

    /// Queues two neighbours if they form a token.
    fn offer(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else {
            return;
        };
        let (start, end) = (self.symbols[left].start, self.symbols[right].end);
        let text = &self.text[start..end];
        let Some(id) = self.vocabulary.mergeable(text) else {
            return;
        };
        let piece = &self.vocabulary.pieces[id as usize];
        if piece.kind == Kind::Unused {
            self.unused.insert(text, self.symbols[left].end - start);
        }
        self.pairs.push(Pair {
            score: piece.score,
            left,
            right,
            length: end - start,
        });
    }
}

//! The merges of SentencePiece: by the score of the piece that two neighbours make together.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::marks::byte_of;
use crate::sentencepiece::{Piece, PieceKind};

/// Merging's data besides the pieces.
#[derive(Debug)]
pub(super) struct Scores {
    /// Bytes of the longest piece.
    longest: usize,
    /// Ids of the pieces that stand for a byte each, where characters without a piece are written so.
    bytes: Option<Box<[u32; 256]>>,
    unk: u32,
}

/// A part of the text: a character at first, a piece at last. Empty once its left neighbour has taken it.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    left: Option<usize>,
    right: Option<usize>,
}

/// Two neighbours that make a piece together; the greatest is merged first.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both, by which a pair is known that is no more.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        // Among equal scores the leftmost wins. -0 is less than 0, as in sentencepiece 0.2.3; 0.1 took them as equal.
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
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

impl Scores {
    /// # Errors
    ///
    /// If bytes are to stand for unknown characters and not each has a piece.
    pub(super) fn new(pieces: &[Piece], byte_fallback: bool, unk: u32) -> Result<Self, String> {
        let mut found = [None; 256];
        for (id, piece) in (0..).zip(pieces).filter(|(_, piece)| piece.kind == PieceKind::Byte) {
            match byte_of(&piece.text) {
                _ if !byte_fallback => {
                    return Err(format!("piece {id}, {:?}, is a byte, and byte_fallback is off", piece.text));
                }
                Some(byte) => found[usize::from(byte)] = Some(id),
                None => return Err(format!("piece {id}, {:?}, is no byte such as <0x0A>", piece.text)),
            }
        }
        let mut bytes = Box::new([0; 256]);
        for (byte, (to, id)) in bytes.iter_mut().zip(found).enumerate() {
            match id {
                Some(id) => *to = id,
                None if byte_fallback => {
                    return Err(format!("byte_fallback is on, and no piece is the byte <0x{byte:02X}>"));
                }
                None => {}
            }
        }
        let longest = pieces.iter().map(|piece| piece.text.len()).max().unwrap_or(0);
        Ok(Self { longest, bytes: byte_fallback.then_some(bytes), unk })
    }

    /// Ids of a text, appended. `known` has the id of each piece.
    pub(super) fn encode(
        &self,
        text: &str,
        pieces: &[Piece],
        known: &HashMap<String, u32>,
        ids: &mut Vec<u32>,
    ) {
        let symbols = self.merged(text, pieces, known);
        let mut after_unk = false;
        let mut at = (!symbols.is_empty()).then_some(0);
        while let Some(Symbol { start, len, right, .. }) = at.map(|at| symbols[at]) {
            at = right;
            let text = &text[start..start + len];
            match (of_text(text, pieces, known), &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, Some(bytes)) => ids.extend(text.bytes().map(|byte| bytes[usize::from(byte)])),
                // Unknown characters in a row are one.
                (None, None) if after_unk => continue,
                (None, None) => ids.push(self.unk),
            }
            after_unk = self.bytes.is_none() && ids.last() == Some(&self.unk);
        }
    }

    /// The symbols of a text once nothing more can be merged; the first is never taken by another.
    fn merged(&self, text: &str, pieces: &[Piece], known: &HashMap<String, u32>) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Symbol {
                start,
                len: c.len_utf8(),
                left: i.checked_sub(1),
                right: Some(i + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.right = None;
        }
        let pair = |symbols: &[Symbol], left: usize, right: usize| {
            let (start, len) = (symbols[left].start, symbols[left].len + symbols[right].len);
            if len > self.longest {
                return None;
            }
            let id = of_text(&text[start..start + len], pieces, known)?;
            Some(Pair { score: pieces[id as usize].score, left, right, len })
        };
        let mut queue: BinaryHeap<Pair> =
            (1..symbols.len()).filter_map(|right| pair(&symbols, right - 1, right)).collect();
        while let Some(Pair { left, right, len, .. }) = queue.pop() {
            let (a, b) = (symbols[left], symbols[right]);
            // One of the two was merged with another since.
            if a.len == 0 || b.len == 0 || a.len + b.len != len {
                continue;
            }
            symbols[left] = Symbol { len, right: b.right, ..a };
            symbols[right].len = 0;
            if let Some(next) = b.right {
                symbols[next].left = Some(left);
                queue.extend(pair(&symbols, left, next));
            }
            if let Some(before) = a.left {
                queue.extend(pair(&symbols, before, left));
            }
        }
        symbols
    }
}

/// The piece that a text is; none that stands for something else, such as `</s>` or `<0x41>`.
fn of_text(text: &str, pieces: &[Piece], known: &HashMap<String, u32>) -> Option<u32> {
    let id = *known.get(text)?;
    matches!(pieces[id as usize].kind, PieceKind::Normal | PieceKind::UserDefined).then_some(id)
}

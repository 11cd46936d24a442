//! The pieces of a tokenizer, and what is known of them.

use std::collections::HashMap;

#[cfg(feature = "tokenizer-json")]
use super::listed::Listed;
use super::marks::Special;
#[cfg(feature = "constraint")]
use super::marks::{SPACE, byte_of};
use super::normalizer::{Normalizer, UserDefined};
use super::scores::Scores;
use crate::sentencepiece::Piece;
#[cfg(feature = "constraint")]
use crate::sentencepiece::PieceKind;

/// A BPE tokenizer of the LLaMA family. Its methods take `&self`: threads can share one.
///
/// ```
/// use strix_model::nano_files;
/// use strix_model::tokenizer::Tokenizer;
///
/// let [_, (_, bytes), ..] = nano_files();
/// let tokenizer = Tokenizer::from_sentencepiece(bytes, true)?;
/// let ids = tokenizer.encode("A red circle.", true);
/// assert_eq!(ids[0], tokenizer.bos());
/// assert_eq!(tokenizer.decode(&ids, true), "A red circle.");
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    /// Pieces by id.
    pub(super) pieces: Vec<Piece>,
    /// The id of each piece.
    pub(super) known: HashMap<String, u32>,
    pub(super) merges: Merges,
    pub(super) user_defined: UserDefined,
    pub(super) special: Special,
    pub(super) normalizer: Normalizer,
    pub(super) legacy: bool,
}

/// The order in which neighbours become one piece.
#[derive(Debug)]
pub(super) enum Merges {
    /// Scores of the pieces, as SentencePiece does it.
    Scored(Scores),
    /// A list, as tokenizers does it.
    #[cfg(feature = "tokenizer-json")]
    Listed(Listed),
}

impl Tokenizer {
    /// Number of ids, the special ones included.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// Id of the token that begins a text, `<s>`.
    pub fn bos(&self) -> u32 {
        self.special.bos
    }

    /// Id of the token that ends an answer, `</s>`.
    pub fn eos(&self) -> u32 {
        self.special.eos
    }

    /// Id for what has no token, `<unk>`.
    pub fn unk(&self) -> u32 {
        self.special.unk
    }

    /// The piece of an id as the vocabulary writes it (`▁the`, `<0x0A>`), `None` past the vocabulary.
    pub fn piece(&self, id: u32) -> Option<&str> {
        Some(&self.pieces.get(id as usize)?.text)
    }

    #[cfg(feature = "constraint")]
    /// Bytes of text that an id is, and whether it is a byte and no piece; none where it is no text. A piece at the
    /// beginning of a text may come without the space in front: [`Detokenizer::drops_next_space`].
    pub(crate) fn bytes(&self, id: u32) -> Option<(Vec<u8>, bool)> {
        let piece = self.pieces.get(id as usize).filter(|_| !self.is_special(id))?;
        match piece.kind {
            PieceKind::Byte => Some((vec![byte_of(&piece.text)?], true)),
            PieceKind::Control => None,
            _ => Some((piece.text.replace(SPACE, " ").into_bytes(), false)),
        }
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        [self.special.unk, self.special.bos, self.special.eos].contains(&id)
    }
}

/// The id of each piece.
pub(super) fn index(pieces: &[Piece]) -> Result<HashMap<String, u32>, String> {
    let mut known = HashMap::with_capacity(pieces.len());
    for (id, piece) in (0..).zip(pieces) {
        if piece.text.is_empty() {
            return Err(format!("piece {id} has no text"));
        }
        if known.insert(piece.text.clone(), id).is_some() {
            return Err(format!("piece {id}, {:?}, is there twice", piece.text));
        }
    }
    Ok(known)
}

pub(super) fn too_many(pieces: usize, most: usize) -> String {
    format!("its vocabulary has {pieces} pieces, the model has {most}: is it this model's tokenizer?")
}

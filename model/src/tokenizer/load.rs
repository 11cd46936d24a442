//! Loads a tokenizer from the files of a checkpoint.

use std::path::Path;

use super::json;
use super::marks::Special;
use super::normalizer::{Normalizer, UserDefined};
use super::scores::Scores;
use super::vocabulary::{Merges, Tokenizer, index, too_many};
use crate::Error;
use crate::config::legacy_of;
use crate::files::Beside;
use crate::read::{MAX_CONFIG_BYTES, MAX_SENTENCEPIECE_BYTES, MAX_TOKENIZER_JSON_BYTES};
use crate::sentencepiece::{PieceKind, SentencePiece};

/// Most pieces of a vocabulary of any model. The largest that are known have 256,000.
pub(super) const MAX_PIECES: usize = 1 << 20;

impl Tokenizer {
    /// Loads `tokenizer.model`, or else `tokenizer.json`, from a checkpoint's folder.
    ///
    /// `legacy` comes from `tokenizer_config.json`; without that file or that field it is `true`.
    ///
    /// # Errors
    ///
    /// If neither file is there, or one that is there cannot be read or is broken.
    pub fn from_dir(dir: &Path) -> crate::Result<Self> {
        Self::beside(Beside::Dir(dir), MAX_PIECES)?.ok_or_else(|| Error::File {
            path: dir.to_owned(),
            reason: "neither tokenizer.model nor tokenizer.json is here; copy one from the checkpoint".into(),
        })
    }

    /// [`Tokenizer::from_dir`], of a model whose vocabulary has so many ids: a larger one is refused before any work is
    /// done for it. `None` where there is neither file.
    pub(crate) fn beside(files: Beside<'_>, vocab_size: usize) -> crate::Result<Option<Self>> {
        let max_pieces = vocab_size.min(MAX_PIECES);
        let wrong = |name: &str, reason| Error::File { path: files.path(name), reason };
        let config = "tokenizer_config.json";
        let legacy = match files.read(config, MAX_CONFIG_BYTES)? {
            Some(bytes) => legacy_of(&bytes).map_err(|reason| wrong(config, reason))?,
            None => true,
        };
        let mut left_out = None;
        for format in [Format::SentencePiece, Format::Json] {
            let (name, max_bytes) = format.file();
            let Some(bytes) = files.read(name, max_bytes)? else { continue };
            match format.check_built(&files.path(name)) {
                Ok(()) => {
                    let read = format.read(&bytes, legacy, max_pieces);
                    return read.map(Some).map_err(|reason| wrong(name, reason));
                }
                Err(error) => left_out = left_out.or(Some(error)),
            }
        }
        left_out.map_or(Ok(None), Err)
    }

    /// Loads the bytes of a `tokenizer.model`.
    ///
    /// `legacy` is the field of `tokenizer_config.json`: `true` puts a space in front of text that follows a
    /// special token too.
    ///
    /// # Errors
    ///
    /// If the crate was built without `sentencepiece`, or the bytes are no SentencePiece model, or one that LLaMA's tokenizer cannot be: not BPE, with a
    /// character map, with unused pieces.
    pub fn from_sentencepiece(bytes: &[u8], legacy: bool) -> crate::Result<Self> {
        Self::of_format(Format::SentencePiece, bytes, legacy)
    }

    /// Loads the bytes of a `tokenizer.json`, made from a `tokenizer.model` by transformers.
    ///
    /// `legacy` as in [`from_sentencepiece`](Self::from_sentencepiece). Added tokens other than `<s>`, `</s>`
    /// and `<unk>` are not split out of text.
    ///
    /// # Errors
    ///
    /// If the crate was built without `tokenizer-json`, or the bytes are not such a file; a byte-level BPE (GPT-2, LLaMA 3) is refused.
    pub fn from_json(bytes: &[u8], legacy: bool) -> crate::Result<Self> {
        Self::of_format(Format::Json, bytes, legacy)
    }

    fn of_format(format: Format, bytes: &[u8], legacy: bool) -> crate::Result<Self> {
        let (name, _) = format.file();
        format.check_built(name.as_ref())?;
        format.read(bytes, legacy, MAX_PIECES).map_err(|reason| Error::File { path: name.into(), reason })
    }
}

/// A kind of file that holds a tokenizer.
#[derive(Clone, Copy, Debug)]
enum Format {
    SentencePiece,
    Json,
}

impl Format {
    /// Its file, and the most bytes of it.
    fn file(self) -> (&'static str, u64) {
        match self {
            Self::SentencePiece => ("tokenizer.model", MAX_SENTENCEPIECE_BYTES),
            Self::Json => ("tokenizer.json", MAX_TOKENIZER_JSON_BYTES),
        }
    }

    /// Refuses a file whose feature this crate was built without.
    fn check_built(self, path: &Path) -> crate::Result<()> {
        let (feature, is_built) = match self {
            Self::SentencePiece => ("sentencepiece", cfg!(feature = "sentencepiece")),
            Self::Json => ("tokenizer-json", cfg!(feature = "tokenizer-json")),
        };
        match is_built {
            true => Ok(()),
            false => {
                Err(Error::LeftOut { name: path.display().to_string(), what: self.file().0.into(), feature })
            }
        }
    }

    fn read(self, bytes: &[u8], legacy: bool, max_pieces: usize) -> Result<Tokenizer, String> {
        match self {
            Self::SentencePiece => read_sentencepiece(bytes, legacy, max_pieces),
            Self::Json => json::read(bytes, legacy, max_pieces),
        }
    }
}

pub(super) fn read_sentencepiece(bytes: &[u8], legacy: bool, max_pieces: usize) -> Result<Tokenizer, String> {
    let pieces = SentencePiece::count(bytes)?;
    if pieces > max_pieces {
        return Err(too_many(pieces, max_pieces));
    }
    let file = SentencePiece::parse(bytes)?;
    if !file.bpe {
        return Err("its model type is not BPE; mPLUG-Owl2 has the tokenizer of LLaMA".into());
    }
    if file.has_charsmap {
        return Err("its normaliser maps characters (NFKC or alike), which is not supported".into());
    }
    if file.whitespace_as_suffix {
        return Err("it treats whitespace as a suffix, which is not supported".into());
    }
    if let Some((id, piece)) =
        file.pieces.iter().enumerate().find(|(_, piece)| piece.kind == PieceKind::Unused)
    {
        return Err(format!("piece {id}, {:?}, is {:?}, which is not supported", piece.text, piece.kind));
    }
    let id = |name: &str, id: i32, kind: PieceKind| {
        let Some(piece) = usize::try_from(id).ok().and_then(|id| file.pieces.get(id)) else {
            return Err(format!("{name} is {id}, the vocabulary has {} pieces", file.pieces.len()));
        };
        match piece.kind == kind {
            true => Ok(id.cast_unsigned()),
            false => Err(format!("{name} is {id}, and piece {id}, {:?}, is {:?}", piece.text, piece.kind)),
        }
    };
    let special = Special {
        unk: id("unk_id", file.unk, PieceKind::Unknown)?,
        bos: id("bos_id", file.bos, PieceKind::Control)?,
        eos: id("eos_id", file.eos, PieceKind::Control)?,
    };
    let normalizer = Normalizer {
        add_dummy_prefix: file.add_dummy_prefix,
        remove_extra_whitespaces: file.remove_extra_whitespaces,
        escape_whitespaces: file.escape_whitespaces,
    };
    let pieces = file.pieces;
    if let Some(other) = pieces.iter().rposition(|piece| piece.kind == PieceKind::Unknown)
        && other != special.unk as usize
    {
        return Err(format!("pieces {} and {other} are both Unknown", special.unk));
    }
    let known = index(&pieces)?;
    let merges = Merges::Scored(Scores::new(&pieces, file.byte_fallback, special.unk)?);
    let user_defined = (0..).zip(&pieces).filter(|(_, piece)| piece.kind == PieceKind::UserDefined);
    let user_defined = UserDefined::new(user_defined.map(|(id, piece)| (piece.text.clone(), id)));
    Ok(Tokenizer { pieces, known, merges, user_defined, special, normalizer, legacy })
}

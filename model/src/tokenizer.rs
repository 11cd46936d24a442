//! Text to token ids and back, exactly as the slow `LlamaTokenizer` of transformers 4.31 does it (SPEC §6).
//!
//! Two sources, one behaviour: `tokenizer.model` (SentencePiece), whose pieces have scores, and `tokenizer.json`
//! (tokenizers), which lists merges. Splitting at special strings, the space in front and decoding are the same.

mod detokenizer;
mod json;
mod normalizer;
mod scores;
mod spans;

use std::collections::HashMap;
use std::path::Path;

use tokenizers::Model as _;
use tokenizers::models::bpe::BPE;

use crate::Error;
use crate::config::legacy_of;
use crate::read::{MAX_CONFIG_BYTES, MAX_SENTENCEPIECE_BYTES, MAX_TOKENIZER_JSON_BYTES, read_if_there};
use crate::sentencepiece::{Kind, Piece, SentencePiece};
pub use detokenizer::{DecodeStream, Detokenizer};
use normalizer::{Normalizer, UserDefined};
use scores::Scores;
pub use spans::Span;
use spans::{Part, Stretch, is_solid};

/// Most pieces of a vocabulary of any model. The largest that are known have 256,000.
const MAX_PIECES: usize = 1 << 20;

/// The text that stands for a picture in a prompt.
pub const IMAGE_TOKEN: &str = "<|image|>";

/// The id that [`Tokenizer::encode_prompt`] writes where a picture goes. No token has a negative id.
pub const IMAGE_PLACEHOLDER: i32 = -200;

/// SentencePiece's visible space, U+2581.
const SPACE: char = '\u{2581}';

/// A BPE tokenizer of the LLaMA family. Its methods take `&self`: threads can share one.
#[derive(Debug)]
pub struct Tokenizer {
    /// Pieces by id.
    pieces: Vec<Piece>,
    /// The id of each piece.
    known: HashMap<String, u32>,
    merges: Merges,
    user_defined: UserDefined,
    special: Special,
    normalizer: Normalizer,
    legacy: bool,
}

/// The order in which neighbours become one piece.
#[derive(Debug)]
enum Merges {
    /// Scores of the pieces, as SentencePiece does it.
    Scored(Scores),
    /// A list, as tokenizers does it.
    Listed(Box<BPE>),
}

/// Ids whose strings are recognised in text and left out by `skip_special`.
#[derive(Clone, Copy, Debug)]
struct Special {
    unk: u32,
    bos: u32,
    eos: u32,
}

impl Tokenizer {
    /// Loads `tokenizer.model`, or else `tokenizer.json`, from a checkpoint's folder.
    ///
    /// `legacy` comes from `tokenizer_config.json`; without that file or that field it is `true`.
    ///
    /// # Errors
    ///
    /// If neither file is there, or one that is there cannot be read or is broken.
    pub fn from_dir(dir: &Path) -> crate::Result<Self> {
        Self::of_model(dir, MAX_PIECES)
    }

    /// [`Tokenizer::from_dir`], of a model whose vocabulary has so many ids: a larger one is refused before any work is
    /// done for it.
    pub(crate) fn of_model(dir: &Path, vocab_size: usize) -> crate::Result<Self> {
        let max_pieces = vocab_size.min(MAX_PIECES);
        let path = dir.join("tokenizer_config.json");
        let legacy = match read_if_there(&path, MAX_CONFIG_BYTES)? {
            Some(bytes) => legacy_of(&bytes).map_err(|reason| Error::File { path, reason })?,
            None => true,
        };
        let path = dir.join("tokenizer.model");
        if let Some(bytes) = read_if_there(&path, MAX_SENTENCEPIECE_BYTES)? {
            return read_sentencepiece(&bytes, legacy, max_pieces)
                .map_err(|reason| Error::File { path, reason });
        }
        let path = dir.join("tokenizer.json");
        if let Some(bytes) = read_if_there(&path, MAX_TOKENIZER_JSON_BYTES)? {
            return json::read(&bytes, legacy, max_pieces).map_err(|reason| Error::File { path, reason });
        }
        Err(Error::File {
            path: dir.to_owned(),
            reason: "neither tokenizer.model nor tokenizer.json is here; copy one from the checkpoint".into(),
        })
    }

    /// Loads the bytes of a `tokenizer.model`.
    ///
    /// `legacy` is the field of `tokenizer_config.json`: `true` puts a space in front of text that follows a
    /// special token too.
    ///
    /// # Errors
    ///
    /// If the bytes are no SentencePiece model, or one that LLaMA's tokenizer cannot be: not BPE, with a
    /// character map, with unused pieces.
    pub fn from_sentencepiece(bytes: &[u8], legacy: bool) -> crate::Result<Self> {
        read_sentencepiece(bytes, legacy, MAX_PIECES)
            .map_err(|reason| Error::File { path: "tokenizer.model".into(), reason })
    }

    /// Loads the bytes of a `tokenizer.json`, made from a `tokenizer.model` by transformers.
    ///
    /// `legacy` as in [`from_sentencepiece`](Self::from_sentencepiece). Added tokens other than `<s>`, `</s>`
    /// and `<unk>` are not split out of text.
    ///
    /// # Errors
    ///
    /// If the bytes are not such a file; a byte-level BPE (GPT-2, LLaMA 3) is refused.
    pub fn from_json(bytes: &[u8], legacy: bool) -> crate::Result<Self> {
        json::read(bytes, legacy, MAX_PIECES)
            .map_err(|reason| Error::File { path: "tokenizer.json".into(), reason })
    }

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

    /// Ids of a text, after `<s>` if `add_bos`. No `</s>` is added.
    ///
    /// The strings `<s>`, `</s>` and `<unk>` in the text become those tokens, and each stretch of text between
    /// them is encoded on its own.
    pub fn encode(&self, text: &str, add_bos: bool) -> Vec<u32> {
        let mut parts = Vec::new();
        for (text, special) in self.split(text) {
            if !text.is_empty() {
                parts.push(Part::Text(Stretch::of(text.to_owned())));
            }
            parts.extend(special.map(Part::Special));
        }
        self.encode_parts(parts, add_bos)
    }

    fn encode_parts(&self, parts: Vec<Part>, add_bos: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        if add_bos {
            ids.push(self.special.bos);
        }
        for (i, part) in parts.into_iter().enumerate() {
            match part {
                Part::Special(id) => ids.push(id),
                Part::Text(stretch) if self.legacy => self.encode_text(&stretch, &mut ids),
                Part::Text(stretch) => self.encode_without_legacy(stretch, i == 0, &mut ids),
            }
        }
        ids
    }

    /// Ids of a prompt, with [`IMAGE_PLACEHOLDER`] for each [`IMAGE_TOKEN`].
    ///
    /// The text between pictures is encoded chunk by chunk, each with its own space in front. One `<s>` leads,
    /// unless the prompt begins with a picture: then there is none in front, and every later chunk has its own.
    /// That is how the model was trained (`tokenizer_image_token` of the authors).
    pub fn encode_prompt(&self, prompt: &str) -> Vec<i32> {
        self.encode_spans(&Span::read(prompt))
    }

    /// Text of ids. Bytes that are no UTF-8 become U+FFFD each, ids past the vocabulary nothing.
    ///
    /// With `skip_special`, `<s>`, `</s>` and `<unk>` are left out as if they were not there. Without, a space
    /// goes in front of text that a special token follows, unless that text begins the ids; transformers does
    /// so, and the goldens show it.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut text = String::new();
        let mut stretch = Detokenizer::default();
        let mut stretch_text = String::new();
        let mut after_special = false;
        for (i, &id) in ids.iter().enumerate() {
            if skip_special || !self.is_special(id) {
                stretch_text.extend(stretch.push(self, id));
                after_special = false;
                continue;
            }
            if !after_special && i != 0 {
                text.push(' ');
            }
            stretch_text.push_str(&stretch.finish());
            text.push_str(&std::mem::take(&mut stretch_text));
            text.push_str(&self.pieces[id as usize].text);
            stretch = Detokenizer::default();
            after_special = true;
        }
        text + &stretch_text + &stretch.finish()
    }

    /// A stream that turns generated ids into text as they come.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    #[cfg(feature = "constraint")]
    /// Bytes of text that an id is, and whether it is a byte and no piece; none where it is no text. A piece at the
    /// beginning of a text may come without the space in front: [`Detokenizer::drops_next_space`].
    pub(crate) fn bytes(&self, id: u32) -> Option<(Vec<u8>, bool)> {
        let piece = self.pieces.get(id as usize).filter(|_| !self.is_special(id))?;
        match piece.kind {
            Kind::Byte => Some((vec![byte_of(&piece.text)?], true)),
            Kind::Control => None,
            _ => Some((piece.text.replace(SPACE, " ").into_bytes(), false)),
        }
    }

    fn is_special(&self, id: u32) -> bool {
        [self.special.unk, self.special.bos, self.special.eos].contains(&id)
    }

    /// `legacy: false`: only the very first text and texts that start with a space keep a space in front.
    ///
    /// transformers takes the leading `▁` off the first piece and looks up what is left, so `▁no` becomes the
    /// id of `no`, or `<unk>` where there is no such piece. It is what the golden ids hold.
    fn encode_without_legacy(&self, mut stretch: Stretch, is_first: bool, ids: &mut Vec<u32>) {
        stretch.text = stretch.text.replace(SPACE, " ");
        let start = ids.len();
        self.encode_text(&stretch, ids);
        if is_first || stretch.text.starts_with(' ') {
            return;
        }
        let Some(bare) = ids.get(start).and_then(|&id| self.piece(id)?.strip_prefix(SPACE)) else { return };
        if bare.is_empty() {
            ids.remove(start);
        } else {
            ids[start] = self.known.get(bare).copied().unwrap_or(self.special.unk);
        }
    }

    /// Ids of a text without special strings, appended.
    fn encode_text(&self, stretch: &Stretch, ids: &mut Vec<u32>) {
        let text = self.normalizer.apply(&stretch.text, &self.user_defined);
        let mut splits = stretch.splits.iter().peekable();
        let (mut start, mut solid) = (0, 0);
        for (at, c) in text.char_indices() {
            // Before `start` is within the piece taken last.
            if at >= start {
                while splits.next_if(|&&split| split <= solid).is_some() {
                    self.merge(&text[start..at], ids);
                    start = at;
                }
                if let Some((piece, id)) = self.user_defined.at_start(&text[at..]) {
                    self.merge(&text[start..at], ids);
                    ids.push(id);
                    start = at + piece.len();
                }
            }
            solid += usize::from(is_solid(c));
        }
        self.merge(&text[start..], ids);
    }

    /// Ids of normalised text, by merges alone.
    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        match &self.merges {
            Merges::Scored(scores) => scores.encode(text, &self.pieces, &self.known, ids),
            Merges::Listed(bpe) => {
                // The one error of this call is an <unk> missing from the vocabulary, and loading looks for it.
                for token in bpe.tokenize(text).unwrap_or_default() {
                    let first = token.value.chars().next().map_or(0, char::len_utf8);
                    // Merges may lead to the text of a control token, which is not that token here.
                    if [self.special.bos, self.special.eos].contains(&token.id) && first < token.value.len() {
                        self.merge(&token.value[..first], ids);
                        self.merge(&token.value[first..], ids);
                    } else {
                        ids.push(token.id);
                    }
                }
            }
        }
    }

    /// Splits a text at the special strings: texts, and the token behind each; behind the last there is none.
    fn split<'a>(&self, text: &'a str) -> Vec<(&'a str, Option<u32>)> {
        let specials = [self.special.unk, self.special.bos, self.special.eos];
        let specials = specials.map(|id| (self.pieces[id as usize].text.as_str(), id));
        let mut parts = Vec::new();
        let mut start = 0;
        for (at, _) in text.char_indices() {
            // Before `start` is within the string found last.
            let here = |(special, _): &&(&str, u32)| at >= start && text[at..].starts_with(special);
            if let Some((special, id)) = specials.iter().filter(here).min_by_key(|(_, id)| id) {
                parts.push((&text[start..at], Some(*id)));
                start = at + special.len();
            }
        }
        parts.push((&text[start..], None));
        parts
    }
}

/// The byte of a piece such as `<0x0A>`.
fn byte_of(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

fn read_sentencepiece(bytes: &[u8], legacy: bool, max_pieces: usize) -> Result<Tokenizer, String> {
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
    if let Some((id, piece)) = file.pieces.iter().enumerate().find(|(_, piece)| piece.kind == Kind::Unused) {
        return Err(format!("piece {id}, {:?}, is {:?}, which is not supported", piece.text, piece.kind));
    }
    let id = |name: &str, id: i32, kind: Kind| {
        let Some(piece) = usize::try_from(id).ok().and_then(|id| file.pieces.get(id)) else {
            return Err(format!("{name} is {id}, the vocabulary has {} pieces", file.pieces.len()));
        };
        match piece.kind == kind {
            true => Ok(id.cast_unsigned()),
            false => Err(format!("{name} is {id}, and piece {id}, {:?}, is {:?}", piece.text, piece.kind)),
        }
    };
    let special = Special {
        unk: id("unk_id", file.unk, Kind::Unknown)?,
        bos: id("bos_id", file.bos, Kind::Control)?,
        eos: id("eos_id", file.eos, Kind::Control)?,
    };
    let normalizer = Normalizer {
        add_dummy_prefix: file.add_dummy_prefix,
        remove_extra_whitespaces: file.remove_extra_whitespaces,
        escape_whitespaces: file.escape_whitespaces,
    };
    let pieces = file.pieces;
    if let Some(other) = pieces.iter().rposition(|piece| piece.kind == Kind::Unknown)
        && other != special.unk as usize
    {
        return Err(format!("pieces {} and {other} are both Unknown", special.unk));
    }
    let known = index(&pieces)?;
    let merges = Merges::Scored(Scores::new(&pieces, file.byte_fallback, special.unk)?);
    let user_defined = (0..).zip(&pieces).filter(|(_, piece)| piece.kind == Kind::UserDefined);
    let user_defined = UserDefined::new(user_defined.map(|(id, piece)| (piece.text.clone(), id)));
    Ok(Tokenizer { pieces, known, merges, user_defined, special, normalizer, legacy })
}

/// The id of each piece.
fn index(pieces: &[Piece]) -> Result<HashMap<String, u32>, String> {
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

fn too_many(pieces: usize, most: usize) -> String {
    format!("its vocabulary has {pieces} pieces, the model has {most}: is it this model's tokenizer?")
}

#[cfg(test)]
mod tests;

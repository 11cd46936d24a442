//! Text to token ids and back, exactly as the slow `LlamaTokenizer` of transformers 4.31 does it.
//!
//! Two sources, one behaviour: `tokenizer.model` (SentencePiece) and `tokenizer.json` (tokenizers) both end in
//! the same BPE model; splitting at special strings, the space in front and decoding are done here.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};

use crate::Error;
use crate::sentencepiece::{Kind, Piece, SentencePiece};

/// The text that stands for a picture in a prompt.
pub const IMAGE_TOKEN: &str = "<|image|>";

/// What [`Tokenizer::encode_prompt`] writes where a picture goes; no token has a negative id.
pub const IMAGE_PLACEHOLDER: i32 = -200;

/// SentencePiece's visible space, U+2581.
const SPACE: char = '\u{2581}';

/// A BPE tokenizer of the LLaMA family. Its methods take `&self`: threads can share one.
#[derive(Debug)]
pub struct Tokenizer {
    bpe: BPE,
    /// By id.
    pieces: Vec<Piece>,
    /// Pieces that are taken whole wherever they are, longest first; LLaMA has none.
    user_defined: Vec<(String, u32)>,
    special: Special,
    normalizer: Normalizer,
    legacy: bool,
}

/// Ids whose strings are recognised in text and left out by `skip_special`.
#[derive(Clone, Copy, Debug)]
struct Special {
    unk: u32,
    bos: u32,
    eos: u32,
}

/// The flags of SentencePiece's `normalizer_spec`.
#[derive(Clone, Copy, Debug)]
struct Normalizer {
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
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
        let legacy = match read_if_there(&dir.join("tokenizer_config.json"))? {
            Some((path, bytes)) => legacy_of(&bytes).map_err(|reason| Error::File { path, reason })?,
            None => true,
        };
        if let Some((path, bytes)) = read_if_there(&dir.join("tokenizer.model"))? {
            return read_sentencepiece(&bytes, legacy).map_err(|reason| Error::File { path, reason });
        }
        if let Some((path, bytes)) = read_if_there(&dir.join("tokenizer.json"))? {
            return read_json(&bytes, legacy).map_err(|reason| Error::File { path, reason });
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
        read_sentencepiece(bytes, legacy)
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
        read_json(bytes, legacy).map_err(|reason| Error::File { path: "tokenizer.json".into(), reason })
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
        let mut ids = Vec::new();
        if add_bos {
            ids.push(self.special.bos);
        }
        if self.legacy {
            for part in self.split(text) {
                match part {
                    Part::Special(id) => ids.push(id),
                    Part::Text(text) => self.encode_text(text, &mut ids),
                }
            }
        } else {
            self.encode_without_legacy(text, &mut ids);
        }
        ids
    }

    /// Ids of a prompt, with [`IMAGE_PLACEHOLDER`] for each [`IMAGE_TOKEN`].
    ///
    /// The text between pictures is encoded chunk by chunk, each with its own space in front. One `<s>` leads,
    /// unless the prompt begins with a picture: then there is none in front, and every later chunk has its own.
    /// That is how the model was trained (`tokenizer_image_token` of the authors).
    pub fn encode_prompt(&self, prompt: &str) -> Vec<i32> {
        let bos_first = !prompt.starts_with(IMAGE_TOKEN) && !prompt.is_empty();
        let mut ids = Vec::new();
        for (i, chunk) in prompt.split(IMAGE_TOKEN).enumerate() {
            if i > 0 {
                ids.push(IMAGE_PLACEHOLDER);
            }
            if !chunk.is_empty() {
                let add_bos = i == 0 || !bos_first;
                ids.extend(self.encode(chunk, add_bos).into_iter().map(|id| id as i32));
            }
        }
        ids
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
        DecodeStream { tokenizer: self, state: Detokenizer::default() }
    }

    fn is_special(&self, id: u32) -> bool {
        [self.special.unk, self.special.bos, self.special.eos].contains(&id)
    }

    /// `legacy: false`: only the very first text and texts that start with a space keep a space in front.
    ///
    /// transformers takes the leading `▁` off the first piece and looks up what is left, so `▁no` becomes the
    /// id of `no`, or `<unk>` where there is no such piece. It is what the golden ids hold.
    fn encode_without_legacy(&self, text: &str, ids: &mut Vec<u32>) {
        let text = format!("{SPACE}{}", text.replace(SPACE, " "));
        for part in self.split(&text) {
            let text = match part {
                Part::Special(id) => {
                    ids.push(id);
                    continue;
                }
                Part::Text(text) => text,
            };
            if let Some(first) = text.strip_prefix(SPACE) {
                self.encode_text(first, ids);
                continue;
            }
            let start = ids.len();
            self.encode_text(text, ids);
            if text.starts_with(' ') {
                continue;
            }
            let Some(bare) = ids.get(start).and_then(|&id| self.piece(id)?.strip_prefix(SPACE)) else {
                continue;
            };
            if bare.is_empty() {
                ids.remove(start);
            } else {
                ids[start] = self.bpe.token_to_id(bare).unwrap_or(self.special.unk);
            }
        }
    }

    /// Ids of a text without special strings, appended.
    fn encode_text(&self, text: &str, ids: &mut Vec<u32>) {
        let text = self.normalizer.apply(text);
        let mut start = 0;
        for (at, _) in text.char_indices() {
            // Before `start` is within the piece taken last.
            let whole = |(piece, _): &&(String, u32)| at >= start && text[at..].starts_with(piece.as_str());
            if let Some((piece, id)) = self.user_defined.iter().find(whole) {
                self.merge(&text[start..at], ids);
                ids.push(*id);
                start = at + piece.len();
            }
        }
        self.merge(&text[start..], ids);
    }

    /// Ids of normalised text, by merges alone.
    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        // The one error of this call is an <unk> missing from the vocabulary, and loading looks for it.
        let tokens = self.bpe.tokenize(text).unwrap_or_default();
        ids.extend(tokens.iter().map(|token| token.id));
    }

    /// Splits a text at the special strings; no part is empty.
    fn split<'a>(&self, mut text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        while !text.is_empty() {
            let next = [self.special.unk, self.special.bos, self.special.eos]
                .into_iter()
                .filter_map(|id| Some((text.find(self.piece(id)?)?, id)))
                .min();
            let Some((at, id)) = next else {
                parts.push(Part::Text(text));
                break;
            };
            if at > 0 {
                parts.push(Part::Text(&text[..at]));
            }
            parts.push(Part::Special(id));
            text = &text[at + self.pieces[id as usize].text.len()..];
        }
        parts
    }
}

enum Part<'a> {
    Text(&'a str),
    Special(u32),
}

impl Normalizer {
    /// SentencePiece's normalisation without a character map. Empty stays empty.
    fn apply(self, text: &str) -> String {
        let space = if self.escape_whitespaces { SPACE } else { ' ' };
        let text = if self.remove_extra_whitespaces {
            let mut squeezed = String::with_capacity(text.len());
            for c in text.trim_matches(' ').chars() {
                if c != ' ' || !squeezed.ends_with(' ') {
                    squeezed.push(c);
                }
            }
            Cow::Owned(squeezed)
        } else {
            Cow::Borrowed(text)
        };
        if text.is_empty() {
            return String::new();
        }
        let mut out = String::with_capacity(2 * text.len());
        if self.add_dummy_prefix {
            out.push(space);
        }
        out.extend(text.chars().map(|c| if c == ' ' { space } else { c }));
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(space).len());
        }
        out
    }
}

/// Turns ids into text one at a time; what it holds between ids, without the tokenizer.
///
/// For any ids the deltas and [`finish`](Self::finish) together are [`Tokenizer::decode`] of those ids with
/// `skip_special`.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    /// Bytes of a character still incomplete, at most 3.
    bytes: Vec<u8>,
    /// Some text has come out.
    has_text: bool,
    /// The space in front was taken away already.
    space_taken: bool,
}

impl Detokenizer {
    /// Text that `id` completes, `None` if there is none yet. Never holds part of a UTF-8 character.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Option<String> {
        let piece = tokenizer.pieces.get(id as usize)?;
        if tokenizer.is_special(id) {
            return None;
        }
        let mut text = String::new();
        if piece.kind == Kind::Byte {
            self.bytes.extend(byte_of(&piece.text));
            self.drain(&mut text);
        } else {
            self.flush(&mut text);
            let mut piece_text = if piece.kind == Kind::Control { "" } else { piece.text.as_str() };
            if let Some(rest) = piece_text.strip_prefix(SPACE)
                && self.drops_space(tokenizer.normalizer, !text.is_empty())
            {
                piece_text = rest;
                // One space is the dummy prefix. Where runs of spaces are removed all in front go.
                self.space_taken = !tokenizer.normalizer.remove_extra_whitespaces;
            }
            text.extend(piece_text.chars().map(|c| if c == SPACE { ' ' } else { c }));
        }
        self.has_text |= !text.is_empty();
        (!text.is_empty()).then_some(text)
    }

    /// Ends the stream: what was held of an incomplete character, U+FFFD for each byte.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.flush(&mut text);
        *self = Self::default();
        text
    }

    fn drops_space(&self, normalizer: Normalizer, text_before: bool) -> bool {
        let drops = normalizer.add_dummy_prefix || normalizer.remove_extra_whitespaces;
        drops && !self.has_text && !text_before && !self.space_taken
    }

    /// Moves whole characters into `text`, and U+FFFD for each byte that no later byte can mend.
    fn drain(&mut self, text: &mut String) {
        while !self.bytes.is_empty() {
            match std::str::from_utf8(&self.bytes) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.bytes.clear();
                }
                Err(e) if e.valid_up_to() > 0 => {
                    let rest = self.bytes.split_off(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(&self.bytes));
                    self.bytes = rest;
                }
                Err(e) if e.error_len().is_none() => return,
                Err(_) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.remove(0);
                }
            }
        }
    }

    /// Gives up on the bytes held.
    fn flush(&mut self, text: &mut String) {
        text.extend(self.bytes.drain(..).map(|_| char::REPLACEMENT_CHARACTER));
    }
}

/// A [`Detokenizer`] together with its tokenizer.
#[derive(Clone, Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    state: Detokenizer,
}

impl DecodeStream<'_> {
    /// As [`Detokenizer::push`].
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.state.push(self.tokenizer, id)
    }

    /// As [`Detokenizer::finish`].
    pub fn finish(&mut self) -> String {
        self.state.finish()
    }
}

/// The byte of a piece such as `<0x0A>`.
fn byte_of(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

fn read_if_there(path: &Path) -> crate::Result<Option<(PathBuf, Vec<u8>)>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some((path.to_owned(), bytes))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

fn legacy_of(config: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Config {
        legacy: Option<bool>,
    }
    let config: Config = serde_json::from_slice(config).map_err(|e| e.to_string())?;
    Ok(config.legacy.unwrap_or(true))
}

fn read_sentencepiece(bytes: &[u8], legacy: bool) -> Result<Tokenizer, String> {
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
    for (id, piece) in file.pieces.iter().enumerate() {
        if piece.kind == Kind::Unused {
            return Err(format!("piece {id}, {:?}, is {:?}, which is not supported", piece.text, piece.kind));
        }
        if piece.kind == Kind::Byte && byte_of(&piece.text).is_none() {
            return Err(format!("piece {id}, {:?}, is no byte such as <0x0A>", piece.text));
        }
    }
    let id = |name: &str, id: i32| match u32::try_from(id) {
        Ok(id) if (id as usize) < file.pieces.len() => Ok(id),
        _ => Err(format!("{name} is {id}, the vocabulary has {} pieces", file.pieces.len())),
    };
    let special =
        Special { unk: id("unk_id", file.unk)?, bos: id("bos_id", file.bos)?, eos: id("eos_id", file.eos)? };
    let normalizer = Normalizer {
        add_dummy_prefix: file.add_dummy_prefix,
        remove_extra_whitespaces: file.remove_extra_whitespaces,
        escape_whitespaces: file.escape_whitespaces,
    };
    let merges = merges_of(&file.pieces);
    build(file.pieces, merges, file.byte_fallback, special, normalizer, legacy)
}

/// The merges of a SentencePiece vocabulary, first to last.
///
/// SentencePiece has none: it joins the neighbours whose joined piece has the highest score, the leftmost of
/// equals. So every split of a piece into two pieces is a merge, in the order of the joined piece's score,
/// of equals (the splits of one piece) longest left part first, as in transformers' `SentencePieceExtractor`.
/// Where that and "leftmost" could part ways they were not seen to, in tens of thousands of random texts.
fn merges_of(pieces: &[Piece]) -> Vec<(String, String)> {
    // Only normal pieces take part: SentencePiece never makes `</s>` or `<0x41>` out of characters.
    let normal = || pieces.iter().filter(|piece| piece.kind == Kind::Normal);
    let known: HashSet<&str> = normal().map(|piece| piece.text.as_str()).collect();
    let mut merges: Vec<(f32, &str, &str)> = Vec::new();
    for piece in normal() {
        let splits = piece.text.char_indices().skip(1).map(|(at, _)| piece.text.split_at(at));
        let splits = splits.filter(|(left, right)| known.contains(left) && known.contains(right));
        merges.extend(splits.map(|(left, right)| (piece.score, left, right)));
    }
    let chars = |text: &str| text.chars().count();
    let key = |&(score, left, right): &(f32, &str, &str)| (score, chars(left), chars(right));
    merges.sort_by(|a, b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    merges.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// The part of `tokenizer.json` that is read.
#[derive(Deserialize)]
struct Json {
    model: JsonModel,
    normalizer: Option<serde_json::Value>,
    pre_tokenizer: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct JsonModel {
    r#type: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<JsonMerge>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
}

/// `"a b"` in older files, `["a", "b"]` in newer ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonMerge {
    Joined(String),
    Pair(String, String),
}

fn read_json(bytes: &[u8], legacy: bool) -> Result<Tokenizer, String> {
    let Json { model, normalizer, pre_tokenizer } =
        serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if model.r#type.as_deref().is_some_and(|kind| kind != "BPE") {
        return Err(format!("its model is {}, not BPE", model.r#type.unwrap_or_default()));
    }
    let parts = |value: &Option<serde_json::Value>, list: &str| match value {
        Some(value) => value[list].as_array().cloned().unwrap_or_else(|| vec![value.clone()]),
        None => Vec::new(),
    };
    let mut add_dummy_prefix = false;
    for part in parts(&normalizer, "normalizers") {
        match part["type"].as_str() {
            Some("Prepend") if part["prepend"] == "\u{2581}" => add_dummy_prefix = true,
            Some("Replace") if part["pattern"]["String"] == " " && part["content"] == "\u{2581}" => {}
            _ => return Err(format!("its normaliser {part} is not one of LLaMA's")),
        }
    }
    for part in parts(&pre_tokenizer, "pretokenizers") {
        if part["type"] != "Metaspace" {
            return Err(format!("its pre-tokenizer is {}, LLaMA has none or Metaspace", part["type"]));
        }
        // Older files say add_prefix_space, true where nothing is said.
        let scheme = part["prepend_scheme"].as_str();
        add_dummy_prefix |= match scheme {
            Some(scheme) => scheme != "never",
            None => part["add_prefix_space"] != false,
        };
    }

    let mut pieces = vec![None; model.vocab.len()];
    for (text, id) in model.vocab {
        let len = pieces.len();
        let Some(place) = pieces.get_mut(id as usize) else {
            return Err(format!("the id of {text:?} is {id}, the vocabulary has {len} pieces"));
        };
        let kind = match text.as_str() {
            "<s>" | "</s>" => Kind::Control,
            _ if Some(&text) == model.unk_token.as_ref() => Kind::Unknown,
            _ if model.byte_fallback && byte_of(&text).is_some() => Kind::Byte,
            _ => Kind::Normal,
        };
        // The score is for deriving merges, which this file lists.
        if let Some(Piece { text: other, .. }) = place.replace(Piece { text, score: 0.0, kind }) {
            return Err(format!("id {id} is given twice, once to {other:?}"));
        }
    }
    // As many texts as places and no place twice: none is left empty.
    let pieces: Vec<Piece> = pieces.into_iter().flatten().collect();
    let id = |text: &str| match pieces.iter().position(|piece| piece.text == text) {
        Some(id) => Ok(id as u32),
        None => Err(format!("the vocabulary has no {text:?}")),
    };
    let special = Special {
        unk: id(model.unk_token.as_deref().unwrap_or("<unk>"))?,
        bos: id("<s>")?,
        eos: id("</s>")?,
    };

    let mut merges = Vec::new();
    for merge in model.merges {
        merges.push(match merge {
            JsonMerge::Pair(left, right) => (left, right),
            JsonMerge::Joined(both) => match both.split_once(' ') {
                Some((left, right)) => (left.to_owned(), right.to_owned()),
                None => return Err(format!("the merge {both:?} has no space in it")),
            },
        });
    }
    let normalizer =
        Normalizer { add_dummy_prefix, remove_extra_whitespaces: false, escape_whitespaces: true };
    build(pieces, merges, model.byte_fallback, special, normalizer, legacy)
}

fn build(
    pieces: Vec<Piece>,
    merges: Vec<(String, String)>,
    byte_fallback: bool,
    special: Special,
    normalizer: Normalizer,
    legacy: bool,
) -> Result<Tokenizer, String> {
    let mut vocab = Vocab::default();
    for (id, piece) in pieces.iter().enumerate() {
        let id = u32::try_from(id).map_err(|_| "more pieces than ids".to_owned())?;
        if vocab.insert(piece.text.clone(), id).is_some() {
            return Err(format!("piece {id}, {:?}, is there twice", piece.text));
        }
    }
    // The builder trusts that joined pieces are in the vocabulary, and indexes past its buffer if not.
    for (left, right) in &merges {
        if !vocab.contains_key(&format!("{left}{right}")) {
            return Err(format!("the merge of {left:?} and {right:?} gives no piece of the vocabulary"));
        }
    }
    let user_defined = (0..).zip(&pieces).filter(|(_, piece)| piece.kind == Kind::UserDefined);
    let mut user_defined: Vec<_> = user_defined.map(|(id, piece)| (piece.text.clone(), id)).collect();
    user_defined.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    let unk = pieces[special.unk as usize].text.clone();
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .unk_token(unk)
        .fuse_unk(true)
        .byte_fallback(byte_fallback)
        // It caches words; without a pre-tokenizer every prompt is a word of its own.
        .cache_capacity(0)
        .build()
        .map_err(|e| e.to_string())?;
    Ok(Tokenizer { bpe, pieces, user_defined, special, normalizer, legacy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tokenizer");
    const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/nano");
    const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nano/samples/samples.json");

    fn bytes(path: &str) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    fn json(path: &str) -> Value {
        serde_json::from_slice(&bytes(path)).unwrap()
    }

    fn golden_json() -> Value {
        json(&format!("{GOLDEN}/tokenizer_golden.json"))
    }

    fn golden(legacy: bool) -> Tokenizer {
        Tokenizer::from_sentencepiece(&bytes(&format!("{GOLDEN}/tokenizer.model")), legacy).unwrap()
    }

    fn nano(legacy: bool) -> Tokenizer {
        Tokenizer::from_sentencepiece(&bytes(&format!("{NANO}/tokenizer.model")), legacy).unwrap()
    }

    fn nano_json(legacy: bool) -> Tokenizer {
        Tokenizer::from_json(&bytes(&format!("{NANO}/tokenizer.json")), legacy).unwrap()
    }

    fn prompt_ids(value: &Value) -> Vec<i32> {
        value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect()
    }

    fn ids(value: &Value) -> Vec<u32> {
        prompt_ids(value).into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    }

    /// The cases of a list, which is not empty.
    fn cases<'a>(file: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
        let cases = file[list].as_array().unwrap();
        assert!(!cases.is_empty(), "{list}");
        cases.iter()
    }

    /// splitmix64, so that every run has the same random ids.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn texts_have_the_golden_ids() {
        let (legacy, new, file) = (golden(true), golden(false), golden_json());
        for case in cases(&file, "encode") {
            let text = case["text"].as_str().unwrap();
            assert_eq!(legacy.encode(text, true), ids(&case["ids"]), "{text:?}");
            assert_eq!(legacy.encode(text, false), ids(&case["ids_no_special"]), "{text:?}, no bos");
            assert_eq!(new.encode(text, true), ids(&case["ids_legacy_false"]), "{text:?}, legacy false");
            let mut raw = Vec::new();
            legacy.encode_text(text, &mut raw);
            assert_eq!(raw, ids(&case["raw_sentencepiece_ids"]), "{text:?}, raw");
        }
    }

    #[test]
    fn ids_have_the_golden_texts() {
        let (tokenizer, file) = (golden(true), golden_json());
        for case in cases(&file, "encode").chain(cases(&file, "decode")) {
            let ids = ids(&case["ids"]);
            assert_eq!(tokenizer.decode(&ids, false), case["decoded"], "{ids:?}");
            assert_eq!(
                tokenizer.decode(&ids, true),
                case["decoded_skip_special"],
                "{ids:?}, specials skipped"
            );
        }
    }

    #[test]
    fn prompts_with_pictures_have_the_golden_ids() {
        let (legacy, new, file) = (golden(true), golden(false), golden_json());
        for case in cases(&file, "image_prompts").chain(cases(&file, "dialogs")) {
            let prompt = case["prompt"].as_str().unwrap();
            assert_eq!(legacy.encode_prompt(prompt), prompt_ids(&case["ids"]), "{prompt:?}");
            if case.get("ids_legacy_false").is_some() {
                let want = prompt_ids(&case["ids_legacy_false"]);
                assert_eq!(new.encode_prompt(prompt), want, "{prompt:?}, legacy false");
            }
        }
    }

    #[test]
    fn nano_samples_have_their_ids_and_texts_from_either_file() {
        for tokenizer in [nano(true), nano_json(true), Tokenizer::from_dir(Path::new(NANO)).unwrap()] {
            let samples = json(SAMPLES);
            for sample in samples.as_array().unwrap() {
                let prompt = sample["prompt"].as_str().unwrap();
                assert_eq!(tokenizer.encode_prompt(prompt), prompt_ids(&sample["prompt_ids"]), "{prompt:?}");
                let output = ids(&sample["output_ids"]);
                assert_eq!(tokenizer.decode(&output, true), sample["output"], "{output:?}");
            }
        }
    }

    #[test]
    fn tokenizer_json_and_tokenizer_model_agree() {
        let file = golden_json();
        let random_texts = json(&format!("{GOLDEN}/sentencepiece_random.json"));
        let texts: Vec<&str> = cases(&file, "encode")
            .chain(cases(&random_texts["nano"], "encode"))
            .map(|case| case["text"].as_str().unwrap())
            .chain(["</s>a<s> b</s></s>c", "<unk>", "a</s>"])
            .collect();
        for legacy in [true, false] {
            let (model, json) = (nano(legacy), nano_json(legacy));
            assert_eq!(model.vocab_size(), json.vocab_size());
            for text in &texts {
                let ids = model.encode(text, true);
                assert_eq!(ids, json.encode(text, true), "{text:?}, legacy {legacy}");
                assert_eq!(model.decode(&ids, false), json.decode(&ids, false), "{text:?}");
            }
            let mut seed = 1;
            for _ in 0..200 {
                let ids: Vec<u32> = (0..12).map(|_| (random(&mut seed) % 1024) as u32).collect();
                for skip in [true, false] {
                    assert_eq!(model.decode(&ids, skip), json.decode(&ids, skip), "{ids:?}");
                }
            }
        }
    }

    #[test]
    fn random_texts_and_ids_are_as_sentencepiece_has_them() {
        let file = json(&format!("{GOLDEN}/sentencepiece_random.json"));
        for (name, tokenizer) in [("golden", golden(true)), ("nano", nano(true))] {
            for case in cases(&file[name], "encode") {
                let mut raw = Vec::new();
                tokenizer.encode_text(case["text"].as_str().unwrap(), &mut raw);
                assert_eq!(raw, ids(&case["ids"]), "{name}: {}", case["text"]);
            }
            for case in cases(&file[name], "decode") {
                let ids = ids(&case["ids"]);
                assert_eq!(tokenizer.decode(&ids, true), case["decoded"], "{name}: {ids:?}");
            }
        }
    }

    fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        let mut stream = tokenizer.decode_stream();
        let mut text = String::new();
        for &id in ids {
            if let Some(delta) = stream.push(id) {
                assert!(!delta.is_empty(), "an empty delta for {id} of {ids:?}");
                text += &delta;
            }
        }
        text + &stream.finish()
    }

    #[test]
    fn deltas_of_a_stream_join_to_the_whole_text() {
        let (tokenizer, file) = (golden(true), golden_json());
        for case in cases(&file, "encode").chain(cases(&file, "decode")) {
            assert_eq!(streamed(&tokenizer, &ids(&case["ids"])), case["decoded_skip_special"]);
        }
        let mut seed = 2;
        for round in 0..2000 {
            // Ids past the vocabulary too; half the rounds are mostly bytes.
            let most = if round % 2 == 0 { 262 } else { 645 };
            let ids: Vec<u32> = (0..1 + round % 20).map(|_| (random(&mut seed) % most) as u32).collect();
            assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, true), "{ids:?}");
        }
    }

    #[test]
    fn a_stream_holds_a_character_until_it_is_whole_or_broken() {
        let tokenizer = golden(true);
        let byte = |b: u8| 3 + u32::from(b);
        let mut stream = tokenizer.decode_stream();
        // U+1F600 is f0 9f 98 80.
        assert_eq!([0xf0, 0x9f, 0x98].map(|b| stream.push(byte(b))), [None, None, None]);
        assert_eq!(stream.push(byte(0x80)).as_deref(), Some("\u{1f600}"));
        // An end of text within a character does not lose what is held.
        assert_eq!(stream.push(byte(0xf0)), None);
        assert_eq!(stream.push(tokenizer.eos()), None);
        // 0x41 proves f0 to be alone.
        assert_eq!(stream.push(byte(0x41)).as_deref(), Some("\u{fffd}A"));
        assert_eq!(stream.push(byte(0xe5)), None);
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn truncated_and_changed_models_give_an_error_or_a_tokenizer() {
        let whole = bytes(&format!("{GOLDEN}/tokenizer.model"));
        let mut refused = 0;
        for at in 0..whole.len() {
            refused += usize::from(read_sentencepiece(&whole[..at], true).is_err());
            let mut changed = whole.clone();
            changed[at] ^= [0x01, 0x80, 0xff][at % 3];
            if let Ok(tokenizer) = read_sentencepiece(&changed, false) {
                tokenizer.decode(&tokenizer.encode("yes</s>no \u{56fe}", true), false);
            }
        }
        assert!(refused > whole.len() / 2, "{refused} of {} truncations refused", whole.len());
    }

    #[test]
    fn truncated_and_changed_json_gives_an_error_or_a_tokenizer() {
        let whole = bytes(&format!("{NANO}/tokenizer.json"));
        for at in (0..whole.len()).step_by(101) {
            assert!(read_json(&whole[..at], true).is_err(), "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x01;
            if let Ok(tokenizer) = read_json(&changed, false) {
                tokenizer.decode(&tokenizer.encode("yes</s>no \u{56fe}", true), false);
            }
        }
    }

    fn refusal(json: &str) -> String {
        read_json(json.as_bytes(), true).unwrap_err()
    }

    #[test]
    fn json_that_would_index_past_its_vocabulary_is_refused() {
        let vocab = |rest: &str| format!(r#"{{"model": {{"vocab": {{"<unk>": 0, "<s>": 1, "</s>": 2{rest}"#);
        let far = refusal(&vocab(r#", "a": 4294967295}, "merges": []}}"#));
        assert_eq!(far, r#"the id of "a" is 4294967295, the vocabulary has 4 pieces"#);
        let twice = refusal(&vocab(r#", "a": 1}, "merges": []}}"#));
        assert!(twice.starts_with("id 1 is given twice"), "{twice}");
        let long = refusal(&vocab(r#", "aaaa": 3}, "merges": ["aaaa aaaa"]}}"#));
        assert_eq!(long, r#"the merge of "aaaa" and "aaaa" gives no piece of the vocabulary"#);
    }

    #[test]
    fn json_of_another_family_is_refused() {
        let text = |part: &str| format!(r#"{{"model": {{"vocab": {{}}, "merges": []}}, {part}}}"#);
        let byte_level = refusal(&text(r#""pre_tokenizer": {"type": "ByteLevel"}"#));
        assert!(byte_level.contains("ByteLevel"), "{byte_level}");
        let nfkc = refusal(&text(r#""normalizer": {"type": "NFKC"}"#));
        assert!(nfkc.contains("NFKC"), "{nfkc}");
        let unigram = refusal(r#"{"model": {"type": "Unigram", "vocab": {}, "merges": []}}"#);
        assert_eq!(unigram, "its model is Unigram, not BPE");
    }

    /// A `tokenizer.model` of `<unk>`, `<s>`, `</s>` and this piece, with this `trainer_spec`.
    fn model_of(piece: &[u8], trainer_spec: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut message = |field: u8, bytes: &[u8]| {
            // A length in two bytes, whatever it is.
            file.extend([field << 3 | 2, bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8]);
            file.extend(bytes);
        };
        for special in [&b"\x0a\x05<unk>\x18\x02"[..], b"\x0a\x03<s>\x18\x03", b"\x0a\x04</s>\x18\x03"] {
            message(1, special);
        }
        message(1, piece);
        message(2, trainer_spec);
        file
    }

    #[test]
    fn models_that_are_not_of_llamas_kind_are_refused() {
        const BPE: &[u8] = b"\x18\x02";
        assert!(read_sentencepiece(&model_of(b"\x0a\x01a", BPE), true).is_ok());
        let refusal =
            |piece: &[u8], spec: &[u8]| read_sentencepiece(&model_of(piece, spec), true).unwrap_err();
        assert!(refusal(b"\x0a\x01a", b"").starts_with("its model type is not BPE"));
        let nan = refusal(b"\x0a\x01a\x15\x00\x00\xc0\x7f", BPE);
        assert_eq!(nan, "piece 3: its score is NaN");
        let long = refusal(&[&[0x0a, 0x81, 0x08][..], &[b'a'; 1025]].concat(), BPE);
        assert_eq!(long, "piece 3: it is 1025 bytes long, the most is 1024");
        let unused = refusal(b"\x0a\x01a\x18\x05", BPE);
        assert_eq!(unused, "piece 3, \"a\", is Unused, which is not supported");
        assert_eq!(refusal(b"\x0a\x03<s>", BPE), "piece 3, \"<s>\", is there twice");
        assert_eq!(refusal(b"\x0a\x01a\x18\x06", BPE), "piece 3, \"a\", is no byte such as <0x0A>");
        let eos = refusal(b"\x0a\x01a", b"\x18\x02\xd0\x02\x04");
        assert_eq!(eos, "eos_id is 4, the vocabulary has 4 pieces");
    }

    #[test]
    fn user_defined_pieces_are_taken_whole_and_the_longest_first() {
        // Four more pieces for nano, ids 1024 to 1027; the expected ids are those of sentencepiece 0.2.3.
        let mut file = bytes(&format!("{NANO}/tokenizer.model"));
        for text in ["rian", "tri", "tria", "gl\u{2581}c"] {
            let piece = [&[0x0a, text.len() as u8], text.as_bytes(), &[0x18, 0x04]].concat();
            file.extend([0x0a, piece.len() as u8]);
            file.extend(piece);
        }
        let tokenizer = Tokenizer::from_sentencepiece(&file, true).unwrap();
        let wants: [(&str, &[u32]); 4] = [
            ("the triangle", &[261, 929, 1026, 279, 263]),
            ("trian ang", &[929, 1026, 935, 264, 279]),
            ("angl circle tri", &[336, 1027, 303, 308, 929, 1025]),
            ("rianrian", &[929, 1024, 1024]),
        ];
        for (text, want) in wants {
            assert_eq!(tokenizer.encode(text, false), want, "{text:?}");
            assert_eq!(tokenizer.decode(want, true), text);
        }
    }

    #[test]
    fn without_byte_fallback_unknown_characters_in_a_row_are_one_unk() {
        let bytes = model_of(b"\x0a\x01a", b"\x18\x02");
        let tokenizer = Tokenizer::from_sentencepiece(&bytes, true).unwrap();
        assert_eq!(tokenizer.encode("xyazz", false), [0, 3, 0]);
        assert_eq!(tokenizer.vocab_size(), 4);
        assert_eq!((tokenizer.piece(3), tokenizer.piece(4)), (Some("a"), None));
    }

    #[test]
    fn metaspace_in_json_is_the_same_as_prepend_and_replace() {
        let mut file = json(&format!("{NANO}/tokenizer.json"));
        file["normalizer"] = Value::Null;
        file["pre_tokenizer"] =
            serde_json::json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first"});
        let metaspace = Tokenizer::from_json(file.to_string().as_bytes(), true).unwrap();
        assert_eq!(metaspace.encode("what color", true), nano(true).encode("what color", true));
    }

    #[test]
    fn spaces_are_squeezed_where_the_model_says_so() {
        let squeezing =
            Normalizer { add_dummy_prefix: true, remove_extra_whitespaces: true, escape_whitespaces: true };
        assert_eq!(squeezing.apply("  two   words "), "\u{2581}two\u{2581}words");
        assert_eq!(squeezing.apply("   "), "");
        assert_eq!(squeezing.apply("a \u{2581}"), "\u{2581}a");
        let plain = Normalizer {
            add_dummy_prefix: false,
            remove_extra_whitespaces: false,
            escape_whitespaces: false,
        };
        assert_eq!(plain.apply("  a "), "  a ");
    }

    #[test]
    fn a_folder_without_a_tokenizer_says_which_files_it_lacks() {
        let error = Tokenizer::from_dir(Path::new(SAMPLES).parent().unwrap()).unwrap_err().to_string();
        assert!(error.contains("neither tokenizer.model nor tokenizer.json"), "{error}");
    }

    #[test]
    fn legacy_comes_from_the_config_and_is_true_when_absent() {
        assert_eq!(legacy_of(br#"{"legacy": false}"#), Ok(false));
        assert_eq!(legacy_of(b"{}"), Ok(true));
        assert_eq!(legacy_of(br#"{"legacy": null}"#), Ok(true));
        assert!(legacy_of(br#"{"legacy": 3}"#).is_err());
    }

    #[test]
    fn threads_can_share_a_tokenizer() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&golden(true));
    }
}

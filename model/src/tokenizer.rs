//! Text to token ids and back, exactly as the slow `LlamaTokenizer` of transformers 4.31 does it.
//!
//! Two sources, one behaviour: `tokenizer.model` (SentencePiece) and `tokenizer.json` (tokenizers) both end in
//! the same BPE model; splitting at special strings, the space in front and decoding are done here.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};

use crate::Error;
use crate::read::{
    MAX_CONFIG_BYTES, MAX_SENTENCEPIECE_BYTES, MAX_TOKENIZER_JSON_BYTES, read_if_there, without_bom,
};
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
        let path = dir.join("tokenizer_config.json");
        let legacy = match read_if_there(&path, MAX_CONFIG_BYTES)? {
            Some(bytes) => legacy_of(&bytes).map_err(|reason| Error::File { path, reason })?,
            None => true,
        };
        let path = dir.join("tokenizer.model");
        if let Some(bytes) = read_if_there(&path, MAX_SENTENCEPIECE_BYTES)? {
            return read_sentencepiece(&bytes, legacy).map_err(|reason| Error::File { path, reason });
        }
        let path = dir.join("tokenizer.json");
        if let Some(bytes) = read_if_there(&path, MAX_TOKENIZER_JSON_BYTES)? {
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
        let mut text = String::new();
        self.push_to(tokenizer, id, &mut text);
        (!text.is_empty()).then_some(text)
    }

    /// [`Detokenizer::push`] in place of what `text` holds.
    pub(crate) fn push_to(&mut self, tokenizer: &Tokenizer, id: u32, text: &mut String) {
        text.clear();
        let Some(piece) = tokenizer.pieces.get(id as usize).filter(|_| !tokenizer.is_special(id)) else {
            return;
        };
        if piece.kind == Kind::Byte {
            self.bytes.extend(byte_of(&piece.text));
            self.drain(text);
        } else {
            self.flush(text);
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
                    text.push_str(&String::from_utf8_lossy(&self.bytes[..e.valid_up_to()]));
                    self.bytes.drain(..e.valid_up_to());
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

fn legacy_of(config: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Config {
        legacy: Option<bool>,
    }
    let config: Config = serde_json::from_slice(without_bom(config)).map_err(|e| e.to_string())?;
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
        serde_json::from_slice(without_bom(bytes)).map_err(|e| e.to_string())?;
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
mod tests;

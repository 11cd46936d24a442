//! Reader of `tokenizer.json`, as transformers makes it of a `tokenizer.model`: what is LLaMA's, and nothing else.
//!
//! What is listed is counted before any of it is kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::listed::Listed;
use super::marks::{Special, byte_of};
use super::normalizer::{Normalizer, UserDefined};
use super::vocabulary::{Merges, Tokenizer, index, too_many};
use crate::json::fault;
use crate::read::without_bom;
use crate::sentencepiece::{Piece, PieceKind};

/// Most merges to a piece; LLaMA has two.
const MERGES_PER_PIECE: usize = 16;
/// Steps of a normaliser or a pre-tokenizer.
const MAX_STEPS: usize = 16;

/// Numbers of entries in the file.
#[derive(Deserialize)]
struct Counts {
    model: ModelCounts,
}

#[derive(Deserialize)]
struct ModelCounts {
    #[serde(default)]
    vocab: Count,
    #[serde(default)]
    merges: Count,
}

/// Counts the entries of a list or an object. None is kept.
#[derive(Default)]
struct Count(usize);

/// The part of the file that is read.
#[derive(Deserialize)]
struct Json {
    model: Model,
    normalizer: Option<Steps>,
    pre_tokenizer: Option<Steps>,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    vocab: Pieces,
    merges: Option<Vec<Merge>>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    /// Parts of a tokenizer that LLaMA's lacks. Any of them gives other ids.
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    ignore_merges: Option<bool>,
}

/// Texts and their ids, each text once.
#[derive(Default)]
struct Pieces(Vec<(String, u32)>);

/// A list of at most so many.
struct Few<T, const MOST: usize>(Vec<T>);

/// Two texts: `"a b"` in older files, `["a", "b"]` in newer ones.
struct Merge(String, String);

/// One step, or a sequence of them.
#[derive(Deserialize)]
struct Steps {
    normalizers: Option<Few<Step, MAX_STEPS>>,
    pretokenizers: Option<Few<Step, MAX_STEPS>>,
    r#type: Option<String>,
    prepend: Option<String>,
    pattern: Option<Pattern>,
    content: Option<String>,
    prepend_scheme: Option<String>,
    add_prefix_space: Option<bool>,
}

#[derive(Deserialize)]
struct Step {
    r#type: Option<String>,
    prepend: Option<String>,
    pattern: Option<Pattern>,
    content: Option<String>,
    prepend_scheme: Option<String>,
    add_prefix_space: Option<bool>,
}

#[derive(Deserialize)]
struct Pattern {
    #[serde(rename = "String")]
    string: Option<String>,
}

impl Steps {
    /// The steps of a sequence, or the one that there is.
    fn list(self) -> Vec<Step> {
        let Self { normalizers, pretokenizers, r#type, prepend, pattern, content, .. } = self;
        let (prepend_scheme, add_prefix_space) = (self.prepend_scheme, self.add_prefix_space);
        match normalizers.or(pretokenizers) {
            Some(Few(steps)) => steps,
            None => vec![Step { r#type, prepend, pattern, content, prepend_scheme, add_prefix_space }],
        }
    }
}

/// Reads a file whose vocabulary has at most `max_pieces`.
pub(super) fn read(bytes: &[u8], legacy: bool, max_pieces: usize) -> Result<Tokenizer, String> {
    let bytes = without_bom(bytes);
    let Counts { model: ModelCounts { vocab, merges } } =
        serde_json::from_slice(bytes).map_err(|e| fault("it", bytes, &e))?;
    if vocab.0 > max_pieces {
        return Err(too_many(vocab.0, max_pieces));
    }
    if merges.0 > MERGES_PER_PIECE * max_pieces {
        return Err(format!("it lists {} merges, too many for {max_pieces} pieces", merges.0));
    }
    let Json { model, normalizer, pre_tokenizer } =
        serde_json::from_slice(bytes).map_err(|e| fault("it", bytes, &e))?;
    if let Some(kind) = model.r#type.as_ref().filter(|kind| *kind != "BPE") {
        return Err(format!("its model is {kind}, not BPE"));
    }
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let others = [
        ("dropout", model.dropout.is_some_and(|dropout| dropout != 0.0)),
        ("continuing_subword_prefix", filled(&model.continuing_subword_prefix)),
        ("end_of_word_suffix", filled(&model.end_of_word_suffix)),
        ("ignore_merges", model.ignore_merges == Some(true)),
    ];
    if let Some((name, _)) = others.iter().find(|(_, set)| *set) {
        return Err(format!("its model sets {name}, which LLaMA's does not"));
    }
    let add_dummy_prefix = add_dummy_prefix(normalizer, pre_tokenizer)?;
    let Pieces(vocab) = model.vocab;
    let pieces = by_id(vocab, model.unk_token.as_deref(), model.byte_fallback)?;
    let known = index(&pieces)?;
    let id = |text: &str| known.get(text).copied().ok_or_else(|| format!("the vocabulary has no {text:?}"));
    let unk = model.unk_token.as_deref().unwrap_or("<unk>");
    let special = Special { unk: id(unk)?, bos: id("<s>")?, eos: id("</s>")? };

    let mut merges = Vec::new();
    for Merge(left, right) in model.merges.ok_or("its model lists no merges")? {
        // The builder trusts that joined pieces are in the vocabulary, and indexes past its buffer if not.
        if !known.contains_key(&format!("{left}{right}")) {
            return Err(format!("the merge of {left:?} and {right:?} gives no piece of the vocabulary"));
        }
        merges.push((left, right));
    }
    let merges = Merges::Listed(Listed::new(&known, merges, unk, model.byte_fallback)?);
    let normalizer =
        Normalizer { add_dummy_prefix, remove_extra_whitespaces: false, escape_whitespaces: true };
    let user_defined = UserDefined::default();
    Ok(Tokenizer { pieces, known, merges, user_defined, special, normalizer, legacy })
}

/// Whether a space goes in front; an error if the steps are not those of LLaMA.
fn add_dummy_prefix(normalizer: Option<Steps>, pre_tokenizer: Option<Steps>) -> Result<bool, String> {
    let steps = |steps: Option<Steps>| steps.map(Steps::list).unwrap_or_default();
    let mut add_dummy_prefix = false;
    for step in steps(normalizer) {
        let pattern = step.pattern.and_then(|pattern| pattern.string);
        match step.r#type.as_deref() {
            Some("Prepend") if step.prepend.as_deref() == Some("\u{2581}") => add_dummy_prefix = true,
            Some("Replace")
                if pattern.as_deref() == Some(" ") && step.content.as_deref() == Some("\u{2581}") => {}
            kind => return Err(format!("its normaliser {} is not one of LLaMA's", kind.unwrap_or("?"))),
        }
    }
    for step in steps(pre_tokenizer) {
        if step.r#type.as_deref() != Some("Metaspace") {
            let kind = step.r#type.as_deref().unwrap_or("?");
            return Err(format!("its pre-tokenizer is {kind}, LLaMA has none or Metaspace"));
        }
        // Older files have add_prefix_space, true by default.
        add_dummy_prefix |= match step.prepend_scheme {
            Some(scheme) => scheme != "never",
            None => step.add_prefix_space != Some(false),
        };
    }
    Ok(add_dummy_prefix)
}

fn by_id(
    vocab: Vec<(String, u32)>,
    unk_token: Option<&str>,
    byte_fallback: bool,
) -> Result<Vec<Piece>, String> {
    let len = vocab.len();
    let mut pieces = vec![None; len];
    for (text, id) in vocab {
        let Some(place) = pieces.get_mut(id as usize) else {
            return Err(format!("the id of {text:?} is {id}, the vocabulary has {len} pieces"));
        };
        let kind = match text.as_str() {
            "<s>" | "</s>" => PieceKind::Control,
            _ if Some(text.as_str()) == unk_token => PieceKind::Unknown,
            _ if byte_fallback && byte_of(&text).is_some() => PieceKind::Byte,
            _ => PieceKind::Normal,
        };
        // The score is for merging where no merges are listed.
        if let Some(Piece { text: other, .. }) = place.replace(Piece { text, score: 0.0, kind }) {
            return Err(format!("id {id} is given twice, once to {other:?}"));
        }
    }
    // There are as many texts as ids and no id comes twice: every id has a text.
    Ok(pieces.into_iter().flatten().collect())
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pieces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of pieces and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pieces, A::Error> {
                let mut pieces = Vec::new();
                while let Some(piece) = map.next_entry()? {
                    pieces.push(piece);
                }
                Ok(Pieces(pieces))
            }

            // A vocabulary of another kind. Its type names it.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pieces, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Pieces::default())
            }
        }
        deserializer.deserialize_any(Object)
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two texts")
            }

            fn visit_str<E: serde::de::Error>(self, both: &str) -> Result<Merge, E> {
                let texts = both.split_once(' ').map(|(left, right)| Merge(left.into(), right.into()));
                texts.ok_or_else(|| E::custom(format!("the merge {both:?} has no space in it")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let (left, right) = (list.next_element()?, list.next_element()?);
                match (left, right, list.next_element::<IgnoredAny>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("a merge is of two texts")),
                }
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl<'de, T: DeserializeOwned, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: DeserializeOwned, const MOST: usize> Visitor<'de> for List<T, MOST> {
            type Value = Few<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Vec::new();
                while let Some(next) = list.next_element()? {
                    if few.len() == MOST {
                        return Err(A::Error::custom(format!("a list of more than {MOST}")));
                    }
                    few.push(next);
                }
                Ok(Few(few))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

//! Answers of a made-up model, whose logits are random: what a constraint lets through, and that it lets all of it through.

use std::collections::HashSet;

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::*;
use crate::Result;
use crate::sampler::{Sampler, SamplingParams, SplitMix64};
use crate::tokenizer::{Detokenizer, Tokenizer};

/// Nano's tokenizer drops all spaces in front of a text if read from the one file, and one if from the other.
fn tokenizers() -> [Tokenizer; 2] {
    let file = |name| std::fs::read(format!("{}/nano/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    [
        Tokenizer::from_sentencepiece(&file("tokenizer.model"), true).unwrap(),
        Tokenizer::from_json(&file("tokenizer.json"), true).unwrap(),
    ]
}

/// The same without its tokens of single bytes.
fn without_bytes() -> Tokenizer {
    let file = std::fs::read(format!("{}/nano/tokenizer.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut file: Value = serde_json::from_slice(&file).unwrap();
    file["model"]["byte_fallback"] = json!(false);
    let vocab = file["model"]["vocab"].as_object().unwrap().clone();
    let renamed = |(text, id): (String, Value)| (text.replace("<0x", "<byte "), id);
    file["model"]["vocab"] = vocab.into_iter().map(renamed).collect::<serde_json::Map<_, _>>().into();
    Tokenizer::from_json(file.to_string().as_bytes(), true).unwrap()
}

/// An answer under way.
struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    guide: Guide,
    detokenizer: Detokenizer,
    text: String,
    ids: Vec<u32>,
    ended: Option<bool>,
}

impl<'a> Answer<'a> {
    fn begin(constraint: &Constraint, vocabulary: &Vocabulary, tokenizer: &'a Tokenizer) -> Result<Self> {
        let guide = Guide::new(constraint, vocabulary, tokenizer, &[tokenizer.eos()])?;
        let (detokenizer, text, ids) = (Detokenizer::default(), String::new(), vec![]);
        Ok(Self { tokenizer, guide, detokenizer, text, ids, ended: None })
    }

    /// Takes a token; it has ended after the end token, or when nothing else can follow.
    fn take(&mut self, id: u32) -> Result<()> {
        self.ids.push(id);
        if id == self.tokenizer.eos() {
            self.ended = Some(true);
            return Ok(());
        }
        self.text += &self.detokenizer.push(self.tokenizer, id).unwrap_or_default();
        if self.guide.accept(id, self.detokenizer.drops_next_space(self.tokenizer))? {
            self.ended = Some(false);
        }
        Ok(())
    }

    /// Goes on with the tokens of a sampler until it ends, or for so many tokens.
    fn run(&mut self, sampler: &mut Sampler, seed: u64, most: usize) -> Result<()> {
        let mut random = SplitMix64(seed);
        let vocab = self.tokenizer.vocab_size();
        while self.ended.is_none() && self.ids.len() < most {
            self.guide.prepare();
            let mut logits: Vec<f32> = (0..vocab).map(|_| (random.next() >> 40) as f32 / 2e6).collect();
            logits[self.tokenizer.eos() as usize] += 2.0;
            let id = self.guide.with_allowed(|allowed| sampler.sample_of(&logits, |id| allowed.has(id)))?;
            self.take(id)?;
        }
        Ok(())
    }
}

fn sampler(seed: u64, eos: u32) -> Sampler {
    let params = match seed % 3 {
        0 => SamplingParams::greedy(),
        1 => SamplingParams { temperature: 1.0, seed, ..SamplingParams::default() },
        _ => SamplingParams { temperature: 9.0, top_k: 0, seed, ..SamplingParams::default() },
    };
    Sampler::new(params, &[eos]).unwrap()
}

type Case = (Constraint, fn(&str) -> bool);

fn regex(text: &str) -> Constraint {
    Constraint::Regex(text.into())
}

/// Constraints, and whether a text fits.
fn cases() -> Vec<Case> {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 12 },
            "count": { "type": "integer", "minimum": -3, "maximum": 120 },
            "tags": { "type": "array", "items": { "enum": ["rot", "grün", "漢字", "🦉"] }, "minItems": 1, "maxItems": 3 },
            "open": { "type": ["boolean", "null"] },
        },
        "required": ["name", "count", "tags", "open"],
        "additionalProperties": false,
    });
    vec![
        (regex("[0-9]{1,6}"), |text| {
            (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
        }),
        (regex("(a|b)?x+y{2}"), |text| {
            let rest = text.strip_prefix(['a', 'b']).unwrap_or(text);
            rest.strip_suffix("yy").is_some_and(|xs| !xs.is_empty() && xs.bytes().all(|b| b == b'x'))
        }),
        (regex("^[0-9]{2}$"), |text| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())),
        // White space that is asked for stays.
        (regex(" {2}the\n"), |text| text == "  the\n"),
        (regex(r"\s[a-z]+\s"), |text| {
            let word =
                text.strip_prefix(char::is_whitespace).and_then(|t| t.strip_suffix(char::is_whitespace));
            word.is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
        }),
        (regex("[α-ω]{3,5}é(漢|🦉)?"), |text| {
            let letters = text.chars().take_while(|c| ('α'..='ω').contains(c)).count();
            (3..=5).contains(&letters)
                && ["é", "é漢", "é🦉"].contains(&&*text.chars().skip(letters).collect::<String>())
        }),
        (Constraint::Lark("start: \"yes\" | \"no\" | \"vielleicht: \" /[0-9]+%/".into()), |text| {
            let of = |rest: &str| rest.strip_suffix('%').is_some_and(|n| n.parse::<f64>().is_ok());
            text == "yes" || text == "no" || text.strip_prefix("vielleicht: ").is_some_and(of)
        }),
        // Not a regular language.
        (Constraint::Lark("start: \"(\" start? \")\"".into()), |text| {
            let half = text.len() / 2;
            half > 0 && text == "(".repeat(half) + &")".repeat(half)
        }),
        (Constraint::JsonSchema(schema.to_string()), |text| {
            let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
            let keys: Vec<_> = value.as_object().unwrap().keys().collect();
            let tags: Vec<_> = value["tags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            keys == ["name", "count", "tags", "open"]
                && value["name"].as_str().is_some_and(|name| name.chars().count() <= 12)
                && value["count"]
                    .as_f64()
                    .is_some_and(|count| count.fract() == 0.0 && (-3.0..=120.0).contains(&count))
                && (1..=3).contains(&tags.len())
                && tags.iter().all(|tag| ["rot", "grün", "漢字", "🦉"].contains(tag))
                && (value["open"].is_boolean() || value["open"].is_null())
        }),
        // A number may be out of an f64's range.
        (Constraint::Json, |text| serde_json::from_str::<IgnoredAny>(text).is_ok()),
    ]
}

#[test]
fn what_ends_by_itself_fits_whole() {
    for tokenizer in &tokenizers() {
        let vocabulary = Vocabulary::default();
        for (constraint, fits) in cases() {
            let mut ended = [0, 0];
            for seed in 0..40 {
                let mut answer = Answer::begin(&constraint, &vocabulary, tokenizer).unwrap();
                answer.run(&mut sampler(seed, tokenizer.eos()), seed * 1000, 400).unwrap();
                if let Some(by_token) = answer.ended {
                    ended[usize::from(by_token)] += 1;
                    assert!(fits(&answer.text), "{constraint:?}, seed {seed}: {:?}", answer.text);
                    assert_eq!(answer.detokenizer.finish(), "", "{constraint:?}, seed {seed}");
                }
            }
            assert!(ended[0] + ended[1] > 10, "{constraint:?}: {ended:?} ended");
        }
    }
}

/// Of a language that is a list of texts, every token is allowed that a text can go on with, and no other.
#[test]
fn everything_that_fits_is_allowed_and_nothing_else() {
    let texts =
        ["the", "the rectangle", "the  rectangle", " the", "  the", "The", "a", "angle", "angles", "\"{}\""];
    let escaped: Vec<String> =
        texts.iter().map(|text| text.replace(['{', '}'], "\\$0").replace("\\$0\\$0", r"\{\}")).collect();
    let constraint = regex(&escaped.join("|"));
    for tokenizer in &tokenizers() {
        let vocabulary = Vocabulary::default();
        let (mut seen, mut firsts) = (HashSet::new(), HashSet::new());
        for seed in 0..300 {
            let mut random = SplitMix64(seed);
            let mut answer = Answer::begin(&constraint, &vocabulary, tokenizer).unwrap();
            while answer.ended.is_none() {
                let mut allowed = vec![];
                answer
                    .guide
                    .with_allowed(|may| {
                        allowed.extend((0..tokenizer.vocab_size() as u32 + 2000).filter(|&id| may.has(id)));
                        Ok(())
                    })
                    .unwrap();
                let is_right = |id: &u32| {
                    if *id == tokenizer.eos() {
                        return texts.contains(&answer.text.as_str());
                    }
                    let more = answer.detokenizer.clone().push(tokenizer, *id).unwrap_or_default();
                    let is_bare = tokenizer.piece(*id) == Some("\u{2581}") && answer.ids.is_empty();
                    let longer = answer.text.clone() + &more;
                    (!more.is_empty() || is_bare) && texts.iter().any(|text| text.starts_with(&longer))
                };
                let right: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(is_right).collect();
                assert_eq!(allowed, right, "after {:?}", answer.text);
                let id = right[random.next() as usize % right.len()];
                firsts.extend(answer.ids.is_empty().then_some(id));
                answer.take(id).unwrap();
            }
            assert!(texts.contains(&answer.text.as_str()), "{:?}", answer.text);
            seen.insert(answer.text);
        }
        assert_eq!(seen.len(), texts.len(), "{seen:?}");
        // A text begins with or without the space that SentencePiece puts in front.
        let piece = |text: &str| firsts.iter().any(|id| tokenizer.piece(*id) == Some(text));
        assert!(piece("\u{2581}the") && piece("\u{2581}") && piece("t") && piece("<0x20>"));
    }
}

#[test]
fn what_only_nothing_fits_ends_at_once() {
    let [tokenizer, _] = tokenizers();
    let vocabulary = Vocabulary::default();
    let mut answer = Answer::begin(&regex(""), &vocabulary, &tokenizer).unwrap();
    answer.run(&mut sampler(0, tokenizer.eos()), 0, 9).unwrap();
    assert_eq!(
        (answer.ended, answer.ids.as_slice(), answer.text.as_str()),
        (Some(true), &[tokenizer.eos()][..], "")
    );
}

#[test]
fn a_model_cannot_go_on_with_white_space_for_ever() {
    let [tokenizer, _] = tokenizers();
    let vocabulary = Vocabulary::default();
    let mut answer = Answer::begin(&Constraint::Json, &vocabulary, &tokenizer).unwrap();
    let id = |text| (0..).find(|&id| tokenizer.piece(id) == Some(text)).unwrap();
    answer.take(id("[")).unwrap();
    answer.take(id("<0x0A>")).unwrap();
    for _ in 0..40 {
        answer.take(id("<0x20>")).unwrap();
    }
    let may = |text| answer.guide.with_allowed(|allowed| Ok(allowed.has(id(text)))).unwrap();
    assert_eq!(["<0x20>", "<0x0A>", "<0x09>", "1", "]"].map(may), [false, false, false, true, true]);
}

#[test]
fn what_the_vocabulary_has_no_token_for_is_an_error_that_says_where() {
    let tokenizer = without_bytes();
    let vocabulary = Vocabulary::default();
    let mut answer = Answer::begin(&regex("[0-9]{3}漢"), &vocabulary, &tokenizer).unwrap();
    let error = answer.run(&mut sampler(0, tokenizer.eos()), 0, 9).unwrap_err().to_string();
    assert!(error.starts_with("regex: after ") && error.ends_with("no token fits"), "{error}");
    assert_eq!(answer.text.len(), 3);
}

#[test]
fn what_cannot_be_kept_to_is_refused_with_what_is_wrong_and_where() {
    let schema = |schema: Value| Constraint::JsonSchema(schema.to_string());
    let lark = |text: &str| Constraint::Lark(text.into());
    for (constraint, words) in [
        (
            Constraint::JsonSchema("{\"type\": \"object\",\n \"x\" 1}".into()),
            "expected `:` at line 2 column 6",
        ),
        (
            schema(json!({ "properties": { "a": { "items": { "anyOf": [{}, { "type": "strin" }] } } } })),
            "Invalid type: strin, at #/properties/a/items/anyOf/1",
        ),
        (
            schema(json!({ "type": "string", "minLength": 5, "maxLength": 2 })),
            "minLength (5) is greater than maxLength (2), at #",
        ),
        (schema(json!({ "enum": [] })), "Unsatisfiable"),
        (schema(json!(false)), "schema is false"),
        (schema(json!({ "$ref": "https://example.org/schema.json" })), "https://example.org/schema.json"),
        (schema(json!({ "$ref": "#/$defs/none" })), "'$defs' not found"),
        (
            schema(
                json!({ "properties": { "b": { "$ref": "#/$defs/list" } }, "$defs": { "list": { "uniqueItems": true } } }),
            ),
            "[\"uniqueItems\"], at #/",
        ),
        (schema(json!(7)), "must be an object"),
        (regex("a("), "unclosed group at line 1 column 2"),
        (regex("a\n[b-a]"), "invalid character class range, the start must be <= the end at line 2 column 2"),
        (
            regex(r"(?=a)b"),
            "look-around, including look-ahead and look-behind, is not supported at line 1 column 1",
        ),
        (regex(r"[^\s\S]"), "no token fits"),
        (lark(""), "no start rule"),
        (lark("start: a\nb: \"x\""), "at 1(8): unknown name: \"a\""),
        (lark("start: \"x\n"), "1(10): lexer error"),
        (lark("start: </s>"), "</s>"),
        (lark(&format!("start: {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000))), "too deeply nested"),
    ] {
        let error = constraint.validate().expect_err("it is refused").to_string();
        println!("{error:.200}");
        assert!(error.starts_with(&format!("{constraint}: ")), "{error:.200}");
        assert!(error.contains(words) && error.len() < 300, "{error:.200}\n{words}");
    }
}

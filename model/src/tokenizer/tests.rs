//! Tokens and texts against the recorded ones, and broken files.

use std::path::Path;

use super::load::{MAX_PIECES, read_sentencepiece};
use super::spans::Stretch;
use super::*;
use crate::config::legacy_of;
use serde::Deserialize as _;
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

fn prompt_ids(value: &Value) -> Vec<PromptId> {
    Vec::deserialize(value).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    prompt_ids(value).into_iter().map(|id| id.token().unwrap()).collect()
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
        legacy.encode_text(&Stretch::of(text.into()), &mut raw);
        assert_eq!(raw, ids(&case["raw_sentencepiece_ids"]), "{text:?}, raw");
    }
}

#[test]
fn ids_have_the_golden_texts() {
    let (tokenizer, file) = (golden(true), golden_json());
    for case in cases(&file, "encode").chain(cases(&file, "decode")) {
        let ids = ids(&case["ids"]);
        assert_eq!(tokenizer.decode(&ids, false), case["decoded"], "{ids:?}");
        assert_eq!(tokenizer.decode(&ids, true), case["decoded_skip_special"], "{ids:?}, specials skipped");
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
fn ordinary_text_has_its_ids_whatever_spans_it_is_in() {
    let file = golden_json();
    let mut seed = 3;
    for tokenizer in [golden(true), golden(false), nano(true), nano(false), nano_json(true)] {
        for case in cases(&file, "encode") {
            let text = case["text"].as_str().unwrap();
            if ["<s>", "</s>", "<unk>"].iter().any(|special| text.contains(special)) {
                continue;
            }
            let (mut spans, mut start) = (vec![], 0);
            for (at, _) in text.char_indices().filter(|_| random(&mut seed).is_multiple_of(3)) {
                let part = text[start..at].to_owned();
                let is_literal = matches!(spans.last(), Some(Span::Marked(_)));
                spans.push(if is_literal { Span::Literal(part) } else { Span::Marked(part) });
                start = at;
            }
            spans.push(Span::Marked(text[start..].to_owned()));
            assert_eq!(tokenizer.encode_spans(&spans), tokenizer.encode_prompt(text), "{spans:?}");
        }
    }
}

#[test]
fn a_literal_has_no_control_tokens() {
    for tokenizer in [golden(true), golden(false), nano(true), nano(false), nano_json(true)] {
        for text in ["</s>", "a</s>USER: b", "<s><unk></s>", "<|image|>", "</s", "<0x41>"] {
            let spans = ["USER: <", "</s", "s> ASSISTANT:"].map(|text| Span::Marked(text.to_owned()));
            let [before, half, after] = spans;
            let spans = [before, half, Span::Literal(text.to_owned()), after];
            let ids = tokenizer.encode_spans(&spans);
            let ids: Vec<_> = ids.into_iter().map(|id| id.token().expect("no picture")).collect();
            assert_eq!((ids[0], tokenizer.is_special(ids[0])), (tokenizer.bos(), true));
            assert!(!ids[1..].iter().any(|&id| tokenizer.is_special(id)), "{text:?}: {ids:?}");
            let want = format!("USER: <</s{text}s> ASSISTANT:");
            assert_eq!(tokenizer.decode(&ids, true), want);
        }
    }
}

#[test]
fn merges_that_lead_to_a_control_token_do_not_make_it_of_a_literal() {
    let vocab =
        r#""<unk>": 0, "<s>": 1, "</s>": 2, "<": 3, "/": 4, "s": 5, ">": 6, "</": 7, "s>": 8, "\u2581": 9"#;
    let text = format!(
        r#"{{"model": {{"vocab": {{{vocab}}}, "unk_token": "<unk>",
        "merges": ["< /", "s >", "</ s>", "< s>"]}},
        "normalizer": {{"type": "Sequence", "normalizers": [{{"type": "Prepend", "prepend": "\u2581"}},
            {{"type": "Replace", "pattern": {{"String": " "}}, "content": "\u2581"}}]}}}}"#
    );
    let tokenizer = Tokenizer::from_json(text.as_bytes(), true).unwrap();
    assert_eq!(tokenizer.encode("</s><s>", false), [2, 1], "what is read");
    let literal = [Span::Literal("</s><s>".into())];
    assert_eq!(tokenizer.encode_spans(&literal), [1, 9, 3, 4, 8, 3, 8].map(PromptId::Token), "what is data");
}

#[test]
fn no_token_reaches_from_a_literal_into_the_next() {
    for tokenizer in [golden(true), nano(true), nano_json(true)] {
        let literal = |text: &str| Span::Literal(text.to_owned());
        let ids =
            |spans: &[Span]| tokenizer.encode_spans(spans).into_iter().skip(1).filter_map(PromptId::token);
        // Spaces in front come and go, and are no place to split at.
        let text = "  \u{2581}say USER: c";
        let at = text.find("SER").unwrap();
        let split: Vec<_> = ids(&[literal(&text[..at]), literal(&text[at..])]).collect();
        let whole: Vec<_> = ids(&[literal(text)]).collect();
        assert_eq!(tokenizer.decode(&split, true), tokenizer.decode(&whole, true));
        let ends: Vec<_> = (0..split.len()).map(|n| tokenizer.decode(&split[..n], true)).collect();
        assert!(ends.iter().any(|text| text.ends_with("say U")), "{ends:?}");
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
            tokenizer.encode_text(&Stretch::of(case["text"].as_str().unwrap().into()), &mut raw);
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
        refused += usize::from(read_sentencepiece(&whole[..at], true, MAX_PIECES).is_err());
        let mut changed = whole.clone();
        changed[at] ^= [0x01, 0x80, 0xff][at % 3];
        if let Ok(tokenizer) = read_sentencepiece(&changed, false, MAX_PIECES) {
            tokenizer.decode(&tokenizer.encode("yes</s>no \u{56fe}", true), false);
        }
    }
    assert!(refused > whole.len() / 2, "{refused} of {} truncations refused", whole.len());
}

#[test]
fn truncated_and_changed_json_gives_an_error_or_a_tokenizer() {
    let whole = bytes(&format!("{NANO}/tokenizer.json"));
    for at in (0..whole.len()).step_by(101) {
        assert!(json::read(&whole[..at], true, MAX_PIECES).is_err(), "cut at {at}");
        let mut changed = whole.clone();
        changed[at] ^= 0x01;
        if let Ok(tokenizer) = json::read(&changed, false, MAX_PIECES) {
            tokenizer.decode(&tokenizer.encode("yes</s>no \u{56fe}", true), false);
        }
    }
}

fn refusal(text: &str) -> String {
    json::read(text.as_bytes(), true, MAX_PIECES).unwrap_err()
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
fn json_without_the_text_of_a_special_token_is_refused() {
    // An empty unk_token would be found at every place of a text, for ever.
    let empty =
        r#"{"model": {"vocab": {"": 0, "<s>": 1, "</s>": 2, "a": 3}, "merges": [], "unk_token": ""}}"#;
    assert_eq!(refusal(empty), "piece 0 has no text");
    let absent = empty.replacen(r#""": 0"#, r#""b": 0"#, 1);
    assert_eq!(refusal(&absent), r#"the vocabulary has no """#);
}

#[test]
fn json_that_is_not_merged_as_llamas_is_refused() {
    for part in [
        r#""dropout": 0.1"#,
        r#""continuing_subword_prefix": "b""#,
        r#""end_of_word_suffix": "e""#,
        r#""ignore_merges": true"#,
    ] {
        let text = format!(r#"{{"model": {{"vocab": {{}}, "merges": [], {part}}}}}"#);
        let name = part.split('"').nth(1).unwrap();
        assert_eq!(refusal(&text), format!("its model sets {name}, which LLaMA's does not"));
    }
}

#[test]
fn a_vocabulary_beyond_its_bound_is_refused_before_it_is_worked_on() {
    // The pieces that follow are no pieces: they are not looked at.
    let file = [&model_of(b"\x0a\x01a", b"\x18\x02")[..], &[0x0a, 0].repeat(50)].concat();
    let error = read_sentencepiece(&file, true, 40).unwrap_err();
    assert_eq!(error, "its vocabulary has 54 pieces, the model has 40: is it this model's tokenizer?");
    let entries: Vec<String> = (0..50).map(|id| format!(r#""{id}": {id}"#)).collect();
    let text = format!(r#"{{"model": {{"vocab": {{{}}}, "merges": []}}}}"#, entries.join(","));
    let error = json::read(text.as_bytes(), true, 40).unwrap_err();
    assert_eq!(error, "its vocabulary has 50 pieces, the model has 40: is it this model's tokenizer?");
    let merges = vec![r#""a b""#; 16 * 40 + 1].join(",");
    let text = format!(r#"{{"model": {{"vocab": {{}}, "merges": [{merges}]}}}}"#);
    let error = json::read(text.as_bytes(), true, 40).unwrap_err();
    assert_eq!(error, "it lists 641 merges, too many for 40 pieces");
    let entries = vec![r#"{"type": "Prepend"}"#; 17].join(",");
    let steps = format!(
        r#"{{"model": {{"vocab": {{}}, "merges": []}}, "normalizer": {{"type": "Sequence", "normalizers": [{entries}]}}}}"#
    );
    assert!(refusal(&steps).contains("a list of more than 16"), "{}", refusal(&steps));
}

#[test]
fn pieces_of_equal_score_are_merged_from_the_left() {
    // Which split of a piece comes first makes no difference then; "aab" is one that merging in another order misses.
    let mut file = model_of(b"\x0a\x01a", b"\x18\x02");
    for text in ["b", "aa", "ab", "aab", "\u{2581}"] {
        let piece = [&[0x0a, text.len() as u8], text.as_bytes()].concat();
        file.extend([0x0a, piece.len() as u8]);
        file.extend(piece);
    }
    let tokenizer = Tokenizer::from_sentencepiece(&file, true).unwrap();
    let ids = tokenizer.encode("aab aaab bab", false);
    let texts: Vec<_> = ids.iter().map(|&id| tokenizer.piece(id).unwrap()).collect();
    assert_eq!(texts, ["\u{2581}", "aab", "\u{2581}", "aa", "ab", "\u{2581}", "b", "ab"]);
}

/// A `tokenizer.model` as `tests/tokenizers/cases.json` writes it.
fn small_model(case: &Value) -> Vec<u8> {
    let flag = |i: usize| u8::from(case["flags"][i].as_bool().unwrap());
    // model_type: BPE; add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces
    let mut file = model_of(b"\x0a\x01z", b"\x18\x02");
    let first = file.len() - 6 - 3 - 2;
    file.drain(first..first + 6);
    file.extend([0x1a, 6, 0x18, flag(0), 0x20, flag(1), 0x28, flag(2)]);
    for piece in cases(case, "pieces") {
        let text = piece[0].as_str().unwrap();
        let score = piece[1].as_f64().unwrap() as f32;
        let mut message =
            [&[0x0a, text.len() as u8], text.as_bytes(), &[0x15], &score.to_le_bytes()].concat();
        message.extend([0x18, piece[2].as_u64().unwrap() as u8]);
        file.extend([0x0a, message.len() as u8]);
        file.extend(message);
    }
    file
}

#[test]
fn small_models_encode_and_decode_as_sentencepiece() {
    // What sentencepiece made of them: `tests/tokenizers/compare.py --cases`.
    let file = json(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tokenizers/cases.json"));
    for (number, case) in cases(&file, "models").enumerate() {
        let tokenizer = Tokenizer::from_sentencepiece(&small_model(case), true).unwrap();
        for pair in cases(case, "encode") {
            let got = tokenizer.encode(pair[0].as_str().unwrap(), false);
            assert_eq!(got, ids(&pair[1]), "model {number}, {}", pair[0]);
        }
        for pair in cases(case, "decode") {
            assert_eq!(tokenizer.decode(&ids(&pair[0]), true), pair[1], "model {number}, {}", pair[0]);
        }
    }
}

#[test]
fn a_character_that_is_a_control_piece_is_unknown_in_a_text() {
    let control = Tokenizer::from_sentencepiece(&model_of(b"\x0a\x01a\x18\x03", b"\x18\x02"), true).unwrap();
    assert_eq!(control.encode("a", false), [control.unk()]);
}

#[test]
fn specials_in_a_row_are_split_in_one_pass() {
    let tokenizer = nano(true);
    // Quadratic, this would take minutes.
    let ids = tokenizer.encode(&"</s>".repeat(200_000), false);
    assert_eq!(ids, vec![tokenizer.eos(); 200_000]);
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
    let unigram = refusal(r#"{"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.5]]}}"#);
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
    assert!(read_sentencepiece(&model_of(b"\x0a\x01a", BPE), true, MAX_PIECES).is_ok());
    let refusal =
        |piece: &[u8], spec: &[u8]| read_sentencepiece(&model_of(piece, spec), true, MAX_PIECES).unwrap_err();
    assert!(refusal(b"\x0a\x01a", b"").starts_with("its model type is not BPE"));
    let nan = refusal(b"\x0a\x01a\x15\x00\x00\xc0\x7f", BPE);
    assert_eq!(nan, "piece 3: its score is NaN");
    let long = refusal(&[&[0x0a, 0x81, 0x08][..], &[b'a'; 1025]].concat(), BPE);
    assert_eq!(long, "piece 3: it is 1025 bytes long, the most is 1024");
    let unused = refusal(b"\x0a\x01a\x18\x05", BPE);
    assert_eq!(unused, "piece 3, \"a\", is Unused, which is not supported");
    assert_eq!(refusal(b"\x0a\x03<s>", BPE), "piece 3, \"<s>\", is there twice");
    // trainer_spec { byte_fallback: true }
    const BYTES: &[u8] = b"\x18\x02\x98\x02\x01";
    assert_eq!(refusal(b"\x0a\x01a\x18\x06", BYTES), "piece 3, \"a\", is no byte such as <0x0A>");
    let off = refusal(b"\x0a\x06<0x41>\x18\x06", BPE);
    assert_eq!(off, "piece 3, \"<0x41>\", is a byte, and byte_fallback is off");
    let lacks = refusal(b"\x0a\x01a", BYTES);
    assert_eq!(lacks, "byte_fallback is on, and no piece is the byte <0x00>");
    let two = refusal(b"\x0a\x01a\x18\x02", BPE);
    assert_eq!(two, "pieces 0 and 3 are both Unknown");
    // unk_id: 3
    let unk = refusal(b"\x0a\x01a", b"\x18\x02\xc0\x02\x03");
    assert_eq!(unk, "unk_id is 3, and piece 3, \"a\", is Normal");
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

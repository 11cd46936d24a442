//! Answers that must be JSON of a schema, text of a regex or of a grammar, on the device: alone, together, and beside
//! answers that may be anything. What a constraint lets through is tested without a device, in `strix-model`.

use serde::Deserialize;
use serde_json::json;
use strix_model::{
    Constraint, Error, FinishReason, GenerateOptions, Generation, LoadOptions, Model, SamplingParams,
    SaveOptions, Source, unwatched,
};
use strix_tests::{gpu, nano};

/// What [`schema`] describes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "reading it is the test")]
struct Shapes {
    shapes: Vec<Shape>,
    certain: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "reading it is the test")]
struct Shape {
    kind: Kind,
    count: u8,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Circle,
    Triangle,
    Rectangle,
}

fn schema() -> Constraint {
    let shape = json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["circle", "triangle", "rectangle"] },
            "count": { "type": "integer", "minimum": 0, "maximum": 99 },
            "note": { "type": "string", "maxLength": 9 },
        },
        "required": ["kind", "count"],
        "additionalProperties": false,
    });
    let schema = json!({
        "type": "object",
        "properties": {
            "shapes": { "type": "array", "items": { "$ref": "#/$defs/shape" }, "maxItems": 2 },
            "certain": { "type": "boolean" },
        },
        "required": ["shapes", "certain"],
        "additionalProperties": false,
        "$defs": { "shape": shape },
    });
    Constraint::JsonSchema(schema.to_string())
}

fn is_of_the_schema(text: &str) {
    let shapes: Shapes = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert!(shapes.shapes.len() <= 2 && shapes.shapes.iter().all(|shape| shape.count < 100), "{text}");
    let long = |shape: &Shape| shape.note.as_ref().is_some_and(|note| note.chars().count() > 9);
    assert!(!shapes.shapes.iter().any(long), "{text}");
}

fn model() -> Model {
    Model::load_on(gpu(), Source::Nano, &LoadOptions::default(), &mut unwatched).expect("nano loads")
}

fn options(constraint: Option<Constraint>) -> GenerateOptions {
    GenerateOptions { constraint, max_tokens: 300, ..GenerateOptions::default() }
}

fn hot(seed: u64) -> SamplingParams {
    SamplingParams { temperature: 3.0, top_k: 0, seed, ..SamplingParams::default() }
}

fn ended(reason: &FinishReason) -> bool {
    matches!(reason, FinishReason::Eos | FinishReason::Complete)
}

const QUESTION: &str = "What shape is in the image?";

#[test]
fn every_answer_under_a_schema_is_of_it() {
    let model = model();
    let mut session = model.session().unwrap();
    nano::sample("caption").add_pictures(&mut session);
    let mut answers = vec![session.fork().unwrap().ask(QUESTION, &options(Some(schema()))).unwrap()];
    // Of twelve samples, all run together; each is streamed.
    let sampled = GenerateOptions { sampling: hot(1), ..options(Some(schema())) };
    answers.extend(session.samples(QUESTION, &sampled, 12).unwrap().into_iter().map(|(_, answer)| answer));
    let mut texts = vec![];
    for mut answer in answers {
        let text: String = answer.by_ref().map(|token| token.unwrap().text).collect();
        assert!(ended(answer.finish_reason().unwrap()), "{:?}: {text}", answer.finish_reason());
        assert_eq!(text, answer.text());
        is_of_the_schema(&text);
        texts.push(text);
    }
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 6, "samples differ: {texts:#?}");
}

#[test]
fn regexes_and_grammars_are_kept_to() {
    let model = model();
    let number = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    let unicode = |text: &str| {
        let letters = text.chars().filter(|c| ('α'..='ω').contains(c)).count();
        (2..=4).contains(&letters) && text.chars().skip(letters).eq(" 漢🦉".chars())
    };
    // What a grammar does not let end early.
    let sum = |text: &str| {
        let (sum, result) = text.split_once(" = ").unwrap();
        let terms: Vec<_> =
            sum.split(" + ").map(|term| term.trim_matches(['(', ')']).parse::<u32>()).collect();
        terms.len() >= 2 && terms.iter().all(Result::is_ok) && result.parse::<u32>().is_ok()
    };
    let lark = "start: sum \" = \" NUMBER\nsum: term (\" + \" term){1,3}\nterm: NUMBER | \"(\" NUMBER \")\"\nNUMBER: /[1-9][0-9]?/";
    type Fits<'a> = &'a dyn Fn(&str) -> bool;
    let cases: [(Constraint, Fits<'_>); 4] = [
        (Constraint::Regex("[0-9]{4}".into()), &number),
        (Constraint::Regex("[α-ω]{2,4} 漢🦉".into()), &unicode),
        (Constraint::Regex(" yes\n| no\n".into()), &|text| [" yes\n", " no\n"].contains(&text)),
        (Constraint::Lark(lark.into()), &sum),
    ];
    for (constraint, fits) in cases {
        for sampling in [SamplingParams::greedy(), hot(1), hot(2), hot(3)] {
            let options = GenerateOptions { sampling, ..options(Some(constraint.clone())) };
            let answer = model.session().unwrap().ask("What is 3 + 4?", &options).unwrap().finish().unwrap();
            assert!(ended(&answer.finish_reason), "{:?}: {}", answer.finish_reason, answer.text);
            assert!(fits(&answer.text), "{constraint:?}: {:?}", answer.text);
        }
    }
}

/// A constraint that the free answer fits does not change it, up to where it ends.
#[test]
fn of_what_fits_the_likeliest_comes() {
    let model = model();
    let ask = |constraint: Option<&str>| {
        let options = options(constraint.map(|regex| Constraint::Regex(regex.into())));
        model.session().unwrap().ask("What is 3 + 4?", &options).unwrap().finish().unwrap()
    };
    let free = ask(None);
    assert_eq!(free.text, "7");
    let any = ask(Some("(.|\n)*"));
    assert_eq!(
        (any.ids, any.text, any.finish_reason),
        (free.ids.clone(), free.text.clone(), FinishReason::Eos)
    );
    // It begins with the space that SentencePiece puts in front, which is not text, and ends when nothing can follow.
    let one = ask(Some("[0-9]"));
    assert_eq!((one.text.as_str(), one.finish_reason), ("7", FinishReason::Complete));
    assert_eq!(one.ids, free.ids[..free.ids.len() - 1]);
    assert_eq!(ask(Some("[0-6]|[89]")).text.len(), 1);
}

#[test]
fn many_together_are_told_what_each_is_told_alone_and_so_are_their_neighbours() {
    let model = model();
    let asked = |i: u64| {
        // Of 1,024 logits two may be closer than kernels of one row and of several round, and change places: these seeds draw
        // none of such.
        let sampling = if i.is_multiple_of(2) { SamplingParams::greedy() } else { hot(i + 100) };
        let constraint = match i % 4 {
            0 => Some(schema()),
            1 => Some(Constraint::Regex("[a-z]{3,30}( [a-z]{1,9}){2}".into())),
            _ => None,
        };
        GenerateOptions { sampling, max_tokens: 40, ..options(constraint) }
    };
    let questions = ["What is 3 + 4?", "Hello!", QUESTION];
    let begin = |i: u64| {
        let mut session = model.session().unwrap();
        session.ask(questions[i as usize % 3], &asked(i)).unwrap()
    };
    let told = |answer: Generation| {
        let answer = answer.finish().unwrap();
        (answer.ids, answer.finish_reason)
    };
    let alone: Vec<_> = (0..12).map(|i| told(begin(i))).collect();
    let together: Vec<_> = (0..12).map(begin).collect();
    assert_eq!(together.into_iter().map(told).collect::<Vec<_>>(), alone);
}

#[test]
fn what_cuts_an_answer_short_cuts_it_short() {
    let model = model();
    let ask = |options: GenerateOptions| {
        model.session().unwrap().ask("What is 3 + 4?", &options).unwrap().finish().unwrap()
    };
    let digits = || Some(Constraint::Regex("[0-9]{12}".into()));
    let cut = ask(GenerateOptions { max_tokens: 5, ..options(digits()) });
    assert_eq!(cut.finish_reason, FinishReason::MaxTokens);
    assert!(cut.text.len() <= 5 && cut.text.bytes().all(|b| b.is_ascii_digit()), "{}", cut.text);
    // The last token may complete it.
    let constraint = Some(Constraint::Regex("7".into()));
    let whole = ask(options(constraint.clone()));
    assert_eq!((whole.text.as_str(), &whole.finish_reason), ("7", &FinishReason::Complete));
    let last = GenerateOptions { max_tokens: whole.ids.len() as u32, ..options(constraint.clone()) };
    assert_eq!(ask(last).finish_reason, FinishReason::Complete);
    // A stop text ends it wherever it appears.
    let constraint_of_three = Some(Constraint::Regex("1234|1324".into()));
    let stopped = ask(GenerateOptions { stop: vec!["3".into()], ..options(constraint_of_three) });
    assert_eq!(stopped.finish_reason, FinishReason::Stop("3".into()));
    assert!(["1", "12"].contains(&stopped.text.as_str()), "{}", stopped.text);
    // The shortest answer holds as long as something can follow, and no longer.
    let at_least = |min_new_tokens| SamplingParams { min_new_tokens, ..SamplingParams::greedy() };
    let long =
        ask(GenerateOptions { sampling: at_least(20), ..options(Some(Constraint::Regex("[0-9]+".into()))) });
    assert!(long.ids.len() > 20 && long.text.bytes().all(|b| b.is_ascii_digit()), "{}", long.text);
    let short = ask(GenerateOptions { sampling: at_least(20), ..options(constraint) });
    assert_eq!((short.text.as_str(), short.finish_reason), ("7", FinishReason::Complete));
    let none =
        ask(GenerateOptions { sampling: at_least(20), ..options(Some(Constraint::Regex(String::new()))) });
    assert_eq!((none.text.as_str(), none.finish_reason), ("", FinishReason::Eos));
}

#[test]
fn what_cannot_be_kept_to_is_refused_and_changes_nothing() {
    let model = model();
    let mut session = model.session().unwrap();
    for (constraint, what) in [
        (Constraint::JsonSchema("{\"type\" 1}".into()), "JSON schema"),
        (Constraint::JsonSchema("{\"enum\": []}".into()), "JSON schema"),
        (Constraint::Regex("a(".into()), "regex"),
        (Constraint::Regex(r"[^\s\S]".into()), "regex"),
        (Constraint::Lark("start: a".into()), "grammar"),
    ] {
        let error = session.ask("What is 3 + 4?", &options(Some(constraint.clone()))).unwrap_err();
        assert!(matches!(&error, Error::Constraint { what: of, .. } if of == what), "{error}");
        assert_eq!(options(Some(constraint)).validate().unwrap_err().to_string(), error.to_string());
        assert_eq!(session.turns(), []);
    }
    // One that only the model's vocabulary rules out ends its own answer with an error, and no other.
    let mut bias = vec![];
    let tokenizer = model.tokenizer().unwrap();
    bias.extend(
        (0..tokenizer.vocab_size() as u32)
            .filter(|id| tokenizer.piece(*id).is_some_and(|piece| piece.contains('8') || piece == "<0x38>"))
            .map(|id| (id, f32::NEG_INFINITY)),
    );
    let sampling = SamplingParams { logit_bias: bias, ..SamplingParams::greedy() };
    let constraint = Some(Constraint::Regex("8".into()));
    let mut other = model.session().unwrap();
    let other = other.ask("What is 3 + 4?", &options(None)).unwrap();
    let stuck = session.ask("What is 3 + 4?", &GenerateOptions { sampling, ..options(constraint) }).unwrap();
    let error = stuck.finish().unwrap_err().to_string();
    assert!(error.contains("no token is left to choose from"), "{error}");
    assert_eq!(other.finish().unwrap().text, "7");
    assert_eq!(session.ask("What is 3 + 4?", &options(None)).unwrap().finish().unwrap().text, "7");
}

/// Penalties, bias and the draw act on what the constraint lets through.
#[test]
fn sampling_options_choose_among_what_is_allowed() {
    let model = model();
    let letters = Some(Constraint::Regex("[a-e]{8}".into()));
    let ask = |sampling: SamplingParams| {
        let options = GenerateOptions { sampling, log_probs: Some(2), ..options(letters.clone()) };
        let answer = model.session().unwrap().ask("Hello!", &options).unwrap().finish().unwrap();
        assert!(
            answer.text.len() == 8 && answer.text.bytes().all(|b| (b'a'..=b'e').contains(&b)),
            "{}",
            answer.text
        );
        assert_eq!(answer.log_probs.len(), answer.ids.len());
        answer
    };
    let greedy = ask(SamplingParams::greedy());
    // Only one token is likely enough, whatever was likelier before it was ruled out.
    let narrow = [
        SamplingParams { top_k: 1, ..hot(5) },
        SamplingParams { top_p: 1e-6, ..hot(6) },
        SamplingParams { min_p: 1.0, ..hot(7) },
    ];
    for sampling in narrow {
        assert_eq!(ask(sampling).ids, greedy.ids);
    }
    ask(SamplingParams { presence_penalty: 2.0, frequency_penalty: 2.0, ..SamplingParams::greedy() });
    let ruled_out = greedy.ids[1];
    let biased =
        SamplingParams { logit_bias: vec![(ruled_out, f32::NEG_INFINITY)], ..SamplingParams::greedy() };
    assert!(!ask(biased).ids.contains(&ruled_out));
}

#[test]
fn what_was_cut_off_and_saved_goes_on_under_its_constraint() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session");
    let asked = |max_tokens| GenerateOptions { max_tokens, sampling: hot(4), ..options(Some(schema())) };
    let whole = model.session().unwrap().ask(QUESTION, &asked(300)).unwrap().finish().unwrap();
    assert!(ended(&whole.finish_reason));
    for cut in [1, 7, whole.ids.len() as u32 / 2] {
        let mut session = model.session().unwrap();
        let begun = session.ask(QUESTION, &asked(cut)).unwrap().finish().unwrap();
        assert_eq!(begun.finish_reason, FinishReason::MaxTokens);
        session.save(&path, SaveOptions::default()).unwrap();
        let mut session = model.restore(&path).unwrap();
        let rest = session.resume(300).unwrap().finish().unwrap();
        assert_eq!([begun.ids, rest.ids].concat(), whole.ids);
        is_of_the_schema(session.turns()[0].reply.as_ref().unwrap());
        // It is whole now.
        assert!(session.resume(5).is_err());
    }
}

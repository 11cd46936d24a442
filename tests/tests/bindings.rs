//! A KV cache in several bindings, as small devices need it: all is as with one.

use std::sync::OnceLock;

use strix_engine::{Gpu, GpuOptions};
use strix_model::tokenizer::PromptId;
use strix_model::{
    Activity, Answer, Config, Dtype, GenerateOptions, Inspect, KvDtype, LoadOptions, Model, Room,
    SamplingParams, SaveOptions, Session, Source, unwatched,
};
use strix_tests::schedules::Schedules;
use strix_tests::{gpu, nano};

/// A little more than nano's picture takes. A page of one of its four heads takes 2,048 bytes.
const BINDING: u64 = 160_000;

/// Pages of which each head of keys takes a binding, in f32; and half of them.
const PAGES: u64 = 70;

fn small() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::with(&GpuOptions { max_binding_bytes: Some(BINDING), ..GpuOptions::from_env() }).unwrap()
    })
}

/// Bytes of a page of nano's cache.
fn page(kv: KvDtype) -> u64 {
    let text = Config::nano().text;
    let element = if kv == KvDtype::F16 { 2 } else { 4 };
    16 * 2 * element * (text.kv_dim() * text.num_hidden_layers) as u64
}

/// Options for a cache of so many pages.
fn options(kv: KvDtype, pages: u64) -> LoadOptions {
    let kv_memory = Some(pages * page(kv));
    LoadOptions { kv, kv_memory, ctx: Some(400), chunk: 32, dtype: Dtype::F32, ..LoadOptions::default() }
}

fn load(gpu: &Gpu, options: &LoadOptions) -> Model {
    Model::load_on(gpu, Source::Nano, options, &mut unwatched).expect("nano loads")
}

fn bindings(gpu: &Gpu, options: &LoadOptions) -> usize {
    let plan = strix_model::plan(&Config::nano(), options, &gpu.target(), None, Room::default());
    plan.unwrap().kv_cache_bindings
}

/// nano with its cache in one binding, and in several; and whether they are two or four.
fn models() -> [(Model, Model, usize); 3] {
    [(KvDtype::F32, PAGES, 4), (KvDtype::F32, PAGES / 2, 2), (KvDtype::F16, PAGES, 2)].map(
        |(kv, pages, number)| {
            let options = options(kv, pages);
            assert_eq!([bindings(gpu(), &options), bindings(small(), &options)], [1, number]);
            (load(gpu(), &options), load(small(), &options), number)
        },
    )
}

fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, ..GenerateOptions::default() }
}

fn ask(session: &mut Session, question: &str, options: &GenerateOptions) -> Answer {
    session.ask(question, options).unwrap().finish().unwrap()
}

#[test]
fn logits_of_one_and_of_several_together_are_those_of_one_binding() {
    let prompt = |i: u32| (0..9 + 31 * i).map(|j| PromptId::Token(3 + (i * 31 + j * 7) % 900)).collect();
    let prompts: Vec<Vec<_>> = (0..4).map(prompt).collect();
    let ids: Vec<&[PromptId]> = prompts.iter().map(Vec::as_slice).collect();
    for (whole, split, number) in models() {
        let steps = |model: &Model| {
            let mut sessions: Vec<_> = ids.iter().map(|_| model.session().unwrap()).collect();
            sessions[0].inspect().spoil_cache(9).unwrap();
            let together = Inspect::greedy_together(&mut sessions, &ids, 12).unwrap();
            (together, model.session().unwrap().inspect().greedy(ids[3], 3).unwrap())
        };
        assert!(steps(&whole) == steps(&split), "{number} bindings: other logits");
    }
}

#[test]
fn traces_and_probabilities_are_those_of_one_binding() {
    let ids: Vec<_> = (0..37).map(|j| PromptId::Token(3 + j * 7 % 900)).collect();
    for (whole, split, number) in models() {
        let of = |model: &Model| {
            let mut session = model.session().unwrap();
            session.inspect().spoil_cache(4).unwrap();
            let probs = session.inspect().attention_probs(&ids, &[0, 4]).unwrap();
            let mut traced = vec![session.inspect().trace(&ids).unwrap()];
            traced.extend(session.inspect().trace_end(&ids).unwrap());
            // Of what is written once a part the last is whole. What was never written is NaN.
            let last = |label: &str, trace: &strix_model::Trace| -> Vec<u32> {
                let found = trace.iter().rev().find(|(other, _)| other == label);
                let (_, values) = found.unwrap_or_else(|| panic!("no {label}"));
                values.iter().map(|x| x.to_bits()).collect()
            };
            let tensors = ["rope", "attention", "k_cache", "v_cache", "down_proj"];
            let labels = tensors.map(|name| format!("decoder.3.{name}"));
            let decoded = |label: &&String| !label.ends_with("rope");
            let prefills = traced[..2].iter().flat_map(|trace| labels.iter().map(|label| last(label, trace)));
            let decode = labels.iter().filter(decoded).map(|label| last(label, &traced[2]));
            let held = traced.iter().map(|trace| {
                let caches = trace.iter().filter(|(label, _)| label.contains("_cache"));
                caches.map(|(label, values)| (label.clone(), values.len())).collect::<Vec<_>>()
            });
            (probs, prefills.chain(decode).collect::<Vec<_>>(), held.collect::<Vec<_>>())
        };
        let (whole, parts) = (of(&whole), of(&split));
        assert!(parts.0 == whole.0, "{number} bindings: other probabilities");
        assert!(parts.1 == whole.1, "{number} bindings: other tensors");
        assert_eq!(parts.2, whole.2, "{number} bindings: each cache is one tensor");
        assert_eq!(split.session().unwrap().inspect().replay(&ids, 1e-4).unwrap(), None);
    }
}

#[test]
fn beginnings_are_shared_and_forked_as_in_one_binding() {
    let sampling =
        SamplingParams { temperature: 3.0, seed: 7, min_new_tokens: 8, ..SamplingParams::default() };
    let hot = GenerateOptions { sampling, ..greedy(8) };
    for (whole, split, number) in models() {
        let told = |model: &Model| {
            let mut session = model.session().unwrap();
            session.inspect().spoil_cache(3).unwrap();
            nano::sample("caption").add_pictures(&mut session);
            let question = nano::sample("caption").question();
            let mut told = vec![];
            // The last page of the prompt is in part another's: it is copied.
            for (_, answer) in session.samples(&question, &hot, 4).unwrap() {
                let answer = answer.finish().unwrap();
                told.push((answer.ids, answer.timing.reused_tokens));
            }
            let mut again = model.session().unwrap();
            nano::sample("caption").add_pictures(&mut again);
            let answer = ask(&mut again, &question, &greedy(8));
            told.push((answer.ids, answer.timing.reused_tokens));
            (told, model.activity().encoded_pictures)
        };
        let told = (told(&whole), told(&split));
        assert_eq!(told.0, told.1, "{number} bindings");
        assert!(told.1.0[1].1 > 20, "the prompt is shared: {told:?}");
    }
}

#[test]
fn a_saved_session_goes_on_whatever_the_bindings_here_and_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat");
    for (whole, split, number) in models() {
        for (here, there) in [(&whole, &split), (&split, &whole), (&split, &split)] {
            let mut session = here.session().unwrap();
            session.inspect().spoil_cache(1).unwrap();
            nano::sample("two_turns").add_pictures(&mut session);
            ask(&mut session, "What shape is in the image?", &greedy(20));
            session.save(&path, SaveOptions { pages: true, ..SaveOptions::default() }).unwrap();
            // nano is sure of what it says, whatever it was told: its probabilities say what it read.
            let options = GenerateOptions { log_probs: Some(3), ..greedy(20) };
            let want = ask(&mut session, "What color is it?", &options);
            drop(session);
            there.session().unwrap().inspect().spoil_cache(5).unwrap();
            let got = ask(&mut there.restore(&path).unwrap(), "What color is it?", &options);
            assert_eq!((got.ids, got.log_probs), (want.ids, want.log_probs), "{number} bindings");
            assert_eq!(got.timing.reused_tokens, want.timing.reused_tokens, "{number} bindings");
            assert!(got.timing.reused_tokens > 30);
        }
    }
}

#[test]
fn what_single_heads_do_not_hold_is_refused_with_the_numbers() {
    let most = BINDING / 2048;
    load(small(), &options(KvDtype::F32, most));
    let refused = options(KvDtype::F32, most + 1);
    let error = Model::load_on(small(), Source::Nano, &refused, &mut unwatched).unwrap_err().to_string();
    let words = [
        format!("kv_memory is {} bytes", (most + 1) * page(KvDtype::F32)),
        format!("at most {} bytes", most * page(KvDtype::F32)),
        format!("the keys of a head lie in one binding, and the device allows {BINDING} bytes"),
    ];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    // By default there is one context: more would take more dispatches.
    let default = LoadOptions { kv_memory: None, ctx: Some(128), ..refused };
    assert_eq!(bindings(small(), &default), 1);
    let Activity { kv_positions, .. } = load(small(), &default).activity();
    assert!((128..=BINDING / 512).contains(&kv_positions), "{kv_positions}");
}

/// A few of what `cargo xtask schedules` runs: of these seeds some are over several bindings.
#[test]
fn conversations_in_any_order_over_several_bindings_are_told_what_each_is_told_alone() {
    let mut schedules = Schedules::new(gpu()).unwrap();
    for seed in [1, 5] {
        schedules.run(seed).unwrap();
    }
    let counts = schedules.counts;
    assert!(counts.split == 2 && counts.answers > 5 && counts.constrained > 0, "{counts}");
}

//! Between two tokens Strix allocates nothing on the host: what is allocated there is wgpu's, which records commands
//! anew each time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use strix_model::{GenerateOptions, KvDtype, LoadOptions, Model, SamplingParams, Source, unwatched};
use strix_tests::{gpu, nano};

/// Tokens before the counting begins, and those counted.
const WARM_UP: usize = 4;
const COUNTED: usize = 4;

/// Notes where memory is asked for, while it is told to.
struct Noting;

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Whether it is told to. All threads are listened to: a token is computed on the model's.
static NOTES: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is noting.
    static IS_NOTING: Cell<bool> = const { Cell::new(false) };
}

/// Return addresses of each time that memory was asked for, the innermost first.
static FOUND: Mutex<Vec<Vec<usize>>> = Mutex::new(vec![]);

#[expect(unsafe_code, reason = "an allocator is asked")]
// SAFETY: it hands everything to the system's.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // What noting takes is not noted.
        if NOTES.load(Ordering::Relaxed) && !IS_NOTING.try_with(|noting| noting.replace(true)).unwrap_or(true)
        {
            let mut addresses = vec![];
            // SAFETY: whoever else walks a stack meanwhile has a lock of the standard library's, and only resolving
            // an address would need it.
            unsafe {
                backtrace::trace_unsynchronized(|frame| {
                    addresses.push(frame.ip().addr());
                    true
                });
            }
            FOUND.lock().expect("no panic in here").push(addresses);
            IS_NOTING.with(|noting| noting.set(false));
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

/// The innermost function of Strix or of wgpu among these.
fn function_of(addresses: &[usize], known: &mut HashMap<usize, Vec<String>>) -> String {
    for &address in addresses {
        let names = known.entry(address).or_insert_with(|| {
            let mut names = vec![];
            let resolve = |symbol: &backtrace::Symbol| {
                names.extend(symbol.name().map(|name| format!("{name:#}")));
            };
            backtrace::resolve(std::ptr::without_provenance_mut(address), resolve);
            names
        });
        let of = |name: &&String| ["strix_", "wgpu"].iter().any(|start| bare(name).starts_with(start));
        if let Some(name) = names.iter().find(of) {
            return name.clone();
        }
    }
    "elsewhere".into()
}

/// `<wgpu::Queue as …` without what is before the crate.
fn bare(name: &str) -> &str {
    name.trim_start_matches(['<', '&'])
}

/// Who asks for memory, and how often, in the tokens after the first few.
fn count(model: &Model, options: &GenerateOptions) -> BTreeMap<String, usize> {
    let sample = nano::sample("caption");
    let mut session = model.session().expect("a session");
    sample.add_pictures(&mut session);
    let mut answer = session.complete(&sample.prompt, options).expect("an answer");
    for _ in 0..WARM_UP {
        answer.advance().expect("a token").expect("the device runs");
    }
    NOTES.store(true, Ordering::Relaxed);
    for _ in 0..COUNTED {
        let token = answer.advance();
        token.expect("a token").expect("the device runs");
    }
    NOTES.store(false, Ordering::Relaxed);
    let found = std::mem::take(&mut *FOUND.lock().expect("no panic in there"));
    let (mut counts, mut known) = (BTreeMap::new(), HashMap::new());
    for addresses in &found {
        *counts.entry(function_of(addresses, &mut known)).or_default() += 1;
    }
    counts
}

#[test]
fn a_token_allocates_nothing_but_what_wgpu_does() {
    let options = LoadOptions { kv: KvDtype::F16, ctx: Some(256), ..LoadOptions::default() };
    let model = Model::load_on(gpu(), Source::Nano, &options, &mut unwatched).expect("nano loads");
    let sampled = SamplingParams { temperature: 0.7, top_k: 40, top_p: 0.9, ..SamplingParams::default() };
    for (name, sampling) in [
        ("greedy", SamplingParams::greedy()),
        ("sampled", sampled.clone()),
        ("all logits", SamplingParams { top_k: 0, repetition_penalty: 1.2, ..sampled }),
    ] {
        let stop = vec!["USER:".to_owned()];
        let found = count(&model, &GenerateOptions { sampling, stop, ..GenerateOptions::default() });
        let (theirs, ours): (BTreeMap<_, _>, BTreeMap<_, _>) = found
            .into_iter()
            .partition(|(place, _)| place.trim_start_matches(['<', '&']).starts_with("wgpu"));
        let theirs: usize = theirs.values().sum();
        println!("{name}: {} allocations a token by wgpu", theirs / COUNTED);
        assert!(theirs > 0, "{name}: nothing was counted");
        assert!(ours.is_empty(), "{name}: {ours:#?}");
    }
}

//! The benches of a model: load, image encode, prefill and decode, the share of each kernel, and how times grow.

mod growth;
mod scaling;
pub(crate) mod work;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strix_model::convert::{Synthesis, preset};
use strix_model::image::RgbImage;
use strix_model::tokenizer::PromptId;
use strix_model::tune::clock::Times;
use strix_model::tune::processor::{cores, process_ns, thread_ns};
use strix_model::weights::FileDtype;
use strix_model::{
    Config, Inspect, KvDtype, LoadOptions, Located, Model, Session, Source, Weights, unwatched,
};

use crate::rounds::Event;
use crate::run::{Host, Row};
use crate::shares::shares;
use crate::{Clock, Error, Result, Roofline};

pub use growth::{Growth, Point, Scaling, Series};
#[cfg(test)]
pub(crate) use scaling::tests;

/// Contexts that decode is timed at, and lengths that prefill is.
pub const CONTEXTS: [u32; 3] = [128, 512, 2048];
/// See [`CONTEXTS`].
pub const LENGTHS: [u32; 2] = [64, 256];
/// The same, to see how times grow.
pub const SCALING_CONTEXTS: [u32; 6] = [128, 256, 512, 1024, 2048, 4096];
/// See [`SCALING_CONTEXTS`].
pub const SCALING_LENGTHS: [u32; 6] = [64, 128, 256, 512, 1024, 2048];

/// A load that takes longer is not repeated.
const LONG_LOAD: Duration = Duration::from_secs(5);

/// Counts the allocations that the calling thread makes while it runs something.
pub type Count = fn(&mut dyn FnMut()) -> u64;

/// The model to time.
#[derive(Clone, Debug)]
pub enum Of<'a> {
    /// A folder as on Hugging Face, or a converted one.
    Dir(&'a Path),
    /// The small model that is built in.
    Nano,
    /// Made-up weights of a built-in config, made in memory.
    Preset {
        /// Its name: see [`strix_model::convert::PRESETS`].
        name: &'a str,
        /// Decoder layers; `None`: all of them.
        layers: Option<u32>,
    },
}

impl Of<'_> {
    /// Positions that it was trained for.
    ///
    /// # Errors
    ///
    /// If its config cannot be read.
    pub fn trained(&self) -> Result<u32> {
        Ok(Loadable::open(self)?.config()?.text.max_position_embeddings as u32)
    }
}

/// Options of timing a model.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The model.
    pub of: Of<'a>,
    /// Options of loading it. The context is at least the longest that is timed.
    pub load: LoadOptions,
    /// Contexts that decode is timed at. A context counts the token itself.
    pub contexts: Vec<u32>,
    /// Numbers of sequences that are decoded together at each context.
    pub batches: Vec<u32>,
    /// Lengths that prefill is timed at.
    pub lengths: Vec<u32>,
    /// Whether a picture is encoded.
    pub image: bool,
    /// Whether times over contexts, lengths and depth are fitted.
    pub scaling: bool,
    /// Runs of each at least, and at most.
    pub runs: (usize, usize),
    /// Time for the runs of each; further runs up to the most are not begun after it.
    pub each: Duration,
    /// When to end: nothing but the first is begun after it.
    pub until: Option<Instant>,
    /// Counts allocations, where that is possible.
    pub count: Option<Count>,
}

/// A task of a loaded model that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Image,
    Prefill(u32),
    /// A step of so many sequences together, with so many positions each.
    Decode(u32, u32),
}

impl Task {
    /// Tells tasks that run other programs.
    fn program(self) -> (u32, u32) {
        match self {
            Self::Image => (0, 0),
            Self::Prefill(_) => (1, 0),
            Self::Decode(together, _) => (2, together.next_power_of_two()),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Image => "image encode".into(),
            Self::Prefill(length) => format!("prefill/{length}"),
            Self::Decode(1, context) => format!("decode/{context}"),
            Self::Decode(together, context) => format!("decode/{context}x{together}"),
        }
    }
}

/// One task with the times taken of it so far.
struct Turn {
    task: Task,
    times: Times,
    spent: Duration,
    /// Processor time of this thread, and allocations, run by run.
    host: Vec<(Option<f64>, Option<u64>)>,
}

/// A model on the device, with what its tasks need.
struct Bench<'a> {
    clock: &'a Clock,
    options: &'a Options<'a>,
    model: Model,
    /// Sessions for the largest batch, at least one.
    sessions: Vec<Session>,
    pixels: Vec<f32>,
}

/// Times a model; returns a row for each task, and how times grow if that was asked for. `on` sees what is done, and may
/// break off: what is done then has a row.
///
/// # Errors
///
/// If the model cannot be loaded, a context or length exceeds what it was trained for, or the device fails.
pub fn run_model(
    clock: &Clock,
    roof: &Roofline,
    options: &Options<'_>,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<(Vec<Row>, Option<Scaling>)> {
    let longest = options.contexts.iter().chain(&options.lengths).copied().max().unwrap_or(2);
    let source = Loadable::open(&options.of)?;
    let ctx = longest.max(options.load.ctx.unwrap_or(2));
    let together = options.batches.iter().copied().max().unwrap_or(1);
    let most = options.contexts.iter().copied().max().unwrap_or(0);
    let config = source.config()?;
    // For one sequence the usual one is large enough.
    let pool = || {
        let positions = u64::from(most.next_multiple_of(16)) * u64::from(together);
        work::kv_bytes(&config, positions.max(u64::from(ctx.next_multiple_of(16))), element(&options.load))
    };
    let kv_memory = options.load.kv_memory.or_else(|| (together > 1).then(pool));
    let load = LoadOptions { ctx: Some(ctx), kv_memory, ..options.load.clone() };

    let mut rows = vec![];
    let _ = on(Event::Preparing { name: "load" });
    let (model, mut row) = timed_load(clock, &source, &load)?;
    row.fill(roof);
    let stopped = on(Event::Done(&row)).is_break();
    rows.push(row);
    if stopped {
        return Ok((rows, None));
    }

    let trained = model.config().text.max_position_embeddings as u32;
    if longest > trained {
        return Err(Error::Option(format!(
            "a context of {longest} positions; the model was trained for {trained}: ask for shorter contexts and prompts"
        )));
    }
    let size = model.config().vision.image_size as u32;
    let picture = RgbImage::from_fn(size, size, |x, y| [x as u8, y as u8, (x ^ y) as u8].into());
    let pixels = model.pixels(&picture)?;
    let sessions = (0..together.max(1)).map(|_| model.session()).collect::<strix_model::Result<_>>()?;
    let mut bench = Bench { clock, options, model, sessions, pixels };
    let image = options.image.then_some(Task::Image);
    let prefill = options.lengths.iter().map(|&length| Task::Prefill(length));
    let batches = |context| options.batches.iter().map(move |&together| Task::Decode(together, context));
    let decode = options.contexts.iter().flat_map(|&context| batches(context));
    let turn = |task| Turn { task, times: Times::default(), spent: Duration::ZERO, host: vec![] };
    let mut turns: Vec<_> = image.into_iter().chain(prefill).chain(decode).map(turn).collect();
    let broken = bench.take_turns(&mut turns, on)?.is_break();
    let mut layers = vec![];
    for turn in turns.into_iter().filter(|turn| !turn.times.wall_ns.is_empty()) {
        let (mut row, of_layers) = bench.row(turn, broken)?;
        row.fill(roof);
        let _ = on(Event::Done(&row));
        rows.push(row);
        layers = if of_layers.is_empty() { layers } else { of_layers };
    }
    let scaling = (options.scaling && !broken).then(|| Scaling::of(&rows, &layers));
    Ok((rows, scaling))
}

/// Where a model comes from, opened once.
pub(crate) struct Loadable<'a> {
    of: &'a Of<'a>,
    /// Config and weights, if they are made up.
    made_up: Option<(Config, Arc<Weights>)>,
}

impl<'a> Loadable<'a> {
    pub(crate) fn open(of: &'a Of<'a>) -> Result<Self> {
        let Of::Preset { name, layers } = of else { return Ok(Self { of, made_up: None }) };
        let json = preset(name).ok_or_else(|| Error::Option(format!("there is no preset {name:?}")))?;
        let mut synthesis =
            Synthesis { config: json.into(), dtype: FileDtype::BF16, seed: 0, rounding: None };
        if let Some(layers) = layers {
            synthesis.set_layers(*layers as usize)?;
        }
        let config = Config::from_json(synthesis.config.as_bytes())?;
        let weights = Weights::synthetic(&config, FileDtype::BF16, 0);
        Ok(Self { of, made_up: Some((config, weights.into())) })
    }

    pub(crate) fn config(&self) -> Result<Config> {
        Ok(match (self.of, &self.made_up) {
            (_, Some((config, _))) => config.clone(),
            (Of::Dir(dir), None) => Config::load(&Located::find(dir)?.config)?,
            _ => Config::nano(),
        })
    }

    pub(crate) fn load(&self, clock: &Clock, options: &LoadOptions) -> Result<Model> {
        let source = match (self.of, &self.made_up) {
            (_, Some((config, weights))) => Source::Weights { config, weights, tokenizer: None },
            (Of::Dir(dir), None) => Source::Dir(dir),
            _ => Source::Nano,
        };
        Ok(Model::load_on(clock.gpu(), source, options, &mut unwatched)?)
    }
}

/// Loads it, twice more if that does not take long.
fn timed_load(clock: &Clock, source: &Loadable<'_>, options: &LoadOptions) -> Result<(Model, Row)> {
    let mut times = Times::default();
    let mut model = None;
    for run in 0..3 {
        drop(model.take());
        let (wall, busy) = (Instant::now(), process_ns().filter(|_| clock.is_software()));
        model = Some(source.load(clock, options)?);
        times.wall_ns.push(wall.elapsed().as_nanos() as f64);
        // Threads mostly work one after the other, so only the sum of all is certain.
        times.idle_ns.extend(busy.and_then(|before| Some(process_ns()? - before)));
        if run == 0 && wall.elapsed() > LONG_LOAD {
            break;
        }
    }
    let model = model.expect("loaded at least once");
    Ok((model, Row { name: "load".into(), repeats: 1, times, ..Row::default() }))
}

impl Bench<'_> {
    /// Runs the tasks in turns, after one run of each that warms up.
    fn take_turns(
        &mut self,
        turns: &mut [Turn],
        on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (least, most) = self.options.runs;
        // Prefills and decode steps are one program each: the shortest warms up for all.
        let mut warm = vec![];
        for turn in turns.iter() {
            let kind = turn.task.program();
            if !warm.contains(&kind) && (warm.is_empty() || !self.is_late()) {
                warm.push(kind);
                let _ = on(Event::Preparing { name: &turn.task.name() });
                if let Task::Decode(together, context) = turn.task {
                    self.fill(together, context - 1)?;
                }
                self.run(turn.task)?;
            }
        }
        let mut begun = false;
        for round in 0..most {
            let mut ran = false;
            for turn in turns.iter_mut().filter(|turn| round < least || turn.spent < self.options.each) {
                if begun && self.is_late() {
                    return Ok(ControlFlow::Break(()));
                }
                begun = true;
                if on(Event::Timing { name: &turn.task.name(), runs: round }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.time(turn)?;
                ran = true;
            }
            if !ran {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_late(&self) -> bool {
        self.options.until.is_some_and(|until| Instant::now() >= until)
    }

    fn time(&mut self, turn: &mut Turn) -> Result<()> {
        if let Task::Decode(together, context) = turn.task {
            // Not part of the time: the positions before the token.
            self.fill(together, context - 1)?;
        }
        let software = self.clock.is_software();
        let (wall, busy, own) = (Instant::now(), process_ns().filter(|_| software), thread_ns());
        let mut result = Ok(());
        let allocations = match self.options.count {
            Some(count) => Some(count(&mut || result = self.run(turn.task))),
            None => {
                result = self.run(turn.task);
                None
            }
        };
        result?;
        let own = own.and_then(|before| Some(thread_ns()? - before));
        let elapsed = wall.elapsed();
        let idle = busy.and_then(|before| Some((process_ns()? - before) / cores() as f64));
        turn.times.wall_ns.push(elapsed.as_nanos() as f64);
        turn.times.idle_ns.extend(idle);
        turn.host.push((own, allocations));
        turn.spent += elapsed;
        Ok(())
    }

    fn run(&mut self, task: Task) -> Result<()> {
        match task {
            Task::Image => drop(self.model.encode(&self.pixels)?),
            Task::Prefill(length) => {
                let vocab = self.model.config().text.vocab_size as u32;
                let ids: Vec<_> = (0..length).map(|i| PromptId::Token((3 + 7 * i) % vocab)).collect();
                drop(self.sessions[0].inspect().greedy(&ids, 1)?);
                self.sessions[0].reset();
            }
            Task::Decode(1, _) => {
                self.sessions[0].inspect().step(1)?;
            }
            Task::Decode(together, _) => {
                let tokens = vec![1; together as usize];
                Inspect::step_together(&mut self.sessions[..together as usize], &tokens)?;
            }
        }
        Ok(())
    }

    /// Has so many sequences so many positions, and the others none.
    fn fill(&mut self, together: u32, positions: u32) -> Result<()> {
        self.sessions.iter_mut().for_each(Session::reset);
        for session in &mut self.sessions[..together as usize] {
            session.inspect().fill(positions as usize)?;
        }
        Ok(())
    }

    /// The row of a task, and of a decode step the time of each layer.
    fn row(&mut self, turn: Turn, broken: bool) -> Result<(Row, Vec<f64>)> {
        let Turn { task, times, host, .. } = turn;
        let model = self.model.clone();
        let config = model.config();
        let kv_element = element(&self.options.load);
        let (work, tokens) = match task {
            Task::Image => (work::image(config), None),
            Task::Prefill(length) => {
                let bytes = model.decode_bytes();
                (work::prefill(config, bytes, model.memory().chunk, length, kv_element), Some(length))
            }
            Task::Decode(together, context) => {
                let bytes = model.decode_bytes();
                (work::decode(config, bytes, context, together, kv_element), Some(together))
            }
        };
        let mut row = Row { name: task.name(), work, tokens, repeats: 1, times, ..Row::default() };
        let mut layers = vec![];
        if self.clock.has_timestamps() && !broken {
            let steps = match task {
                Task::Image => model.profile_encode()?,
                Task::Prefill(length) => {
                    self.fill(1, length)?;
                    self.sessions[0].inspect().profile_prefill()?
                }
                Task::Decode(1, context) => {
                    self.fill(1, context)?;
                    let steps = self.sessions[0].inspect().profile()?;
                    layers = scaling::per_layer(&steps, config.text.num_hidden_layers);
                    steps
                }
                Task::Decode(together, context) => {
                    self.fill(together, context - 1)?;
                    Inspect::profile_together(&mut self.sessions[..together as usize])?
                }
            };
            row.dispatches = steps.len();
            row.shares = shares(&steps, |step| step.kernel.split('[').next().unwrap_or(""));
        }
        row.host = matches!(task, Task::Decode(..)).then(|| host_of(&row.times, &host)).flatten();
        Ok((row, layers))
    }
}

/// Bytes of an element of keys and values.
pub(crate) fn element(load: &LoadOptions) -> u64 {
    match load.kv {
        KvDtype::F32 => 4,
        KvDtype::F16 => 2,
    }
}

/// Medians of the host's part of some tokens.
fn host_of(times: &Times, host: &[(Option<f64>, Option<u64>)]) -> Option<Host> {
    let cpu: Vec<f64> = host.iter().filter_map(|h| h.0).collect();
    let allocations: Vec<f64> = host.iter().filter_map(|h| Some(h.1? as f64)).collect();
    let (_, token) = times.best_source()?;
    let cpu_ns = crate::stats::Summary::of(&cpu)?.median;
    let allocations = crate::stats::Summary::of(&allocations).map(|s| s.median);
    Some(Host { cpu_ns, share: cpu_ns / token.median, allocations })
}

//! Conversations that share a model in any order: what each is told does not depend on the others.

use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use strix_engine::Gpu;
use strix_model::image::RgbImage;
use strix_model::{Error, GenerateOptions, LoadOptions, Model, Session, Source};

/// Conversations at once at most.
const MOST: u64 = 16;

/// Pages of the cache: too few for all.
const PAGES: u64 = 16;

/// What is asked, with pictures before it or not.
const QUESTIONS: [&str; 6] = [
    "Hello!",
    "What is 3 + 4?",
    "What shape is in the image?",
    "What color is it?",
    "Is there a red triangle in the image?",
    "What are the seven colors of the rainbow?",
];

/// One question of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    /// Number of a picture that comes with it.
    picture: Option<u8>,
    question: usize,
    max_tokens: u32,
}

/// What the schedule tells a conversation.
enum Go {
    /// Ask what comes next, or run a token.
    On,
    /// Drop the answer, if there is one, and end.
    Cancel,
}

/// What a conversation did.
enum Did {
    /// It went on.
    WentOn,
    /// The cache had no room for its question, which it will ask again.
    Waits,
    /// It ended with these ids of each question; `whole` if the last was answered to its end.
    Ended {
        ids: Vec<Vec<u32>>,
        whole: bool,
    },
    Failed(Error),
}

/// What some schedules came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Schedules that were run.
    pub schedules: u64,
    /// Conversations in them.
    pub conversations: u64,
    /// Answers that were compared.
    pub answers: u64,
    /// Those of them that were cut off.
    pub cancelled: u64,
    /// Times that a question waited for room.
    pub waits: u64,
    /// Positions of prompts that the cache held already, and that were run.
    pub positions: [u64; 2],
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, conversations, answers, cancelled, waits, positions: [held, run] } = self;
        write!(
            f,
            "{schedules} schedules, {conversations} conversations, {answers} answers as those alone ({cancelled} cut off, \
             {waits} waited for room); of their prompts {held} positions were in the cache, {run} were run"
        )
    }
}

/// A model and what conversations are told by it when they are alone.
pub struct Schedules {
    model: Model,
    alone: Model,
    known: HashMap<Vec<Asked>, Vec<Vec<u32>>>,
    pictures: Vec<RgbImage>,
    /// What was run so far.
    pub counts: Counts,
}

impl Schedules {
    /// Loads nano twice, once with a cache that is too small for all.
    ///
    /// # Errors
    ///
    /// If it cannot be loaded.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let text = strix_model::Config::nano().text;
        let page = 16 * 2 * 4 * (text.kv_dim() * text.num_hidden_layers) as u64;
        let load = |kv_memory| {
            let options = LoadOptions { kv_memory, ..LoadOptions::default() };
            Model::load_on(gpu, Source::Nano, &options, &mut |_| ())
        };
        let picture = |i: u8| {
            RgbImage::from_fn(112, 112, |x, y| {
                let inside = x.abs_diff(56) + y.abs_diff(56) < 20 + 6 * u32::from(i);
                if inside { [40 * i, 200 - 30 * i, 250] } else { [255; 3] }.into()
            })
        };
        Ok(Self {
            model: load(Some(PAGES * page))?,
            alone: load(None)?,
            known: HashMap::new(),
            pictures: (0..4).map(picture).collect(),
            counts: Counts::default(),
        })
    }

    /// Runs the schedule of a seed: conversations that are told to go on in any order, some of them cut off. The cache is
    /// full of NaN before, and its pages come in any order.
    ///
    /// # Errors
    ///
    /// If a conversation is told anything else than alone, a page is not given back, or the device fails.
    pub fn run(&mut self, seed: u64) -> Result<()> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        self.model.session()?.spoil_cache(seed)?;
        let talks: Vec<Vec<Asked>> = (0..1 + random(MOST))
            .map(|_| {
                let questions = 1 + random(3);
                let asked = |_| Asked {
                    picture: (random(2) == 0).then(|| random(4) as u8),
                    question: random(QUESTIONS.len() as u64) as usize,
                    max_tokens: 1 + random(20) as u32,
                };
                (0..questions).map(asked).collect()
            })
            .collect();
        let ended = self.drive(&talks, &mut random).with_context(|| format!("seed {seed}"))?;
        let [all, left] = self.model.kv_positions();
        ensure!(all == left, "seed {seed}: {left} of {all} positions are left when all is over");
        self.counts.schedules += 1;
        for (talk, (ids, whole)) in talks.iter().zip(ended) {
            let alone = self.alone(talk)?;
            self.counts.conversations += 1;
            self.counts.answers += ids.len() as u64;
            self.counts.cancelled += u64::from(!whole);
            let answers = ids.len();
            for (at, (ids, alone)) in ids.iter().zip(&alone).enumerate() {
                let cut = at + 1 == answers && !whole;
                let same = if cut { alone.starts_with(ids) } else { alone == ids };
                ensure!(same, "seed {seed}: {talk:?}, question {at}: {ids:?}; alone {alone:?}");
            }
        }
        Ok(())
    }

    /// Lets conversations go on in any order until all have ended.
    fn drive(
        &mut self,
        talks: &[Vec<Asked>],
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Result<Vec<(Vec<Vec<u32>>, bool)>> {
        let (model, pictures) = (&self.model, &self.pictures);
        let mut ended: Vec<Option<(Vec<Vec<u32>>, bool)>> = vec![None; talks.len()];
        let (mut waits, mut idle) = (0, 0);
        let positions = thread::scope(|scope| -> Result<[u64; 2]> {
            let mut running = vec![];
            for (at, talk) in talks.iter().enumerate() {
                let ((go, told), (does, did)) = (channel(), channel());
                let thread = scope.spawn(move || converse(model, pictures, talk, &told, &does));
                running.push((at, go, did, thread));
            }
            let mut positions = [0; 2];
            while !running.is_empty() {
                let at = random(running.len() as u64) as usize;
                let (talk, go, did, _) = &running[at];
                let cancel = random(60) == 0;
                go.send(if cancel { Go::Cancel } else { Go::On }).context("a conversation is gone")?;
                match did.recv().context("a conversation broke off")? {
                    Did::WentOn => idle = 0,
                    Did::Waits => {
                        waits += 1;
                        idle += 1;
                        ensure!(idle < 100_000, "all wait for room, and nobody has any");
                    }
                    Did::Failed(error) => return Err(error.into()),
                    Did::Ended { ids, whole } => {
                        idle = 0;
                        ended[*talk] = Some((ids, whole));
                        let (.., thread) = running.swap_remove(at);
                        let Ok([held, run]) = thread.join() else { bail!("a conversation panicked") };
                        positions = [positions[0] + held, positions[1] + run];
                    }
                }
            }
            Ok(positions)
        })?;
        let [held, run] = &mut self.counts.positions;
        (*held, *run) = (*held + positions[0], *run + positions[1]);
        self.counts.waits += waits;
        Ok(ended.into_iter().map(|ended| ended.expect("all have ended")).collect())
    }

    /// What a conversation is told when nobody else is there.
    fn alone(&mut self, talk: &[Asked]) -> Result<Vec<Vec<u32>>> {
        if let Some(ids) = self.known.get(talk) {
            return Ok(ids.clone());
        }
        let mut session = self.alone.session()?;
        session.spoil_cache(0)?;
        let mut told = vec![];
        for asked in talk {
            add_picture(&mut session, &self.pictures, asked)?;
            let mut answer = session.ask(QUESTIONS[asked.question], &options(asked))?;
            answer.by_ref().try_for_each(|token| token.map(drop))?;
            told.push(answer.ids().to_vec());
        }
        self.known.insert(talk.to_vec(), told.clone());
        Ok(told)
    }
}

fn options(asked: &Asked) -> GenerateOptions {
    GenerateOptions { max_tokens: asked.max_tokens, ..GenerateOptions::default() }
}

fn add_picture(session: &mut Session, pictures: &[RgbImage], asked: &Asked) -> Result<(), Error> {
    asked.picture.map_or(Ok(()), |picture| session.add_image(&pictures[usize::from(picture)]))
}

/// A conversation that does one thing whenever it is told to; returns the positions of its prompts that the cache held, and
/// those that were run.
fn converse(
    model: &Model,
    pictures: &[RgbImage],
    talk: &[Asked],
    told: &Receiver<Go>,
    does: &Sender<Did>,
) -> [u64; 2] {
    let mut positions = [0; 2];
    // Whoever listened may be gone after another's failure.
    let tell = |did| drop(does.send(did));
    match talk_on(model, pictures, talk, told, &tell, &mut positions) {
        Ok((ids, whole)) => tell(Did::Ended { ids, whole }),
        Err(error) => tell(Did::Failed(error)),
    }
    positions
}

fn talk_on(
    model: &Model,
    pictures: &[RgbImage],
    talk: &[Asked],
    told: &Receiver<Go>,
    tell: &dyn Fn(Did),
    positions: &mut [u64; 2],
) -> Result<(Vec<Vec<u32>>, bool), Error> {
    let mut session = model.session()?;
    let mut ids = vec![];
    for asked in talk {
        add_picture(&mut session, pictures, asked)?;
        let mut answer = loop {
            let Ok(Go::On) = told.recv() else { return Ok((ids, true)) };
            match session.ask(QUESTIONS[asked.question], &options(asked)) {
                Ok(answer) => break answer,
                Err(Error::PoolFull { .. }) => tell(Did::Waits),
                Err(error) => return Err(error),
            }
        };
        loop {
            tell(Did::WentOn);
            let Ok(Go::On) = told.recv() else {
                ids.push(answer.ids().to_vec());
                return Ok((ids, false));
            };
            match answer.next() {
                Some(token) => drop(token?),
                None => break,
            }
        }
        let timing = answer.timing();
        positions[0] += u64::from(timing.reused_tokens);
        positions[1] += u64::from(timing.prefill_tokens);
        ids.push(answer.ids().to_vec());
        drop(answer);
        // This step asks nothing more.
        if ids.len() < talk.len() {
            tell(Did::WentOn);
        }
    }
    Ok((ids, true))
}

//! Conversations that share a model in any order: what each is told does not depend on the others.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use strix_engine::{Gpu, GpuOptions};
use strix_model::image::RgbImage;
use strix_model::{
    Activity, Config, Constraint, Error, FinishReason, GenerateOptions, Generation, LoadOptions, Model, Room,
    SaveOptions, Session, Source, unwatched,
};

/// Conversations at once at most.
const MOST: u64 = 16;

/// Pages of the cache: too few for all.
const PAGES: u64 = 13;

/// Pages of the cache of some schedules, whose keys take two bindings of [`BINDING`] bytes: each a page of one of nano's
/// four heads takes 2,048.
const SPLIT_PAGES: u64 = 20;

/// A little more than nano's picture takes.
const BINDING: u64 = 160_000;

/// What is asked, with pictures before it or not.
const QUESTIONS: [&str; 6] = [
    "Hello!",
    "What is 3 + 4?",
    "What shape is in the image?",
    "What color is it?",
    "Is there a red triangle in the image?",
    "What are the seven colors of the rainbow?",
];

/// What some answers must be, numbered as questions ask for them.
fn constraint(number: usize) -> Constraint {
    match number {
        0 => Constraint::Regex("(red|green|blue) (circle|square|triangle)( and [a-z]{1,6}){0,2}".into()),
        1 => Constraint::Json,
        _ => Constraint::JsonSchema(
            r#"{"type": "object", "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 99},
            "note": {"type": "string", "maxLength": 5}}, "required": ["count"], "additionalProperties": false}"#
                .into(),
        ),
    }
}

/// One question of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    /// Number of a picture that comes with it.
    picture: Option<u8>,
    question: usize,
    max_tokens: u32,
    /// Number of a [`constraint`] on the answer.
    constraint: Option<usize>,
}

/// A conversation that is under way.
struct Going<'a> {
    talk: &'a [Asked],
    session: Session,
    answer: Option<Generation>,
    /// Of each question that was answered.
    ids: Vec<Vec<u32>>,
}

/// A conversation that has ended.
struct Ended<'a> {
    talk: &'a [Asked],
    ids: Vec<Vec<u32>>,
    /// Whether the last question was answered to its end.
    is_whole: bool,
}

/// What some schedules came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Schedules that were run.
    pub schedules: u64,
    /// Those of them whose cache is in several bindings.
    pub split: u64,
    /// Conversations in them.
    pub conversations: u64,
    /// Answers that were compared.
    pub answers: u64,
    /// Those of them that were cut off.
    pub cancelled: u64,
    /// Those of them that had to be JSON, or match a regex.
    pub constrained: u64,
    /// Conversations that went on twice from where they were.
    pub forks: u64,
    /// Conversations that were saved and reloaded.
    pub reloads: u64,
    /// Times that a question waited for room.
    pub waits: u64,
    /// Positions of prompts that the cache held already, and that were run.
    pub positions: [u64; 2],
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            schedules,
            split,
            conversations,
            answers,
            cancelled,
            constrained,
            forks,
            reloads,
            waits,
            positions: [held, run],
        } = self;
        write!(
            f,
            "{schedules} schedules ({split} over several bindings), {conversations} conversations ({forks} forks, {reloads} reloads), \
             {answers} answers as those alone ({constrained} constrained, {cancelled} cut off, {waits} waited for room); of their prompts {held} positions were in the cache, {run} were run"
        )
    }
}

/// A model and what conversations are told by it when they are alone.
pub struct Schedules {
    /// With a cache in one binding, and in several.
    models: [Model; 2],
    alone: Model,
    known: HashMap<Vec<Asked>, Vec<Vec<u32>>>,
    pictures: Vec<RgbImage>,
    /// Where conversations are saved.
    folder: tempfile::TempDir,
    /// What was run so far.
    pub counts: Counts,
}

impl Schedules {
    /// Loads nano three times: with a cache that is too small for all, with one on a device whose bindings do not hold a
    /// layer's keys, and with room for all.
    ///
    /// # Errors
    ///
    /// If it cannot be loaded.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let text = Config::nano().text;
        let page = 16 * 2 * 4 * (text.kv_dim() * text.num_hidden_layers) as u64;
        let options = |kv_memory| LoadOptions { kv_memory, ..LoadOptions::default() };
        let load =
            |gpu: &Gpu, kv_memory| Model::load_on(gpu, Source::Nano, &options(kv_memory), &mut unwatched);
        let small = Gpu::with(&GpuOptions { max_binding_bytes: Some(BINDING), ..GpuOptions::from_env() })?;
        let split = Some(SPLIT_PAGES * page);
        let plan =
            strix_model::plan(&Config::nano(), &options(split), &small.target(), None, Room::default())?;
        ensure!(plan.kv_cache_bindings == 2, "{} bindings of keys", plan.kv_cache_bindings);
        let picture = |i: u8| {
            RgbImage::from_fn(112, 112, |x, y| {
                let inside = x.abs_diff(56) + y.abs_diff(56) < 20 + 6 * u32::from(i);
                if inside { [40 * i, 200 - 30 * i, 250] } else { [255; 3] }.into()
            })
        };
        Ok(Self {
            models: [load(gpu, Some(PAGES * page))?, load(&small, split)?],
            alone: load(gpu, None)?,
            known: HashMap::new(),
            pictures: (0..4).map(picture).collect(),
            folder: tempfile::tempdir()?,
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
        // One of four is over several bindings, and three have answers that are constrained.
        let is_split = seed % 4 == 1;
        let is_constrained = !seed.is_multiple_of(4);
        let model = self.models[usize::from(is_split)].clone();
        model.session()?.inspect().spoil_cache(seed)?;
        let talks: Vec<Vec<Asked>> = (0..1 + random(MOST))
            .map(|_| {
                let questions = 1 + random(3);
                let asked = |_| Asked {
                    picture: (random(2) == 0).then(|| random(4) as u8),
                    question: random(QUESTIONS.len() as u64) as usize,
                    max_tokens: 1 + random(20) as u32,
                    constraint: (is_constrained && random(3) == 0).then(|| random(3) as usize),
                };
                (0..questions).map(asked).collect()
            })
            .collect();
        let ended = self.drive(&model, &talks, &mut random).with_context(|| format!("seed {seed}"))?;
        // Whoever looks waits for what was cut off.
        model.session()?.inspect().fill(0)?;
        let Activity { kv_positions: all, kv_positions_left: left, .. } = model.activity();
        ensure!(all == left, "seed {seed}: {left} of {all} positions are left when all is over");
        self.counts.waits = self.models.iter().map(|model| model.activity().waited_for_room).sum();
        self.counts.schedules += 1;
        self.counts.split += u64::from(is_split);
        for Ended { talk, ids, is_whole } in ended {
            let alone = self.alone(talk)?;
            self.counts.conversations += 1;
            self.counts.answers += ids.len() as u64;
            self.counts.cancelled += u64::from(!is_whole);
            let constrained = talk.iter().take(ids.len()).filter(|asked| asked.constraint.is_some());
            self.counts.constrained += constrained.count() as u64;
            let answers = ids.len();
            for (at, (ids, alone)) in ids.iter().zip(&alone).enumerate() {
                let cut = at + 1 == answers && !is_whole;
                let same = if cut { alone.starts_with(ids) } else { alone == ids };
                ensure!(same, "seed {seed}: {talk:?}, question {at}: {ids:?}; alone {alone:?}");
            }
        }
        Ok(())
    }

    /// Lets conversations go on in any order until all have ended.
    fn drive<'a>(
        &mut self,
        model: &Model,
        talks: &'a [Vec<Asked>],
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Result<Vec<Ended<'a>>> {
        let begin = |talk: &'a Vec<Asked>| -> Result<Going<'a>> {
            Ok(Going { talk, session: model.session()?, answer: None, ids: vec![] })
        };
        let mut going: Vec<_> = talks.iter().map(begin).collect::<Result<_>>()?;
        // Some come together.
        for talk in &mut going {
            if random(2) == 0 {
                talk.go_on(&self.pictures, &mut self.counts.positions, random)?;
            }
        }
        let mut ended = vec![];
        while !going.is_empty() {
            let at = random(going.len() as u64) as usize;
            if going[at].answer.is_none() && going.len() < MOST as usize && random(12) == 0 {
                let Going { talk, session, ids, .. } = &going[at];
                let fork = Going { talk, session: session.fork()?, answer: None, ids: ids.clone() };
                going.push(fork);
                self.counts.forks += 1;
                continue;
            }
            if going[at].answer.is_none() && random(12) == 0 {
                let path = self.folder.path().join("saved");
                let options = SaveOptions { embeds: true, pages: random(2) == 0 };
                let saved = going[at].session.save(&path, options);
                match saved {
                    Ok(()) => {
                        going[at].session = model.restore(&path)?;
                        self.counts.reloads += 1;
                    }
                    // Others have all pages, and it needs one to copy from.
                    Err(Error::PoolFull { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let is_whole = going[at].go_on(&self.pictures, &mut self.counts.positions, random)?;
            if let Some(is_whole) = is_whole {
                let Going { talk, ids, .. } = going.swap_remove(at);
                ended.push(Ended { talk, ids, is_whole });
            }
        }
        Ok(ended)
    }

    /// What a conversation is told when nobody else is there.
    fn alone(&mut self, talk: &[Asked]) -> Result<Vec<Vec<u32>>> {
        if let Some(ids) = self.known.get(talk) {
            return Ok(ids.clone());
        }
        let mut session = self.alone.session()?;
        session.inspect().spoil_cache(0)?;
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
    let constraint = asked.constraint.map(constraint);
    GenerateOptions { max_tokens: asked.max_tokens, constraint, ..GenerateOptions::default() }
}

fn add_picture(session: &mut Session, pictures: &[RgbImage], asked: &Asked) -> Result<(), Error> {
    asked.picture.map_or(Ok(()), |picture| session.add_image(&pictures[usize::from(picture)]))
}

impl Going<'_> {
    /// Asks the next question, or goes on with an answer, or cuts it off. Whether it has ended, and if so whether its last
    /// question was answered to the end. Counts positions of prompts that the cache held, and that were run.
    fn go_on(
        &mut self,
        pictures: &[RgbImage],
        positions: &mut [u64; 2],
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Result<Option<bool>> {
        let Some(answer) = &mut self.answer else {
            let Some(asked) = self.talk.get(self.ids.len()) else { return Ok(Some(true)) };
            add_picture(&mut self.session, pictures, asked)?;
            self.answer = Some(self.session.ask(QUESTIONS[asked.question], &options(asked))?);
            return Ok(None);
        };
        match random(50) {
            0 => answer.canceller().cancel(),
            1 => {
                self.ids.push(answer.ids().to_vec());
                self.answer = None;
                return Ok(Some(false));
            }
            _ => {}
        }
        match answer.next() {
            Some(token) => {
                token?;
                Ok(None)
            }
            None => {
                let timing = answer.timing();
                positions[0] += u64::from(timing.reused_tokens);
                positions[1] += u64::from(timing.prefill_tokens);
                self.ids.push(answer.ids().to_vec());
                let was_cut = answer.finish_reason() == Some(&FinishReason::Cancelled);
                self.answer = None;
                Ok(was_cut.then_some(false))
            }
        }
    }
}

//! What a user of the model can cause, with the names and numbers that explain it.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;

use crate::shown::{shown, shown_list};

/// Errors of loading, prompting and generating.
///
/// A message is written as [`shown_list`](crate::shown_list) does, so that it can be printed to a terminal whatever a
/// file says. The fields are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, mapped or read.
    #[error("{}: {}", shown(path.display()), shown(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and is not what it should be.
    #[error("{}: {}", shown(path.display()), shown_list(reason))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// `config.json` asks for something contradictory or unsupported.
    #[error("config.json: {}", shown(_0))]
    Config(String),
    /// A tensor is missing, or has another shape or dtype than the config says.
    #[error("{}: {}", shown(name), shown(reason))]
    Tensor {
        /// Name in the checkpoint.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture could not be decoded or is of no use.
    #[error("{}: {}", shown(name), shown(reason))]
    Image {
        /// File name, or "image" for bytes in memory.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is of a kind that this crate can read and was built without.
    #[error(
        "{}: is a {what}, and the program was built without the feature `{feature}` of strix-model, which reads it",
        shown(name)
    )]
    LeftOut {
        /// File name, or "image" for bytes in memory.
        name: String,
        /// The kind of file, such as `JPEG` or `tokenizer.json`.
        what: String,
        /// The feature of strix-model.
        feature: &'static str,
    },
    /// The turns of a chat came in another order than question and reply.
    #[error("{}", shown(_0))]
    Prompt(String),
    /// The prompt has no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt takes more positions than the context holds.
    #[error("{_0}: shorten it, use fewer pictures, or load the model with a larger ctx")]
    PromptTooLong(PromptLength),
    /// The positions of a session and what is to come behind them are more than the context holds.
    #[error(
        "the context of {limit} positions is full, and {needed} are needed: load the model with a larger ctx"
    )]
    ContextFull {
        /// Positions that are needed.
        needed: usize,
        /// Positions that the context holds.
        limit: usize,
    },
    /// The prompt's places for pictures are not as many as its pictures.
    #[error("{}", mismatch(*places, *pictures))]
    PictureMismatch {
        /// Number of `<|image|>` in the text, or of placeholders among the ids.
        places: usize,
        /// Number of pictures.
        pictures: usize,
    },
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocab}")]
    UnknownToken {
        /// The token's id.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A [`CustomSampler`](crate::CustomSampler) chose a token that it was not given.
    #[error("the sampler chose token {token}, which is none of the {candidates} that it was given")]
    NotACandidate {
        /// The token's id.
        token: u32,
        /// Number of tokens that it could choose among.
        candidates: usize,
    },
    /// A [`CustomSampler`](crate::CustomSampler) panicked.
    #[error("the sampler panicked: {}", shown(_0))]
    SamplerPanicked(String),
    /// A stop text is empty: it would end every answer before anything is said.
    #[error("stop string {index} of {count} is empty")]
    StopText {
        /// Its place among the stop texts, from 0.
        index: usize,
        /// Number of stop texts.
        count: usize,
    },
    /// The folder has no tokenizer, and what was asked for needs one.
    #[error("the folder has no tokenizer.model or tokenizer.json: copy one of them there")]
    NoTokenizer,
    /// The KV cache has no room for a sequence beside those that run.
    #[error(
        "{positions} positions take {needed} pages of the KV cache beside what it holds of them, and {left} of {total} are \
         left: ask for fewer tokens, wait until another answer ends, or load the model with more kv_memory"
    )]
    PoolFull {
        /// Positions that the sequence may come to.
        positions: usize,
        /// Pages of 16 positions that it needs.
        needed: usize,
        /// Pages that are left for it.
        left: usize,
        /// Pages in all.
        total: usize,
    },
    /// The last question of a session is still being answered.
    #[error(
        "the last question is still being answered: take its tokens, or drop its answer, before the next is asked"
    )]
    Busy,
    /// The last answer of a session was not cut off, or there is none.
    #[error("no answer was cut off that could be gone on with")]
    NothingToResume,
    /// A picture of a restored session is known by its hash only.
    #[error(
        "picture {number} of the session was not saved with it: give it again, with Session::supply_image"
    )]
    PictureAbsent {
        /// Its number in the conversation, from 0.
        number: usize,
    },
    /// Too many requests wait for a turn.
    #[error(
        "{limit} requests wait already: ask again when some have ended, or load the model with a longer queue"
    )]
    QueueFull {
        /// [`LoadOptions::queue`](crate::LoadOptions::queue).
        limit: usize,
    },
    /// An error of a run that several answers took part in.
    #[error("{0}")]
    Shared(std::sync::Arc<Error>),
    /// The device, its memory or its driver.
    #[error("{}", shown(_0))]
    Engine(#[source] strix_engine::Error),
    /// An option is out of its range.
    #[error("{name} is {}; it can be {range}", shown(value))]
    OutOfRange {
        /// The option's field, e.g. `top_p` of [`SamplingParams`](crate::SamplingParams).
        name: &'static str,
        /// The value it has.
        value: String,
        /// The values it can have.
        range: String,
    },
    /// The context is longer than the model, the kernels or the device hold. A shorter one fits:
    /// [`remedies`](Self::remedies) names it.
    #[error("a context of {ctx} positions: {limit}: it fits with {}", listed(&self.remedies()))]
    ContextTooLong {
        /// Positions that were asked for.
        ctx: u32,
        /// The most positions that fit.
        longest: u32,
        /// What does not hold more.
        limit: ContextLimit,
    },
    /// The device has too little memory for the model, whatever the context.
    #[error("{_0}: it fits with {}", listed(&self.remedies()))]
    DeviceMemory(MemoryShort),
    /// The buffers of a prefill chunk are larger than the device allows.
    #[error(
        "a prefill chunk of {chunk} rows takes {bytes} bytes in one binding, the device allows {limit}: take chunks of \
         {largest} rows or choose another adapter"
    )]
    ChunkTooLarge {
        /// Rows of a chunk.
        chunk: u32,
        /// Bytes of the largest of its buffers.
        bytes: u64,
        /// Bytes that the device allows in one.
        limit: u64,
        /// Rows whose buffers fit.
        largest: u32,
    },
    /// A KV cache of f16 is stored in units of 4 elements, which the heads do not divide into.
    #[error(
        "a KV cache of f16 with head_dim {head_dim}: it is stored in units of 4 elements; load the model with kv f32"
    )]
    KvHeads {
        /// Elements of a head.
        head_dim: usize,
    },
    /// A converted folder holds weights of another dtype than was asked for.
    #[error(
        "the folder was converted to {}, and {wanted} was asked for: ask for no dtype, or convert the checkpoint anew",
        shown(stored)
    )]
    Converted {
        /// What the folder holds, e.g. `int8 group 32`.
        stored: String,
        /// What was asked for.
        wanted: String,
    },
    /// The folder to be written holds something else that was converted before, or a part of it.
    #[error("{}: {}: name another folder, or set force to begin anew", shown(path.display()), shown_list(reason))]
    Exists {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is there.
        reason: String,
    },
    /// Options that contradict each other, the model or what was done before.
    #[error("{}", shown(_0))]
    Option(String),
    /// What an answer is to be cannot be kept to.
    #[error("{what}: {}", shown_list(reason))]
    Constraint {
        /// What it is: JSON, a JSON schema, a regex or a grammar.
        what: String,
        /// What is wrong with it and where, or why no token can follow.
        reason: String,
    },
    /// The caller broke off, or the model was dropped. What was being written is kept: running it again continues.
    #[error("interrupted")]
    Interrupted,
    /// The thread that runs a model's answers panicked. The model answers no more.
    #[error(
        "the model has stopped, by a fault of Strix that its log names: load it again, and report what happened"
    )]
    Stopped,
}

impl From<strix_engine::Error> for Error {
    fn from(error: strix_engine::Error) -> Self {
        match error {
            // The engine reads a provided file where its layers take turns.
            strix_engine::Error::Read { name, source } => Self::Io { path: name.into(), source },
            error => Self::Engine(error),
        }
    }
}

impl Error {
    /// The option `name`, which is `value` and can be `range`.
    pub(crate) fn out_of_range(name: &'static str, value: impl ToString, range: impl Into<String>) -> Self {
        Self::OutOfRange { name, value: value.to_string(), range: range.into() }
    }

    /// Whether it is a fault of Strix, the driver or the device: no other input would mend it.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_fault(),
            Self::Shared(error) => error.is_fault(),
            Self::Stopped => true,
            _ => false,
        }
    }

    /// The changes each of which lets the model be loaded, of [`ContextTooLong`](Self::ContextTooLong) and
    /// [`DeviceMemory`](Self::DeviceMemory); none of other errors.
    pub fn remedies(&self) -> Vec<Remedy> {
        let of_memory = |short: &MemoryShort| {
            let raised = short.is_limited.then_some(Remedy::DeviceMemory(short.needed_bytes));
            [raised, short.f16_fits.then_some(Remedy::KvF16)].into_iter().flatten().collect::<Vec<_>>()
        };
        match self {
            Self::ContextTooLong { longest, limit, .. } => {
                let mut remedies = match limit {
                    ContextLimit::Memory(short) => of_memory(short),
                    ContextLimit::Binding { .. } => vec![Remedy::Adapter],
                    ContextLimit::Loops { .. } => vec![],
                };
                remedies.insert(0, Remedy::Ctx(*longest));
                remedies
            }
            Self::DeviceMemory(short) => {
                let remedies = of_memory(short);
                if remedies.is_empty() { vec![Remedy::Int8, Remedy::Adapter] } else { remedies }
            }
            _ => vec![],
        }
    }
}

/// The length of a prompt that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromptLength {
    /// Positions that the prompt takes.
    pub positions: usize,
    /// Positions of them that its pictures take.
    pub picture_positions: usize,
    /// Number of its pictures.
    pub pictures: usize,
    /// Positions that the context holds.
    pub limit: usize,
}

impl fmt::Display for PromptLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { positions, picture_positions, pictures, limit } = *self;
        write!(
            f,
            "the prompt takes {positions} positions ({} tokens of text",
            positions - picture_positions
        )?;
        if pictures > 0 {
            write!(f, " and {} of {}", counted(pictures, "picture"), picture_positions / pictures)?;
        }
        write!(f, "), the context holds {limit}")
    }
}

/// What does not hold a longer context. As text it says why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContextLimit {
    /// Drivers cut off loops that are longer.
    Loops {
        /// Times that attention would loop in one invocation.
        trips: u64,
        /// Times that all drivers allow.
        limit: u64,
    },
    /// The keys of a head lie in one binding, and so does the table of the rotations, which is as long.
    Binding {
        /// Label of the buffer.
        label: String,
        /// Bytes that it would have.
        bytes: u64,
        /// Bytes that the device allows in one binding.
        limit: u64,
    },
    /// The device has too little memory.
    Memory(MemoryShort),
}

impl fmt::Display for ContextLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loops { trips, limit } => write!(
                f,
                "attention would loop {trips} times in one invocation, and drivers drop what exceeds {limit}"
            ),
            Self::Binding { label, bytes, limit } => {
                let label = shown(label);
                write!(f, "{label} takes {bytes} bytes in one binding, and the device allows {limit}")
            }
            Self::Memory(short) => short.fmt(f),
        }
    }
}

/// Memory that the device lacks, even if every layer is streamed. As text it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryShort {
    /// Bytes that the model needs.
    pub needed_bytes: u64,
    /// Bytes of them that the KV cache takes.
    pub kv_bytes: u64,
    /// Bytes that may be used.
    pub budget_bytes: u64,
    /// Whether [`LoadOptions::device_memory`](crate::LoadOptions::device_memory) set the budget.
    pub is_limited: bool,
    /// Whether a KV cache of f16 would fit where it is f32.
    pub f16_fits: bool,
}

impl fmt::Display for MemoryShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [needed, kv, budget] = [self.needed_bytes, self.kv_bytes, self.budget_bytes].map(mib);
        write!(
            f,
            "the model needs {needed} of device memory even with every layer streamed ({kv} of it for the KV cache), and \
             may use {budget}"
        )
    }
}

/// A change that lets a model be loaded. As text it names the field of [`LoadOptions`](crate::LoadOptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// A context of at most so many positions: [`LoadOptions::ctx`](crate::LoadOptions::ctx).
    Ctx(u32),
    /// A KV cache of f16: [`LoadOptions::kv`](crate::LoadOptions::kv).
    KvF16,
    /// A budget of at least so many bytes: [`LoadOptions::device_memory`](crate::LoadOptions::device_memory).
    DeviceMemory(u64),
    /// A checkpoint that was converted to int8.
    Int8,
    /// Another adapter.
    Adapter,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ctx(positions) => write!(f, "ctx {positions}"),
            Self::KvF16 => f.write_str("kv f16"),
            Self::DeviceMemory(bytes) => write!(f, "device_memory {}", mib(*bytes)),
            Self::Int8 => f.write_str("a checkpoint converted to int8"),
            Self::Adapter => f.write_str("another adapter"),
        }
    }
}

/// `a or b or c`.
fn listed(remedies: &[Remedy]) -> String {
    let words: Vec<_> = remedies.iter().map(Remedy::to_string).collect();
    words.join(" or ")
}

/// `1 picture`, `2 pictures`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn mib(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}

fn mismatch(places: usize, pictures: usize) -> String {
    let advice = match places.cmp(&pictures) {
        Ordering::Less | Ordering::Equal if places == 0 => "write <|image|> where the picture goes",
        Ordering::Less | Ordering::Equal => "write <|image|> once for each picture, or give fewer pictures",
        Ordering::Greater => "give a picture for each <|image|>, or take the rest out of the text",
    };
    let (places, pictures) = (counted(places, "<|image|> place"), counted(pictures, "picture"));
    format!("{places} in the text for {pictures}; {advice}")
}

/// Result with the model's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_holds_a_character_that_a_terminal_acts_on() {
        let text = || "a\x1b]0;owned\x07\u{202e}\nb".to_owned();
        let io = std::io::Error::other(text());
        for error in [
            Error::Io { path: text().into(), source: io },
            Error::File { path: text().into(), reason: text() },
            Error::Config(text()),
            Error::Tensor { name: text(), reason: text() },
            Error::Image { name: text(), reason: text() },
            Error::Prompt(text()),
            Error::Engine(strix_engine::Error::Lost(text())),
            Error::Option(text()),
            Error::Constraint { what: "regex".into(), reason: text() },
            Error::Exists { path: text().into(), reason: text() },
            Error::Converted { stored: text(), wanted: String::new() },
            Error::out_of_range("dtype", text(), "f32"),
        ] {
            let message = error.to_string();
            assert!(message.contains(r"a\x1b]0;owned\x07\u{202e}\nb"), "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}

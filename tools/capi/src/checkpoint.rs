//! Files of a model, opened and checked before a device is.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::path::Path;

use strix_model::{Checkpoint, Source};

use crate::failure::{ErrorPlace, Failure};
use crate::guard::{guard, quietly};
use crate::load_options::{Loading, StrixLoadOptions};
use crate::log::{Log, StrixLog};
use crate::raw::{self, filled, handle, optional_text, place, text};
use crate::status::StrixStatus;
use crate::text::ending;

/// The files of a model, opened and checked against each other; no weight is read yet.
///
/// It does not change: any number of threads may use it at the same time, and any number of models may be loaded of it.
/// Freed with strix_checkpoint_free, also before these models.
pub struct StrixCheckpoint {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) log: Log,
    notes: Vec<CString>,
}

impl StrixCheckpoint {
    pub(crate) fn open(source: Source<'_>, log: Log) -> Result<Box<Self>, Failure> {
        let checkpoint = log.within(|| Checkpoint::open(source))?;
        let notes = checkpoint.notes().iter().map(|note| ending(note.as_str())).collect();
        Ok(Box::new(Self { checkpoint, log, notes }))
    }
}

/// What a checkpoint is of.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixCheckpointInfo {
    /// Set by the caller: sizeof(StrixCheckpointInfo).
    pub size: usize,
    /// Parameters in all.
    pub num_parameters: u64,
    /// Tokens of the vocabulary.
    pub vocab_size: u32,
    /// Layers of the decoder.
    pub num_layers: u32,
    /// Elements of a hidden state, and of a row that a picture becomes.
    pub hidden_size: u32,
    /// Positions that a picture takes.
    pub positions_per_picture: u32,
    /// Pixels of a side of the square that the model sees of a picture.
    pub image_size: u32,
    /// Positions of a conversation that the model was trained for.
    pub trained_ctx: u32,
}

filled!(StrixCheckpointInfo);

pub(crate) type CheckpointPlace<'a> = Option<&'a mut MaybeUninit<Option<Box<StrixCheckpoint>>>>;

/// Opens a model: a folder in Hugging Face layout, or a file of weights with its config beside it.
///
/// weights may name a file of weights, or a folder of them, elsewhere; then path is the folder of the config and the
/// tokenizer. log may be NULL. The files have to stay as they are until the checkpoint and all models, sessions and answers of
/// it are freed. The caller frees checkpoint. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_open(
    path: *const c_char,
    weights: *const c_char,
    log: *const StrixLog,
    checkpoint: CheckpointPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(checkpoint, "checkpoint")?;
        let (path, log) = (Path::new(text(path, "path")?), Log::of(log)?);
        let source = match optional_text(weights, "weights")? {
            None => Source::Dir(path),
            Some(weights) => Source::Files { config: path, weights: Path::new(weights) },
        };
        out.write(Some(StrixCheckpoint::open(source, log)?));
        Ok(())
    })
}

/// Opens nano, the small model that is part of the library. log may be NULL.
///
/// The caller frees checkpoint. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_nano(
    log: *const StrixLog,
    checkpoint: CheckpointPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(checkpoint, "checkpoint")?;
        let log = Log::of(log)?;
        #[cfg(feature = "nano")]
        out.write(Some(StrixCheckpoint::open(Source::Nano, log)?));
        #[cfg(feature = "nano")]
        return Ok(());
        #[cfg(not(feature = "nano"))]
        {
            let _ = (out, log);
            Err::<(), _>(Failure::new(StrixStatus::Unsupported, "the library was built without nano"))
        }
    })
}

/// What a checkpoint is of.
///
/// Fills info, whose size is set. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_info(
    checkpoint: Option<&StrixCheckpoint>,
    info: *mut StrixCheckpointInfo,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let config = handle(checkpoint, "checkpoint")?.checkpoint.config();
        let known = StrixCheckpointInfo {
            size: 0,
            num_parameters: config.num_parameters(),
            vocab_size: config.text.vocab_size as u32,
            num_layers: config.text.num_hidden_layers as u32,
            hidden_size: config.text.hidden_size as u32,
            positions_per_picture: config.num_image_tokens() as u32,
            image_size: config.vision.image_size as u32,
            trained_ctx: config.text.max_position_embeddings as u32,
        };
        raw::fill(info, known)
    })
}

/// What a user should know of the files, by its index from 0: a line of UTF-8, such as that a key has no effect. NULL where
/// there are no more, and of NULL.
///
/// The text is there until checkpoint is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_note(checkpoint: Option<&StrixCheckpoint>, index: usize) -> *const c_char {
    checkpoint
        .and_then(|checkpoint| checkpoint.notes.get(index))
        .map_or(std::ptr::null(), |note| note.as_ptr())
}

/// Checks that a prompt with so many pictures can be run by a model of it that is loaded with these options, and tells the
/// positions that it takes. The prompt is complete, with an <|image|> for each picture. options may be NULL.
///
/// positions may be NULL. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_check_prompt(
    checkpoint: Option<&StrixCheckpoint>,
    prompt: *const c_char,
    num_pictures: usize,
    options: *const StrixLoadOptions,
    positions: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let StrixCheckpoint { checkpoint, log, .. } = handle(checkpoint, "checkpoint")?;
        let (prompt, loading) = (text(prompt, "prompt")?, Loading::read(options)?);
        let taken = log.within(|| checkpoint.check_prompt(prompt, num_pictures, &loading.options))?;
        positions.map(|place| place.write(taken));
        Ok(())
    })
}

/// Frees a checkpoint; models of it keep what they need. NULL is nothing.
///
/// No thread may use the handle any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_free(checkpoint: Option<Box<StrixCheckpoint>>) {
    quietly((), || drop(checkpoint));
}

//! A loaded model.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;

use strix_model::{Model, Source};

use crate::checkpoint::StrixCheckpoint;
use crate::failure::ErrorPlace;
use crate::guard::{guard, quietly};
use crate::image::StrixImage;
use crate::load_options::{Loading, StrixLoadOptions};
use crate::plan::{PlanPlace, StrixPlan};
use crate::raw::{self, filled, handle, list, place, text, write_list};
use crate::shared::Shared;
use crate::status::StrixStatus;
use crate::text::ending;

/// A model on a device, ready for any number of sessions.
///
/// Any number of threads may use it at the same time. Freed with strix_model_free, also before its sessions: the device's
/// memory is freed with the last of all that use it.
pub struct StrixModel {
    pub(crate) shared: Arc<Shared>,
    adapter: CString,
    notes: Vec<CString>,
}

impl StrixModel {
    fn new(shared: Arc<Shared>) -> Box<Self> {
        let notes = shared.model.notes().iter().map(|note| ending(note.as_str())).collect();
        Box::new(Self { adapter: ending(shared.model.gpu().name()), notes, shared })
    }
}

/// A model's numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixModelInfo {
    /// Set by the caller: sizeof(StrixModelInfo).
    pub size: usize,
    /// Name and backend of its adapter; there until the model is freed.
    pub adapter: *const c_char,
    /// Parameters in all.
    pub num_parameters: u64,
    /// Bytes of the weights on the device.
    pub weight_bytes: u64,
    /// Bytes of the weights that one decoded token reads.
    pub decode_bytes: u64,
    /// Positions that a conversation may come to.
    pub ctx: u32,
    /// Tokens of the vocabulary.
    pub vocab_size: u32,
    /// Elements of a row that a picture becomes.
    pub hidden_size: u32,
    /// Positions that a picture takes.
    pub positions_per_picture: u32,
}

/// What a model is doing for all its sessions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixActivity {
    /// Set by the caller: sizeof(StrixActivity).
    pub size: usize,
    /// Answers that are being run.
    pub running: u64,
    /// Answers that wait for a turn or for room.
    pub waiting: u64,
    /// Answers so far that the KV cache had no room for at first.
    pub waited_for_room: u64,
    /// Positions that the KV cache has room for.
    pub kv_positions: u64,
    /// Those of them that no running answer has or may still take.
    pub kv_positions_left: u64,
    /// Pictures that were encoded so far.
    pub encoded_pictures: u64,
}

filled!(StrixModelInfo, StrixActivity);

/// Loads a model onto a device. options may be NULL.
///
/// It returns when the model is loaded, which may take minutes: call it on a thread that may wait. What does not fit is an
/// error with remedies: see strix_error_num_remedies. The caller frees model; checkpoint may be freed before. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_load(
    checkpoint: Option<&StrixCheckpoint>,
    options: *const StrixLoadOptions,
    model: Option<&mut MaybeUninit<Option<Box<StrixModel>>>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(model, "model")?;
        let StrixCheckpoint { checkpoint, .. } = handle(checkpoint, "checkpoint")?;
        let mut loading = Loading::read(options)?;
        let gpu = loading.device()?;
        let mut watch = loading.watch();
        let source = Source::Checkpoint(checkpoint);
        let model = loading.log.within(|| Model::load_on(&gpu, source, &loading.options, &mut watch))?;
        out.write(Some(StrixModel::new(Shared::new(model, loading.log))));
        Ok(())
    })
}

/// Another handle of the same model, which is freed on its own. NULL of NULL.
///
/// The caller frees it. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_share(model: Option<&StrixModel>) -> Option<Box<StrixModel>> {
    quietly(None, || model.map(|model| StrixModel::new(model.shared.clone())))
}

/// A model's numbers.
///
/// Fills info, whose size is set. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_info(
    model: Option<&StrixModel>,
    info: *mut StrixModelInfo,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let StrixModel { shared, adapter, .. } = handle(model, "model")?;
        let (model, config) = (&shared.model, shared.model.config());
        let known = StrixModelInfo {
            size: 0,
            adapter: adapter.as_ptr(),
            num_parameters: model.num_parameters(),
            weight_bytes: model.weight_bytes(),
            decode_bytes: model.decode_bytes(),
            ctx: model.ctx(),
            vocab_size: config.text.vocab_size as u32,
            hidden_size: config.text.hidden_size as u32,
            positions_per_picture: config.num_image_tokens() as u32,
        };
        raw::fill(info, known)
    })
}

/// What a model is doing for all its sessions.
///
/// Fills activity, whose size is set. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_activity(
    model: Option<&StrixModel>,
    activity: *mut StrixActivity,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let now = handle(model, "model")?.shared.model.activity();
        let known = StrixActivity {
            size: 0,
            running: now.running as u64,
            waiting: now.waiting as u64,
            waited_for_room: now.waited_for_room,
            kv_positions: now.kv_positions,
            kv_positions_left: now.kv_positions_left,
            encoded_pictures: now.encoded_pictures,
        };
        raw::fill(activity, known)
    })
}

/// Where the parts of a loaded model live.
///
/// The caller frees plan. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_plan(
    model: Option<&StrixModel>,
    plan: PlanPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(plan, "plan")?;
        let model = &handle(model, "model")?.shared.model;
        out.write(Some(StrixPlan::new(model.memory(), model.ctx(), model.notes())));
        Ok(())
    })
}

/// What a user should know of a model, by its index from 0: a line of UTF-8. NULL where there are no more, and of NULL.
///
/// The text is there until this handle is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_note(model: Option<&StrixModel>, index: usize) -> *const c_char {
    model.and_then(|model| model.notes.get(index)).map_or(std::ptr::null(), |note| note.as_ptr())
}

/// The tokens of a text. In it, <s>, </s> and <unk> are those tokens; nothing stands for a picture.
///
/// Writes as many ids as there is room for, and to num_ids how many there are; ids may be NULL where room is 0. add_bos: 1 for
/// the token that begins a text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_tokenize(
    model: Option<&StrixModel>,
    text: *const c_char,
    add_bos: i32,
    ids: *mut u32,
    room: usize,
    num_ids: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let tokenizer = handle(model, "model")?.shared.model.tokenizer()?;
        let found = tokenizer.encode(self::text(text, "text")?, add_bos != 0);
        write_list(&found, ids, room, num_ids)
    })
}

/// The text of tokens, without that of control tokens. No zero byte is put at its end.
///
/// Writes as many bytes as there is room for, and to num_bytes how many there are; bytes may be NULL where room is 0. Any
/// thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_detokenize(
    model: Option<&StrixModel>,
    ids: *const u32,
    num_ids: usize,
    bytes: *mut u8,
    room: usize,
    num_bytes: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let model = &handle(model, "model")?.shared.model;
        let (ids, vocab) = (list(ids, num_ids, "ids")?, model.config().text.vocab_size);
        if let Some(&token) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(strix_model::Error::UnknownToken { token, vocab }.into());
        }
        write_list(model.tokenizer()?.decode(ids, true).as_bytes(), bytes, room, num_bytes)
    })
}

/// What the decoder sees of a picture: positions_per_picture rows of hidden_size values, row after row.
///
/// Writes as many values as there is room for, and to num_values how many there are; values may be NULL where room is 0. It
/// waits for the device. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_encode(
    model: Option<&StrixModel>,
    picture: Option<&StrixImage>,
    values: *mut f32,
    room: usize,
    num_values: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let Shared { model, log, .. } = &*handle(model, "model")?.shared;
        let picture = &handle(picture, "picture")?.0;
        let rows = log.within(|| model.encode(&model.pixels(picture)?))?;
        write_list(&rows, values, room, num_values)
    })
}

/// Frees a handle of a model. The last of its handles, sessions and answers frees the model, with the device's memory; it
/// waits for answers that are listened to (strix_generation_listen): cancel them first where that should not take long.
/// Afterwards no thread of the model is left, and none of its callbacks is called any more. NULL is nothing.
///
/// No thread may use the handle any more. From within a callback of strix_generation_listen of this model, nothing is waited
/// for: its thread ends, and lets go of what the model was loaded of, after the callback.
#[unsafe(no_mangle)]
pub extern "C" fn strix_model_free(model: Option<Box<StrixModel>>) {
    quietly((), || {
        if let Some(model) = model {
            let log = model.shared.log.clone();
            log.within(|| drop(model));
        }
    });
}

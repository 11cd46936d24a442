//! Options of loading and planning.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use strix_engine::Gpu;
use strix_model::image::Preprocess;
use strix_model::{Activations, Dtype, KvDtype, LoadOptions, Progress};

use crate::calls::User;
use crate::canceller::StrixCanceller;
use crate::device::StrixDevice;
use crate::failure::Failure;
use crate::log::{Log, StrixLog};
use crate::raw::{self, choices, given, optional_text};
use crate::text::ending;

/// What matrices are stored as on the device.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixDtype {
    /// As the checkpoint has them.
    Auto = 0,
    /// 32 bits.
    F32 = 1,
    /// 16 bits.
    Bf16 = 2,
    /// 8 bits, with a scale for each row, or for each int8_group elements of it.
    Int8 = 3,
}

/// What products make of the rows they are given.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixActivations {
    /// Nothing: 32 bits.
    F32 = 0,
    /// 8 bits, where the weights have 8 bits: faster.
    Int8 = 1,
    /// 16 bits, on a device that computes in them.
    F16 = 2,
}

/// What keys and values are stored as.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixKvDtype {
    /// 32 bits.
    F32 = 0,
    /// 16 bits: half the memory.
    F16 = 1,
}

/// How pictures are made square.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixPreprocess {
    /// Stretched, as the original does.
    Resize = 0,
    /// Centred on a square of the mean colour.
    Pad = 1,
    /// Its middle square.
    Crop = 2,
}

choices!(StrixDtype: 4, StrixActivations: 3, StrixKvDtype: 2, StrixPreprocess: 3);

/// How far loading is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixProgress {
    /// Bytes of this struct, as the library has it.
    pub size: usize,
    /// The tensor that was read last; there during the call only.
    pub what: *const c_char,
    /// Bytes of the checkpoint that were read.
    pub done: u64,
    /// Bytes that will be read in all.
    pub total: u64,
}

/// Is told how far loading is. 0 goes on; anything else ends loading with STRIX_STATUS_CANCELLED.
///
/// It is called on the thread that loads, within strix_model_load, and must not throw or longjmp.
pub type StrixProgressCallback =
    Option<extern "C" fn(user: *mut c_void, progress: *const StrixProgress) -> i32>;

/// How a model is loaded. Each field that is zero has its default; so all zeros are the defaults. It is read during the call
/// only, and so are the texts in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixLoadOptions {
    /// Set by the caller: sizeof(StrixLoadOptions).
    pub size: usize,
    /// The device; NULL: one is opened as strix_device_open does without options.
    pub device: *const StrixDevice,
    /// Where messages of the model and all its sessions go; NULL: nowhere.
    pub log: *const StrixLog,
    /// Is told how far loading is; NULL: nobody is.
    pub progress: StrixProgressCallback,
    /// First argument of progress.
    pub progress_user: *mut c_void,
    /// Cancels loading, from any thread; NULL: nothing does. It may be freed once the call has returned.
    pub canceller: *const StrixCanceller,
    /// Folder for tunings and compiled kernels, which make the next load faster; NULL: nothing is kept.
    pub cache_dir: *const c_char,
    /// Bytes of device memory to stay within: what does not fit is streamed. 0: what the device has free.
    pub device_memory: u64,
    /// Bytes of the KV cache, which all sessions share. 0: for one conversation of ctx positions, or as many as take no more
    /// than 1 GiB, up to 16.
    pub kv_memory: u64,
    /// Positions of a conversation; 0: what the model was trained for.
    pub ctx: u32,
    /// What matrices are stored as.
    pub dtype: MaybeUninit<StrixDtype>,
    /// With STRIX_DTYPE_INT8: elements of a row that share a scale, 32, 64 or 128. 0: the whole row.
    pub int8_group: u32,
    /// 1: with STRIX_DTYPE_INT8, the vision tower's matrices too.
    pub int8_vision: u32,
    /// What products make of the rows they are given.
    pub activations: MaybeUninit<StrixActivations>,
    /// What keys and values are stored as.
    pub kv_dtype: MaybeUninit<StrixKvDtype>,
    /// How pictures are made square.
    pub preprocess: MaybeUninit<StrixPreprocess>,
    /// Positions of a prompt that are run at once, 2 to 4096. 0: 64.
    pub chunk: u32,
    /// Answers that may wait for a turn. 0: 1024.
    pub queue: u32,
    /// Milliseconds for which one submit may keep the device: what is cancelled ends, and another app's frame comes, within
    /// them. 0: 50.
    pub slice_ms: u32,
}

given!(StrixLoadOptions);

/// The options of one call.
pub(crate) struct Loading {
    pub(crate) options: LoadOptions,
    pub(crate) log: Log,
    device: Option<Gpu>,
    progress: Option<Watching>,
}

/// Who is told of progress.
struct Watching {
    callback: extern "C" fn(*mut c_void, *const StrixProgress) -> i32,
    user: User,
}

impl Loading {
    pub(crate) fn read(options: *const StrixLoadOptions) -> Result<Self, Failure> {
        let given = raw::options(options)?;
        let unless_zero = |value: u32, default: u32| if value == 0 { default } else { value };
        let default = LoadOptions::default();
        let group = (given.int8_group != 0).then_some(given.int8_group);
        let options = LoadOptions {
            dtype: match raw::choice(given.dtype)? {
                StrixDtype::Auto => Dtype::Auto,
                StrixDtype::F32 => Dtype::F32,
                StrixDtype::Bf16 => Dtype::Bf16,
                StrixDtype::Int8 => Dtype::Int8 { group },
            },
            activations: match raw::choice(given.activations)? {
                StrixActivations::F32 => Activations::F32,
                StrixActivations::Int8 => Activations::Int8,
                StrixActivations::F16 => Activations::F16,
            },
            kv: match raw::choice(given.kv_dtype)? {
                StrixKvDtype::F32 => KvDtype::F32,
                StrixKvDtype::F16 => KvDtype::F16,
            },
            preprocess: match raw::choice(given.preprocess)? {
                StrixPreprocess::Resize => Preprocess::Resize,
                StrixPreprocess::Pad => Preprocess::Pad,
                StrixPreprocess::Crop => Preprocess::Crop,
            },
            ctx: (given.ctx != 0).then_some(given.ctx),
            kv_memory: (given.kv_memory != 0).then_some(given.kv_memory),
            device_memory: (given.device_memory != 0).then_some(given.device_memory),
            int8_vision: given.int8_vision != 0,
            chunk: unless_zero(given.chunk, default.chunk),
            queue: unless_zero(given.queue, default.queue as u32) as usize,
            slice: match given.slice_ms {
                0 => default.slice,
                ms => Duration::from_millis(ms.into()),
            },
            cancel: cancel_flag(given.canceller),
            cache_dir: optional_text(given.cache_dir, "cache_dir")?.map(Into::into),
        };
        let device = raw::borrowed(given.device).map(|device| device.gpu.clone());
        let user = User::new(given.progress_user);
        let progress = given.progress.map(|callback| Watching { callback, user });
        Ok(Self { options, log: Log::of(given.log)?, device, progress })
    }

    /// The device that was given, or the best.
    pub(crate) fn device(&self) -> Result<Gpu, Failure> {
        match &self.device {
            Some(gpu) => Ok(gpu.clone()),
            None => Ok(self.log.within(Gpu::new)?),
        }
    }

    /// What tells the caller of progress, and ends loading where it says so.
    pub(crate) fn watch(&mut self) -> impl FnMut(&Progress) -> ControlFlow<()> + use<> {
        let watching = self.progress.take();
        move |progress: &Progress| {
            let Some(Watching { callback, user }) = &watching else { return ControlFlow::Continue(()) };
            let what = ending(progress.what.as_str());
            let told = StrixProgress {
                size: size_of::<StrixProgress>(),
                what: what.as_ptr(),
                done: progress.done_bytes,
                total: progress.total_bytes,
            };
            match callback(user.get(), &raw const told) {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        }
    }
}

/// The flag of a canceller that the caller may free meanwhile.
pub(crate) fn cancel_flag(canceller: *const StrixCanceller) -> Option<Arc<AtomicBool>> {
    raw::borrowed(canceller).map(|canceller| canceller.flag.clone())
}

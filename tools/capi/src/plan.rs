//! What of a model would live where, before anything is allocated.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use strix_model::{Home, MemoryPlan};

use crate::checkpoint::StrixCheckpoint;
use crate::failure::ErrorPlace;
use crate::guard::{guard, quietly};
use crate::load_options::{Loading, StrixLoadOptions};
use crate::raw::{self, filled, handle, place};
use crate::remedy::out_of;
use crate::status::StrixStatus;
use crate::text::ending;

/// Where the parts of a model live, or would.
///
/// It does not change: any number of threads may read it. Freed with strix_plan_free.
pub struct StrixPlan {
    info: StrixPlanInfo,
    parts: Vec<Part>,
    notes: Vec<CString>,
}

struct Part {
    name: CString,
    bytes: u64,
    device_bytes: u64,
    home: StrixHome,
}

/// Where a part of a model is held.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixHome {
    /// In buffers of the device.
    Resident = 0,
    /// In the mapped file, where the device reads it.
    Mapped = 1,
    /// In the file; it comes to the device while it is used.
    Streamed = 2,
}

/// A plan's numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixPlanInfo {
    /// Set by the caller: sizeof(StrixPlanInfo).
    pub size: usize,
    /// Bytes of device memory of all parts.
    pub device_bytes: u64,
    /// Bytes of device memory that may be used; 0 if unknown.
    pub budget_bytes: u64,
    /// Bytes that come to the device for each decoded token; 0 where all layers stay there.
    pub streamed_bytes: u64,
    /// Bytes of the KV cache.
    pub kv_cache_bytes: u64,
    /// Number of parts: see strix_plan_part.
    pub num_parts: u64,
    /// Positions of a conversation.
    pub ctx: u32,
    /// Positions of a prompt that are run at once.
    pub chunk: u32,
    /// Layers of the decoder that stay on the device.
    pub resident_layers: u32,
    /// Layers of the decoder.
    pub num_layers: u32,
}

/// A part of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixPlanPart {
    /// Set by the caller: sizeof(StrixPlanPart).
    pub size: usize,
    /// What it is: "KV cache". There until the plan is freed.
    pub name: *const c_char,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of device memory.
    pub device_bytes: u64,
    /// Where it is held.
    pub home: StrixHome,
    /// 0.
    pub reserved: u32,
}

filled!(StrixPlanInfo, StrixPlanPart);

pub(crate) type PlanPlace<'a> = Option<&'a mut MaybeUninit<Option<Box<StrixPlan>>>>;

impl StrixPlan {
    pub(crate) fn new(memory: &MemoryPlan, ctx: u32, notes: &[String]) -> Box<Self> {
        let parts: Vec<_> = memory.parts.iter().map(part).collect();
        let kv = memory.parts.iter().find(|part| part.name == "KV cache");
        let info = StrixPlanInfo {
            size: 0,
            device_bytes: memory.device_bytes(),
            budget_bytes: memory.budget_bytes.unwrap_or(0),
            streamed_bytes: memory.streamed_bytes,
            kv_cache_bytes: kv.map_or(0, |part| part.bytes),
            num_parts: parts.len() as u64,
            ctx,
            chunk: memory.chunk,
            resident_layers: memory.resident_layers[0] as u32,
            num_layers: memory.resident_layers[1] as u32,
        };
        Box::new(Self { info, parts, notes: notes.iter().map(|note| ending(note.as_str())).collect() })
    }
}

fn part(part: &strix_model::MemoryPart) -> Part {
    let home = match part.home {
        Home::Mapped => StrixHome::Mapped,
        Home::Streamed => StrixHome::Streamed,
        _ => StrixHome::Resident,
    };
    Part { name: ending(part.name), bytes: part.bytes, device_bytes: part.device_bytes, home }
}

/// Plans a model that would be loaded with these options: what it takes, and whether it fits. Nothing is allocated on the
/// device, which is opened unless options name one. options may be NULL.
///
/// What does not fit is an error with remedies: see strix_error_num_remedies. The caller frees plan. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_plan_new(
    checkpoint: Option<&StrixCheckpoint>,
    options: *const StrixLoadOptions,
    plan: PlanPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(plan, "plan")?;
        let StrixCheckpoint { checkpoint, .. } = handle(checkpoint, "checkpoint")?;
        let loading = Loading::read(options)?;
        let gpu = loading.device()?;
        let report = loading.log.within(|| checkpoint.plan(&gpu, &loading.options))?;
        out.write(Some(StrixPlan::new(&report.memory, report.ctx, &report.notes)));
        Ok(())
    })
}

/// A plan's numbers.
///
/// Fills info, whose size is set. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_plan_info(
    plan: Option<&StrixPlan>,
    info: *mut StrixPlanInfo,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || raw::fill(info, handle(plan, "plan")?.info))
}

/// A part of the model, by its index from 0.
///
/// Fills part, whose size is set. Its name is there until plan is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_plan_part(
    plan: Option<&StrixPlan>,
    index: usize,
    part: *mut StrixPlanPart,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let parts = &handle(plan, "plan")?.parts;
        let found = parts.get(index).ok_or_else(|| out_of(index, parts.len(), "parts"))?;
        let &Part { ref name, bytes, device_bytes, home } = found;
        raw::fill(
            part,
            StrixPlanPart { size: 0, name: name.as_ptr(), bytes, device_bytes, home, reserved: 0 },
        )
    })
}

/// What a user should know of the options, by its index from 0: a line of UTF-8. NULL where there are no more, and of NULL.
///
/// The text is there until plan is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_plan_note(plan: Option<&StrixPlan>, index: usize) -> *const c_char {
    plan.and_then(|plan| plan.notes.get(index)).map_or(std::ptr::null(), |note| note.as_ptr())
}

/// Frees a plan. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_plan_free(plan: Option<Box<StrixPlan>>) {
    quietly((), || drop(plan));
}

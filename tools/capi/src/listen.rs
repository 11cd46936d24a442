//! An answer whose tokens come to a function of the caller's.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use strix_model::{Canceller, Event};

use crate::answer::StrixAnswer;
use crate::calls::User;
use crate::canceller::StrixCanceller;
use crate::failure::{ErrorPlace, Failure, StrixError};
use crate::generation::{StrixGeneration, still_there};
use crate::guard::{caught, guard};
use crate::raw::{handle, null, place};
use crate::status::StrixStatus;
use crate::tokens::{Kept, StrixToken};

/// What a listener is told.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixEventKind {
    /// A token came.
    Token = 0,
    /// The answer is complete, and in the conversation. It is the last event.
    Finished = 1,
    /// It ended with an error; what was said before is in the conversation. It is the last event.
    Failed = 2,
}

/// What a listener is told. All that it points to is there during the call only, and is not freed by the listener.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixEvent {
    /// Bytes of this struct, as the library has it.
    pub size: usize,
    /// The token; else NULL. It has no log-probabilities: those are in the answer.
    pub token: *const StrixToken,
    /// The whole answer, when it is finished; else NULL.
    pub answer: *const StrixAnswer,
    /// The error, when it failed; else NULL.
    pub error: *const StrixError,
    /// Which of them it is.
    pub kind: StrixEventKind,
    /// 0.
    pub reserved: u32,
}

/// Is told each token, and once the end. 0 goes on; anything else cancels the answer, of which one event more is told.
///
/// It is called on the model's thread, which has nothing to run meanwhile: it should return soon. It may ask, cancel and
/// free, and must not wait for this or another answer of the model, throw or longjmp. What it frees of another model may wait
/// for answers of that: see strix_model_free.
pub type StrixEventCallback = Option<extern "C" fn(user: *mut c_void, event: *const StrixEvent) -> i32>;

/// Calls of one listener.
struct Listener {
    callback: extern "C" fn(*mut c_void, *const StrixEvent) -> i32,
    user: User,
    kept: Kept,
    canceller: Canceller,
}

impl Listener {
    fn tell(&mut self, event: Event<'_>) {
        let none = StrixEvent {
            size: size_of::<StrixEvent>(),
            token: std::ptr::null(),
            answer: std::ptr::null(),
            error: std::ptr::null(),
            kind: StrixEventKind::Token,
            reserved: 0,
        };
        let (token, answer, error);
        let event = match event {
            Event::Token { id, text } => {
                token = self.kept.token(id, text);
                StrixEvent { token: &raw const token, ..none }
            }
            Event::Finished(whole) => {
                answer = StrixAnswer::new(whole);
                StrixEvent { answer: &raw const *answer, kind: StrixEventKind::Finished, ..none }
            }
            Event::Failed(failed) => {
                error = Failure::from(failed).boxed();
                StrixEvent { error: &raw const *error, kind: StrixEventKind::Failed, ..none }
            }
            _ => return,
        };
        if (self.callback)(self.user.get(), &raw const event) != 0 {
            self.canceller.cancel();
        }
    }
}

/// Has a function called with each token, and once at the end, in place of taking them. The generation has nothing more to
/// give, and is still to be freed, at any time: the answer goes on. Tokens that came before are told within this call.
///
/// What user points to must be there until the last event was told. canceller may be NULL; else the caller frees it. Any
/// thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_generation_listen(
    generation: Option<&StrixGeneration>,
    callback: StrixEventCallback,
    user: *mut c_void,
    canceller: Option<&mut MaybeUninit<Option<Box<StrixCanceller>>>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        // There may be none.
        let out = place(canceller, "canceller").ok();
        let StrixGeneration { running, shared, .. } = handle(generation, "generation")?;
        let callback = callback.ok_or_else(|| null("callback"))?;
        let generation = still_there(running.lock("generation")?.generation.take())?;
        let cancel = generation.canceller();
        if let Some(out) = out {
            out.write(Some(StrixCanceller::of(cancel.clone())));
        }
        let mut listener =
            Listener { callback, user: User::new(user), kept: Kept::default(), canceller: cancel };
        let listening = shared.listener();
        shared.log.within(|| {
            generation.listen(move |event| {
                // What panics here is a fault of ours, and has been logged.
                let _ = listening.call(|| caught(|| listener.tell(event)));
            })
        });
        Ok(())
    })
}

//! An answer while it is generated.

use std::mem::MaybeUninit;
use std::sync::Arc;

use strix_model::{Canceller, Generation};

use crate::answer::StrixAnswer;
use crate::canceller::StrixCanceller;
use crate::failure::{ErrorPlace, Failure};
use crate::guard::{guard, quietly};
use crate::raw::{self, handle, place};
use crate::shared::{Exclusive, Shared};
use crate::status::StrixStatus;
use crate::tokens::{Kept, StrixToken};

/// An answer while it is generated. The model runs it beside those of other sessions, whether its tokens are taken or not.
///
/// One thread at a time may use it, and any other may cancel it: a second call meanwhile has STRIX_STATUS_IN_USE. Freed with
/// strix_generation_free, which cancels it; what was taken of it stays in the conversation.
pub struct StrixGeneration {
    pub(crate) running: Exclusive<Running>,
    canceller: Canceller,
    pub(crate) shared: Arc<Shared>,
}

/// The answer, until it was taken whole, and its last token.
pub(crate) struct Running {
    pub(crate) generation: Option<Generation>,
    kept: Kept,
}

impl StrixGeneration {
    pub(crate) fn new(generation: Generation, shared: Arc<Shared>) -> Box<Self> {
        let canceller = generation.canceller();
        let running = Running { generation: Some(generation), kept: Kept::default() };
        Box::new(Self { running: Exclusive::new(running), canceller, shared })
    }
}

/// The generation, unless it was taken whole.
pub(crate) fn still_there(generation: Option<Generation>) -> Result<Generation, Failure> {
    generation.ok_or_else(taken)
}

fn taken() -> Failure {
    Failure::new(
        StrixStatus::NothingToResume,
        "the answer was taken already: free the generation, and ask again",
    )
}

/// Waits for the next token. STRIX_STATUS_OK: token is filled. STRIX_STATUS_END: the answer has ended, and token is as it was.
///
/// What token points to is there until the next call with this generation. One thread at a time.
#[unsafe(no_mangle)]
pub extern "C" fn strix_generation_next(
    generation: Option<&StrixGeneration>,
    token: *mut StrixToken,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let StrixGeneration { running, shared, .. } = handle(generation, "generation")?;
        // A token that has no place is not taken.
        raw::fillable(token)?;
        let mut running = running.lock("generation")?;
        let Running { generation, kept } = &mut *running;
        let generation = generation.as_mut().ok_or_else(taken)?;
        let told = match shared
            .log
            .within(|| generation.advance().map(|next| next.map(|(id, text)| kept.token(id, text))))
        {
            None => return Ok(StrixStatus::End),
            Some(told) => told?,
        };
        let known = match generation.log_probs().last() {
            None => told,
            Some(of) => kept.likely(told, of),
        };
        raw::fill(token, known)?;
        Ok(StrixStatus::Ok)
    })
}

/// Waits for the end, and gives the whole answer, which is then in the conversation. The generation has nothing more to give,
/// and is still to be freed.
///
/// The caller frees answer. One thread at a time.
#[unsafe(no_mangle)]
pub extern "C" fn strix_generation_finish(
    generation: Option<&StrixGeneration>,
    answer: Option<&mut MaybeUninit<Option<Box<StrixAnswer>>>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(answer, "answer")?;
        let StrixGeneration { running, shared, .. } = handle(generation, "generation")?;
        let mut running = running.lock("generation")?;
        let generation = still_there(running.generation.take())?;
        let answer = shared.log.within(|| generation.finish())?;
        out.write(Some(StrixAnswer::new(&answer)));
        Ok(())
    })
}

/// Ends an answer with the tokens that were taken so far, and returns at once; whoever waits for a token has
/// STRIX_STATUS_END. NULL is nothing.
///
/// Any thread, also while another waits in strix_generation_next; not after strix_generation_free: a canceller of
/// strix_generation_canceller may be used then too.
#[unsafe(no_mangle)]
pub extern "C" fn strix_generation_cancel(generation: Option<&StrixGeneration>) {
    quietly((), || {
        if let Some(generation) = generation {
            generation.canceller.cancel();
        }
    });
}

/// A canceller of this answer, which may outlive it. NULL of NULL.
///
/// The caller frees it. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_generation_canceller(
    generation: Option<&StrixGeneration>,
) -> Option<Box<StrixCanceller>> {
    quietly(None, || generation.map(|generation| StrixCanceller::of(generation.canceller.clone())))
}

/// Cancels an answer, unless it has ended, and frees it. The tokens that were taken stay in the conversation; if there are
/// none, the question was never asked. Where it is the last handle of its model, that is freed too, and waited for as
/// strix_model_free says. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_generation_free(generation: Option<Box<StrixGeneration>>) {
    quietly((), || {
        if let Some(generation) = generation {
            let log = generation.shared.log.clone();
            log.within(|| drop(generation));
        }
    });
}

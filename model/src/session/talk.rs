//! What a conversation has come to: its turns, its pictures, and what it left in the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Picture;
use crate::kv_pool::Stamp;
use crate::prompt::{Conversation, Turn};
use crate::{Error, Result};

/// The state of a session, which an answer that is under way adds its reply to.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    pub(crate) conversation: Conversation,
    /// Every picture of the conversation.
    pub(crate) pictures: Vec<Picture>,
    /// Pictures that no question has used yet.
    pub(crate) pending: usize,
    /// Time taken by pictures that no question has used yet.
    pub(crate) image_encode: Duration,
    /// What was run last left this in the cache.
    pub(crate) left: Arc<Mutex<Left>>,
    /// Whether an answer is under way.
    pub(crate) is_answering: bool,
}

/// What an answer left in the cache.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) stamps: Vec<Stamp>,
    /// Positions that it had.
    pub(crate) positions: usize,
}

/// What an answer of which no token came leaves behind.
#[derive(Debug)]
pub(crate) enum Before {
    /// The conversation without its last turn.
    Turn,
    /// The conversation with this for its last turn, which was asked again.
    Answered(Turn),
    /// This conversation, with so many pictures that no question has used.
    Chat { conversation: Conversation, pending: usize },
}

impl Talk {
    /// Refuses a question while an answer is under way.
    pub(crate) fn check_is_free(&self) -> Result<()> {
        if self.is_answering { Err(Error::Busy) } else { Ok(()) }
    }

    /// Another that goes on from here.
    pub(crate) fn fork(&self) -> Result<Self> {
        self.check_is_free()?;
        let Self { conversation, pictures, pending, image_encode, .. } = self;
        let (conversation, pictures) = (conversation.clone(), pictures.clone());
        // What it finds in the cache is the other's too: it writes over none of it.
        let left = Arc::default();
        Ok(Self {
            conversation,
            pictures,
            pending: *pending,
            image_encode: *image_encode,
            left,
            is_answering: false,
        })
    }

    /// Ends the answer that is under way with this reply. One of which no token came was not asked, and may be asked
    /// again.
    pub(crate) fn answered(&mut self, before: Before, reply: &str, has_tokens: bool) {
        self.is_answering = false;
        let kept = has_tokens
            && match &before {
                Before::Turn | Before::Answered(_) => self.conversation.reply(reply).is_ok(),
                Before::Chat { .. } => true,
            };
        if !kept {
            self.take_back(before);
        }
    }

    /// Positions that the last answer had in the cache.
    pub(crate) fn left(&self) -> usize {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).positions
    }

    /// Takes back what was asked.
    pub(crate) fn take_back(&mut self, before: Before) {
        match before {
            // Its pictures wait for the next question.
            Before::Turn => {
                if let Some(turn) = self.conversation.undo() {
                    self.pending += turn.user.num_images();
                }
            }
            Before::Answered(turn) => {
                self.conversation.undo();
                self.conversation.put_back(turn);
            }
            Before::Chat { conversation, pending } => {
                self.conversation = conversation;
                self.pending = pending;
            }
        }
    }
}

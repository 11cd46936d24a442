//! What a conversation has come to: its turns, its pictures, and what it left in the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::generate::GenerateOptions;
use crate::kv_pool::Stamp;
use crate::picture::Picture;
use crate::pictures::PictureId;
use crate::prompt::{Conversation, Turn};
use crate::rows::Row;
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
    /// What was run last.
    pub(crate) last: Option<Last>,
}

/// An answer that has ended, or was cut off.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    /// Its prompt.
    pub(crate) rows: Arc<[Row]>,
    /// Its tokens.
    pub(crate) ids: Vec<u32>,
    pub(crate) options: GenerateOptions,
    /// Whether it could go on.
    pub(crate) is_cut: bool,
}

impl Last {
    /// Its prompt and all its tokens.
    pub(crate) fn all(&self) -> Vec<Row> {
        self.rows.iter().copied().chain(self.ids.iter().map(|&id| Row::Token(id))).collect()
    }

    /// What the cache held of it in the end: its last token was not run.
    pub(crate) fn ran(&self) -> Vec<Row> {
        let mut rows = self.all();
        rows.truncate(self.rows.len() + self.ids.len().saturating_sub(1));
        rows
    }
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
    /// The reply so far, which is gone on with: `reply` as it was, and `text` of the tokens that stay.
    Cut { reply: Option<String>, text: String, last: Box<Last> },
}

impl Talk {
    /// Refuses a question while an answer is under way.
    pub(crate) fn check_is_free(&self) -> Result<()> {
        if self.is_answering { Err(Error::Busy) } else { Ok(()) }
    }

    /// The ids of its pictures, in order.
    pub(crate) fn picture_ids(&self) -> Vec<PictureId> {
        self.pictures.iter().map(|picture| picture.id).collect()
    }

    /// Sets the turns aside for a prompt that is a conversation of its own.
    pub(crate) fn set_aside(&mut self) -> Before {
        let before = Before::Chat { conversation: self.conversation.clone(), pending: self.pending };
        self.conversation.clear();
        before
    }

    /// Another that goes on from here.
    pub(crate) fn fork(&self) -> Result<Self> {
        self.check_is_free()?;
        Ok(Self {
            conversation: self.conversation.clone(),
            pictures: self.pictures.clone(),
            pending: self.pending,
            image_encode: self.image_encode,
            // What it finds in the cache is the other's too: it writes over none of it.
            left: Arc::default(),
            is_answering: false,
            last: self.last.clone(),
        })
    }

    /// Ends the answer that is under way with this reply. One of which no token came was not asked, and may be asked
    /// again.
    pub(crate) fn answered(&mut self, before: Before, reply: &str, last: Last) {
        self.is_answering = false;
        let kept = !last.ids.is_empty()
            && match &before {
                Before::Turn | Before::Answered(_) => self.conversation.reply(reply).is_ok(),
                Before::Chat { .. } | Before::Cut { reply: None, .. } => true,
                Before::Cut { text, .. } => self.conversation.reply(&(text.clone() + reply)).is_ok(),
            };
        if !kept {
            return self.take_back(before);
        }
        self.last = Some(match before {
            Before::Cut { last: before, .. } => {
                let before = *before;
                Last { rows: before.rows, ids: [before.ids, last.ids].concat(), ..last }
            }
            _ => last,
        });
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
            Before::Cut { reply, last, .. } => {
                if let Some(reply) = reply {
                    // It waits for one.
                    let _ = self.conversation.reply(&reply);
                }
                self.last = Some(*last);
            }
        }
    }
}

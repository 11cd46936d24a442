//! What a chat does to its turns: take them back, make room for the next, and count what they take.

use strix_shaders::cursors::PAGE;

use super::{Session, rows};
use crate::prompt::{Conversation, Question, Turn};
use crate::{Error, Result};

/// Positions that a conversation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All of them.
    pub positions: usize,
    /// Pictures among them.
    pub pictures: usize,
    /// Positions of the pictures.
    pub picture_positions: usize,
    /// Pages of the KV cache that all of them take.
    pub pages: usize,
    /// Pages that the KV cache has, for this conversation and others.
    pub cache_pages: usize,
}

impl Session {
    /// Number of pictures that wait for the next question.
    pub fn waiting(&self) -> usize {
        self.pending
    }

    /// Lets go of the pictures that wait for the next question; their number.
    pub fn drop_waiting(&mut self) -> usize {
        let waiting = std::mem::take(&mut self.pending);
        self.pictures.truncate(self.pictures.len() - waiting);
        waiting
    }

    /// Takes back the last turn. Its pictures wait for the next question, in front of those that wait already.
    pub fn undo(&mut self) -> Option<Turn> {
        let turn = self.conversation.undo()?;
        self.pending += turn.user.num_images();
        Some(turn)
    }

    /// Puts back a turn that [`Session::undo`] took back, with its pictures.
    ///
    /// # Panics
    ///
    /// If so many pictures do not wait.
    pub fn put_back(&mut self, turn: Turn) {
        let waiting = self.pending.checked_sub(turn.user.num_images());
        self.pending = waiting.expect("the pictures of a turn that was taken back wait");
        self.conversation.put_back(turn);
    }

    /// The text in front of the first turn, if there is one.
    pub fn system(&self) -> Option<&str> {
        self.conversation.system()
    }

    /// Sets the text in front of the first turn, in place of the template's own; `None` for that one. What the turns are
    /// is not changed, but all of them are run anew: their rows see this text.
    pub fn set_system(&mut self, text: Option<String>) {
        self.conversation.set_system(text);
    }

    /// Drops the first turn with its pictures.
    pub fn drop_first(&mut self) -> Option<Turn> {
        let turn = self.conversation.drop_first()?;
        self.pictures.drain(..turn.user.num_images());
        Some(turn)
    }

    /// Drops the oldest turns with their pictures until a question leaves so much room for its answer, or they are all
    /// dropped; returns them.
    ///
    /// # Errors
    ///
    /// If the context does not hold the question alone. No turn is dropped then.
    pub fn make_room(&mut self, question: &Question, room: usize) -> Result<Vec<Turn>> {
        let ctx = self.model.inner.ctx as usize;
        let (mut rest, mut dropped) = (self.conversation.clone(), 0);
        loop {
            let positions = self.usage_of(asked(rest.clone(), question, self.pending)?)?.positions;
            if positions + room <= ctx {
                break;
            }
            if rest.drop_first().is_none() {
                if positions > ctx {
                    return Err(Error::Prompt(format!(
                        "the question alone takes {positions} positions, the context holds {ctx}: shorten it, use fewer \
                         pictures, or load the model with a larger context"
                    )));
                }
                break;
            }
            dropped += 1;
        }
        Ok((0..dropped).filter_map(|_| self.drop_first()).collect())
    }

    /// Positions that the turns take.
    ///
    /// # Errors
    ///
    /// If the model has no tokenizer.
    pub fn usage(&self) -> Result<Usage> {
        self.usage_of(self.conversation.clone())
    }

    /// Positions that they take with a question and the pictures that wait, whether the context holds them or not.
    ///
    /// # Errors
    ///
    /// If places and pictures differ in number, or the model has no tokenizer.
    pub fn usage_with(&self, question: &Question) -> Result<Usage> {
        self.usage_of(asked(self.conversation.clone(), question, self.pending)?)
    }

    fn usage_of(&self, conversation: Conversation) -> Result<Usage> {
        let config = &self.model.inner.config;
        let pictures = conversation.num_images();
        let positions = match conversation.turns() {
            [] => 0,
            _ => rows::count(self.model.tokenizer()?, config, &conversation.prompt()),
        };
        Ok(Usage {
            positions,
            pictures,
            picture_positions: pictures * config.num_image_tokens(),
            pages: positions.div_ceil(PAGE as usize),
            cache_pages: self.model.inner.pages().total(),
        })
    }
}

/// A conversation with one more question.
fn asked(mut conversation: Conversation, question: &Question, pictures: usize) -> Result<Conversation> {
    conversation.ask(question.clone(), pictures)?;
    Ok(conversation)
}

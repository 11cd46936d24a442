//! What a chat does to its turns: ask again, take back, make room for the next, and count what they take.

use super::Session;
use crate::error::PromptLength;
use crate::generate::GenerateOptions;
use crate::generation::Generation;
use crate::kv_pool::POSITIONS;
use crate::prompt::{Conversation, Question, Turn};
use crate::rows;
use crate::talk::Before;
use crate::{Error, Result};

/// What a conversation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Positions, those of its pictures too.
    pub positions: usize,
    /// Its pictures.
    pub pictures: usize,
    /// Positions of its pictures.
    pub picture_positions: usize,
    /// Pages of the KV cache that its positions take.
    pub pages: usize,
    /// Pages that the KV cache has, for this conversation and others.
    pub cache_pages: usize,
}

impl Session {
    /// Answers the last question anew. If no token of that is taken, the answer before is kept.
    ///
    /// # Errors
    ///
    /// If there is no question, pictures wait for the next one, or as [`Session::ask`].
    pub fn retry(&mut self, options: &GenerateOptions) -> Result<Generation> {
        self.answer(options, |talk| {
            if talk.pending > 0 {
                return Err(Error::Prompt(
                    "pictures wait for the next question: ask it, or let go of them".into(),
                ));
            }
            let Some(turn) = talk.conversation.undo() else {
                return Err(Error::Prompt("there is no question to ask again".into()));
            };
            let pictures = turn.user.num_images();
            if let Err(error) = talk.conversation.ask(turn.user.clone(), pictures) {
                talk.conversation.put_back(turn);
                return Err(error);
            }
            Ok((talk.conversation.prompt(), Before::Answered(turn)))
        })
    }

    /// Number of pictures that wait for the next question.
    pub fn waiting(&self) -> usize {
        self.talk().pending
    }

    /// Lets go of the pictures that wait for the next question; their number.
    pub fn drop_waiting(&mut self) -> usize {
        let mut talk = self.talk();
        let waiting = std::mem::take(&mut talk.pending);
        let kept = talk.pictures.len() - waiting;
        talk.pictures.truncate(kept);
        waiting
    }

    /// Takes back the last turn. Its pictures wait for the next question, in front of those that wait already.
    ///
    /// # Errors
    ///
    /// If it is still being answered.
    pub fn undo(&mut self) -> Result<Option<Turn>> {
        let mut talk = self.talk();
        talk.check_is_free()?;
        let turn = talk.conversation.undo();
        talk.pending += turn.as_ref().map_or(0, |turn| turn.user.num_images());
        talk.last = talk.last.take().filter(|_| turn.is_none());
        Ok(turn)
    }

    /// The text in front of the first turn, if there is one.
    pub fn system(&self) -> Option<String> {
        self.talk().conversation.system().map(ToOwned::to_owned)
    }

    /// Sets the text in front of the first turn, in place of the template's own; `None` for that one. The turns stay, and
    /// all of them are run anew with the next question.
    pub fn set_system(&mut self, text: Option<String>) {
        let mut talk = self.talk();
        talk.conversation.set_system(text);
        talk.last = None;
    }

    /// Drops the oldest turns with their pictures, as few as leave `room` positions for the answer to a question, or all;
    /// returns them.
    ///
    /// # Errors
    ///
    /// If the context does not hold the question alone, or the last one is still being answered. No turn is dropped then.
    pub fn make_room(&mut self, question: &Question, room: usize) -> Result<Vec<Turn>> {
        let ctx = self.model.inner.ctx as usize;
        let mut talk = self.talk();
        talk.check_is_free()?;
        let (mut rest, mut dropped) = (talk.conversation.clone(), vec![]);
        loop {
            let usage = self.usage_of(&asked(rest.clone(), question, talk.pending)?)?;
            let Usage { positions, picture_positions, pictures, .. } = usage;
            if positions + room <= ctx {
                break;
            }
            let Some(turn) = rest.drop_first() else {
                if positions <= ctx {
                    break;
                }
                let length = PromptLength { positions, picture_positions, pictures, limit: ctx };
                return Err(Error::PromptTooLong(length));
            };
            dropped.push(turn);
        }
        let pictures = dropped.iter().map(|turn: &Turn| turn.user.num_images()).sum::<usize>();
        talk.pictures.drain(..pictures);
        talk.conversation = rest;
        talk.last = talk.last.take().filter(|_| dropped.is_empty());
        Ok(dropped)
    }

    /// What the turns take.
    ///
    /// # Errors
    ///
    /// If the model has no tokenizer.
    pub fn usage(&self) -> Result<Usage> {
        self.usage_of(&self.talk().conversation)
    }

    /// What they take with a question and the pictures that wait, whether the context holds it or not.
    ///
    /// # Errors
    ///
    /// If places and pictures differ in number, or the model has no tokenizer.
    pub fn usage_with(&self, question: &Question) -> Result<Usage> {
        let talk = self.talk();
        self.usage_of(&asked(talk.conversation.clone(), question, talk.pending)?)
    }

    fn usage_of(&self, conversation: &Conversation) -> Result<Usage> {
        let inner = &self.model.inner;
        let pictures = conversation.num_images();
        let positions = match conversation.turns() {
            [] => 0,
            _ => rows::count(self.model.tokenizer()?, &inner.config, &conversation.prompt()),
        };
        Ok(Usage {
            positions,
            pictures,
            picture_positions: pictures * inner.config.num_image_tokens(),
            pages: positions.div_ceil(POSITIONS),
            cache_pages: inner.pages().total(),
        })
    }
}

/// A conversation with one more question.
fn asked(mut conversation: Conversation, question: &Question, pictures: usize) -> Result<Conversation> {
    conversation.ask(question.clone(), pictures)?;
    Ok(conversation)
}

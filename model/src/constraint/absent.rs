//! Without the feature `constraint` nothing can be asked for.

use std::time::Duration;

use super::{Allowed, Constraint};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// What no answer has.
#[derive(Debug)]
pub(crate) enum Guide {}

/// What no model needs.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary;

fn refused(constraint: &Constraint) -> Error {
    let reason = "strix-model was built without its feature `constraint`".into();
    Error::Constraint { what: constraint.to_string(), reason }
}

pub(crate) fn check(constraint: &Constraint) -> Result<()> {
    Err(refused(constraint))
}

impl Guide {
    pub(crate) fn new(constraint: &Constraint, _: &Vocabulary, _: &Tokenizer, _: &[u32]) -> Result<Self> {
        Err(refused(constraint))
    }

    pub(crate) fn prepare(&self) {
        match *self {}
    }

    pub(crate) fn spent(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn end(&self) -> Option<u32> {
        match *self {}
    }

    pub(crate) fn with_allowed<T>(&self, _: impl FnOnce(Allowed<'_>) -> Result<T>) -> Result<T> {
        match *self {}
    }

    pub(crate) fn accept(&mut self, _: u32, _: bool) -> Result<bool> {
        match *self {}
    }
}

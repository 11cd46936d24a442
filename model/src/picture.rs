//! A picture of a conversation: pixels until a question about it is run, embeddings from then on.

use std::sync::{Arc, Mutex, PoisonError};

use strix_engine::Shared;

use crate::Result;
use crate::inner::Inner;
use crate::pictures::{Encoded, PictureId, Pixels};

/// A picture of a session.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) id: PictureId,
    /// What it is known by in a file.
    pub(crate) hash: blake3::Hash,
    content: Shared<Arc<Mutex<Content>>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Only known by its hash: it has to be given again.
    Absent,
    /// As the vision tower takes it: it waits to be encoded.
    Pixels(Pixels),
    /// As the decoder sees it.
    Encoded(Arc<Encoded>),
}

impl Picture {
    pub(crate) fn new((id, hash): (PictureId, blake3::Hash), content: Content) -> Self {
        Self { id, hash, content: Shared::new(Arc::new(content.into())) }
    }

    /// Puts something in place of what it holds.
    pub(crate) fn set(&self, content: Content) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = content;
    }

    fn content(&self) -> Content {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the decoder sees of it, if it was encoded for whatever conversation and is kept.
    pub(crate) fn encoded(&self, inner: &Inner) -> Option<Arc<Encoded>> {
        let encoded = match self.content() {
            Content::Encoded(encoded) => Some(encoded),
            Content::Absent | Content::Pixels(_) => inner.pictures().get(self.id),
        }?;
        self.encode(encoded.clone());
        Some(encoded)
    }

    /// The same, encoded now if it has to be; absent where its pixels are not known.
    pub(crate) fn encoded_now(&self, inner: &Inner) -> Result<Option<Arc<Encoded>>> {
        if let Some(encoded) = self.encoded(inner) {
            return Ok(Some(encoded));
        }
        let Some(pixels) = self.pixels() else { return Ok(None) };
        let encoded = inner.encode(self.id, &pixels)?;
        self.encode(encoded.clone());
        Ok(Some(encoded))
    }

    /// Its pixels while it waits to be encoded.
    pub(crate) fn pixels(&self) -> Option<Pixels> {
        match self.content() {
            Content::Pixels(pixels) => Some(pixels),
            Content::Absent | Content::Encoded(_) => None,
        }
    }

    /// Whether it has to be given again before it can be looked at.
    pub(crate) fn is_absent(&self, inner: &Inner) -> bool {
        matches!(self.content(), Content::Absent) && self.encoded(inner).is_none()
    }

    /// Puts what the decoder sees of it in place of its pixels.
    pub(crate) fn encode(&self, encoded: Arc<Encoded>) {
        self.set(Content::Encoded(encoded));
    }
}

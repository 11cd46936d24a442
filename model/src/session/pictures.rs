//! The pictures of a session: pixels until a question about them is run, embeddings from then on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Session;
use crate::image::RgbImage;
use crate::inner::Inner;
use crate::pictures::{Encoded, PictureId};
use crate::{Error, Result};

/// A picture of a session.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) id: PictureId,
    /// What it is known by in a file.
    pub(super) hash: blake3::Hash,
    content: Arc<Mutex<Content>>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Only known by its hash: it has to be given again.
    Absent,
    /// As the vision tower takes it: it waits to be encoded.
    Pixels(Arc<[f32]>),
    /// As the decoder sees it.
    Encoded(Arc<Encoded>),
}

impl Picture {
    pub(super) fn new((id, hash): (PictureId, blake3::Hash), content: Content) -> Self {
        Self { id, hash, content: Arc::new(content.into()) }
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
    pub(super) fn encoded_now(&self, inner: &Inner) -> Result<Option<Arc<Encoded>>> {
        if let Some(encoded) = self.encoded(inner) {
            return Ok(Some(encoded));
        }
        let Some(pixels) = self.pixels() else { return Ok(None) };
        let encoded = inner.encode(self.id, &pixels)?;
        self.encode(encoded.clone());
        Ok(Some(encoded))
    }

    /// Its pixels while it waits to be encoded.
    pub(crate) fn pixels(&self) -> Option<Arc<[f32]>> {
        match self.content() {
            Content::Pixels(pixels) => Some(pixels),
            Content::Absent | Content::Encoded(_) => None,
        }
    }

    /// Whether it has to be given again before it can be looked at.
    pub(super) fn is_absent(&self, inner: &Inner) -> bool {
        matches!(self.content(), Content::Absent) && self.encoded(inner).is_none()
    }

    /// Puts what the decoder sees of it in place of its pixels.
    pub(crate) fn encode(&self, encoded: Arc<Encoded>) {
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = Content::Encoded(encoded);
    }
}

impl Session {
    /// A picture for the next question; several come in the order they were added. It is made square here, and encoded
    /// when an answer about it is run: a question that is refused costs no encoding, and one that the model has encoded
    /// lately, for whatever conversation, costs none either.
    ///
    /// # Errors
    ///
    /// If it cannot be resized.
    pub fn add_image(&mut self, picture: &RgbImage) -> Result<()> {
        let start = Instant::now();
        let pixels = self.model.pixels(picture)?;
        let id = self.model.inner.pictures().id("pixels", &pixels);
        let mut talk = self.talk();
        talk.pictures.push(Picture::new(id, Content::Pixels(pixels.into())));
        talk.pending += 1;
        talk.image_encode += start.elapsed();
        Ok(())
    }

    /// Gives a picture again that a [restored](crate::Model::restore) session knows by its hash only.
    ///
    /// # Errors
    ///
    /// If it is none of those that are absent, or cannot be resized.
    pub fn supply_image(&mut self, picture: &RgbImage) -> Result<()> {
        let pixels = self.model.pixels(picture)?;
        let (_, hash) = self.model.inner.pictures().id("pixels", &pixels);
        let mut talk = self.talk();
        let absent = talk
            .pictures
            .iter_mut()
            .filter(|picture| picture.hash == hash && picture.is_absent(&self.model.inner));
        let content: Arc<[f32]> = pixels.into();
        let mut found = false;
        for picture in absent {
            *picture.content.lock().unwrap_or_else(PoisonError::into_inner) =
                Content::Pixels(content.clone());
            found = true;
        }
        if found {
            Ok(())
        } else {
            Err(Error::Image {
                name: "image".into(),
                reason: "is none of those that the session lacks".into(),
            })
        }
    }

    /// How many of its pictures have to be given again with [`Session::supply_image`] before it can go on.
    pub fn absent_pictures(&self) -> usize {
        self.talk().pictures.iter().filter(|picture| picture.is_absent(&self.model.inner)).count()
    }

    /// A picture that [`Model::encode`](crate::Model::encode) has seen already.
    ///
    /// # Panics
    ///
    /// If it is not of the config's size.
    pub fn add_embeds(&mut self, embeds: Arc<[f32]>) {
        let c = &self.model.inner.config;
        assert_eq!(embeds.len(), c.num_image_tokens() * c.text.hidden_size, "embeddings of one image");
        let mut pictures = self.model.inner.pictures();
        let id = pictures.id("embeds", &embeds);
        let encoded = pictures.given(id.0, embeds);
        drop(pictures);
        let mut talk = self.talk();
        talk.pictures.push(Picture::new(id, Content::Encoded(encoded)));
        talk.pending += 1;
    }

    /// Encodes the pictures that wait for it.
    pub(super) fn encode(&self) -> Result<Vec<Arc<Encoded>>> {
        let pictures = self.talk().pictures.clone();
        let encoded = pictures.iter().map(|picture| picture.encoded_now(&self.model.inner));
        let absent = |number| move || Error::PictureAbsent { number };
        encoded.enumerate().map(|(i, encoded)| encoded?.ok_or_else(absent(i))).collect()
    }
}

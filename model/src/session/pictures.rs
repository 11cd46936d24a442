//! The pictures of a session: pixels until a question about them is sure to be asked, embeddings from then on.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::trace::{dump, trace_prefix};
use crate::Result;
use crate::image::RgbImage;
use crate::pictures::PictureId;

/// A picture of a session.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) id: PictureId,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// As the vision tower takes it: it waits to be encoded.
    Pixels(Vec<f32>),
    /// What the decoder sees of it.
    Embeds(Arc<[f32]>),
}

impl Picture {
    /// A row of an encoded picture.
    pub(crate) fn row(&self, row: usize, hidden_size: usize) -> &[f32] {
        match &self.content {
            Content::Embeds(embeds) => &embeds[row * hidden_size..][..hidden_size],
            Content::Pixels(_) => unreachable!("pictures are encoded before a row of them is run"),
        }
    }
}

impl Session {
    /// A picture for the next question; several come in the order they were added. It is made square here, and encoded
    /// once the first token of an answer about it is asked for: a question that is refused costs no encoding, and one
    /// that the model has encoded lately, for whatever conversation, costs none either.
    ///
    /// # Errors
    ///
    /// If it cannot be resized.
    pub fn add_image(&mut self, picture: &RgbImage) -> Result<()> {
        let start = Instant::now();
        let pixels = self.model.pixels(picture)?;
        let id = self.model.inner.pictures().id("pixels", &pixels);
        self.pictures.push(Picture { id, content: Content::Pixels(pixels) });
        self.pending += 1;
        self.image_encode += start.elapsed();
        Ok(())
    }

    /// A picture that [`Model::encode`](crate::Model::encode) has seen already.
    ///
    /// # Panics
    ///
    /// If it is not of the config's size.
    pub fn add_embeds(&mut self, embeds: Arc<[f32]>) {
        let c = &self.model.inner.config;
        assert_eq!(embeds.len(), c.num_image_tokens() * c.text.hidden_size, "embeddings of one image");
        let id = self.model.inner.pictures().id("embeds", &embeds);
        self.pictures.push(Picture { id, content: Content::Embeds(embeds) });
        self.pending += 1;
    }

    /// Numbers of its pictures, in order.
    pub(super) fn picture_ids(&self) -> Vec<PictureId> {
        self.pictures.iter().map(|picture| picture.id).collect()
    }

    /// Encodes the pictures that wait for it, unless `go_on` says no on the way; whether all are encoded. Those that
    /// are stay so.
    pub(crate) fn encode(&mut self, go_on: Option<&dyn Fn() -> bool>) -> Result<bool> {
        let start = Instant::now();
        let mut whole = true;
        for (index, picture) in self.pictures.iter_mut().enumerate() {
            let Content::Pixels(pixels) = &picture.content else { continue };
            if let Some(prefix) = trace_prefix() {
                self.model.with_encoder(|encoder| {
                    encoder.write(pixels)?;
                    dump(&mut encoder.program, &self.model, &[], &prefix, &format!("picture{index}"))
                })?;
            }
            let Some(embeds) = self.model.encode_once(picture.id, pixels, go_on)? else {
                whole = false;
                break;
            };
            picture.content = Content::Embeds(embeds);
        }
        self.image_encode += start.elapsed();
        Ok(whole)
    }
}

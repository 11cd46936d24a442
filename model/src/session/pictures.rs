//! The pictures of a session: pixels until a question about them is sure to be asked, embeddings from then on.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::trace::{dump, trace_prefix};
use crate::Result;
use crate::image::RgbImage;

/// A picture of a session.
#[derive(Debug)]
pub(super) enum Picture {
    /// As the vision tower takes it: it waits to be encoded.
    Pixels(Vec<f32>),
    /// What the decoder sees of it.
    Embeds(Arc<[f32]>),
}

impl Picture {
    /// A row of an encoded picture.
    pub(super) fn row(&self, row: usize, hidden_size: usize) -> &[f32] {
        match self {
            Self::Embeds(embeds) => &embeds[row * hidden_size..][..hidden_size],
            Self::Pixels(_) => unreachable!("pictures are encoded before a row of them is run"),
        }
    }
}

impl Session {
    /// A picture for the next question; several come in the order they were added. It is made square here, and encoded
    /// once the first token of an answer about it is asked for: a question that is refused costs no encoding.
    ///
    /// # Errors
    ///
    /// If it cannot be resized.
    pub fn add_image(&mut self, picture: &RgbImage) -> Result<()> {
        let start = Instant::now();
        let pixels = self.model.pixels(picture)?;
        self.pictures.push(Picture::Pixels(pixels));
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
        self.pictures.push(Picture::Embeds(embeds));
        self.pending += 1;
    }

    /// Encodes the pictures that wait for it, unless `go_on` says no on the way; whether all are encoded. Those that
    /// are stay so.
    pub(crate) fn encode(&mut self, go_on: Option<&dyn Fn() -> bool>) -> Result<bool> {
        let start = Instant::now();
        let mut whole = true;
        for (index, picture) in self.pictures.iter_mut().enumerate() {
            let Picture::Pixels(pixels) = picture else { continue };
            if let Some(prefix) = trace_prefix() {
                self.model.with_encoder(|encoder| {
                    encoder.write(pixels)?;
                    dump(&mut encoder.program, &self.model, &prefix, &format!("picture{index}"))
                })?;
            }
            let Some(embeds) = self.model.encode_while(pixels, go_on)? else {
                whole = false;
                break;
            };
            *picture = Picture::Embeds(embeds.into());
            tracing::debug!(picture = index, "encoded");
        }
        self.image_encode += start.elapsed();
        Ok(whole)
    }
}

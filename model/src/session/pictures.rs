//! The pictures of a session.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use crate::image::RgbImage;
use crate::picture::{Content, Picture};
use crate::pictures::Encoded;
use crate::{Error, Result};

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
            picture.set(Content::Pixels(content.clone()));
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

    /// Number of its pictures that have to be given again with [`Session::supply_image`] before it can go on.
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

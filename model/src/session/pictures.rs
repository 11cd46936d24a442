//! The pictures of a session.

use std::sync::Arc;
use std::time::Instant;

use super::Session;
use crate::image::{ImageInput, Options};
use crate::picture::{Content, Picture};
use crate::pictures::{Encoded, Pixels};
use crate::{Error, Result};
use strix_engine::TextureRegion;

impl Session {
    /// A picture for the next question; several come in the order they were added. It is made square here, and encoded
    /// when an answer about it is run: a question that is refused costs no encoding, and one that the model has encoded
    /// lately, for whatever conversation, costs none either.
    ///
    /// It takes a path, the bytes of a file, rows of pixels or what [`image`](crate::image) opened. A file is read as the
    /// original reads it: its EXIF turns nothing and its alpha is dropped, where [`image::open_with`](crate::image::open_with)
    /// has a choice.
    ///
    /// ```
    /// use strix_model::image::{PixelOrder, Pixels};
    /// use strix_model::{LoadOptions, Model};
    ///
    /// let mut session = Model::nano(&LoadOptions::default())?.session()?;
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");
    /// session.add_image(path)?;
    /// let bytes = std::fs::read(path).expect("the picture");
    /// session.add_image(&bytes)?;
    /// let screen = vec![255; 640 * 480 * 4];
    /// session.add_image(Pixels::packed(&screen, [640, 480], PixelOrder::Bgra))?;
    /// # Ok::<(), strix_model::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it cannot be read or decoded, its codec was [left out](crate::Error::LeftOut), or it has no pixels or too many.
    pub fn add_image<'a>(&mut self, picture: impl Into<ImageInput<'a>>) -> Result<()> {
        let start = Instant::now();
        let (picture, _) = picture.into().open(&Options::default())?;
        let pixels = self.model.pixels(&picture)?;
        let id = self.model.inner.pictures().id("pixels", &pixels);
        let mut talk = self.talk();
        talk.pictures.push(Picture::new(id, Content::Pixels(Pixels::Host(pixels.into()))));
        talk.pending += 1;
        talk.image_encode += start.elapsed();
        Ok(())
    }

    /// A picture for the next question that is a texture of the app's, of the device that the model is on. It is prepared on
    /// the device, with the very values that [`Session::add_image`] would give the same pixels, and no pixel comes to the
    /// host. Nothing is waited for: what was submitted to the queue before the call is in the picture, and the texture may
    /// be drawn to again afterwards.
    ///
    /// Two textures are two pictures, whatever is in them: the second is encoded as well. An app that gives what it gave
    /// before names it, with [`Session::add_texture_as`]. Of a saved session such pictures are restored from what the
    /// decoder sees of them, which [`SaveOptions::embeds`](crate::SaveOptions::embeds) saves.
    ///
    /// Until it is encoded the picture takes 12 bytes of the device for each pixel of the vision tower's; to prepare it,
    /// 4 bytes for each of its own pixels, but no more than 64 MiB, and 4 for each row times the tower's side.
    ///
    /// ```
    /// # use strix_model::{GenerateOptions, LoadOptions, Model};
    /// # #[cfg(feature = "nano")]
    /// # fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::nano(&LoadOptions::default())?;
    /// use strix_model::wgpu;
    ///
    /// let texture = model.gpu().device().create_texture(&wgpu::TextureDescriptor {
    ///     label: None,
    ///     size: wgpu::Extent3d { width: 640, height: 480, depth_or_array_layers: 1 },
    ///     mip_level_count: 1,
    ///     sample_count: 1,
    ///     dimension: wgpu::TextureDimension::D2,
    ///     format: wgpu::TextureFormat::Rgba8UnormSrgb,
    ///     usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
    ///     view_formats: &[],
    /// });
    /// // … draw to it …
    /// let mut session = model.session()?;
    /// session.add_texture(&texture)?;
    /// println!("{}", session.ask("What is it?", &GenerateOptions::default())?.finish()?.text);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "nano"))]
    /// # fn run() -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
    /// # run().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// If the texture has another format, too few usages or no such part, is of another device, or is larger than pictures
    /// may be; or if the device has no room.
    pub fn add_texture<'a>(&mut self, picture: impl Into<TextureRegion<'a>>) -> Result<()> {
        self.add_prepared(picture.into(), None)
    }

    /// The same of a texture that has a name: the number of a video's frame, or the hash of a file. Equal names say that it is
    /// the same picture, which is encoded once as long as the model keeps it.
    ///
    /// # Errors
    ///
    /// As [`Session::add_texture`].
    pub fn add_texture_as<'a>(
        &mut self,
        picture: impl Into<TextureRegion<'a>>,
        name: impl AsRef<[u8]>,
    ) -> Result<()> {
        self.add_prepared(picture.into(), Some(name.as_ref()))
    }

    fn add_prepared(&mut self, picture: TextureRegion<'_>, name: Option<&[u8]>) -> Result<()> {
        let start = Instant::now();
        let pixels = self.model.prepare(picture)?;
        let id = self.model.inner.pictures().named(name);
        let mut talk = self.talk();
        talk.pictures.push(Picture::new(id, Content::Pixels(Pixels::Device(pixels))));
        talk.pending += 1;
        talk.image_encode += start.elapsed();
        Ok(())
    }

    /// Gives a picture again that a [restored](crate::Model::restore) session knows by its hash only.
    ///
    /// # Errors
    ///
    /// If it is none of those that are absent, or as [`Session::add_image`].
    pub fn supply_image<'a>(&mut self, picture: impl Into<ImageInput<'a>>) -> Result<()> {
        let (picture, _) = picture.into().open(&Options::default())?;
        let pixels = self.model.pixels(&picture)?;
        let (_, hash) = self.model.inner.pictures().id("pixels", &pixels);
        let mut talk = self.talk();
        let absent = talk
            .pictures
            .iter_mut()
            .filter(|picture| picture.hash == hash && picture.is_absent(&self.model.inner));
        let content: Arc<[f32]> = pixels.into();
        let mut found = false;
        for picture in absent {
            picture.set(Content::Pixels(Pixels::Host(content.clone())));
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

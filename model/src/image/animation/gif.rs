//! GIF, frame by frame, as Pillow's `GifImagePlugin` composes it.

use image::metadata::Orientation;
use image::{GrayAlphaImage, GrayImage, RgbImage, RgbaImage};

use super::super::limits::check_size;
use super::super::opened::Decoded;
use super::blocks::{Blocks, Frame, Palette};
use super::compose::{Compose, Counted, Rect, bad_frame, filled, zeroed};
use crate::Result;

/// Pixels of the canvas. The first frame is drawn in palette indices, and every later one in colours: what a
/// disposed pixel looks like depends on it.
enum Pixels {
    Indices { indices: Vec<u8>, palette: Option<Palette> },
    Rgba(Vec<[u8; 4]>),
}

/// Disposal of a frame at its end.
enum Disposal {
    Index(Rect, u8),
    Colour(Rect, [u8; 4]),
    Indices(Rect, Vec<u8>),
    Pixels(Rect, Vec<[u8; 4]>),
}

struct Gif<'a> {
    name: &'a str,
    blocks: Blocks<'a>,
    width: usize,
    height: usize,
    pixels: Pixels,
    /// Transparent index of a canvas of indices.
    transparent: Option<u8>,
    /// Whether the canvas of colours counts as opaque, even if it has alpha.
    opaque: bool,
    /// Whether the next frame turns a canvas of indices into colours. A gray canvas stays one while its frames
    /// have no palette, and while it draws the first that has one: a slip of Pillow's, which fails there if the
    /// first frame has a transparent index.
    colours_next: bool,
    /// Method of the frames that name none: the last named.
    method: u8,
    disposal: Option<Disposal>,
    /// Indices of the frame at hand.
    frame: Vec<u8>,
    num_drawn: usize,
}

/// Counts the frames and measures the canvas, without decoding a pixel.
pub(super) fn count(name: &str, bytes: &[u8]) -> Result<Option<Counted>> {
    let mut blocks = Blocks::new(name, bytes)?;
    let [mut width, mut height] = blocks.screen;
    let mut num_frames = 0;
    while let Some(frame) = blocks.next_frame()? {
        width = width.max(frame.rect.right());
        height = height.max(frame.rect.bottom());
        num_frames += 1;
    }
    Ok(Some(Counted { num_frames, size: (width as u32, height as u32) }))
}

/// Its frames.
pub(super) fn compose<'a>(name: &'a str, bytes: &'a [u8]) -> Result<Option<Box<dyn Compose + 'a>>> {
    Ok(Some(Box::new(Gif::new(name, bytes)?)))
}

impl<'a> Gif<'a> {
    fn new(name: &'a str, bytes: &'a [u8]) -> Result<Self> {
        Ok(Self {
            name,
            blocks: Blocks::new(name, bytes)?,
            width: 0,
            height: 0,
            pixels: Pixels::Indices { indices: Vec::new(), palette: None },
            transparent: None,
            opaque: true,
            colours_next: false,
            method: 0,
            disposal: None,
            frame: Vec::new(),
            num_drawn: 0,
        })
    }

    /// Starts the canvas: not with the background's colour, but with the transparent index or the first.
    fn start(&mut self, frame: &Frame) -> Result<()> {
        let [width, height] = self.blocks.screen;
        (self.width, self.height) = (width.max(frame.rect.right()), height.max(frame.rect.bottom()));
        check_size(self.name, (self.width as u32, self.height as u32))?;
        let indices = filled(self.name, self.width * self.height, frame.transparent.unwrap_or(0))?;
        self.transparent = frame.transparent;
        // Pillow's: a first frame whose own colours are grays is shown in the file's.
        let palette = frame.palette.as_ref().or(self.blocks.palette.as_ref());
        self.pixels = Pixels::Indices { indices, palette: palette.cloned() };
        Ok(())
    }

    fn is_gray(&self) -> bool {
        matches!(self.pixels, Pixels::Indices { palette: None, .. })
    }

    fn dispose(&mut self) {
        let width = self.width;
        match (self.disposal.take(), &mut self.pixels) {
            (Some(Disposal::Index(rect, index)), Pixels::Indices { indices, .. }) => {
                rect.rows(width).for_each(|row| indices[row].fill(index));
            }
            (Some(Disposal::Colour(rect, colour)), Pixels::Rgba(pixels)) => {
                rect.rows(width).for_each(|row| pixels[row].fill(colour));
            }
            (Some(Disposal::Indices(rect, saved)), Pixels::Indices { indices, .. }) => {
                rect.paste(&saved, indices, width);
            }
            (Some(Disposal::Pixels(rect, saved)), Pixels::Rgba(pixels)) => rect.paste(&saved, pixels, width),
            _ => {}
        }
    }

    /// Turns a canvas of indices into one of colours.
    fn colour(&mut self) -> Result<()> {
        if let Pixels::Indices { indices, palette } = &self.pixels {
            let mut colours: [_; 256] = std::array::from_fn(|i| opaque(colour_of(palette.as_ref(), i as u8)));
            if let Some(index) = self.transparent {
                colours[usize::from(index)][3] = 0;
            }
            let mut pixels = zeroed(self.name, indices.len())?;
            for (pixel, &index) in pixels.iter_mut().zip(indices) {
                *pixel = colours[usize::from(index)];
            }
            self.pixels = Pixels::Rgba(pixels);
            self.opaque = self.transparent.take().is_none();
        }
        Ok(())
    }

    /// Disposal of the frame, to be done before the next is drawn.
    fn disposal(&self, frame: &Frame) -> Result<Option<Disposal>> {
        let rect = frame.rect;
        let previous = self.method > 2;
        Ok(match (&self.pixels, self.method) {
            (_, 0 | 1) => None,
            // Nothing is there before the first frame.
            (Pixels::Indices { .. }, _) if previous && self.num_drawn == 0 => {
                frame.transparent.map(|index| Disposal::Index(rect, index))
            }
            (Pixels::Indices { indices, .. }, _) if previous => {
                Some(Disposal::Indices(rect, rect.crop(self.name, indices, [self.width, self.height])?))
            }
            (Pixels::Rgba(pixels), _) if previous => {
                Some(Disposal::Pixels(rect, rect.crop(self.name, pixels, [self.width, self.height])?))
            }
            (Pixels::Indices { .. }, _) => {
                let index = self.transparent.or(frame.transparent).unwrap_or(self.blocks.background);
                Some(Disposal::Index(rect, index))
            }
            (Pixels::Rgba(_), _) => {
                let index = frame.transparent.unwrap_or(self.blocks.background);
                // An index that a palette lacks stands for its first colour here, and for black elsewhere.
                let lacks = frame.palette.as_ref().is_some_and(|palette| usize::from(index) >= palette.len);
                let [r, g, b] = colour_of(frame.palette.as_ref(), if lacks { 0 } else { index });
                let alpha = if frame.transparent.is_some() { 0 } else { 255 };
                Some(Disposal::Colour(rect, [r, g, b, alpha]))
            }
        })
    }

    /// Makes room for a frame that reaches beyond the canvas.
    fn enlarge(&mut self, frame: &Frame) -> Result<()> {
        let old = Rect { left: 0, top: 0, width: self.width, height: self.height };
        let (width, height) = (self.width.max(frame.rect.right()), self.height.max(frame.rect.bottom()));
        if [width, height] == [self.width, self.height] {
            return Ok(());
        }
        check_size(self.name, (width as u32, height as u32))?;
        match &mut self.pixels {
            Pixels::Indices { indices, palette } => {
                // Pillow's: a gray canvas takes the colours of a frame that enlarges it.
                *palette = frame.palette.clone().or(palette.take());
                let mut larger = zeroed(self.name, width * height)?;
                old.paste(indices, &mut larger, width);
                *indices = larger;
            }
            Pixels::Rgba(pixels) => {
                self.opaque = frame.transparent.is_none();
                let fill = if self.opaque { opaque(colour_of(frame.palette.as_ref(), 0)) } else { [0; 4] };
                let mut larger = filled(self.name, width * height, fill)?;
                old.paste(pixels, &mut larger, width);
                *pixels = larger;
            }
        }
        (self.width, self.height) = (width, height);
        Ok(())
    }

    fn draw(&mut self, frame: &Frame) {
        let (rect, width) = (frame.rect, self.width);
        let colours: [_; 256] = std::array::from_fn(|i| opaque(colour_of(frame.palette.as_ref(), i as u8)));
        // The first frame covers what is there.
        let skipped = frame.transparent.filter(|_| self.num_drawn > 0);
        let rows = rect.rows(width).collect::<Vec<_>>();
        let order = row_order(rect.height, frame.interlaced);
        for (y, row) in order.zip(self.frame.chunks_exact(rect.width)) {
            match &mut self.pixels {
                Pixels::Indices { indices, .. } => {
                    for (pixel, &index) in indices[rows[y].clone()].iter_mut().zip(row) {
                        if Some(index) != skipped {
                            *pixel = index;
                        }
                    }
                }
                Pixels::Rgba(pixels) => {
                    for (pixel, &index) in pixels[rows[y].clone()].iter_mut().zip(row) {
                        if Some(index) != skipped {
                            *pixel = colours[usize::from(index)];
                        }
                    }
                }
            }
        }
    }
}

impl Compose for Gif<'_> {
    fn advance(&mut self) -> Result<bool> {
        let Some(frame) = self.blocks.next_frame()? else { return Ok(false) };
        let Rect { width, height, .. } = frame.rect;
        let bad = |reason: &str| bad_frame(self.name, self.num_drawn, reason);
        if width == 0 || height == 0 {
            return Err(bad(&format!("is {width} x {height}: it has no pixels")));
        }
        check_size(self.name, (frame.rect.right() as u32, frame.rect.bottom() as u32))?;

        self.dispose();
        if self.num_drawn == 0 {
            self.start(&frame)?;
        } else if self.colours_next || self.is_gray() && self.transparent.is_some() && frame.palette.is_some()
        {
            self.colour()?;
        }
        if frame.method != 0 {
            self.method = frame.method;
        }
        self.disposal = self.disposal(&frame)?;

        let bad = |reason: &str| bad_frame(self.name, self.num_drawn, reason);
        self.frame.clear();
        self.frame
            .try_reserve_exact(width * height)
            .map_err(|_| bad(&format!("is {width} x {height}, for which there is no memory")))?;
        self.frame.resize(width * height, 0);
        self.blocks.decode(&frame, &mut self.frame).map_err(|reason| bad(&reason))?;
        self.enlarge(&frame)?;
        self.draw(&frame);
        self.colours_next = frame.palette.is_some();
        self.num_drawn += 1;
        Ok(true)
    }

    fn picture(&self) -> Result<Decoded> {
        let (width, height, name) = (self.width as u32, self.height as u32, self.name);
        let picture = match (&self.pixels, self.transparent) {
            (Pixels::Indices { indices, palette: None }, None) => {
                let mut pixels = zeroed(name, indices.len())?;
                pixels.copy_from_slice(indices);
                GrayImage::from_raw(width, height, pixels).map(Into::into)
            }
            (Pixels::Indices { indices, palette: None }, Some(transparent)) => {
                let mut pixels = zeroed::<[u8; 2]>(name, indices.len())?;
                for (pixel, &index) in pixels.iter_mut().zip(indices) {
                    *pixel = [index, if index == transparent { 0 } else { 255 }];
                }
                GrayAlphaImage::from_raw(width, height, pixels.into_flattened()).map(Into::into)
            }
            (Pixels::Indices { indices, palette: Some(palette) }, None) => {
                let mut pixels = zeroed(name, indices.len())?;
                for (pixel, &index) in pixels.iter_mut().zip(indices) {
                    *pixel = palette.colours[usize::from(index)];
                }
                RgbImage::from_raw(width, height, pixels.into_flattened()).map(Into::into)
            }
            (Pixels::Indices { indices, palette: Some(palette) }, Some(transparent)) => {
                let mut pixels = zeroed(name, indices.len())?;
                for (pixel, &index) in pixels.iter_mut().zip(indices) {
                    let [r, g, b] = palette.colours[usize::from(index)];
                    *pixel = [r, g, b, if index == transparent { 0 } else { 255 }];
                }
                RgbaImage::from_raw(width, height, pixels.into_flattened()).map(Into::into)
            }
            (Pixels::Rgba(canvas), _) if self.opaque => {
                let mut pixels = zeroed(name, canvas.len())?;
                for (pixel, &[r, g, b, _]) in pixels.iter_mut().zip(canvas) {
                    *pixel = [r, g, b];
                }
                RgbImage::from_raw(width, height, pixels.into_flattened()).map(Into::into)
            }
            (Pixels::Rgba(canvas), _) => {
                let mut pixels = zeroed(name, canvas.len())?;
                pixels.copy_from_slice(canvas);
                RgbaImage::from_raw(width, height, pixels.into_flattened()).map(Into::into)
            }
        };
        let picture = picture.expect("as many pixels as the canvas");
        Ok(Decoded { picture, orientation: Orientation::NoTransforms })
    }

    fn into_picture(mut self: Box<Self>) -> Result<Decoded> {
        (self.disposal, self.frame) = (None, Vec::new());
        match self.pixels {
            Pixels::Rgba(pixels) if !self.opaque => {
                let pixels = pixels.into_flattened();
                let picture = RgbaImage::from_raw(self.width as u32, self.height as u32, pixels);
                let picture = picture.expect("as many pixels as the canvas").into();
                Ok(Decoded { picture, orientation: Orientation::NoTransforms })
            }
            _ => self.picture(),
        }
    }
}

/// Colour of an index: gray without a palette.
fn colour_of(palette: Option<&Palette>, index: u8) -> [u8; 3] {
    palette.map_or([index; 3], |palette| palette.colours[usize::from(index)])
}

fn opaque([r, g, b]: [u8; 3]) -> [u8; 4] {
    [r, g, b, 255]
}

/// Rows of a frame in the order in which they are stored.
fn row_order(height: usize, interlaced: bool) -> impl Iterator<Item = usize> {
    let passes: &[(usize, usize)] = if interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] };
    passes.iter().flat_map(move |&(first, step)| (first..height).step_by(step))
}

//! The blocks of a GIF, walked without decoding pixels.
//!
//! The `gif` crate refuses what Pillow walks over (stray bytes between blocks, a longer control block), and tells a
//! missing trailer from a file cut inside a frame by no more than its place; so the blocks are walked here, and what
//! is inside them is unpacked by the crate that `gif` itself uses.

use weezl::BitOrder;
use weezl::decode::Decoder;

use super::super::limits::image_error;
use super::compose::Rect;
use crate::{Error, Result};

/// Colours of a table. What it lacks is black.
#[derive(Clone)]
pub(super) struct Palette {
    pub(super) colours: Box<[[u8; 3]; 256]>,
    /// Colours that the table has.
    pub(super) len: usize,
}

impl Palette {
    /// The colours of a table; none if they are the grays of their indices.
    fn read(table: &[u8]) -> Option<Self> {
        let (table, _) = table.as_chunks::<3>();
        if table.iter().enumerate().all(|(i, &colour)| colour == [i as u8; 3]) {
            return None;
        }
        let mut colours = Box::new([[0; 3]; 256]);
        colours[..table.len()].copy_from_slice(table);
        Some(Self { colours, len: table.len() })
    }
}

/// A frame as it is stored.
pub(super) struct Frame {
    pub(super) rect: Rect,
    pub(super) interlaced: bool,
    /// Its own colours, or else the file's.
    pub(super) palette: Option<Palette>,
    pub(super) transparent: Option<u8>,
    /// Disposal method: 1 keep, 2 to the background, 3 and above to what was there; 0 names none.
    pub(super) method: u8,
    code_size: u8,
    /// Offset of its compressed blocks.
    data: usize,
}

/// A walk over the blocks.
pub(super) struct Blocks<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Whether no frame came yet.
    first: bool,
    /// Width and height that the header says; frames may reach beyond.
    pub(super) screen: [usize; 2],
    /// Index of the background's colour.
    pub(super) background: u8,
    /// Colours of frames that have none of their own.
    pub(super) palette: Option<Palette>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(name: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let mut blocks =
            Self { name, bytes, at: 0, first: true, screen: [0; 2], background: 0, palette: None };
        let &[_, _, _, _, _, _, w0, w1, h0, h1, flags, background, _] = blocks.array()?;
        blocks.screen = [[w0, w1], [h0, h1]].map(|side| u16::from_le_bytes(side).into());
        if flags & 0x80 != 0 {
            blocks.background = background;
            blocks.palette = Palette::read(blocks.take(3 << ((flags & 7) + 1))?);
        }
        Ok(blocks)
    }

    /// The next frame, or none at the trailer or where the file ends between two blocks.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>> {
        let (mut transparent, mut method) = (None, 0);
        loop {
            match self.bytes.get(self.at) {
                None | Some(b';') => return Ok(None),
                Some(b'!') => {
                    let &[_, label] = self.array()?;
                    let block = self.sub_block().unwrap_or_default();
                    if label == 0xf9 && !block.is_empty() {
                        let &[flags, _, _, index] = block.first_chunk().ok_or_else(|| self.cut())?;
                        if flags & 1 != 0 {
                            transparent = Some(index);
                        }
                        if flags >> 2 & 7 != 0 {
                            method = flags >> 2 & 7;
                        }
                    }
                    // Pillow's ways: a comment may be empty, of others what follows an empty block is theirs, too.
                    if label == 0xff && self.first && block.starts_with(b"NETSCAPE2.0") {
                        self.sub_block();
                    }
                    if label != 0xfe || !block.is_empty() {
                        self.skip_sub_blocks();
                    }
                }
                Some(b',') => {
                    let &[_, x0, x1, y0, y1, w0, w1, h0, h1, flags] = self.array()?;
                    let [left, top, width, height] =
                        [[x0, x1], [y0, y1], [w0, w1], [h0, h1]].map(|side| u16::from_le_bytes(side).into());
                    let palette = match flags & 0x80 {
                        0 => self.palette.clone(),
                        _ => Palette::read(self.take(3 << ((flags & 7) + 1))?),
                    };
                    self.first = false;
                    let &[code_size] = self.array()?;
                    let data = self.at;
                    self.skip_sub_blocks();
                    return Ok(Some(Frame {
                        rect: Rect { left, top, width, height },
                        interlaced: flags & 0x40 != 0,
                        palette,
                        transparent,
                        method,
                        code_size,
                        data,
                    }));
                }
                // A stray byte.
                Some(_) => self.at += 1,
            }
        }
    }

    /// Unpacks the palette indices of a frame, in stored order. The error says what is wrong with it.
    pub(super) fn decode(&self, frame: &Frame, indices: &mut [u8]) -> std::result::Result<(), String> {
        if !(1..=11).contains(&frame.code_size) {
            return Err(format!("has codes of {} bits; 1 to 11 are possible", frame.code_size));
        }
        let mut blocks = Self { at: frame.data, palette: None, ..*self };
        let mut decoder = Decoder::new(BitOrder::Lsb, frame.code_size);
        let mut num_decoded = 0;
        while num_decoded < indices.len() {
            let block = blocks.sub_block().unwrap_or_default();
            let mut rest = block;
            loop {
                let result = decoder.decode_bytes(rest, &mut indices[num_decoded..]);
                rest = &rest[result.consumed_in..];
                num_decoded += result.consumed_out;
                if num_decoded == indices.len() {
                    break;
                }
                result.status.map_err(|error| format!("is damaged: {error}"))?;
                if result.consumed_in == 0 && result.consumed_out == 0 {
                    break;
                }
            }
            if num_decoded < indices.len() && (block.is_empty() || decoder.has_ended()) {
                return Err(format!(
                    "ends after {num_decoded} of {} pixels; copy the file again",
                    indices.len()
                ));
            }
        }
        Ok(())
    }

    /// The next sub-block; none at the terminator, or if the file ends inside it.
    fn sub_block(&mut self) -> Option<&'a [u8]> {
        let &len = self.bytes.get(self.at)?;
        let rest = &self.bytes[self.at + 1..];
        self.at += 1 + rest.len().min(len.into());
        rest.get(..len.into()).filter(|block| !block.is_empty())
    }

    fn skip_sub_blocks(&mut self) {
        while self.sub_block().is_some() {}
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + len).ok_or_else(|| self.cut())?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many bytes as taken"))
    }

    fn cut(&self) -> Error {
        image_error(self.name, format!("is cut short or damaged at byte {} of {}", self.at, self.bytes.len()))
    }
}

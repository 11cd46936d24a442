//! Makes the vision tower's input of a texture, on the device: what [`image::preprocess`](crate::image::preprocess) makes of
//! the same pixels, bit for bit. Pillow's bicubic is whole numbers, which kernels add as it does.

use std::ops::Range;

use strix_engine::{Gpu, Graph, Program, Resident, TextureRegion};
use strix_shaders::resize_across::{Filter, Placed, Stretched};
use strix_shaders::{resize_across, resize_down};

use crate::Result;
use crate::bicubic;
use crate::config::PreprocessorConfig;
use crate::image::{Preprocess, check_size, values};

/// Most bytes of a picture's rows that are on the device at a time.
const STRIP_BYTES: u64 = 64 << 20;

/// How a picture becomes the vision tower's.
struct Plan {
    placed: Placed,
    /// Resizes the square across and down.
    passes: [bicubic::Filter; 2],
    /// Stretches the shorter side to a square; any filter where nothing is stretched.
    stretch: bicubic::Filter,
}

impl Plan {
    fn new([width, height]: [u32; 2], mode: Preprocess, c: &PreprocessorConfig) -> Self {
        let [w, h] = [width as usize, height as usize];
        let side = w.max(h);
        let middle = |len: usize| (len - c.crop_size) / 2..(len - c.crop_size) / 2 + c.crop_size;
        let square = || bicubic::Filter::new(side, c.size, middle(c.size));
        let mut placed = Placed {
            size: [width, height],
            first_row: 0,
            is_bgr: false,
            offset: [0, 0],
            colour: [0; 3],
            stretched: Stretched::No,
        };
        let mut stretch = bicubic::Filter::new(1, 1, 0..1);
        let passes = match mode {
            Preprocess::Resize => {
                if w != h {
                    placed.stretched = if w < h { Stretched::Width } else { Stretched::Height };
                    stretch = bicubic::Filter::new(w.min(h), side, 0..side);
                }
                [square(), square()]
            }
            Preprocess::Pad => {
                placed.offset = [w, h].map(|len| ((side - len) / 2) as u32);
                placed.colour = c.padding();
                [square(), square()]
            }
            Preprocess::Crop => {
                let to = [w, h].map(|len| c.size * len / w.min(h));
                [(w, to[0]), (h, to[1])].map(|(from, to)| bicubic::Filter::new(from, to, middle(to)))
            }
        };
        Self { placed, passes, stretch }
    }

    /// The picture's rows that some rows of the square are made from. At least one.
    fn rows_of(&self, rows: &Range<u32>) -> Range<u32> {
        let [_, height] = self.placed.size;
        let (start, end) = match self.placed.stretched {
            Stretched::Height => {
                let needed = self.stretch.needed_by(rows.start as usize..rows.end as usize);
                (needed.start as u32, needed.end as u32)
            }
            Stretched::Width | Stretched::No => {
                let top = self.placed.offset[1];
                (rows.start.saturating_sub(top), rows.end.saturating_sub(top))
            }
        };
        let start = start.min(height - 1);
        start..end.clamp(start + 1, height)
    }
}

/// [`preprocess`](crate::image::preprocess) of a texture: computed on the device, of the same bits, and copied to the host.
/// It waits for the device.
///
/// # Errors
///
/// If the texture is no picture, it is larger than pictures may be, or the device has no room.
pub fn preprocess_texture(
    gpu: &Gpu,
    region: TextureRegion<'_>,
    mode: Preprocess,
    c: &PreprocessorConfig,
) -> Result<Vec<f32>> {
    Ok(prepare(gpu, region, mode, c)?.download(gpu)?)
}

/// The vision tower's input of a texture, `[3, crop_size, crop_size]`, on the device. Nothing is waited for.
///
/// # Errors
///
/// If the texture is no picture, it is larger than pictures may be, or the device has no room.
pub(crate) fn prepare(
    gpu: &Gpu,
    region: TextureRegion<'_>,
    mode: Preprocess,
    c: &PreprocessorConfig,
) -> Result<Resident<f32, 3>> {
    check_size("texture", region.size.into())?;
    let plan = Plan::new(region.size, mode, c);
    let filter = |name: &str, filter: &bicubic::Filter| Filter::new(gpu, name, filter.outputs());
    let [across, down] = [filter("across", &plan.passes[0])?, filter("down", &plan.passes[1])?];
    let stretch = filter("stretch", &plan.stretch)?;
    let needed = plan.passes[1].needed();
    let needed = needed.start as u32..needed.end as u32;
    let crop = c.crop_size as u32;
    let narrow = Resident::zeros("resized across", [needed.len() as u32, crop]);

    let strip = STRIP_BYTES.min(gpu.target().max_binding_bytes);
    let most = u32::try_from(strip / (4 * u64::from(region.pitch()))).unwrap_or(u32::MAX).max(1);
    let mut row = needed.start;
    while row < needed.end {
        let mut rows = row..needed.end.min(row.saturating_add(most));
        while plan.rows_of(&rows).len() > most as usize && rows.len() > 1 {
            rows.end -= (rows.len() as u32 / 8).max(1);
        }
        let from = plan.rows_of(&rows);
        let source = gpu.texture_rows(region, from.clone())?;
        let placed = Placed { first_row: from.start, is_bgr: source.is_bgr, ..plan.placed };
        let mut g = Graph::new(gpu.target());
        let filters = [&across, &stretch];
        resize_across(&mut g, &source.words, placed, filters, (&narrow, needed.start), rows.clone());
        Program::launch(gpu, g)?;
        row = rows.end;
    }

    let table = Resident::little(gpu, "values", [3, 256], &values(c).concat())?;
    let pixels = Resident::zeros("pixels", [3, crop, crop]);
    let mut g = Graph::new(gpu.target());
    resize_down(&mut g, (&narrow, needed.start), &down, &table, &pixels);
    Program::launch(gpu, g)?;
    Ok(pixels)
}

//! YCbCr of TIFFs without JPEG, as Pillow and libtiff convert it.

use super::ifd::{Ifd, Tag};
use super::layout::Layout;

/// Spreads chroma over the pixels that share it: from units of `h × v` luma samples with one Cb and one Cr, to rows of
/// three samples a pixel.
pub(super) fn spread(layout: &Layout, units: &[u8], [width, rows]: [usize; 2]) -> Vec<u8> {
    let [h, v] = layout.subsampling;
    let unit_len = h * v + 2;
    let across = width.div_ceil(h);
    let mut pixels = vec![0; 3 * width * rows];
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        let line = &units[y / v * across * unit_len..];
        for (x, pixel) in row.as_chunks_mut().0.iter_mut().enumerate() {
            let unit = &line[x / h * unit_len..][..unit_len];
            *pixel = [unit[y % v * h + x % h], unit[h * v], unit[h * v + 1]];
        }
    }
    pixels
}

/// RGB of a pixel as Pillow's `convert("RGB")` has it, with 6 fractional bits.
pub(super) fn pillow([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let part = |factor: f64, chroma: u8| (factor * 64.0 * (f64::from(chroma) - 128.0) + 0.5) as i32;
    let green = part(-0.34414, cb) + part(-0.71414, cr);
    [part(1.402, cr), green, part(1.772, cb)].map(|chroma| (i32::from(y) + (chroma >> 6)).clamp(0, 255) as u8)
}

/// libtiff's tables from YCbCr to RGB.
pub(super) struct ToRgb {
    luma: [i32; 256],
    cr_r: [i32; 256],
    cb_b: [i32; 256],
    cr_g: [i32; 256],
    cb_g: [i32; 256],
}

impl ToRgb {
    pub(super) fn new(ifd: &Ifd<'_>) -> Self {
        let three = |tag, default: [f64; 3]| {
            ifd.numbers(tag).and_then(|values| values.first_chunk().copied()).unwrap_or(default)
        };
        let [red, green, blue] = three(Tag::YCbCrCoefficients, [0.299, 0.587, 0.114]).map(|c| c as f32);
        let range = ifd.numbers(Tag::ReferenceBlackWhite).and_then(|values| values.first_chunk().copied());
        let range: [f32; 6] =
            range.unwrap_or([0.0, 255.0, 128.0, 255.0, 128.0, 255.0]).map(|v: f64| v as f32);

        // `tif_color.c`: 16 fractional bits, halves added where two terms meet.
        const SHIFT: i32 = 16;
        let fix = |x: f32| (f64::from(x) * f64::from(1 << SHIFT) + 0.5) as i32;
        let (f1, f3) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let (d1, d3) = (fix(f1.clamp(0.0, 2.0)), fix(f3.clamp(0.0, 2.0)));
        let d2 = -fix((red * f1 / green).clamp(0.0, 2.0));
        let d4 = -fix((blue * f3 / green).clamp(0.0, 2.0));
        let code = |c: i32, black: f32, white: f32, full: f32| {
            let span = if white - black != 0.0 { white - black } else { 1.0 };
            (c as f32 - black) * full / span
        };
        let clamped = |value: f32| value.clamp(-4096.0, 4096.0) as i32;
        let mut tables =
            Self { luma: [0; 256], cr_r: [0; 256], cb_b: [0; 256], cr_g: [0; 256], cb_g: [0; 256] };
        for i in 0..256 {
            let x = i as i32 - 128;
            let cr = clamped(code(x, range[4] - 128.0, range[5] - 128.0, 127.0));
            let cb = clamped(code(x, range[2] - 128.0, range[3] - 128.0, 127.0));
            tables.cr_r[i] = (d1 * cr + (1 << (SHIFT - 1))) >> SHIFT;
            tables.cb_b[i] = (d3 * cb + (1 << (SHIFT - 1))) >> SHIFT;
            tables.cr_g[i] = d2 * cr;
            tables.cb_g[i] = d4 * cb + (1 << (SHIFT - 1));
            tables.luma[i] = clamped(code(i as i32, range[0], range[1], 255.0));
        }
        tables
    }

    pub(super) fn convert(&self, pixel: [u8; 3]) -> [u8; 3] {
        let [y, cb, cr] = pixel.map(usize::from);
        let luma = self.luma[y];
        [self.cr_r[cr], (self.cb_g[cb] + self.cr_g[cr]) >> 16, self.cb_b[cb]]
            .map(|chroma| (luma + chroma).clamp(0, 255) as u8)
    }
}

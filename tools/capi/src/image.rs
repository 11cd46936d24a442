//! Pictures: from files, from encoded bytes, from rows of pixels.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::Path;

use strix_model::image::{self, Exif, Opened, Options, PixelOrder, Pixels, RgbImage, open_pixels};

use crate::failure::{ErrorPlace, Failure};
use crate::guard::{guard, quietly};
use crate::raw::{self, choices, given, handle, list, place, text};
use crate::status::StrixStatus;

/// A picture, of any size: 8 bits of red, green and blue.
///
/// It does not change: any number of threads and sessions may use it at the same time. Freed with strix_image_free, also
/// while sessions have it: they have what they need of it.
pub struct StrixImage(pub(crate) RgbImage);

/// How a file becomes a picture. All zeros are what the original model does: alpha is dropped, EXIF is ignored.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixImageOptions {
    /// Set by the caller: sizeof(StrixImageOptions).
    pub size: usize,
    /// 1: the orientation that cameras note in EXIF turns the picture.
    pub honour_exif: u32,
    /// 1: background shows through where the picture is transparent.
    pub has_background: u32,
    /// 0xRRGGBB.
    pub background: u32,
    /// 0.
    pub reserved: u32,
}

/// The order of the bytes of a pixel.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixPixelFormat {
    /// Red, green, blue: 3 bytes.
    Rgb8 = 0,
    /// Red, green, blue and alpha: 4 bytes.
    Rgba8 = 1,
    /// Blue, green, red and alpha: 4 bytes.
    Bgra8 = 2,
}

choices!(StrixPixelFormat: 3);

/// Rows of pixels in the caller's memory. It is read during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixPixels {
    /// Set by the caller: sizeof(StrixPixels).
    pub size: usize,
    /// First pixel of the first row.
    pub data: *const u8,
    /// Bytes from the first pixel to the end of the last row. The last row need not be padded to stride.
    pub len: usize,
    /// Bytes from one row to the next; 0: rows without padding.
    pub stride: usize,
    /// Pixels of a row.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
    /// Order of a pixel's bytes.
    pub format: MaybeUninit<StrixPixelFormat>,
    /// 0.
    pub reserved: u32,
}

given!(StrixImageOptions, StrixPixels);

type Place<'a> = Option<&'a mut MaybeUninit<Option<Box<StrixImage>>>>;

fn read_options(options: *const StrixImageOptions) -> Result<Options, Failure> {
    let StrixImageOptions { honour_exif, has_background, background, .. } = raw::options(options)?;
    let [_, red, green, blue] = background.to_be_bytes();
    Ok(Options {
        exif: if honour_exif != 0 { Exif::Honour } else { Exif::Ignore },
        background: (has_background != 0).then_some([red, green, blue]),
    })
}

/// Reads a picture file: PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF. options may be NULL.
///
/// The caller frees picture. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_image_open(
    path: *const c_char,
    options: *const StrixImageOptions,
    picture: Place<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(picture, "picture")?;
        let options = read_options(options)?;
        let Opened { pixels, .. } = image::open_with(Path::new(text(path, "path")?), &options)?;
        out.write(Some(Box::new(StrixImage(pixels))));
        Ok(())
    })
}

/// The same of a file's bytes in memory, which are read during the call only.
///
/// The caller frees picture. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_image_decode(
    bytes: *const u8,
    len: usize,
    options: *const StrixImageOptions,
    picture: Place<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(picture, "picture")?;
        let options = read_options(options)?;
        let Opened { pixels, .. } = image::decode_with("image", list(bytes, len, "bytes")?, &options)?;
        out.write(Some(Box::new(StrixImage(pixels))));
        Ok(())
    })
}

/// A picture of pixels in memory, which are copied. Alpha is straight, and treated as that of a file. options may be NULL.
///
/// The caller frees picture. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_image_from_pixels(
    pixels: *const StrixPixels,
    options: *const StrixImageOptions,
    picture: Place<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(picture, "picture")?;
        let options = read_options(options)?;
        if pixels.is_null() {
            return Err(raw::null("pixels"));
        }
        let StrixPixels { data, len, stride, width, height, format, .. } = raw::options(pixels)?;
        let order = match raw::choice(format)? {
            StrixPixelFormat::Rgb8 => PixelOrder::Rgb,
            StrixPixelFormat::Rgba8 => PixelOrder::Rgba,
            StrixPixelFormat::Bgra8 => PixelOrder::Bgra,
        };
        let bytes = list(data, len, "data")?;
        let packed = Pixels::packed(bytes, [width, height], order);
        let pixels = Pixels { stride: if stride == 0 { packed.stride } else { stride }, ..packed };
        out.write(Some(Box::new(StrixImage(open_pixels(&pixels, &options)?.pixels))));
        Ok(())
    })
}

/// Width and height of a picture. Either place may be NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_image_size(
    picture: Option<&StrixImage>,
    width: Option<&mut MaybeUninit<u32>>,
    height: Option<&mut MaybeUninit<u32>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let (w, h) = handle(picture, "picture")?.0.dimensions();
        width.map(|place| place.write(w));
        height.map(|place| place.write(h));
        Ok(())
    })
}

/// Frees a picture. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_image_free(picture: Option<Box<StrixImage>>) {
    quietly((), || drop(picture));
}

//! libjpeg, without its sharp edges: MozJPEG's decoder over the bytes of a file.
#![expect(unsafe_code, reason = "a C library: each call's contract stands beside it")]

use std::ffi::{c_int, c_long, c_void};
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;

use mozjpeg_sys::{
    J_COLOR_SPACE, JCOEF, JDIMENSION, JSAMPARRAY_MUT, jpeg_common_struct, jpeg_component_info,
    jpeg_create_decompress, jpeg_decompress_struct, jpeg_destroy_decompress, jpeg_error_mgr,
    jpeg_read_header, jpeg_read_scanlines, jpeg_resync_to_restart, jpeg_save_markers, jpeg_source_mgr,
    jpeg_start_decompress, jpeg_std_error,
};

use super::idct::idct;

/// The marker whose segments hold EXIF.
const APP1: u8 = 0xe1;

/// A JPEG whose header is read.
pub(super) struct Jpeg<'a> {
    /// libjpeg keeps addresses within it. Made by `Box::into_raw`.
    state: *mut State,
    bytes: PhantomData<&'a [u8]>,
}

struct State {
    decoder: jpeg_decompress_struct,
    errors: jpeg_error_mgr,
    source: jpeg_source_mgr,
    /// Whether bytes were asked for behind the last one.
    ended: bool,
}

/// Why libjpeg broke off.
pub(super) struct Failed {
    pub(super) reason: String,
    /// Whether bytes were asked for behind the last one.
    pub(super) ended: bool,
}

impl<'a> Jpeg<'a> {
    /// Reads the header.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Failed> {
        let source = jpeg_source_mgr {
            next_input_byte: bytes.as_ptr(),
            bytes_in_buffer: bytes.len(),
            init_source: Some(nothing),
            fill_input_buffer: Some(end),
            skip_input_data: Some(skip),
            resync_to_restart: Some(jpeg_resync_to_restart),
            term_source: Some(nothing),
        };
        // SAFETY: C structs, of which all zeros are the documented start.
        let (decoder, errors) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let state = Box::into_raw(Box::new(State { decoder, errors, source, ended: false }));
        let jpeg = Self { state, bytes: PhantomData };
        jpeg.guarded(|state| {
            // SAFETY: the state stays where it is until `drop`; `bytes` outlive it.
            unsafe {
                jpeg_std_error(&mut (*state).errors);
                (*state).errors.error_exit = Some(fail);
                (*state).errors.emit_message = Some(silent);
                (*state).decoder.common.err = &raw mut (*state).errors;
                jpeg_create_decompress(&raw mut (*state).decoder);
                // After the call, which clears the struct.
                (*state).decoder.common.client_data = (&raw mut (*state).ended).cast();
                (*state).decoder.src = &raw mut (*state).source;
                jpeg_save_markers(&mut (*state).decoder, APP1.into(), 0xffff);
                jpeg_read_header(&mut (*state).decoder, 1);
            }
        })?;
        Ok(jpeg)
    }

    fn decoder(&self) -> &jpeg_decompress_struct {
        // SAFETY: lives as long as `self`, and is written within calls of `&mut self` only.
        unsafe { &(*self.state).decoder }
    }

    /// Whether bytes were asked for behind the last one.
    pub(super) fn ended(&self) -> bool {
        // SAFETY: as of `decoder`.
        unsafe { (*self.state).ended }
    }

    /// Width and height.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.decoder().image_width as usize, self.decoder().image_height as usize]
    }

    pub(super) fn num_components(&self) -> usize {
        self.decoder().num_components as usize
    }

    /// Colours as they are stored.
    pub(super) fn colours(&self) -> J_COLOR_SPACE {
        self.decoder().jpeg_color_space
    }

    /// Contents of segments that may hold EXIF.
    pub(super) fn app1(&self) -> Vec<Vec<u8>> {
        let mut segments = vec![];
        let mut next = self.decoder().marker_list;
        // SAFETY: a list of libjpeg's, which lives as long as the decoder and says its lengths.
        unsafe {
            while let Some(marker) = next.as_ref() {
                if marker.data_length > 0 {
                    segments
                        .push(std::slice::from_raw_parts(marker.data, marker.data_length as usize).to_vec());
                }
                next = marker.next;
            }
        }
        segments
    }

    /// Decodes all rows, `samples` bytes a pixel, which those `colours` have.
    pub(super) fn decode(&mut self, colours: J_COLOR_SPACE, samples: usize) -> Result<Vec<u8>, Failed> {
        self.guarded(|state| {
            // SAFETY: the header is read, and nothing was decoded.
            unsafe {
                (*state).decoder.out_color_space = colours;
                jpeg_start_decompress(&mut (*state).decoder);
                set_idct(&raw mut (*state).decoder);
            }
        })?;
        let decoder = self.decoder();
        let (width, height) = (decoder.output_width as usize, decoder.output_height as usize);
        let has = decoder.output_components as usize;
        let failed = |reason: String| Failed { reason, ended: false };
        if has != samples {
            return Err(failed(format!("{has} samples a pixel, not {samples}")));
        }
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(width * height * samples).map_err(|e| failed(e.to_string()))?;
        pixels.resize(width * height * samples, 0);
        self.guarded(|state| {
            for row in pixels.chunks_exact_mut(width * samples) {
                let mut row = row.as_mut_ptr();
                // SAFETY: started above; a row has as many bytes as it is given room for.
                let read = unsafe { jpeg_read_scanlines(&mut (*state).decoder, &raw mut row, 1) };
                assert_eq!(read, 1, "a source that never waits");
            }
        })?;
        Ok(pixels)
    }

    /// Runs calls of libjpeg, whose errors unwind from `fail`.
    fn guarded(&self, calls: impl FnOnce(*mut State)) -> Result<(), Failed> {
        let state = self.state;
        panic::catch_unwind(AssertUnwindSafe(|| calls(state))).map_err(|payload| {
            match payload.downcast::<Message>() {
                Ok(message) => Failed { reason: message.0, ended: self.ended() },
                Err(other) => panic::resume_unwind(other),
            }
        })
    }
}

impl Drop for Jpeg<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again. Allowed after an error, too.
        unsafe {
            jpeg_destroy_decompress(&mut (*self.state).decoder);
            drop(Box::from_raw(self.state));
        }
    }
}

/// What unwinds in place of an error of libjpeg.
struct Message(String);

/// In place of a call that would end the program.
extern "C-unwind" fn fail(decoder: &mut jpeg_common_struct) {
    /// `JMSG_LENGTH_MAX`.
    const LONGEST: usize = 200;
    type Format = unsafe extern "C-unwind" fn(*mut jpeg_common_struct, *mut u8);
    let mut text = [0u8; LONGEST];
    // SAFETY: the field is declared to take a shorter buffer, and as one that is not written.
    unsafe {
        if let Some(format) = (*decoder.err).format_message {
            mem::transmute::<unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &[u8; 80]), Format>(format)(
                decoder,
                text.as_mut_ptr(),
            );
        }
    }
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    // Not `panic!`: the hook has nothing to print.
    panic::resume_unwind(Box::new(Message(String::from_utf8_lossy(text).into_owned())));
}

extern "C-unwind" fn silent(_: &mut jpeg_common_struct, _: c_int) {}

extern "C-unwind" fn nothing(_: &mut jpeg_decompress_struct) {}

/// Notes that the bytes are used up, and ends the picture, as libjpeg's own sources do.
extern "C-unwind" fn end(decoder: &mut jpeg_decompress_struct) -> c_int {
    static END: [u8; 2] = [0xff, 0xd9];
    // SAFETY: set by `Jpeg::new`, and live for as long as the decoder.
    unsafe {
        *decoder.common.client_data.cast::<bool>() = true;
        (*decoder.src).next_input_byte = END.as_ptr();
        (*decoder.src).bytes_in_buffer = END.len();
    }
    1
}

extern "C-unwind" fn skip(decoder: &mut jpeg_decompress_struct, len: c_long) {
    let len = usize::try_from(len).unwrap_or(0);
    // SAFETY: as of `end`; not beyond the bytes there are.
    unsafe {
        if len > (*decoder.src).bytes_in_buffer {
            end(decoder);
            return;
        }
        (*decoder.src).next_input_byte = (*decoder.src).next_input_byte.add(len);
        (*decoder.src).bytes_in_buffer -= len;
    }
}

type InverseDct = unsafe extern "C-unwind" fn(
    *mut jpeg_decompress_struct,
    *const jpeg_component_info,
    *const JCOEF,
    JSAMPARRAY_MUT,
    JDIMENSION,
);

/// libjpeg's `struct jpeg_inverse_dct`.
#[repr(C)]
struct InverseDcts {
    start_pass: *const c_void,
    of_components: [MaybeUninit<Option<InverseDct>>; 10],
}

unsafe extern "C-unwind" {
    fn jpeg_idct_islow(
        _: *mut jpeg_decompress_struct,
        _: *const jpeg_component_info,
        _: *const JCOEF,
        _: JSAMPARRAY_MUT,
        _: JDIMENSION,
    );
}

/// Has each component transformed by [`idct`].
///
/// # Safety
///
/// The decoder has been started.
unsafe fn set_idct(decoder: *mut jpeg_decompress_struct) {
    /// Pointers at the end of the struct that are private to the crate, the one to the transforms first.
    const LAST: usize = 4;
    // SAFETY: the struct ends with these pointers, `jpeglib.h` says, and libjpeg has set them.
    unsafe {
        let transforms = *decoder.add(1).cast::<*mut InverseDcts>().sub(LAST);
        for component in 0..(*decoder).num_components as usize {
            let transform = &mut (*transforms).of_components[component];
            let islow = transform
                .assume_init()
                .is_some_and(|now| ptr::fn_addr_eq(now, jpeg_idct_islow as InverseDct));
            assert!(islow, "libjpeg's whole-number transform of 8 x 8");
            *transform = MaybeUninit::new(Some(transform_block));
        }
    }
}

unsafe extern "C-unwind" fn transform_block(
    _: *mut jpeg_decompress_struct,
    component: *const jpeg_component_info,
    coefficients: *const JCOEF,
    rows: JSAMPARRAY_MUT,
    column: JDIMENSION,
) {
    // SAFETY: libjpeg passes a block of 64, and eight rows with room for eight samples from `column` on.
    unsafe {
        // A component without a table is grey.
        let steps = (*component).quant_table.as_ref().map_or([0; 64], |table| table.quantval);
        for (y, samples) in idct(&*coefficients.cast(), &steps).iter().enumerate() {
            ptr::copy_nonoverlapping(samples.as_ptr(), (*rows.add(y)).add(column as usize), samples.len());
        }
    }
}

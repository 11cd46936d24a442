//! Errors as values: each call has its own.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use crate::failure::StrixError;
use crate::guard::quietly;
use crate::raw::number;
use crate::status::StrixStatus;

/// Code of an error; STRIX_STATUS_OK of NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_error_code(error: Option<&StrixError>) -> StrixStatus {
    error.map_or(StrixStatus::Ok, |error| error.status)
}

/// What is wrong, with names and numbers and what to do: one line of UTF-8, for people. Of NULL, an empty text.
///
/// The text is the error's, and is there until it is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_error_message(error: Option<&StrixError>) -> *const c_char {
    error.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_error_free(error: Option<Box<StrixError>>) {
    quietly((), || drop(error));
}

/// Name of a status, such as "STRIX_STATUS_OUT_OF_MEMORY"; "unknown" of one that this library does not have.
///
/// The text is the library's, and is there for ever. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_status_name(status: MaybeUninit<StrixStatus>) -> *const c_char {
    let name = match number(status) {
        0 => c"STRIX_STATUS_OK",
        1 => c"STRIX_STATUS_END",
        -1 => c"STRIX_STATUS_NULL_POINTER",
        -2 => c"STRIX_STATUS_BAD_TEXT",
        -3 => c"STRIX_STATUS_STRUCT_SIZE",
        -4 => c"STRIX_STATUS_OUT_OF_RANGE",
        -5 => c"STRIX_STATUS_IN_USE",
        -6 => c"STRIX_STATUS_UNSUPPORTED",
        -7 => c"STRIX_STATUS_INTERNAL",
        -8 => c"STRIX_STATUS_CANCELLED",
        -20 => c"STRIX_STATUS_IO",
        -21 => c"STRIX_STATUS_FILE",
        -22 => c"STRIX_STATUS_CONFIG",
        -23 => c"STRIX_STATUS_TENSOR",
        -24 => c"STRIX_STATUS_NO_TOKENIZER",
        -25 => c"STRIX_STATUS_DTYPE",
        -30 => c"STRIX_STATUS_IMAGE",
        -31 => c"STRIX_STATUS_PROMPT",
        -32 => c"STRIX_STATUS_PROMPT_TOO_LONG",
        -33 => c"STRIX_STATUS_CONTEXT_FULL",
        -34 => c"STRIX_STATUS_PICTURE_MISMATCH",
        -35 => c"STRIX_STATUS_UNKNOWN_TOKEN",
        -36 => c"STRIX_STATUS_BUSY",
        -37 => c"STRIX_STATUS_NOTHING_TO_RESUME",
        -38 => c"STRIX_STATUS_PICTURE_ABSENT",
        -39 => c"STRIX_STATUS_QUEUE_FULL",
        -40 => c"STRIX_STATUS_CACHE_FULL",
        -41 => c"STRIX_STATUS_OPTION",
        -42 => c"STRIX_STATUS_CONSTRAINT",
        -43 => c"STRIX_STATUS_CONTEXT_TOO_LONG",
        -50 => c"STRIX_STATUS_NO_ADAPTER",
        -51 => c"STRIX_STATUS_ADAPTER_TOO_SMALL",
        -52 => c"STRIX_STATUS_OUT_OF_MEMORY",
        -53 => c"STRIX_STATUS_DEVICE_LOST",
        -54 => c"STRIX_STATUS_DEVICE",
        -99 => c"STRIX_STATUS_OTHER",
        _ => c"unknown",
    };
    name.as_ptr()
}

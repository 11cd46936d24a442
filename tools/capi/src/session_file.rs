//! Conversations in files.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::Path;

use strix_model::SaveOptions;

use crate::failure::ErrorPlace;
use crate::guard::guard;
use crate::image::StrixImage;
use crate::model::StrixModel;
use crate::raw::{self, given, handle, place, text};
use crate::session::{SessionPlace, StrixSession, with};
use crate::status::StrixStatus;

/// What is saved of a conversation beyond its turns, its tokens and the hashes of its pictures. All zeros: the pictures as the
/// model sees them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixSaveOptions {
    /// Set by the caller: sizeof(StrixSaveOptions).
    pub size: usize,
    /// 1: the pictures are not saved, and have to be given again with strix_session_supply_image.
    pub without_pictures: u32,
    /// 1: what the KV cache holds of it is saved, so that nothing of it is run again: 1 MiB a position of the 8.2B model.
    pub with_cache: u32,
}

given!(StrixSaveOptions);

/// Saves a conversation to a file, which is there as a whole or as it was. options may be NULL.
///
/// It may wait for the device. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_save(
    session: Option<&StrixSession>,
    path: *const c_char,
    options: *const StrixSaveOptions,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let path = Path::new(text(path, "path")?);
        let StrixSaveOptions { without_pictures, with_cache, .. } = raw::options(options)?;
        let options = SaveOptions { embeds: without_pictures == 0, pages: with_cache != 0 };
        with(session, |inner| Ok(inner.session.save(path, options)?))
    })
}

/// The conversation that was saved in a file, of the same model loaded with the same types. It goes on with the tokens it
/// would have had.
///
/// The caller frees session; model may be freed before. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_restore(
    model: Option<&StrixModel>,
    path: *const c_char,
    session: SessionPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(session, "session")?;
        let shared = &handle(model, "model")?.shared;
        let path = Path::new(text(path, "path")?);
        let restored = shared.log.within(|| shared.model.restore(path))?;
        out.write(Some(StrixSession::new(restored, shared.clone())));
        Ok(())
    })
}

/// Number of pictures of a restored conversation that have to be given again before it can go on.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_absent_images(
    session: Option<&StrixSession>,
    number: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let number = number.ok_or_else(|| raw::null("number"))?;
        number.write(with(session, |inner| Ok(inner.session.absent_pictures()))?);
        Ok(())
    })
}

/// Gives a picture again that a restored conversation lacks.
///
/// picture stays the caller's. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_supply_image(
    session: Option<&StrixSession>,
    picture: Option<&StrixImage>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let picture = &handle(picture, "picture")?.0;
        with(session, |inner| Ok(inner.session.supply_image(picture)?))
    })
}

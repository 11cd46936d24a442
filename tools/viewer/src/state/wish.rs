//! What the state asks the window for.

use std::path::PathBuf;

use crate::messages::Command;
use crate::settings::Choice;

/// What is to be done outside.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few, for as long as a frame")]
pub(crate) enum Wish {
    /// By the model.
    Tell(Command),
    /// Look at a model, to show what it takes.
    Plan(Choice),
    /// Have the user choose pictures.
    ChoosePictures,
    /// Have the user choose the folder of a model.
    ChooseFolder,
    /// Read pictures.
    Open(Vec<PathBuf>),
    /// Read a picture whose path was typed.
    OpenTyped(String),
    /// Take a region of the screen.
    Region,
    /// Paste what the clipboard holds.
    Paste,
    /// Keep the settings.
    Save,
    /// Open the window anew, on a new device.
    Reopen,
}

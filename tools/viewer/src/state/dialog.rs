//! What lies over the conversation.

use crate::plan::Plan;
use crate::problem::Problem;
use crate::settings::Choice;

/// What was planned of the model that the dialog shows.
#[derive(Debug)]
pub(crate) enum Planned {
    Nothing,
    Asked(Choice),
    Known(Choice, Box<Plan>),
    Failed(Choice, Problem),
}

impl Planned {
    /// The model that it is of.
    pub(crate) fn choice(&self) -> Option<&Choice> {
        match self {
            Self::Nothing => None,
            Self::Asked(choice) | Self::Known(choice, _) | Self::Failed(choice, _) => Some(choice),
        }
    }

    /// The same, if it is the one whose path is typed; nano has none.
    pub(crate) fn typed(&self, path: &str) -> Option<&Choice> {
        self.choice().filter(|choice| match choice {
            Choice::Folder(folder) => folder.display().to_string().trim() == path.trim(),
            Choice::Nano => path.trim().is_empty(),
        })
    }
}

/// What lies over the conversation.
#[derive(Debug)]
pub(crate) enum Dialog {
    /// Choose a model: a path that is typed, and what is known of the chosen one.
    Model {
        path: String,
        planned: Planned,
    },
    Settings,
    /// The panel of the model and the device, where the window has no room beside.
    Details,
}

//! What a user should know, and what to do about it.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Good to know.
    Note,
    /// It works, though less well than it could.
    Warning,
    /// Something is wrong.
    Fault,
}

/// Something that a user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) what: String,
    /// What to do about it.
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn new(level: Level, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level, what: what.into(), advice: advice.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_in_json() {
        let finding = Finding::new(Level::Warning, "slow", "wait");
        let json = serde_json::to_string(&finding).unwrap();
        assert_eq!(json, r#"{"level":"warning","what":"slow","advice":"wait"}"#);
    }
}

//! A key of a checkpoint's JSON files, its effect, and the section it is in.

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is read, and a value that is not supported is refused.
    Read,
    /// Any value but these, written as JSON, is refused. `null` is the same as an absent key.
    Only(&'static [&'static str]),
    /// It changes nothing that Strix computes.
    NoEffect,
    /// It is left to the options of a call. A note reports any value but these, which are written as JSON.
    Noted(&'static [&'static str]),
}

/// A key of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) does: Use,
    /// Meaning of the value, or the reason that it has no effect.
    pub(crate) why: &'static str,
}

/// An object of a file, and the keys it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// The top level of `config.json`.
    Text,
    /// `visual_config`.
    Visual,
    /// `visual_config.visual_model`.
    VisionModel,
    /// `visual_config.visual_abstractor`.
    Abstractor,
    /// `rope_scaling` and `rope_parameters`.
    Rope,
    /// `generation_config.json`.
    Generation,
    /// `preprocessor_config.json`.
    Preprocessor,
    /// `tokenizer_config.json`.
    Tokenizer,
}

impl Section {
    /// Every section.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Text,
        Self::Visual,
        Self::VisionModel,
        Self::Abstractor,
        Self::Rope,
        Self::Generation,
        Self::Preprocessor,
        Self::Tokenizer,
    ];
}

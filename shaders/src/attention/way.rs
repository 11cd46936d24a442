//! The ways to attend to many rows.

use strix_engine::Family;

use crate::choose::Way;
use crate::generated::variants::Loads;
use crate::kernel::Value;

/// A way to attend to many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttentionWay {
    /// A subgroup takes so many queries, a lane of it so many keys at a time, with such loads of keys and values.
    Subgroup { queries: u32, keys: u32, loads: Loads },
    /// See [`attention_tiled`].
    Tiled,
    /// See [`attention_plain`].
    Plain,
}

impl Way for AttentionWay {
    fn family(self) -> Family {
        match self {
            Self::Subgroup { .. } => Family::Subgroup,
            Self::Tiled => Family::Tiled,
            Self::Plain => Family::Plain,
        }
    }

    fn values(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Subgroup { queries, keys, loads } => {
                vec![("queries", queries.into()), ("keys", keys.into()), ("loads", loads.into())]
            }
            Self::Tiled | Self::Plain => vec![],
        }
    }
}

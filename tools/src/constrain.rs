//! The options that say what an answer must be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use strix_model::Constraint;

use crate::Usage;

/// Longest schema or grammar read from a file.
const MAX_BYTES: u64 = 4 << 20;

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Constrain {
    /// The answer is JSON of this schema: a file, or the schema itself, which begins with {
    #[arg(long, value_name = "SCHEMA", help_heading = "Form of the answer")]
    json_schema: Option<String>,
    /// The answer is what this regular expression matches, from its first character to its last
    #[arg(long, value_name = "RE", help_heading = "Form of the answer")]
    regex: Option<String>,
    /// The answer is text of the grammar in this file, in Lark's notation
    #[arg(long, value_name = "FILE", help_heading = "Form of the answer")]
    grammar: Option<String>,
}

impl Constrain {
    /// What the answer must be; it is checked with the other options of the answer.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Constraint>> {
        Ok(match self {
            Self { json_schema: Some(schema), .. } if schema.trim_start().starts_with('{') => {
                Some(Constraint::JsonSchema(schema.clone()))
            }
            Self { json_schema: Some(path), .. } => Some(Constraint::JsonSchema(text(path)?)),
            Self { regex: Some(regex), .. } => Some(Constraint::Regex(regex.clone())),
            Self { grammar: Some(path), .. } => Some(Constraint::Lark(text(path)?)),
            _ => None,
        })
    }
}

/// The text of a file.
fn text(path: &str) -> anyhow::Result<String> {
    let mut bytes = vec![];
    let file = File::open(Path::new(path)).with_context(|| path.to_owned())?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| path.to_owned())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Usage(format!("{path}: it is above {MAX_BYTES} bytes")).into());
    }
    let text = String::from_utf8(bytes).map_err(|e| Usage(format!("{path}: {e}: save it as UTF-8")))?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

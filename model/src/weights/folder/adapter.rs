//! Adapters: weights that were learned on top of a base model. The base alone is another model.

use std::path::Path;

use super::super::cursor::shown;
use super::super::entry::file_error;
use super::super::kinds::{self, ADAPTER, EXPECTED, NOT_LORA, TRAINED_BESIDES};
use super::super::tensors::Weights;
use super::listing::{is_weights, json, names};
use crate::Result;

/// Refuses a folder with an adapter, even if the base's weights are beside it: those alone are another model.
pub(in super::super) fn check_adapter(dir: &Path) -> Result<()> {
    let names = names(dir);
    let Some(found) = adapter_in(&names) else { return Ok(()) };
    let base = names.iter().find(|name| is_weights(name) && !is_adapter(name));
    let reason = match base {
        Some(base) => format!(
            "holds {} beside {}: it {}. To run the base alone, name {}",
            shown(found),
            shown(base),
            is_adapter_of(dir, found),
            shown(base)
        ),
        None => holds_adapter(dir, found),
    };
    Err(file_error(dir, reason))
}

/// The file among some that gives an adapter away.
pub(super) fn adapter_in(names: &[String]) -> Option<&String> {
    let is_peft = |name: &&String| kinds::ADAPTER_SIGNS.iter().any(|sign| sign.fits(name));
    names.iter().find(is_peft).or_else(|| names.iter().find(|name| *name == NOT_LORA))
}

/// Whether a file of that name is of an adapter.
pub(super) fn is_adapter(name: &str) -> bool {
    name == NOT_LORA || kinds::ADAPTER_SIGNS.iter().any(|sign| sign.fits(name))
}

/// The message about a folder that holds that file of an adapter and no base.
pub(super) fn holds_adapter(dir: &Path, found: &str) -> String {
    format!("holds {}, which {}", shown(found), is_adapter_of(dir, found))
}

/// `is WHAT. TODO` of a file of an adapter, with the base that it was learned on, and what its tensors look like.
pub(super) fn is_adapter_of(dir: &Path, found: &str) -> String {
    let kind = if found == NOT_LORA { TRAINED_BESIDES } else { ADAPTER };
    let base = base_of(dir).map_or(String::new(), |base| format!(" (its base: {base})"));
    let names = names(dir);
    let file = match found == NOT_LORA {
        true => Some(found.to_owned()),
        false => names.iter().find(|name| is_adapter(name) && is_weights(name) && *name != NOT_LORA).cloned(),
    };
    let weights = file.and_then(|file| Weights::from_files(dir, &[dir.join(file)]).ok());
    let tensors: Vec<String> = weights.iter().flat_map(|w| w.names().take(2).map(shown)).collect();
    let tensors = match tensors.is_empty() {
        true => String::new(),
        false => {
            format!("Its tensors are such as {}; a model's are such as {EXPECTED}. ", tensors.join(", "))
        }
    };
    // Without it the merged model would be another one.
    let besides = match found != NOT_LORA && names.iter().any(|name| name == NOT_LORA) {
        true => format!(
            ". {NOT_LORA} beside it was trained besides, and belongs to the model too: load base, adapter and {NOT_LORA} with \
             the code of the training before merging"
        ),
        false => String::new(),
    };
    format!("is {}{base}. {tensors}{}{besides}", kind.what, kind.todo)
}

/// The model that an adapter was learned on, as its config says.
fn base_of(dir: &Path) -> Option<String> {
    let config = json(&dir.join("adapter_config.json"))?;
    Some(shown(config.get("base_model_name_or_path")?.as_str()?))
}

//! Reads the names of tensors: who wrapped the model, and what a file is that is no checkpoint of it.

use super::FileDtype;
use super::cursor::shown;
use super::entry::file_error;
use super::kinds::{self, Sign};
use crate::config::UNQUANTISED;
use crate::{Error, Result};
use std::collections::HashSet;
use std::path::Path;

/// Names that a message lists.
const MAX_SHOWN: usize = 3;

/// The message about tensors without elements in place of weights.
pub(super) const EMPTY: &str = "tensors of no elements are what DeepSpeed ZeRO-3 leaves in place of weights that are cut \
                                into parts: join those with its zero_to_fp32.py, and name what that writes";

/// Modules that stand around others, anywhere in a name, and add nothing.
const WRAPPERS: [(&str, &str); 4] = [
    ("_orig_mod", "torch.compile"),
    ("_fsdp_wrapped_module", "FSDP"),
    ("_checkpoint_wrapped_module", "activation checkpointing"),
    ("_forward_module", "Lightning Fabric"),
];

/// Prefixes of all names, by their first part.
const PREFIXES: [(&str, &str); 6] = [
    ("module.", "DistributedDataParallel or DeepSpeed"),
    ("base_model.", "PEFT"),
    ("model.", "Lightning"),
    ("state_dict.", "a state dict in another"),
    ("net.", "a module around it"),
    ("_orig_mod.", "torch.compile"),
];

/// The modules of the model that hold its tensors: `model.layers.0…`
const HOME: &str = "model.";
const MODULES: [&str; 5] = ["embed_tokens", "layers", "norm", "vision_model", "visual_abstractor"];
const HEAD: &str = "lm_head";

/// The change that makes names of tensors those of the model.
#[derive(Debug, PartialEq)]
pub(super) struct Renaming {
    /// The prefix of the model's modules, in place of `model.`.
    prefix: String,
    /// Whether modules of [`WRAPPERS`] are taken out.
    wrapped: bool,
    /// The change in words.
    pub note: String,
}

impl Renaming {
    /// The change that makes all names those of the model; `None` if none is needed, or it is not the same for all.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Option<Self> {
        let is_wrapper = |part: &str| WRAPPERS.iter().find(|(wrapper, _)| *wrapper == part);
        let (mut by, mut wrappers): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
        for (wrapper, who) in names.clone().flat_map(|name| name.split('.')).filter_map(is_wrapper) {
            if !wrappers.contains(wrapper) {
                wrappers.push(wrapper);
                by.push(who);
            }
        }
        let wrapped = !by.is_empty();
        let mut prefix: Option<String> = None;
        let mut bare_head = None;
        for name in names {
            if kinds::ADAPTER_NAMES.iter().any(|(part, _)| name.contains(part)) {
                return None;
            }
            let name = if wrapped { unwrapped(name) } else { name.into() };
            if name.split('.').next() == Some(HEAD) {
                bare_head = Some(shown(&name));
            }
            let Some(found) = before_modules(&name) else { continue };
            match &prefix {
                Some(prefix) if prefix != found => return None,
                Some(_) => {}
                None => prefix = Some(found.into()),
            }
        }
        let prefix = prefix?;
        if prefix == HOME && !wrapped {
            return None;
        }
        let taken = prefix.strip_suffix(HOME).unwrap_or(&prefix);
        if let Some((_, who)) = PREFIXES.iter().find(|(first, _)| taken.starts_with(first)) {
            by.push(who);
        }
        let mut said = vec![];
        if !taken.is_empty() {
            said.push(format!("begin with {}", shown(taken)));
        }
        if !prefix.ends_with(HOME) {
            said.push(format!("lack {HOME}"));
        }
        if wrapped {
            said.push(format!("have {}. in them", wrappers.join("., ")));
        }
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        let mut note =
            format!("the names of its tensors {}{by}; they are read without that", said.join(" and "));
        if let Some(head) = bare_head.filter(|_| !taken.is_empty()) {
            note += &format!(", and {head} as it is");
        }
        Some(Self { prefix, wrapped, note })
    }

    /// The model's name of a tensor.
    pub(super) fn apply(&self, name: &str) -> String {
        let name = if self.wrapped { unwrapped(name) } else { name.to_owned() };
        if before_modules(&name) == Some(&self.prefix) {
            return format!("{HOME}{}", &name[self.prefix.len()..]);
        }
        let of_head = self.prefix.strip_suffix(HOME).unwrap_or(&self.prefix);
        match name.strip_prefix(of_head).filter(|name| name.split('.').next() == Some(HEAD)) {
            Some(head) => head.to_owned(),
            None => name,
        }
    }
}

fn unwrapped(name: &str) -> String {
    let is_wrapper = |part: &&str| WRAPPERS.iter().any(|(wrapper, _)| wrapper == part);
    name.split('.').filter(|part| !is_wrapper(part)).collect::<Vec<_>>().join(".")
}

/// The prefix of a name, before its first part that is a module of the model.
fn before_modules(name: &str) -> Option<&str> {
    let mut at = 0;
    for part in name.split('.') {
        if MODULES.contains(&part) && at + part.len() < name.len() {
            return Some(&name[..at]);
        }
        at += part.len() + 1;
    }
    None
}

/// Refuses tensors whose names say that they are no model's: an adapter's, a part of a training's, quantised ones. Even
/// where all that is needed is there too, it would be another model without them.
pub(super) fn refuse_others<'n>(
    path: &Path,
    tensors: impl Iterator<Item = (&'n str, Option<FileDtype>)> + Clone,
) -> Result<()> {
    let find = |is: &dyn Fn(&str) -> bool| tensors.clone().map(|(name, _)| name).find(|name| is(name));
    let refuse = |found: &str, what: &str, todo: &str| {
        Err(file_error(path, format!("holds {}: {what}. {todo}", shown(found))))
    };
    for (part, kind) in kinds::ADAPTER_NAMES {
        if let Some(found) = find(&|name| name.contains(part)) {
            let what = format!("it is {}; a model's tensors are such as {}", kind.what, kinds::EXPECTED);
            return refuse(found, &what, kind.todo);
        }
    }
    if let Some(found) = find(&|name| kinds::SHARDED_NAMES.iter().any(|part| name.contains(part))) {
        let what = "weights laid flat as FSDP shards them, one part a process";
        return refuse(
            found,
            what,
            "Save a full state dict (StateDictType.FULL_STATE_DICT), or accelerate merge-weights",
        );
    }
    for (sign, method) in kinds::QUANTISED {
        if let Some(found) = find(&|name: &str| Sign::fits(sign, name)) {
            let what = format!("its weights are quantised with {method}, which is not read");
            return refuse(found, &what, &capitalised(UNQUANTISED));
        }
    }
    let eighth = |(name, dtype): &(&str, Option<FileDtype>)| {
        use FileDtype::{F4, F8_E4M3, F8_E4M3FNUZ, F8_E5M2, F8_E5M2FNUZ, F8_E8M0};
        name.ends_with(".weight")
            && matches!(dtype, Some(F4 | F8_E4M3 | F8_E4M3FNUZ | F8_E5M2 | F8_E5M2FNUZ | F8_E8M0))
    };
    match tensors.clone().find(eighth) {
        Some((found, Some(dtype))) => {
            let what =
                format!("it is {dtype}, its weights are quantised with FP8 or the like, which is not read");
            refuse(found, &what, &capitalised(UNQUANTISED))
        }
        _ => Ok(()),
    }
}

/// The other model that has tensors of such names.
pub(super) fn other_model(names: &[&str]) -> Option<&'static str> {
    let begins = |(begin, _): &&(&str, &str)| names.iter().any(|name| name.starts_with(begin));
    kinds::OTHER_MODELS.iter().find(begins).map(|&(_, model)| model)
}

/// The name under which a missing tensor is there, if only a prefix differs.
pub(super) fn prefixed<'n>(name: &str, mut held: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    held.find(|held| held.strip_suffix(name).is_some_and(|prefix| prefix.ends_with('.')))
}

/// Sets of the model's tensors in a file beside the one that is read: what stands before the names of each.
pub(super) fn other_sets<'n>(held: impl Iterator<Item = &'n str> + Clone, expected: &[&str]) -> Vec<String> {
    // The head may be tied to the embedding.
    let of_modules = |name: &&&str| before_modules(name).is_some_and(|before| before == HOME);
    let expected: Vec<&str> = expected.iter().filter(of_modules).copied().collect();
    let all: HashSet<&str> = held.clone().collect();
    let Some(first) = expected.first() else { return vec![] };
    let rest = |name: &'n str, first: &str| name.strip_suffix(first).filter(|prefix| !prefix.is_empty());
    let whole = |prefix: &&str| expected.iter().all(|name| all.contains(format!("{prefix}{name}").as_str()));
    held.filter_map(|name| rest(name, first)).filter(whole).map(str::to_owned).collect()
}

/// Names that the file has in place of the missing tensors, and those that are expected.
pub(super) fn instead(names: &[&str], expected: &[&str]) -> String {
    let few =
        |names: &[&str]| names.iter().take(MAX_SHOWN).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    let other = match other_model(names) {
        Some(model) => format!("; they look like those of {model}, another model"),
        None => String::new(),
    };
    let held = match names {
        [] => "it holds no tensors".into(),
        [one] => format!("it holds one tensor, {}", shown(one)),
        _ => format!("it holds {} tensors, such as {}", names.len(), few(names)),
    };
    format!("{held}{other}; expected are {}, such as {}", expected.len(), few(expected))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Why a tensor cannot be read as floats, and what to do; `None` if it can.
pub(super) fn not_float(dtype: FileDtype) -> Option<(String, &'static str)> {
    let todo = match dtype {
        FileDtype::F32 | FileDtype::F16 | FileDtype::BF16 => return None,
        FileDtype::F64 => "save it as F32",
        FileDtype::C64 => "complex numbers are no weights of this model",
        _ => {
            "integers and narrow floats are no weights by themselves: scales belong to them, and casting leaves those out. \
              Take the checkpoint it was made from"
        }
    };
    Some((format!("is {dtype}; only F32, F16 and BF16 are read"), todo))
}

/// The error of [`not_float`].
pub(super) fn check_float(name: &str, dtype: FileDtype) -> Result<()> {
    match not_float(dtype) {
        Some((reason, todo)) => Err(Error::Tensor { name: name.into(), reason: format!("{reason}: {todo}") }),
        None => Ok(()),
    }
}

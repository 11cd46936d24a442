//! Holds a checkpoint against the tensors that a config prescribes.

use super::cursor::shown;
use super::entry::file_error;
use super::tensors::Weights;
use super::{index, kinds, names};
use crate::packed::FORMAT;
use crate::{Config, Result};

/// Problems that [`Weights::check`] spells out; the others are counted.
pub(super) const MAX_PROBLEMS: usize = 5;

impl Weights {
    /// Holds the checkpoint against the tensors that a config prescribes. Tensors it does not know are allowed, and
    /// a converted checkpoint may lack what its packed matrices are made of: those are looked at as they are loaded.
    ///
    /// # Errors
    ///
    /// If its tensors are an adapter's or quantised, or some are missing, have another shape, or a dtype that is not
    /// F32, F16 or BF16: the first few of them. If there are layers beyond those that the config counts: another model
    /// would be computed.
    pub fn check(&self, config: &Config) -> Result<()> {
        let packed = self.is_packed();
        self.refuse_others()?;
        let specs = config.tensors();
        let required: Vec<&str> = specs.iter().filter(|s| s.required).map(|s| s.name.as_str()).collect();
        self.refuse_two(&required)?;
        let (mut problems, mut missing, mut empty, mut todo) = (self.more_layers(config), 0, 0, None);
        for spec in &specs {
            let problem = match (self.get(&spec.name), self.unread.get(&spec.name)) {
                (None, Some((_, reason))) => reason.clone(),
                (None, None) if spec.required && !packed => {
                    missing += 1;
                    match names::prefixed(&spec.name, self.names()) {
                        Some(held) => format!(
                            "missing; {} is there, with a prefix that the others do not have",
                            shown(held)
                        ),
                        None => "missing".into(),
                    }
                }
                (None, None) => continue,
                (Some(view), _) if view.shape != spec.shape => {
                    empty += usize::from(view.num_elements() == 0);
                    let (axes, shape) = (spec.axes, &spec.shape);
                    format!("config.json says {axes} = {shape:?}, the file holds {:?}", view.shape)
                }
                (Some(view), _) => match names::not_float(view.dtype) {
                    Some((reason, advice)) => {
                        todo = Some(advice);
                        reason
                    }
                    None => continue,
                },
            };
            problems.push(format!("{}: {problem}", spec.name));
        }
        if problems.is_empty() {
            return Ok(());
        }
        let count = problems.len();
        problems.truncate(MAX_PROBLEMS);
        let mut reason = format!("tensors that do not fit config.json: {count}\n  {}", problems.join("\n  "));
        if count > MAX_PROBLEMS {
            reason += &format!("\n  and {} more", count - MAX_PROBLEMS);
        }
        if missing > 0 {
            let held: Vec<&str> = match self.names_in_files.is_empty() {
                true => self.names().collect(),
                false => self.names_in_files.iter().map(String::as_str).collect(),
            };
            reason += &format!("\n  {}", names::instead(&held, &required));
            for note in self.notes.iter().cloned().chain(index::part_of(&self.path)) {
                reason += &format!("\n  {note}");
            }
        }
        if empty > 0 {
            reason += &format!("\n  {}", names::EMPTY);
        }
        if let Some(todo) = todo {
            reason += &format!("\n  {todo}");
        }
        Err(file_error(&self.path, reason))
    }

    /// Refuses tensors that are no model's, by their names, dtypes and metadata.
    pub(super) fn refuse_others(&self) -> Result<()> {
        if self.is_packed() {
            return Ok(());
        }
        let dtypes = self.tensors.iter().map(|(name, found)| (name.as_str(), Some(found.dtype)));
        names::refuse_others(&self.path, dtypes.chain(self.unread.keys().map(|name| (name.as_str(), None))))?;
        let format = self.metadata.get(FORMAT).map(String::as_str);
        match kinds::FORMATS.iter().find(|(name, _)| Some(*name) == format) {
            // Matrices may lie the other way round, and fit nevertheless.
            Some((name, kind)) => Err(file_error(
                &self.path,
                format!("its metadata says format {name}, {}: {}", kind.what, kind.todo),
            )),
            None => Ok(()),
        }
    }

    /// Refuses two whole models in one: either may be meant.
    fn refuse_two(&self, required: &[&str]) -> Result<()> {
        let [one, ..] = required else { return Ok(()) };
        let mut sets = names::other_sets(self.tensors.keys().map(String::as_str), required);
        let plain = self.tensors.contains_key(*one);
        if sets.len() + usize::from(plain) < 2 {
            return Ok(());
        }
        sets.sort_unstable();
        let named = sets.iter().take(MAX_PROBLEMS).map(|prefix| format!("{}{one}", shown(prefix)));
        let named: Vec<String> = plain.then(|| (*one).to_owned()).into_iter().chain(named).collect();
        let reason = format!(
            "holds the weights of two models or more, and either may be meant: {}. Save the one that is meant, without what \
             stands before the names of the others",
            named.join(", ")
        );
        Err(file_error(&self.path, reason))
    }

    /// Layers beyond those that a config counts.
    fn more_layers(&self, config: &Config) -> Vec<String> {
        let (text, vision, abstractor) = (&config.text, &config.vision, &config.abstractor);
        let mut problems = vec![];
        for (at, packed, key, counted) in [
            ("model.layers.", "decoder.", "num_hidden_layers", text.num_hidden_layers),
            (
                "model.vision_model.encoder.layers.",
                "vision.",
                "visual_model.num_hidden_layers",
                vision.num_hidden_layers,
            ),
            (
                "model.visual_abstractor.encoder.layers.",
                "abstractor.",
                "visual_abstractor.num_hidden_layers",
                abstractor.num_hidden_layers,
            ),
        ] {
            for at in [at, packed] {
                let layer = |name: &str| name.strip_prefix(at)?.split('.').next()?.parse::<usize>().ok();
                if let Some(last) = self.names().filter_map(layer).max().filter(|&last| last >= counted) {
                    problems
                        .push(format!("{at}{last}.* is in the file, and config.json's {key} is {counted}"));
                }
            }
        }
        problems
    }
}

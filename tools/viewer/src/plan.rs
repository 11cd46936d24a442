//! What a model takes of the device, before it is loaded and while it is there.

use strix_engine::Gpu;
use strix_model::{Checkpoint, Config, Home, LoadOptions, MemoryPlan, Model, Source};

use crate::settings::Choice;

/// Bytes of one part of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// Bytes of the device's memory.
    pub(crate) device_bytes: u64,
    /// Whether it comes to the device while it is used.
    pub(crate) is_streamed: bool,
}

/// What a model takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) parameters: u64,
    /// What its weights are on the device.
    pub(crate) dtype: String,
    /// Positions of a conversation.
    pub(crate) ctx: u32,
    pub(crate) parts: Vec<Part>,
    /// Bytes that may be used, where they are known.
    pub(crate) budget_bytes: Option<u64>,
    /// Decoder layers that stay on the device, and all.
    pub(crate) layers: [usize; 2],
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    fn new(config: &Config, dtype: String, ctx: u32, memory: &MemoryPlan, notes: Vec<String>) -> Self {
        let part = |part: &strix_model::MemoryPart| Part {
            name: part.name,
            bytes: part.bytes,
            device_bytes: part.device_bytes,
            is_streamed: part.home == Home::Streamed,
        };
        Self {
            parameters: config.num_parameters(),
            dtype: if dtype == "auto" { "as in the files".into() } else { dtype },
            ctx,
            parts: memory.parts.iter().map(part).collect(),
            budget_bytes: memory.budget_bytes,
            layers: memory.resident_layers,
            notes,
        }
    }

    /// That of a model which is loaded.
    pub(crate) fn of(model: &Model, options: &LoadOptions) -> Self {
        Self::new(
            model.config(),
            options.dtype.to_string(),
            model.ctx(),
            model.memory(),
            model.notes().to_vec(),
        )
    }

    /// Looks at a model's files, and at what the device has room for.
    ///
    /// # Errors
    ///
    /// If the files are missing or damaged, or the model does not fit.
    pub(crate) fn read(gpu: &Gpu, choice: &Choice, options: &LoadOptions) -> strix_model::Result<Self> {
        let checkpoint = Checkpoint::open(source(choice))?;
        let report = checkpoint.plan(gpu, options)?;
        let notes = checkpoint.notes().iter().chain(&report.notes).cloned().collect();
        Ok(Self::new(checkpoint.config(), report.dtype, report.ctx, &report.memory, notes))
    }

    /// Bytes of the device's memory.
    pub(crate) fn device_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.device_bytes).sum()
    }

    /// Whether some layers come to the device while they are used.
    pub(crate) fn streams(&self) -> bool {
        self.layers[0] < self.layers[1]
    }
}

/// The files of a model.
pub(crate) fn source(choice: &Choice) -> Source<'_> {
    match choice {
        Choice::Nano => Source::Nano,
        Choice::Folder(path) => Source::Dir(path),
    }
}

/// `1.4 GiB`, `56 MiB`, `312 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(value < 10.0 && unit > 0);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `8.2 billion`, `1.3 million`.
pub(crate) fn count(number: u64) -> String {
    let value = number as f64;
    match number {
        0..1_000_000 => number.to_string(),
        1_000_000..1_000_000_000 => format!("{:.1} million", value / 1e6),
        _ => format!("{:.1} billion", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_is_what_is_loaded() {
        let gpu = Gpu::new().unwrap_or_else(|e| panic!("this test needs an adapter; lavapipe will do: {e}"));
        let options = LoadOptions { ctx: Some(256), ..LoadOptions::default() };
        let planned = Plan::read(&gpu, &Choice::Nano, &options).unwrap();
        let model = Model::load_on(&gpu, Source::Nano, &options, &mut strix_model::unwatched).unwrap();
        let loaded = Plan::of(&model, &options);
        assert_eq!((planned.ctx, planned.parameters), (loaded.ctx, loaded.parameters));
        assert_eq!((planned.layers, &planned.notes), (loaded.layers, &loaded.notes));
        assert_eq!(planned.parts, loaded.parts);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (12, "12 B"),
            (1536, "1.5 KiB"),
            (57 << 20, "57 MiB"),
            (3 << 29, "1.5 GiB"),
            (24 << 30, "24 GiB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(count(1_330_000), "1.3 million");
        assert_eq!(count(8_198_000_000), "8.2 billion");
    }
}

//! Every kernel that the 8.2B model uses on a device, beside its CPU reference.

use std::collections::BTreeMap;
use std::thread;

use serde::Serialize;
use strix_engine::{Deviation, Gpu};
use strix_model::tokenizer::PromptId;
use strix_model::weights::FileDtype;
use strix_model::{Config, LoadOptions, Model, Source, Weights, unwatched};

use super::finding::{Finding, Level};

/// Largest error of a result, in parts of the largest number of it: what `strix tune` allows.
const TOLERANCE: f64 = 1e-3;

/// What was found of the kernels.
#[derive(Serialize)]
pub(super) struct Checked {
    pub(super) kernels: Vec<Kernel>,
    /// Kernels of the model that were not run.
    pub(super) unchecked: Vec<String>,
}

/// One specialisation of a kernel.
#[derive(Clone, Default, Serialize)]
pub(super) struct Kernel {
    pub(super) kernel: String,
    /// Tensors that were compared.
    pub(super) compared: usize,
    /// Largest difference, in parts of the largest expected value.
    pub(super) max: f64,
    /// Root of the mean square of the differences, in parts of that of the expected values.
    pub(super) rms: f64,
    pub(super) is_right: bool,
}

/// Runs a layer of each part at the width of a config's model, each step also on the processor. What a device cannot do is
/// a finding.
pub(super) fn check(
    gpu: &Gpu,
    config: &Config,
    options: &LoadOptions,
    findings: &mut Vec<Finding>,
) -> Checked {
    let both = thread::scope(|scope| {
        // The references take one core each.
        let encoder = scope.spawn(|| encoder(gpu, config, options));
        let decoder = decoder(gpu, config, options);
        [
            decoder,
            encoder.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the check of the vision tower panicked"))),
        ]
    });
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    for found in both {
        match found {
            Ok(deviations) => deviations.iter().for_each(|deviation| note(&mut kernels, deviation)),
            Err(error) => findings.push(Finding::new(
                Level::Fault,
                format!("kernels of the 8.2B model could not be checked: {error:#}"),
                "try another driver or `--adapter`, and report it with this output",
            )),
        }
    }
    for kernel in kernels.values().filter(|kernel| !kernel.is_right) {
        findings.push(Finding::new(
            Level::Fault,
            format!(
                "{} is wrong: {:.1e} of its largest value, {TOLERANCE:.0e} is allowed",
                kernel.kernel, kernel.max
            ),
            "STRIX_FAMILY=tiled or plain uses others; update the driver, and report it with this output",
        ));
    }
    let all = strix_model::shaders(config, options, &gpu.target()).unwrap_or_default();
    let unchecked =
        all.iter().map(|shader| shader.label.clone()).filter(|label| !kernels.contains_key(label));
    Checked { unchecked: unchecked.collect(), kernels: kernels.into_values().collect() }
}

fn note(kernels: &mut BTreeMap<String, Kernel>, deviation: &Deviation) {
    let Deviation { kernel: label, max, rms, .. } = deviation;
    let kernel = kernels.entry(label.clone()).or_insert_with(|| Kernel {
        kernel: label.clone(),
        is_right: true,
        ..Kernel::default()
    });
    kernel.compared += 1;
    // Not a number stays one.
    kernel.max = if max.is_nan() { *max } else { kernel.max.max(*max) };
    kernel.rms = if rms.is_nan() { *rms } else { kernel.rms.max(*rms) };
    // Not a number is not right.
    kernel.is_right &= *max <= TOLERANCE;
}

/// A prompt of text and a small picture, and a token behind it.
fn decoder(gpu: &Gpu, config: &Config, options: &LoadOptions) -> anyhow::Result<Vec<Deviation>> {
    let mut config = config.clone();
    config.text.num_hidden_layers = 1;
    // The head's kernels are the same for any vocabulary, of which two thirds of the time would be spent.
    config.text.vocab_size = config.text.vocab_size.min(4096);
    // What is left of the others is not run.
    config.vision.num_hidden_layers = 1;
    config.abstractor.num_hidden_layers = 1;
    config.abstractor.num_learnable_queries = 2;
    let model = load(gpu, &config, options)?;
    let mut session = model.session()?;
    session.add_embeds(waves(config.num_image_tokens() * config.text.hidden_size).into());
    session.inspect().deviations(&[1.into(), 40.into(), PromptId::Picture, 41.into()]).map_err(Into::into)
}

/// A picture of a quarter of the side.
fn encoder(gpu: &Gpu, config: &Config, options: &LoadOptions) -> anyhow::Result<Vec<Deviation>> {
    let mut config = config.clone();
    config.text.num_hidden_layers = 1;
    config.text.vocab_size = 64;
    config.text.intermediate_size = 64;
    config.vision.num_hidden_layers = 1;
    config.vision.image_size = 4 * config.vision.patch_size;
    config.abstractor.num_hidden_layers = 1;
    config.abstractor.grid_size = 4;
    let model = load(gpu, &config, options)?;
    let size = config.vision.image_size;
    Ok(model.deviations_encode(&waves(config.vision.num_channels * size * size))?)
}

/// So many values from -1 to 1.
fn waves(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect()
}

fn load(gpu: &Gpu, config: &Config, options: &LoadOptions) -> anyhow::Result<Model> {
    let weights = Weights::synthetic(config, FileDtype::BF16, 1);
    let source = Source::Weights { config, weights: &weights.into(), tokenizer: None };
    Ok(Model::load_on(gpu, source, options, &mut unwatched)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_kernel_counts_and_no_number_is_wrong() {
        let deviation = |kernel: &str, max| Deviation {
            label: "step".into(),
            kernel: kernel.into(),
            max,
            rms: max / 10.0,
            is_f16: false,
        };
        let mut kernels = BTreeMap::new();
        for (kernel, max) in [("a", 1e-6), ("b", 1e-5), ("b", 2e-3), ("b", 1e-7), ("c", f64::NAN)] {
            note(&mut kernels, &deviation(kernel, max));
        }
        let right: Vec<_> = kernels.values().map(|kernel| kernel.is_right).collect();
        assert_eq!(right, [true, false, false]);
        assert_eq!((kernels["b"].compared, kernels["b"].max), (3, 2e-3));
    }
}

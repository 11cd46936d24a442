//! Which kernels are compiled.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, bail};
use strix_engine::{Choices, Shader, Target};
use strix_model::{Activations, Config, Dtype, KvDtype, LoadOptions};
use strix_shaders::generated::KERNELS;

/// What the 8.2B model is best loaded with.
pub(crate) fn int8() -> LoadOptions {
    LoadOptions { dtype: Dtype::Int8 { group: None }, ctx: Some(2048), ..LoadOptions::default() }
}

/// The options that the 8.2B model is looked at with: each kind of weights, each kind of KV cache.
fn options() -> Vec<LoadOptions> {
    let int8 = |group| Dtype::Int8 { group };
    let dtypes = [(int8(None), true), (Dtype::Bf16, false), (int8(Some(128)), true), (Dtype::F32, false)];
    let of = |(dtype, int8_vision)| {
        [KvDtype::F32, KvDtype::F16].map(|kv| LoadOptions {
            dtype,
            int8_vision,
            kv,
            ctx: Some(2048),
            ..LoadOptions::default()
        })
    };
    dtypes.into_iter().flat_map(of).collect()
}

/// The 8.2B model with one layer of each kind: its kernels are those of the whole.
fn one_layer() -> Result<Config> {
    let mut config = Config::from_json(b"{}")?;
    config.text.num_hidden_layers = 1;
    config.vision.num_hidden_layers = 1;
    Ok(config)
}

/// Every specialisation that the 8.2B model uses on a device by default, under each kind of weights, in the order of
/// decoding, prefill and vision.
///
/// # Errors
///
/// If the model has no kernels for the device.
pub fn defaults(target: &Target) -> Result<Vec<Arc<Shader>>> {
    let (config, mut seen, mut used) = (one_layer()?, BTreeSet::new(), vec![]);
    for options in options() {
        for shader in strix_model::shaders(&config, &options, target)? {
            if seen.insert(shader.label.clone()) {
                used.push(shader);
            }
        }
    }
    Ok(used)
}

/// Those that are compiled before the first answer of the 8.2B model with int8 weights, in that order.
///
/// # Errors
///
/// If the model has no kernels for the device.
pub fn start(target: &Target) -> Result<Vec<Arc<Shader>>> {
    Ok(strix_model::shaders(&one_layer()?, &int8(), target)?)
}

/// The defaults, with all that `strix tune` may choose in their place: every legal way of every decision; and those of
/// products of f16, where the device has it.
///
/// # Errors
///
/// If the model has no kernels for the device.
pub fn choosable(target: &Target, defaults: &[Arc<Shader>]) -> Result<Vec<Arc<Shader>>> {
    let config = one_layer()?;
    let mut used = defaults.to_vec();
    let mut seen: BTreeSet<String> = used.iter().map(|shader| shader.label.clone()).collect();
    let mut all = options();
    if target.f16 {
        let halves = |dtype| LoadOptions { dtype, activations: Activations::F16, ..int8() };
        all.extend([Dtype::Int8 { group: None }, Dtype::Bf16].map(halves));
    }
    for options in all {
        for shader in strix_model::shaders(&config, &options, target)? {
            if seen.insert(shader.label.clone()) {
                used.push(shader);
            }
        }
        for decision in strix_model::decisions(&config, &options, target)? {
            for (index, way) in decision.legal.iter().enumerate() {
                if index == decision.taken {
                    continue;
                }
                let mut choices = Choices::default();
                choices.set(&decision.kernel, &decision.situation, way.clone());
                for shader in strix_model::shaders(&config, &options, &target.with_choices(choices))? {
                    if seen.insert(shader.label.clone()) {
                        used.push(shader);
                    }
                }
            }
        }
    }
    Ok(used)
}

/// Every specialisation of every kernel, for any device.
pub fn every() -> Vec<Arc<Shader>> {
    let of = |kernel: &&'static strix_shaders::Kernel| {
        let kernel = *kernel;
        kernel.choices().into_iter().map(move |way| kernel.specialisation(&way).shader.clone())
    };
    KERNELS.iter().flat_map(of).collect()
}

/// Whether a name is a kernel's, or that of a family of it: `gemm_tiled` of `gemm`.
pub fn is_of(name: &str, kernel: &str) -> bool {
    name.strip_prefix(kernel).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Whether a specialisation has all of some values. A value without a name is of any variant.
pub fn fits(shader: &Shader, values: &[(String, String)]) -> bool {
    values
        .iter()
        .all(|(n, v)| shader.variants.iter().any(|(name, value)| (n.is_empty() || name == n) && value == v))
}

/// Keeps those of a kernel or of its families that have all of some values. A value without a name is of any variant.
///
/// # Errors
///
/// If none is left.
pub fn keep(shaders: &mut Vec<Arc<Shader>>, kernel: Option<&str>, values: &[(String, String)]) -> Result<()> {
    let is = |shader: &Shader| kernel.is_none_or(|kernel| is_of(shader.name, kernel)) && fits(shader, values);
    let names: BTreeSet<&str> = shaders.iter().map(|shader| shader.name).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    shaders.retain(|shader| is(shader));
    if shaders.is_empty() {
        let word = |(n, v): &(String, String)| if n.is_empty() { v.clone() } else { format!("{n}={v}") };
        let values: Vec<_> = values.iter().map(word).collect();
        let wanted = [kernel.unwrap_or_default(), &values.join(" ")].join(" ");
        bail!("this device uses no kernel {:?}; it uses {names}", wanted.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use strix_engine::Family;

    use super::*;

    fn gpu() -> Target {
        Target { subgroup: Some(32), family: Family::Tiled, ..Target::default() }
    }

    #[test]
    fn what_can_be_chosen_holds_the_defaults_and_more_each_once() {
        let defaults = defaults(&gpu()).unwrap();
        let all = choosable(&gpu(), &defaults).unwrap();
        assert!(all.len() > defaults.len(), "{} of {}", defaults.len(), all.len());
        assert!(defaults.iter().zip(&all).all(|(a, b)| a.label == b.label));
        let start = start(&gpu()).unwrap();
        assert!(
            start.len() < defaults.len() && start.iter().all(|s| defaults.iter().any(|d| d.label == s.label))
        );
        let labels: BTreeSet<&str> = all.iter().map(|shader| shader.label.as_str()).collect();
        assert_eq!(labels.len(), all.len());
    }

    #[test]
    fn kernels_are_kept_by_name_and_values() {
        let kept = |kernel: Option<&str>, values: &[(&str, &str)]| {
            let mut shaders = defaults(&gpu()).unwrap();
            let values: Vec<_> = values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            keep(&mut shaders, kernel, &values).map(|()| shaders)
        };
        let gemms = kept(Some("gemm"), &[("weights", "int8")]).unwrap();
        assert!(
            gemms.iter().all(|shader| shader.label.starts_with("gemm_tiled[weights=int8,"))
                && !gemms.is_empty()
        );
        // A value is of the variant that is named, and without a name of any.
        assert!(kept(Some("gemm"), &[("weights", "128")]).is_err());
        assert_eq!(
            kept(Some("gemm"), &[("", "128")]).unwrap().len(),
            kept(Some("gemm"), &[("rows", "128")]).unwrap().len()
        );
        let error = kept(Some("gem"), &[("rows", "7")]).unwrap_err().to_string();
        assert!(error.contains("\"gem rows=7\"") && error.contains("rms_norm"), "{error}");
    }
}

//! `strix shader`: the text of a kernel as a device would run it.

use std::io::{self, Write};

use anyhow::Context;
use strix_engine::{Family, Gpu, GpuOptions, Shader, Target};
use strix_isa::select::{defaults, fits, is_of};
use strix_shaders::generated::KERNELS;
use strix_shaders::{Kernel, Value};

use crate::terminal::whisper;
use crate::{DONE, Usage, cache};

const EXAMPLES: &str = "\
Examples:
  strix shader gemm_int8
  strix shader gemm_int8 --device gpu
  strix shader gemm weights=int8 rows=1 --device cpu
  strix shader decode_attention_f16 > decode_attention.wgsl
  strix shader --all";

/// Print the specialised text of a kernel that this device, or one of a class, would run
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A kernel, with values of its variants appended: gemm, gemm_int8, decode_attention_f16
    #[arg(value_name = "KERNEL", required_unless_present = "all")]
    kernel: Option<String>,
    /// Values of variants: rows=1
    #[arg(value_name = "VARIANT=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
    /// The same as weights=TYPE
    #[arg(long, value_name = "TYPE")]
    weights: Option<String>,
    /// For whom: cpu, gpu or plain, or part of an adapter's name [default: the adapter that is used here]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Lanes of a subgroup of the class cpu or gpu [default: 8, 32]
    #[arg(long, value_name = "LANES", value_parser = ["8", "16", "32", "64"], requires = "device")]
    subgroup: Option<String>,
    /// List all kernels, their variants and values
    #[arg(long, conflicts_with_all = ["kernel", "values", "weights", "device"])]
    all: bool,
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(n, v)| (n.to_owned(), v.to_owned())).ok_or_else(|| "it is not of the form rows=1".into())
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let mut out = crate::terminal::stdout();
    let Some(name) = args.kernel.as_deref().filter(|_| !args.all) else {
        list(&mut out)?;
        return Ok(DONE);
    };
    let (kernel, appended) = resolve(name)?;
    let mut wanted = args.values.clone();
    wanted.extend(args.weights.iter().map(|weights| ("weights".to_owned(), weights.clone())));
    check(kernel, &wanted)?;
    wanted.extend(appended.into_iter().map(of_any));
    let fits = |shader: &Shader| fits(shader, &wanted);

    let (target, device) = target(args)?;
    let used: Vec<_> =
        defaults(&target)?.into_iter().filter(|s| is_of(s.name, kernel.name) && fits(s)).collect();
    let shader = match used.split_first() {
        Some((first, others)) => {
            for other in others {
                whisper(&format!("also used on {device}: {}", other.label));
            }
            first.clone()
        }
        None => {
            let ways = kernel.choices();
            let mut all = ways.iter().map(|way| kernel.specialisation(way).shader.clone());
            let shader = all.find(|shader| fits(shader)).ok_or_else(|| {
                Usage(format!("{name}: there is none of these values together; {}", described(kernel)))
            })?;
            whisper(&format!("the 8.2B model does not use it on {device}"));
            shader
        }
    };
    whisper(&shader.label);
    out.write_all(shader.wgsl.as_bytes())?;
    Ok(DONE)
}

/// A value that is appended to a name: of any variant.
pub(crate) fn of_any(value: String) -> (String, String) {
    (String::new(), value)
}

/// The kernel whose name a name begins with, and the values that follow: `gemm_int8_group` is `gemm`, `int8_group`.
pub(crate) fn resolve(name: &str) -> anyhow::Result<(&'static Kernel, Vec<String>)> {
    let rest = |kernel: &Kernel| match name.strip_prefix(kernel.name)? {
        "" => Some(""),
        rest => rest.strip_prefix('_'),
    };
    let mut found: Vec<_> = KERNELS.iter().filter_map(|kernel| Some((*kernel, rest(kernel)?))).collect();
    found.sort_by_key(|(kernel, _)| std::cmp::Reverse(kernel.name.len()));
    let appended = found.iter().find_map(|(kernel, rest)| Some((*kernel, split(kernel, rest)?)));
    if let Some(appended) = appended {
        return Ok(appended);
    }
    let message = match found.first() {
        Some((kernel, rest)) => format!("{} has no value {rest:?}; {}", kernel.name, described(kernel)),
        None => {
            let mut names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
            names.sort_by_key(|other| distance(name, other));
            let near = distance(name, names[0]) <= name.len() / 2;
            let hint = if near { format!("did you mean {}? ", names[0]) } else { String::new() };
            names.sort_unstable();
            format!("no kernel is named {name:?}; {hint}There are {}", names.join(", "))
        }
    };
    Err(Usage(message).into())
}

/// Splits `int8_group_8` into values of the kernel's variants, the longest first.
fn split(kernel: &Kernel, text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(vec![]);
    }
    let values = kernel.variants.iter().flat_map(|(_, values)| values.iter().map(Value::to_string));
    let mut values: Vec<_> = values.collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let rest = |value: &str| match text.strip_prefix(value)? {
        "" => Some(""),
        rest => rest.strip_prefix('_'),
    };
    values.into_iter().find_map(|v| {
        let others = split(kernel, rest(&v)?)?;
        Some([vec![v], others].concat())
    })
}

fn described(kernel: &Kernel) -> String {
    if kernel.variants.is_empty() {
        return "it has no variants".into();
    }
    let variants = kernel.variants.iter().map(|(name, values)| format!("{name} = {}", joined(values)));
    format!("it can be specialised by {}", variants.collect::<Vec<_>>().join(", "))
}

fn joined(values: &[Value]) -> String {
    values.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

pub(crate) fn check(kernel: &Kernel, wanted: &[(String, String)]) -> Result<(), Usage> {
    for (name, value) in wanted {
        let has = |values: &[Value]| values.iter().any(|known| known.to_string() == *value);
        let known = kernel.variants.iter().any(|(n, values)| n == name && has(values));
        if !known {
            return Err(Usage(format!("{}: no {name} = {value}; {}", kernel.name, described(kernel))));
        }
    }
    Ok(())
}

/// The device asked for and what it is called: of a class, or one of this machine, with what was found best on it.
fn target(args: &Args) -> anyhow::Result<(Target, String)> {
    let class = |family: Family, is_cpu: bool, subgroup: Option<u32>| -> anyhow::Result<(Target, String)> {
        let asked = args.subgroup.as_deref().map(str::parse).transpose().context("lanes")?;
        let target = Target {
            subgroup: subgroup.map(|lanes| asked.unwrap_or(lanes)),
            subgroups: subgroup.is_some(),
            texels: is_cpu,
            is_cpu,
            family,
            // A GPU without subgroups has tiled kernels too.
            forced: family == Family::Plain,
            ..Target::default()
        };
        Ok((target, format!("devices of the class {}", args.device.as_deref().unwrap_or_default())))
    };
    match args.device.as_deref() {
        Some("cpu") => class(Family::Subgroup, true, Some(8)),
        Some("gpu") => class(Family::Tiled, false, Some(32)),
        Some("plain") => class(Family::Plain, false, None),
        name => {
            let mut options = GpuOptions::from_env();
            if let Some(name) = name {
                options.adapter = Some(name.into());
            }
            let gpu = Gpu::with(&options)?;
            cache::choose(&gpu);
            Ok((gpu.target(), gpu.name()))
        }
    }
}

fn list(out: &mut impl Write) -> io::Result<()> {
    for kernel in KERNELS {
        writeln!(out, "{}", kernel.name)?;
        for (name, values) in kernel.variants {
            writeln!(out, "    {name:<10}{}", joined(values))?;
        }
    }
    Ok(())
}

/// Edits that make one word of another.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut above = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = above + usize::from(x != y);
            above = row[j + 1];
            row[j + 1] = replaced.min(above + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_kernel_and_values_of_its_variants() {
        let resolved = |name| resolve(name).map(|(kernel, values)| (kernel.name, values.join(" "))).unwrap();
        assert_eq!(resolved("gemm"), ("gemm", String::new()));
        assert_eq!(resolved("gemm_int8"), ("gemm", "int8".into()));
        assert_eq!(resolved("gemm_int8_group_plain"), ("gemm", "int8_group plain".into()));
        assert_eq!(resolved("attention"), ("attention", String::new()));
        assert_eq!(resolved("decode_attention_f16"), ("decode_attention", "f16".into()));
        assert_eq!(resolved("attention_probs"), ("attention_probs", String::new()));
        assert_eq!(resolved("add"), ("add", String::new()));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let error = |name| resolve(name).map(|_| ()).unwrap_err().to_string();
        let message = error("gem");
        assert!(message.contains("did you mean gemm?") && message.contains("rms_norm"), "{message}");
        let message = error("gemm_int7");
        assert!(message.contains("\"int7\"") && message.contains("int8_group"), "{message}");
        let message = error("something_else_entirely");
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn a_distance_counts_edits() {
        assert_eq!(distance("gemm", "gemm"), 0);
        assert_eq!(distance("gem", "gemm"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

//! What drivers say of our kernels, against what is committed: no spill in a default, no refusal, nothing worse.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use strix_isa::metrics::Metric;
use strix_isa::report::{read_tsv, tsv};
use strix_isa::run::{Fate, GpuRun, Report};

use super::Findings;

/// Checks the kernels of a GPU, and its table in a folder; `write` writes that anew.
///
/// # Errors
///
/// If the table is none, or cannot be read or written.
pub fn check(gpu: &GpuRun, dir: &Path, write: bool) -> Result<Findings> {
    let mut findings: Findings = gpu.failed.iter().map(|why| format!("{}: {why}", gpu.gpu)).collect();
    findings.extend(gpu.kernels.iter().filter_map(fault).map(|what| format!("{}: {what}", gpu.gpu)));
    if !gpu.device.offers {
        println!("{}: {} kernels compile; the driver says nothing of them", gpu.gpu, gpu.kernels.len());
        return Ok(findings);
    }
    let path = dir.join(format!("{}.tsv", gpu.gpu));
    if write {
        fs::create_dir_all(dir)?;
        fs::write(&path, tsv(gpu)).with_context(|| path.display().to_string())?;
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("{}: write it with --write", path.display()))?;
    let table = read_tsv(&gpu.gpu, &text)?;
    if table.driver == gpu.device.driver {
        findings.extend(worse(gpu, &table.kernels).into_iter().map(|what| format!("{}: {what}", gpu.gpu)));
    } else {
        println!(
            "{}: the table is of {}, this is {}: they are not compared",
            gpu.gpu, table.driver, gpu.device.driver
        );
    }
    let defaults = gpu.kernels.iter().filter(|kernel| kernel.default).count();
    println!("{}: {} kernels, {defaults} of them defaults", gpu.gpu, gpu.kernels.len());
    Ok(findings)
}

/// What is wrong with a kernel whatever it was before.
fn fault(kernel: &Report) -> Option<String> {
    let label = &kernel.label;
    match &kernel.fate {
        Fate::Refused(why) => return Some(format!("{label} is refused: {why}")),
        Fate::Died(why) => return Some(format!("the driver dies of {label}: {why}")),
        Fate::Made => {}
    }
    let some = |metric: Metric| metric.of(kernel).filter(|value| *value > 0.0);
    let spills = some(Metric::Spills).map(|n| format!("{label} spills {n} values"));
    let scratch = || some(Metric::Scratch).map(|n| format!("{label} uses {n} bytes of private memory"));
    spills.or_else(scratch).filter(|_| kernel.default)
}

type Stored = [(String, std::collections::BTreeMap<Metric, f64>)];

/// Figures that are worse than those of a table, and kernels that it lacks or has too many.
fn worse(gpu: &GpuRun, stored: &Stored) -> Findings {
    let mut findings = vec![];
    for kernel in gpu.kernels.iter().filter(|kernel| kernel.default && kernel.fate == Fate::Made) {
        let Some((label, figures)) = stored.iter().find(|(label, _)| *label == kernel.label) else {
            findings.push(format!("{} is not in the table: --write", kernel.label));
            continue;
        };
        for (&metric, &old) in figures {
            // As coarse as it is stored.
            let new = metric.of(kernel).and_then(|new| metric.shown(new).parse().ok());
            match new {
                Some(new) if metric.is_worse(old, new) => {
                    let (old, new) = (metric.shown(old), metric.shown(new));
                    findings.push(format!("{label}: {} {new}, and was {old}", metric.key()));
                }
                _ => {}
            }
        }
    }
    let gone = stored.iter().filter(|(label, _)| !gpu.kernels.iter().any(|kernel| kernel.label == *label));
    findings.extend(gone.map(|(label, _)| format!("{label} is in the table and is not used: --write")));
    findings
}

#[cfg(test)]
mod tests {
    use strix_isa::gpus::Architecture;
    use strix_isa::statistics::Statistics;
    use strix_isa::worker::DeviceReport;

    use super::*;

    fn kernel(label: &str, spills: u32, default: bool) -> Report {
        let statistics =
            Statistics { spills: Some(spills), instructions: Some(100), ..Statistics::default() };
        Report {
            label: label.into(),
            default,
            fate: Fate::Made,
            ms: 1.0,
            naga_ms: 0.5,
            spirv_bytes: 4,
            declared_bytes: 0,
            invocations: 64,
            statistics: Some(statistics),
            hot: None,
            texts: None,
        }
    }

    fn gpu(kernels: Vec<Report>) -> GpuRun {
        let device = DeviceReport { driver: "radv 25".into(), offers: true, ..DeviceReport::default() };
        GpuRun {
            gpu: "navi31".into(),
            title: String::new(),
            architecture: Architecture::Rdna3,
            device,
            kernels,
            works: vec![],
            failed: None,
        }
    }

    #[test]
    fn a_spill_is_found_in_a_default_alone_and_a_refusal_everywhere() {
        let mut refused = kernel("rope", 0, false);
        refused.fate = Fate::Refused("no".into());
        let run = gpu(vec![kernel("add", 3, true), kernel("gemm", 9, false), refused]);
        let dir = tempfile::tempdir().unwrap();
        let findings = check(&run, dir.path(), true).unwrap();
        assert_eq!(findings, ["navi31: add spills 3 values", "navi31: rope is refused: no"]);
    }

    #[test]
    fn figures_that_are_worse_than_the_table_are_found_unless_the_driver_is_another() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(&gpu(vec![kernel("add", 0, true)]), dir.path(), false).is_err());
        assert_eq!(
            check(&gpu(vec![kernel("add", 0, true), kernel("old", 0, true)]), dir.path(), true).unwrap(),
            [""; 0]
        );
        let mut run = gpu(vec![kernel("add", 0, true), kernel("new", 0, true)]);
        run.kernels[0].statistics.as_mut().unwrap().instructions = Some(120);
        let findings = check(&run, dir.path(), false).unwrap().join("\n");
        for words in ["add: instructions 120, and was 100", "new is not in the table", "old is in the table"]
        {
            assert!(findings.contains(words), "{findings}");
        }
        run.device.driver = "radv 26".into();
        assert_eq!(check(&run, dir.path(), false).unwrap(), [""; 0]);
    }
}

//! How long a cold start compiles, and what bounds the speed of the 8.2B model on each GPU: the tables of `benches/GPUS.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use strix_isa::metrics::Metric;
use strix_isa::peaks::{self, Peak};
use strix_isa::report::read_tsv;
use strix_isa::roofline::Limit;
use strix_isa::run::{Fate, GpuRun, Run};
use strix_isa::work::{CONTEXT, PROMPT, Phase, Work};

use super::Findings;

/// What the tables in the document are between.
const BEGIN: &str = "<!-- cargo xtask gpus --part speed --write -->\n";
const END: &str = "<!-- end -->\n";

/// Cores that a cold start compiles on.
const CORES: f64 = 2.0;

/// Figures of kernels by their labels.
type Figures = BTreeMap<String, BTreeMap<Metric, f64>>;

/// Prints the tables, and puts them into a document if one is given. `dir` has the figures of the kernels.
///
/// # Errors
///
/// If a table of figures or the document cannot be read, or has no place for them.
pub fn check(run: &Run, dir: &Path, document: Option<&Path>) -> Result<Findings> {
    let (mut findings, mut gpus) = (vec![], vec![]);
    for gpu in &run.gpus {
        findings.extend(gpu.failed.iter().map(|why| format!("{}: {why}", gpu.gpu)));
        let peak = peaks::of(&gpu.gpu).with_context(|| format!("{}: peaks.json has no peak", gpu.gpu))?;
        let path = dir.join(format!("{}.tsv", gpu.gpu));
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}: --part statistics --write writes it", path.display()))?;
        let figures = read_tsv(&gpu.gpu, &text)?.kernels.into_iter().collect();
        gpus.push((gpu, peak, figures));
    }
    let text = tables(&gpus);
    println!("{text}");
    if let Some(path) = document {
        let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        fs::write(path, replaced(&old, &text).with_context(|| path.display().to_string())?)?;
    }
    Ok(findings)
}

/// A document with other tables.
fn replaced(document: &str, tables: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("no line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END:?} behind {BEGIN:?}"))?;
    ensure!(!after.contains(BEGIN), "{BEGIN:?} is there twice");
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

fn tables(gpus: &[(&GpuRun, &Peak, Figures)]) -> String {
    let mut out = String::from("### Tokens a second, at most (PREDICTED)\n\n");
    let _ = writeln!(
        out,
        "| card | memory GB/s | decode at {CONTEXT} | of it memory alone | prefill of {PROMPT} | its first limit | published: \
         llama.cpp, Vulkan, same card |\n|---|---:|---:|---:|---:|---|---|"
    );
    for (gpu, peak, figures) in gpus {
        let of = |phase| bounds(&gpu.works, phase, peak, figures);
        let (decode, prefill) = (of(Phase::Decode), of(Phase::Prefill));
        let seconds = |bounds: &[Bound]| bounds.iter().map(|bound| bound.seconds).sum::<f64>();
        let memory: f64 = decode.iter().map(|bound| bound.work.bytes / peak.bytes_per_s).sum();
        let first = prefill.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let _ = writeln!(
            out,
            "| {} (`{}`) | {:.0} | {:.0} | {:.0} | {:.0} | {} | {} |",
            peak.card,
            gpu.gpu,
            peak.bytes_per_s / 1e9,
            1.0 / seconds(&decode),
            1.0 / memory,
            f64::from(PROMPT) / seconds(&prefill),
            first.map_or("-".into(), |bound| format!(
                "{}: {}",
                bound.limit.word(),
                short(&bound.work.kernel)
            )),
            published(peak),
        );
    }
    out.push_str("\n### Compile time of a cold start\n\n");
    out.push_str(
        "| card | pipelines | naga s | driver s | both on two cores, s | slowest pipeline |\n|---|---:|---:|---:|---:|---|\n",
    );
    for (gpu, peak, _) in gpus {
        let made = || gpu.kernels.iter().filter(|kernel| kernel.fate == Fate::Made);
        let [naga, driver] =
            [made().map(|k| k.naga_ms).sum::<f64>() / 1e3, made().map(|k| k.ms).sum::<f64>() / 1e3];
        let slowest = made().max_by(|a, b| a.ms.total_cmp(&b.ms));
        let _ = writeln!(
            out,
            "| {} (`{}`) | {} | {naga:.2} | {driver:.2} | {:.2} | {} |",
            peak.card,
            gpu.gpu,
            made().count(),
            (naga + driver) / CORES,
            slowest.map_or("-".into(), |kernel| format!(
                "{}: {:.2} s",
                short(&kernel.label),
                kernel.ms / 1e3
            )),
        );
    }
    for (gpu, peak, figures) in gpus {
        let _ = writeln!(out, "\n### {} (`{}`), by kernel (PREDICTED)\n", peak.card, gpu.gpu);
        let _ = writeln!(out, "{}; machine code of {}.\n", peak.source, gpu.device.driver);
        out.push_str("| | kernel | dispatches | MB | GFLOP | ms at least | limit |\n|---|---|---:|---:|---:|---:|---|\n");
        for phase in [Phase::Decode, Phase::Prefill] {
            for Bound { work, seconds, limit } in bounds(&gpu.works, phase, peak, figures) {
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {:.0} | {:.1} | {:.2} | {} |",
                    word(phase),
                    work.kernel,
                    work.dispatches,
                    work.bytes / 1e6,
                    work.flops / 1e9,
                    seconds * 1e3,
                    limit.word()
                );
            }
        }
    }
    out
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Decode => "decode",
        Phase::Prefill => "prefill",
    }
}

/// A kernel without its variants.
fn short(label: &str) -> &str {
    label.split('[').next().unwrap_or_default()
}

/// A work with its bound.
struct Bound<'a> {
    work: &'a Work,
    seconds: f64,
    limit: Limit,
}

fn bounds<'a>(works: &'a [Work], phase: Phase, peak: &Peak, figures: &Figures) -> Vec<Bound<'a>> {
    let of = |work: &'a Work| {
        let (seconds, limit) = work.bound(peak, figures.get(&work.kernel));
        Bound { work, seconds, limit }
    };
    works.iter().filter(|work| work.phase == phase).map(of).collect()
}

fn published(peak: &Peak) -> String {
    let Some(published) = &peak.published else { return "-".into() };
    let rates = [(&published.decode, "decode"), (&published.prefill, "prefill of 512")];
    let rates = rates.into_iter().filter_map(|(rate, what)| Some(format!("{what} {}", rate.as_ref()?)));
    format!("{}: {} ({})", published.what, rates.collect::<Vec<_>>().join(", "), published.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_put_between_their_lines() {
        let document = format!("# GPUs\n{BEGIN}old\n{END}the end\n");
        assert_eq!(replaced(&document, "new").unwrap(), format!("# GPUs\n{BEGIN}\nnew\n{END}the end\n"));
        assert!(replaced("# GPUs\n", "new").unwrap_err().to_string().contains("xtask gpus"));
    }

    #[test]
    fn a_gpus_tokens_a_second_are_those_of_all_its_kernels_one_after_the_other() {
        let work = |phase, kernel: &str, bytes| Work {
            phase,
            kernel: kernel.into(),
            dispatches: 1,
            flops: 0.0,
            bytes,
        };
        let gpu = GpuRun {
            gpu: "navi21".into(),
            title: String::new(),
            architecture: strix_isa::gpus::Architecture::Rdna,
            device: Default::default(),
            kernels: vec![],
            works: vec![
                work(Phase::Decode, "gemv[rows=1]", 0.006 * 512e9),
                work(Phase::Decode, "top_k", 0.002 * 512e9),
                work(Phase::Prefill, "gemm[rows=64]", 512e9),
            ],
            failed: None,
        };
        let text = tables(&[(&gpu, peaks::of("navi21").unwrap(), Figures::new())]);
        assert!(text.contains("| 512 | 125 | 125 | 512 | memory: gemm |"), "{text}");
        assert!(text.contains("| decode | top_k | 1 | 1024 | 0.0 | 2.00 | memory |"), "{text}");
    }
}

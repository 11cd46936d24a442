//! Runs as text, Markdown, HTML and tables that are stored.

mod html;
mod table;
mod text;

use strix_model::shown;

use crate::metrics::Metric;
use crate::run::{Fate, GpuRun, Report};

pub use html::html;
pub use table::{read_tsv, tsv};
pub use text::{detail, markdown, text};

/// What the driver of a GPU does not say, if it says nothing.
pub fn silence(gpu: &GpuRun) -> Option<String> {
    (gpu.failed.is_none() && !gpu.device.offers).then(|| {
        format!(
            "{} has no VK_KHR_pipeline_executable_properties: it says nothing of registers, spills, occupancy, code or \
             cycles, and gives no listing. Shown is what is known without: that it compiles, in what time, and the \
             workgroup memory that the text declares",
            shown(&gpu.device.driver)
        )
    })
}

/// The columns that a GPU's driver gives values for.
fn columns(gpu: &GpuRun) -> Vec<Metric> {
    let has = |metric: &Metric| gpu.kernels.iter().any(|kernel| metric.of(kernel).is_some());
    Metric::ALL.into_iter().filter(has).collect()
}

/// A value of a kernel as it is shown; why there is none, in the first column, if it was not compiled.
fn cell(metric: Metric, report: &Report) -> String {
    metric.of(report).map_or_else(|| "-".into(), |value| metric.shown(value))
}

/// Why a kernel was not compiled.
fn reason(report: &Report) -> Option<String> {
    match &report.fate {
        Fate::Made => None,
        Fate::Refused(why) => Some(format!("REFUSED: {}", one_line(why))),
        Fate::Died(why) => Some(format!("THE DRIVER DIED: {}", one_line(why))),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The head of a GPU's part.
fn heading(gpu: &GpuRun) -> String {
    let lanes = match (gpu.device.lanes, gpu.device.subgroups) {
        (Some(lanes), _) => format!("subgroups of {lanes}"),
        (None, true) => "subgroups of any size".into(),
        (None, false) => "no subgroups".into(),
    };
    let device = gpu.device.name.trim();
    let name = match gpu.title.contains(device) {
        true => gpu.title.clone(),
        false => format!("{} ({device})", gpu.title),
    };
    let (name, driver) = (shown(&name), shown(&gpu.device.driver));
    format!("{}: {name}; {driver}; {} kernels, {lanes}", gpu.gpu, gpu.device.family)
}

/// The peak of a GPU's data sheet, in words.
fn peak(gpu: &GpuRun) -> Option<String> {
    let peak = crate::peaks::of(&gpu.gpu)?;
    let mut parts = vec![];
    if let (Some(units), Some(clock), Some(flops)) = (peak.units, peak.clock_mhz, peak.flop_per_clock) {
        parts.push(format!("{units} units at {clock} MHz, {flops:.0} FLOP/clk of f32 each"));
    }
    if let Some(flops) = peak.matrix_flop_per_clock {
        parts.push(format!("{flops:.0} of f16 matrices"));
    }
    parts.push(format!("{:.0} GB/s", peak.bytes_per_s / 1e9));
    Some(format!("Peak of the {}: {} ({})", peak.card, parts.join(", "), peak.source))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::gpus::Architecture;
    use crate::listing::Listing;
    use crate::run::{HotLoop, Run, Texts};
    use crate::statistics::Statistics;
    use crate::worker::DeviceReport;

    /// A run of two GPUs: one that says everything of two kernels, and one that says nothing.
    pub(crate) fn sample() -> Run {
        let statistics = include_str!("../samples/statistics.tsv").lines().next().unwrap();
        let raw = statistics.split('\t').skip(1).map(|field| {
            let (name, value) = field.split_once('=').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let listing = include_str!("../samples/amd.txt");
        let hot = Listing::parse("Assembly", listing).unwrap().hot().unwrap();
        let bound = crate::machine::Bound::of(Architecture::Rdna3, 64, &hot.mix);
        let gemm = Report {
            label: "gemm_tiled[weights=int8, rows=128]".into(),
            default: true,
            fate: Fate::Made,
            ms: 250.0,
            naga_ms: 9.0,
            spirv_bytes: 12_000,
            declared_bytes: 16_384,
            invocations: 256,
            statistics: Some(Statistics::of(64, raw.collect())),
            hot: Some(HotLoop {
                lines: vec![[5, 25]],
                inner_lines: vec![[14, 24]],
                trips: Some(4),
                mix: hot.mix,
                inner_mix: hot.inner_mix,
                bound,
                inner_bound: bound,
                peak_share: Some(0.53),
            }),
            texts: Some(Texts {
                wgsl: "fn gemm() { /* a < b && c > d */ }".into(),
                listing: Some(listing.into()),
            }),
        };
        let add = Report { label: "add".into(), hot: None, texts: None, ..gemm.clone() };
        let device = |name: &str, driver: &str, offers| DeviceReport {
            name: name.into(),
            driver: driver.into(),
            offers,
            lanes: None,
            subgroups: true,
            family: "tiled".into(),
        };
        let silent = Report { statistics: None, ..add.clone() };
        let refused = Report {
            fate: Fate::Refused("no such\nthing".into()),
            label: "top_k".into(),
            invocations: 0,
            ..silent.clone()
        };
        Run {
            strix: "0.1.0".into(),
            gpus: vec![
                GpuRun {
                    gpu: "navi31".into(),
                    title: "AMD Radeon RX 7900 XTX, RDNA 3".into(),
                    architecture: Architecture::Rdna3,
                    device: device("AMD Radeon Graphics (RADV NAVI31)", "radv Mesa 25.0.7", true),
                    kernels: vec![gemm, add],
                    works: vec![],
                    failed: None,
                },
                GpuRun {
                    gpu: "lavapipe-26".into(),
                    title: "lavapipe".into(),
                    architecture: Architecture::Software,
                    device: device("llvmpipe", "llvmpipe Mesa 26.2", false),
                    kernels: vec![silent, refused],
                    works: vec![],
                    failed: None,
                },
            ],
        }
    }

    #[test]
    fn text_shows_figures_what_is_not_offered_and_what_was_refused() {
        let text = text(&sample());
        for words in [
            "navi31: AMD Radeon RX 7900 XTX",
            "tiled kernels, subgroups of any size",
            "gemm_tiled[weights=int8, rows=128]",
            "156",
            "8550",
            "61.4",
            "peak %",
            "53.0",
            "llvmpipe Mesa 26.2 has no VK_KHR_pipeline_executable_properties",
            "REFUSED: no such; thing",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        // Columns without a value are left out.
        assert!(!text.contains("matrix %"), "{text}");
    }

    #[test]
    fn markdown_is_a_table_a_gpu() {
        let text = markdown(&sample());
        assert!(text.contains("| gemm_tiled[weights=int8, rows=128] | 156 |"), "{text}");
        assert!(text.contains("|---|---:|"), "{text}");
    }

    #[test]
    fn html_holds_the_listing_beside_the_wgsl_and_nothing_from_elsewhere() {
        let page = html(&sample());
        assert!(page.contains("a &lt; b &amp;&amp; c &gt; d") && page.contains("v_fmac_f32_e32"), "{page}");
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("class=\"hot inner\""), "{page}");
    }

    #[test]
    fn a_detail_tells_the_mix_of_a_turn() {
        let text = detail(&sample().gpus[0].kernels[0]);
        assert!(
            text.contains("4 times") && text.contains("FMA") && text.contains("workgroup memory"),
            "{text}"
        );
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let mut run = sample().gpus.remove(0);
        let read = read_tsv(&run.gpu, &tsv(&run)).unwrap();
        run.kernels.iter_mut().for_each(|kernel| kernel.texts = None);
        assert_eq!(read.driver, run.device.driver);
        assert_eq!(read.kernels.len(), 2);
        let (label, figures) = &read.kernels[0];
        assert_eq!(label, &run.kernels[0].label);
        assert_eq!(figures.get(&Metric::Registers), Some(&156.0));
        assert!(read_tsv("navi31", "kernel\tnothing\n").is_err());
        assert!(read_tsv("navi31", "# driver: x\nkernel\tspills\nadd\tmany\n").is_err());
    }
}

//! All that was found, as text and as JSON.

use std::io::{self, Write};

use indicatif::HumanBytes;
use serde::Serialize;
use strix_benches::Versions;
use strix_model::shown;

use super::answers::Answers;
use super::device::{Adapter, Properties};
use super::finding::{Finding, Level};
use super::kernels::Checked;
use super::speed::{Memory, Speed};
use crate::terminal::{self, BOLD, DIM, GREEN, RED, colours, paint};

const YELLOW: u8 = 33;

/// All that was found.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) versions: Versions,
    pub(super) host: String,
    pub(super) adapters: Vec<Adapter>,
    #[serde(flatten)]
    pub(super) device: Option<Device>,
    pub(super) findings: Vec<Finding>,
    pub(super) seconds: f64,
}

/// What was found of the adapter that was chosen.
#[derive(Serialize)]
pub(super) struct Device {
    pub(super) target: Properties,
    pub(super) kernels: Checked,
    pub(super) answers: Vec<Answers>,
    pub(super) speed: Option<Speed>,
    pub(super) memory: Option<Memory>,
}

pub(super) fn json(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    writeln!(out, "{}", terminal::json(&json))
}

pub(super) fn text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut page = Page { out, painted: colours(&io::stdout()) };
    let Versions { strix, wgpu, naga, build } = &report.versions;
    page.row("strix", format!("{strix}, wgpu {wgpu}, naga {naga}, {build} build, {}", report.host))?;
    for adapter in &report.adapters {
        let mark = if adapter.chosen { "*" } else { " " };
        let name = format!("{mark} {}, {}, {}", shown(&adapter.name), adapter.backend, adapter.kind);
        page.row("adapter", format!("{name}: {}", shown(&adapter.why)))?;
    }
    if let Some(device) = &report.device {
        page.device(device)?;
    }
    page.findings(&report.findings)?;
    page.row("", format!("in {:.0} s", report.seconds))
}

struct Page<'a, W> {
    out: &'a mut W,
    painted: bool,
}

impl<W: Write> Page<'_, W> {
    fn row(&mut self, label: &str, text: impl AsRef<str>) -> io::Result<()> {
        let label = paint(self.painted, BOLD, &format!("{label:<10}"));
        writeln!(self.out, "{label}{}", text.as_ref())
    }

    /// A row that is good or not.
    fn verdict(&mut self, label: &str, is_good: bool, text: impl AsRef<str>) -> io::Result<()> {
        let (sgr, mark) = if is_good { (GREEN, "✓") } else { (RED, "✗") };
        let mark = paint(self.painted, sgr, mark);
        self.row(label, format!("{mark} {}", text.as_ref()))
    }

    fn device(&mut self, device: &Device) -> io::Result<()> {
        let target = &device.target;
        self.row("driver", shown(&target.driver).to_string())?;
        let lanes = match (target.subgroup, target.subgroups) {
            (Some(lanes), _) => format!("subgroups of {lanes}"),
            (None, true) => "subgroups of any size".into(),
            (None, false) => "without subgroups".into(),
        };
        let matrices = target.matrices.map_or(String::new(), |side| format!(", matrices {side} by {side}"));
        self.row("kernels", format!("of the family {}, {lanes}{matrices}", target.family))?;
        self.row(
            "limits",
            format!(
                "{} a binding, {} a buffer, {} of workgroup memory, {} invocations",
                HumanBytes(target.binding_bytes),
                HumanBytes(target.buffer_bytes),
                HumanBytes(target.workgroup_bytes.into()),
                target.workgroup_invocations
            ),
        )?;
        self.row("features", target.used.join(", "))?;
        for missing in &target.missing {
            self.row("without", format!("{}: {}", missing.feature, missing.costs))?;
        }

        let (kernels, unchecked) = (&device.kernels.kernels, &device.kernels.unchecked);
        let right = kernels.iter().filter(|kernel| kernel.is_right).count();
        let worst = kernels.iter().max_by(|a, b| a.max.total_cmp(&b.max));
        let worst = worst.map_or(String::new(), |worst| {
            format!(", at most {:.1e} of the largest value from it ({})", worst.max, worst.kernel)
        });
        let is_good = !kernels.is_empty() && right == kernels.len();
        let all = kernels.len();
        self.verdict("8.2B", is_good, format!("{right} of {all} kernels as the CPU reference{worst}"))?;
        if !unchecked.is_empty() {
            self.row("", format!("not run: {}", unchecked.join(", ")))?;
        }
        for answers in &device.answers {
            let text = format!("{} of {} answers as expected", answers.right, answers.asked);
            self.verdict(answers.model, answers.right == answers.asked, text)?;
        }
        if let Some(speed) = &device.speed {
            let (read, multiplied) = (speed.bytes_per_s / 1e9, speed.flops_per_s / 1e9);
            self.row("speed", format!("reads {read:.1} GB/s, multiplies and adds {multiplied:.0} GFLOP/s"))?;
            self.row(
                "",
                format!(
                    "8.2B with int8 weights: at most {:.1} tokens/s, and {:.0} positions/s of a prompt",
                    speed.decode_tokens_per_s, speed.prefill_positions_per_s
                ),
            )?;
        }
        if let Some(memory) = &device.memory {
            let budget = memory.budget_bytes.map_or("an unknown size".into(), |b| HumanBytes(b).to_string());
            let [resident, all] = memory.resident_layers;
            self.row(
                "memory",
                format!(
                    "8.2B with int8 weights: {} of {budget}, {resident} of {all} layers on the device",
                    HumanBytes(memory.device_bytes)
                ),
            )?;
            for part in &memory.parts {
                self.row(
                    "",
                    format!("{:<30}{:>12}  {}", part.name, HumanBytes(part.bytes).to_string(), part.home),
                )?;
            }
        }
        Ok(())
    }

    fn findings(&mut self, findings: &[Finding]) -> io::Result<()> {
        for Finding { level, what, advice } in findings {
            let (sgr, label) = match level {
                Level::Note => (DIM, "note"),
                Level::Warning => (YELLOW, "warning"),
                Level::Fault => (RED, "fault"),
            };
            let label = paint(self.painted, sgr, &format!("{label:<10}"));
            writeln!(self.out, "{label}{}\n{:10}→ {}", shown(what), "", shown(advice))?;
        }
        match findings.iter().any(|finding| finding.level == Level::Fault) {
            true => self.verdict("", false, "something is wrong with this device or its driver"),
            false => self.verdict("", true, "Strix works here"),
        }
    }
}

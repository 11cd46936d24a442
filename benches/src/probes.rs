//! What the device can do at most, one ability at a time: kernels that do nothing else, each at several sizes of a workgroup and
//! numbers of workgroups, since how much must be under way at once differs from device to device.

use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use strix_engine::wgpu::{BufferUsages, Features};
use strix_engine::{Coop, Gpu};

use crate::page::PageBench;
use crate::run::Row;
use crate::stats::median;
use crate::wgsl::{self, Expression, Job, Operand, Request, Source, Sweep};
use crate::{Clock, Event, Result, Roofline, Settings};

/// Sizes of workgroups.
const WIDTHS: [f64; 2] = [64.0, 256.0];
/// Numbers of them: from a few for each core of a processor to what fills a large GPU.
const GROUPS: [f64; 3] = [16.0, 256.0, 4096.0];
/// Numbers that the memory's probes go through.
const NUMBERS: u32 = 1 << 23;
/// Bytes that are read back.
const READ_BACK: u64 = 64 << 20;

/// What a probe counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Bytes.
    Bytes,
    /// Floating-point operations.
    Flops,
    /// Operations of integers, or what else is done.
    Operations,
}

/// A kernel that measures one ability.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its name.
    pub name: &'static str,
    /// What it does, in words.
    pub words: &'static str,
    /// What it counts.
    pub counts: Counts,
    text: &'static str,
    entry: Option<&'static str>,
    operands: &'static [&'static str],
    /// How many of that a run does.
    amount: &'static str,
    needs: Features,
}

const SUMS: &str = "y=f32[WG*GROUPS]";
const WORDS: &str = "y=u32[WG*GROUPS]";

const fn of(
    name: &'static str,
    words: &'static str,
    counts: Counts,
    text: &'static str,
    operands: &'static [&'static str],
    amount: &'static str,
) -> Probe {
    Probe { name, words, counts, text, entry: None, operands, amount, needs: Features::empty() }
}

/// All probes that are kernels.
pub const PROBES: [Probe; 17] = [
    of(
        "read",
        "reads each address once",
        Counts::Bytes,
        include_str!("probes/read.wgsl"),
        &["x=f32[NUMBERS]:uniform", SUMS],
        "4*NUMBERS",
    ),
    of(
        "read in runs",
        "the same, every lane a run of its own",
        Counts::Bytes,
        include_str!("probes/read_runs.wgsl"),
        &["x=f32[NUMBERS]:uniform", SUMS],
        "4*NUMBERS",
    ),
    of(
        "write",
        "writes each address once",
        Counts::Bytes,
        include_str!("probes/write.wgsl"),
        &["y=f32[NUMBERS]"],
        "4*NUMBERS",
    ),
    of(
        "copy",
        "reads and writes",
        Counts::Bytes,
        include_str!("probes/copy.wgsl"),
        &["x=f32[NUMBERS]:uniform", "y=f32[NUMBERS]"],
        "8*NUMBERS",
    ),
    of(
        "triad",
        "reads two and writes one",
        Counts::Bytes,
        include_str!("probes/triad.wgsl"),
        &["x=f32[NUMBERS]:uniform", "y=f32[NUMBERS]:uniform", "z=f32[NUMBERS]"],
        "12*NUMBERS",
    ),
    of(
        "strided read",
        "4 bytes of every 64: the bytes that are used",
        Counts::Bytes,
        include_str!("probes/strided.wgsl"),
        &["x=f32[NUMBERS]:uniform", SUMS],
        "NUMBERS/4",
    ),
    of(
        "gathered read",
        "4 bytes from anywhere in 32 MiB",
        Counts::Bytes,
        include_str!("probes/gathered.wgsl"),
        &["x=f32[NUMBERS]:uniform", SUMS],
        "NUMBERS/4",
    ),
    of(
        "workgroup memory",
        "reads of 16 bytes",
        Counts::Bytes,
        include_str!("probes/workgroup.wgsl"),
        &["x=f32[1024]:uniform", SUMS],
        "16*256*WG*GROUPS",
    ),
    of(
        "FMA f32",
        "multiply-adds in four chains of four",
        Counts::Flops,
        include_str!("probes/fma.wgsl"),
        &["x=f32[32]:0.999", SUMS],
        "2*16*2*256*WG*GROUPS",
    ),
    Probe {
        needs: Features::SHADER_F16,
        ..of(
            "FMA f16",
            "the same of f16",
            Counts::Flops,
            include_str!("probes/fma_f16.wgsl"),
            &["x=f32[32]:0.999", SUMS],
            "2*16*2*256*WG*GROUPS",
        )
    },
    of(
        "dot4",
        "dot4I8Packed: eight operations each",
        Counts::Operations,
        include_str!("probes/dot4.wgsl"),
        &["x=u32[16]:uniform", "y=i32[WG*GROUPS]"],
        "8*4*256*WG*GROUPS",
    ),
    Probe {
        needs: Features::SUBGROUP,
        ..of(
            "subgroup sums",
            "subgroupAdd, counted by lane",
            Counts::Operations,
            include_str!("probes/subgroups.wgsl"),
            &[WORDS],
            "256*WG*GROUPS",
        )
    },
    Probe {
        entry: Some("in_workgroups"),
        ..of(
            "atomics in workgroup memory",
            "each lane to a word of its own",
            Counts::Operations,
            include_str!("probes/atomics.wgsl"),
            &[WORDS],
            "64*WG*GROUPS",
        )
    },
    Probe {
        entry: Some("apart"),
        ..of(
            "atomics apart",
            "to memory, each lane to a word of its own",
            Counts::Operations,
            include_str!("probes/atomics.wgsl"),
            &[WORDS],
            "64*WG*GROUPS",
        )
    },
    Probe {
        entry: Some("together"),
        ..of(
            "atomics together",
            "to memory, all lanes to one word",
            Counts::Operations,
            include_str!("probes/atomics.wgsl"),
            &[WORDS],
            "64*WG*GROUPS",
        )
    },
    of(
        "barriers",
        "workgroupBarrier, counted by workgroup",
        Counts::Operations,
        include_str!("probes/barrier.wgsl"),
        &[WORDS],
        "2*64*GROUPS",
    ),
    Probe {
        needs: Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        ..of(
            "matrix units",
            "products of cooperative matrices",
            Counts::Flops,
            include_str!("probes/matrix.wgsl"),
            &["x=f32[256]:uniform", "y=f32[256*GROUPS]"],
            "",
        )
    },
];

/// The jobs of a probe: every size and number of workgroups. None where the device lacks what it measures.
///
/// # Errors
///
/// If the device has no room for its operands.
pub fn jobs(probe: &Probe, gpu: &Gpu) -> Result<Vec<Job>> {
    if !gpu.device().features().contains(probe.needs) {
        return Ok(vec![]);
    }
    let is_matrix = probe.needs == Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let (text, amount, widths) = match (is_matrix, gpu.target().coop) {
        (true, None) => return Ok(vec![]),
        (true, Some(coop)) => {
            let amount = format!("2*{0}*{0}*{0}*4*256*GROUPS", coop.size);
            (matrix(probe.text, coop), amount, vec![f64::from(coop.lanes)])
        }
        (false, _) => (probe.text.to_owned(), probe.amount.to_owned(), WIDTHS.to_vec()),
    };
    let bug = |e| crate::Error::Option(format!("probe {}: {e}", probe.name));
    let sweep = |name: &str, values: Vec<f64>| Sweep { name: name.into(), values };
    let expression = |text: &str| Expression::parse(text).map_err(bug);
    let amount = expression(&amount)?;
    let counts_bytes = probe.counts == Counts::Bytes;
    let request = Request {
        entry: probe.entry.map(str::to_owned),
        operands: probe.operands.iter().map(|text| Operand::parse(text)).collect::<Result<_>>()?,
        workgroups: Some(vec![expression("GROUPS")?]),
        overrides: vec![sweep("WG", widths), sweep("GROUPS", GROUPS.to_vec())],
        variables: vec![sweep("NUMBERS", vec![f64::from(NUMBERS)])],
        bytes: Some(if counts_bytes { amount.clone() } else { expression("4")? }),
        flops: (!counts_bytes).then_some(amount),
        cold: counts_bytes && probe.name != "workgroup memory",
        ..Request::default()
    };
    let source = Rc::new(Source::parse(Path::new(probe.name), text)?);
    let (mut jobs, _) = wgsl::plan_sources(&request, &[source], gpu)?;
    // Sizes that no workgroup can have are left out by the plan, a name of a kernel is none of a probe's.
    jobs.iter_mut().for_each(|job| job.name = job.name.replace(&format!("/{}", job.entry), ""));
    Ok(jobs)
}

/// The kernel for a device's matrices.
fn matrix(text: &str, coop: Coop) -> String {
    text.replace("${enable}", if coop.f16 { "enable f16;" } else { "" })
        .replace("${number}", if coop.f16 { "f16" } else { "f32" })
        .replace("${size}", &coop.size.to_string())
}

/// Runs probes at each of their sizes. `on` sees what is done, and may break off.
///
/// # Errors
///
/// If the device refuses or fails.
pub fn run(
    clock: &Clock,
    roof: &Roofline,
    probes: &[Probe],
    settings: &Settings,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Row>> {
    let mut rows = vec![];
    for probe in probes {
        let jobs = jobs(probe, clock.gpu())?;
        let settings = Settings { check: false, ..settings.clone() };
        let mut done = wgsl::run(clock, roof, &jobs, &settings, on)?;
        if probe.counts == Counts::Operations {
            // They have no roof among the limits.
            for figures in done.iter_mut().filter_map(|row| row.figures.as_mut()) {
                (figures.roof_percent, figures.bound) = (None, None);
            }
        }
        let all = done.len() == jobs.len();
        rows.extend(done);
        if !all {
            break;
        }
    }
    Ok(rows)
}

/// The best of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The probe's name.
    pub name: &'static str,
    /// What it does.
    pub words: &'static str,
    /// A second, and of what: `23.4 GB/s`.
    pub rate: f64,
    /// What that counts.
    pub counts: Counts,
    /// Where in the sweep.
    pub at: String,
}

/// The best row of each probe, by its quickest run: a limit is what was reached once.
pub fn best(rows: &[Row]) -> Vec<Best> {
    let of = |probe: &Probe| {
        let rate = |row: &Row| {
            let amount = if probe.counts == Counts::Bytes { row.work.bytes } else { row.work.flops };
            Some(amount as f64 * 1e9 / row.figures?.rate.min)
        };
        let own = rows.iter().filter(|row| row.name.split('[').next() == Some(probe.name));
        let rated = own.filter_map(|row| Some((rate(row)?, row)));
        let (rate, row) = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let at = row.name.split('[').nth(1).map_or("", |at| at.trim_end_matches(']')).to_owned();
        Some(Best { name: probe.name, words: probe.words, rate, counts: probe.counts, at })
    };
    PROBES.iter().filter_map(of).collect()
}

/// Bytes a second from the device to the host, the way results come.
///
/// # Errors
///
/// If the device fails.
pub fn read_back(gpu: &Gpu, runs: usize) -> Result<f64> {
    let bytes = READ_BACK.min(gpu.target().max_binding_bytes) & !3;
    let buffer = |label, usage| {
        let descriptor = strix_engine::wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        };
        gpu.device().create_buffer(&descriptor)
    };
    let device = buffer("result", BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST);
    gpu.queue().write_buffer(&device, 0, &vec![1; bytes as usize]);
    let host = buffer("read back", BufferUsages::COPY_DST | BufferUsages::MAP_READ);
    let mut times = vec![];
    for run in 0..=runs {
        let start = Instant::now();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&device, 0, &host, 0, bytes);
        gpu.queue().submit([encoder.finish()]);
        host.map_async(strix_engine::wgpu::MapMode::Read, .., |_| ());
        gpu.wait()?;
        let view = host.get_mapped_range(..).map_err(|e| strix_engine::Error::Lost(e.to_string()))?;
        std::hint::black_box(view.to_vec());
        drop(view);
        host.unmap();
        // The first has pages to find.
        if run > 0 {
            times.push(start.elapsed().as_nanos() as f64);
        }
    }
    Ok(bytes as f64 * 1e9 / median(&times))
}

/// Probes for a page: those that make a roofline.
///
/// # Errors
///
/// If one cannot be planned here.
pub fn on_page(gpu: &Gpu) -> Result<Vec<PageBench>> {
    let wanted = [
        ("read", "bytes_per_s"),
        ("read in runs", "bytes_per_s"),
        ("FMA f32", "flops_per_s"),
        ("FMA f16", "f16_flops_per_s"),
        ("dot4", "dot4_ops_per_s"),
    ];
    let mut all = vec![];
    for (name, roof) in wanted {
        let Some(probe) = PROBES.iter().find(|probe| probe.name == name) else { continue };
        for job in jobs(probe, gpu)? {
            all.push(PageBench { roof: Some(roof), ..wgsl::on_page(&job, gpu)? });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_runs_at_every_size() {
        let gpu = Gpu::new().expect("these tests need an adapter; lavapipe will do");
        let clock = Clock::new(&gpu);
        let settings = Settings { runs: (1, 1), ..Settings::new(true, 1 << 30) };
        for probe in &PROBES {
            let mut jobs = jobs(probe, &gpu).unwrap();
            assert_eq!(jobs.is_empty(), !gpu.device().features().contains(probe.needs), "{}", probe.name);
            // The memory's are long: their smallest is as good.
            jobs.truncate(if probe.counts == Counts::Bytes { 1 } else { 2 });
            let settings = Settings { check: false, ..settings.clone() };
            let rows =
                wgsl::run(&clock, &Roofline::default(), &jobs, &settings, &mut |_| ControlFlow::Continue(()));
            let rows = rows.unwrap_or_else(|e| panic!("{}: {e}", probe.name));
            let best = best(&rows);
            assert_eq!(best.len(), usize::from(!jobs.is_empty()), "{}: {rows:?}", probe.name);
            assert!(best.iter().all(|best| best.rate > 0.0 && best.name == probe.name), "{best:?}");
        }
        assert!(read_back(&gpu, 1).unwrap() > 0.0);
    }
}

//! Runs benches in turns: A B C A B C …, so that what disturbs the machine for a while disturbs all of them.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use strix_engine::{Graph, Program};

use crate::kernels::{Bench, Operands};
use crate::run::{Check, Row};
use strix_model::tune::clock::Subject;

use crate::{Clock, Result, Roofline, Timed};

/// Largest error of a result, in parts of the largest expected value.
const TOLERANCE: f64 = 2e-4;
/// Largest error of a result that is stored as f16: one step of f16.
const F16_TOLERANCE: f64 = 1e-3;

/// Options of running benches.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Runs of each bench at least, and at most.
    pub runs: (usize, usize),
    /// Time for the runs of one bench; further runs up to the most are not begun after it.
    pub each: Duration,
    /// Bytes of operands that are on the device at a time. Benches take turns as far as they fit.
    pub memory_bytes: u64,
    /// Whether results are compared with the CPU references.
    pub check: bool,
    /// When to end: no bench is begun, the first excepted, whose runs would come after it.
    pub until: Option<Instant>,
}

impl Settings {
    /// The default options; with `quick`, few runs.
    pub fn new(quick: bool, memory_bytes: u64) -> Self {
        let (runs, each) = if quick { ((3, 3), 1) } else { ((5, 20), 3) };
        Self { runs, each: Duration::from_secs(each), memory_bytes, check: true, until: None }
    }

    /// The same until some moment, which is `left` from now for `benches` together: fewer runs, but never less than
    /// three, and fewer benches where that does not do.
    #[must_use]
    pub fn until(self, left: Duration, benches: usize) -> Self {
        // Half of it is for operands, compiling and references.
        let each = left / 2 / u32::try_from(benches.max(1)).unwrap_or(u32::MAX);
        let until = Some(Instant::now() + left);
        Self { runs: (self.runs.0.min(3), self.runs.1), each, until, ..self }
    }

    /// Whether the runs of these would end after the time is up.
    fn is_over(&self, turns: &[Turn]) -> bool {
        let runs: Duration = turns.iter().map(|turn| turn.timed.expected() * self.runs.0 as u32).sum();
        self.until.is_some_and(|until| Instant::now() + runs >= until)
    }
}

/// Progress of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// Operands of a bench go to the device, its kernels are compiled and its result is checked.
    Preparing {
        /// Its name.
        name: &'a str,
    },
    /// A run of a bench begins.
    Timing {
        /// Its name.
        name: &'a str,
        /// Runs taken of it so far.
        runs: usize,
    },
    /// A bench is done.
    Done(&'a Row),
}

/// A bench that is on the device.
pub(crate) struct Turn<S = Program> {
    pub(crate) row: Row,
    pub(crate) timed: Timed<S>,
    pub(crate) spent: Duration,
}

/// Runs `benches` in turns, as many at a time as the device's memory is meant to hold, and returns their rows in order.
/// `on` sees what is done, and may break off: what is done then has a row.
///
/// # Errors
///
/// If the device refuses or fails, or a shape cannot be run on it.
pub fn run_kernels(
    clock: &Clock,
    roof: &Roofline,
    benches: &[Bench],
    settings: &Settings,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Row>> {
    let mut rows = vec![];
    let mut waiting = benches.iter().peekable();
    while waiting.peek().is_some() {
        let before = clock.gpu().created().storage_bytes;
        let mut operands = Operands::new(clock.gpu());
        let mut turns = vec![];
        let mut stopped = false;
        while let Some(bench) = waiting.peek() {
            let held = clock.gpu().created().storage_bytes - before;
            if !turns.is_empty() && held + bench.work.bytes > settings.memory_bytes {
                break;
            }
            if !(rows.is_empty() && turns.is_empty()) && settings.is_over(&turns) {
                stopped = true;
                break;
            }
            let bench = waiting.next().expect("just seen");
            stopped = on(Event::Preparing { name: &bench.name() }).is_break();
            if stopped {
                break;
            }
            let (row, timed) = prepare(clock, bench, &mut operands, settings.check)?;
            turns.push(Turn { row, timed, spent: Duration::ZERO });
        }
        if time_in_turns(turns, roof, settings, on, &mut rows)? || stopped {
            break;
        }
    }
    Ok(rows)
}

/// Puts a bench on the device, compiles it, and if asked to compares its result with the CPU reference: its row, without
/// times, and what takes them.
///
/// # Errors
///
/// If the device refuses or fails, or the shape cannot be run on it.
pub fn prepare(clock: &Clock, bench: &Bench, operands: &mut Operands, check: bool) -> Result<(Row, Timed)> {
    let record = bench.record(operands)?;
    // The clock comes first, so that it sees the pipelines being created.
    let timed = clock.prepare(&|g| record(g, false))?;
    let row = Row {
        name: bench.name(),
        kernel: timed.kernel().to_owned(),
        dispatches: timed.dispatches(),
        work: bench.work,
        arithmetic: bench.arithmetic,
        check: if check { compare(clock, &|g| record(g, true))? } else { Check::Unchecked },
        repeats: timed.repeats,
        compile_ns: timed.compile_ns,
        first_ns: timed.first_ns,
        pipelines: timed.pipelines,
        ..Row::default()
    };
    Ok((row, timed))
}

/// The error of every step against its reference.
fn compare(clock: &Clock, record: &dyn Fn(&mut Graph)) -> Result<Check> {
    let mut g = Graph::new(clock.gpu().target());
    record(&mut g);
    let deviations = Program::compile(clock.gpu(), g)?.deviations()?;
    let [mut max, mut rms] = [0.0_f64; 2];
    let mut wrong = false;
    for d in &deviations {
        (max, rms) = (max.max(d.max), rms.max(d.rms));
        let tolerance = if d.is_f16 { F16_TOLERANCE } else { TOLERANCE };
        wrong |= d.max > tolerance;
    }
    let number = |value: f64| Some(value).filter(|value| value.is_finite());
    Ok(match wrong {
        true => Check::Wrong { max: number(max), rms: number(rms) },
        false => Check::Right { max, rms },
    })
}

/// Times what is on the device in turns, and adds its rows; whether `on` broke off.
pub(crate) fn time_in_turns<S: Subject>(
    mut turns: Vec<Turn<S>>,
    roof: &Roofline,
    settings: &Settings,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    rows: &mut Vec<Row>,
) -> Result<bool> {
    let mut stopped = take_turns(&mut turns, settings, on)?.is_break();
    for Turn { mut row, timed, .. } in turns {
        row.times = timed.times;
        row.fill(roof);
        stopped |= on(Event::Done(&row)).is_break();
        rows.push(row);
    }
    Ok(stopped)
}

/// Runs what is on the device in turns.
fn take_turns<S: Subject>(
    turns: &mut [Turn<S>],
    settings: &Settings,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let (least, most) = settings.runs;
    for round in 0..most {
        let mut ran = false;
        for turn in turns.iter_mut().filter(|turn| !turn.row.check.is_wrong()) {
            // A long run need not be repeated as often.
            let enough = least.min(if turn.spent > settings.each { 3 } else { least });
            if round >= enough && turn.spent >= settings.each {
                continue;
            }
            if on(Event::Timing { name: &turn.row.name, runs: round }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let start = Instant::now();
            turn.timed.run()?;
            turn.spent += start.elapsed();
            ran = true;
        }
        if !ran {
            break;
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use strix_engine::Gpu;

    use super::*;
    use crate::Shape;

    fn tiny(names: &[&str]) -> Vec<Bench> {
        let shapes = names.iter().flat_map(|name| Shape::parse(name).unwrap());
        shapes.map(|shape| Bench::of(shape).unwrap()).collect()
    }

    fn clock() -> Clock {
        Clock::new(&Gpu::new().expect("these tests need an adapter; lavapipe will do"))
    }

    #[test]
    fn benches_take_turns_and_are_right() {
        let names = ["rms_norm/2x64", "gemm/3x64x64/int8", "decode_attention/1x40x2x32/f16"];
        let mut order = vec![];
        let roof = Roofline { bytes_per_s: 1e10, flops_per_s: 1e11, ..Roofline::default() };
        let settings = Settings::new(true, u64::MAX);
        let rows = run_kernels(&clock(), &roof, &tiny(&names), &settings, &mut |event| {
            if let Event::Timing { name, runs } = event {
                order.push((runs, name.to_owned()));
            }
            ControlFlow::Continue(())
        });
        let rows = rows.unwrap();
        let want: Vec<_> = (0..3).flat_map(|run| names.map(|name| (run, name.to_owned()))).collect();
        assert_eq!(order, want);
        for row in rows {
            let Check::Right { max, rms } = row.check else { panic!("{row:?}") };
            assert!(rms < 1e-3 && max < 1e-3, "{row:?}");
            let figures = row.figures.unwrap();
            assert!(figures.rate.runs == 3 && figures.gb_per_s > 0.0, "{row:?}");
            assert_eq!(row.times.wall_ns.len(), 3);
        }
    }

    #[test]
    fn every_kernel_runs_at_a_tiny_shape() {
        let names = [
            "gemm/2x40x32/f32",
            "gemm_by/6x32x32/bf16",
            "gemm_swiglu/2x32x64/int8g32",
            "gemm_bias/2x32x64/int8",
            "gemm_add/2x32x64/int8",
            "gemm_quick_gelu/2x32x64/bf16",
            "gemv/40x33/f32",
            "gemv_by/32x32/int8",
            "gemv_swiglu/32x128/int8g128",
            "gemv_bias/32x32/int8",
            "gemv_add/32x32/int8",
            "gemv_normed/32x64/int8g64",
            "attention/4x9x2x32/f32",
            "attention/4x9x4x32x2/f16",
            "attention_full/4x9x2x32",
            "attention_probs/4x9x2x32",
            "decode_attention/1x9x2x32/f32",
            "rope_append/3x2x32/f32",
            "rope_append/1x2x32/f16",
            "rms_norm/3x33",
            "layer_norm/3x33",
            "layer_norm_into/3x32",
            "embedding/3x32/f32",
            "embedding/1x33/bf16",
            "patches/3x28x28",
            "class_token/5x32",
            "add/3x32",
            "take_rows/2x32",
            "top_k/4x300",
            "resize_across/40x33x14",
            "resize_across/9x33x56",
            "resize_down/40x14x14",
        ];
        let settings = Settings { runs: (1, 1), ..Settings::new(true, 1 << 20) };
        let roof = Roofline { bytes_per_s: 1e10, flops_per_s: 1e11, ..Roofline::default() };
        let rows = run_kernels(&clock(), &roof, &tiny(&names), &settings, &mut |_| ControlFlow::Continue(()));
        let rows = rows.unwrap();
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), names);
        for row in &rows {
            assert!(matches!(row.check, Check::Right { .. }) && row.figures.is_some(), "{row:?}");
        }
    }

    #[test]
    fn a_budget_is_shared() {
        let settings = Settings::new(false, 0).until(Duration::from_secs(20), 100);
        assert_eq!((settings.each, settings.runs), (Duration::from_millis(100), (3, 20)));
    }

    #[test]
    fn a_budget_that_is_spent_leaves_one_bench() {
        let names = ["rms_norm/2x64", "gemm/3x64x64/int8", "decode_attention/1x40x2x32/f16"];
        let roof = Roofline { bytes_per_s: 1e10, flops_per_s: 1e11, ..Roofline::default() };
        for memory in [0, u64::MAX] {
            let settings = Settings::new(true, memory).until(Duration::ZERO, names.len());
            let rows =
                run_kernels(&clock(), &roof, &tiny(&names), &settings, &mut |_| ControlFlow::Continue(()));
            let rows = rows.unwrap();
            assert_eq!((rows.len(), rows[0].times.wall_ns.len()), (1, 3));
        }
    }
}

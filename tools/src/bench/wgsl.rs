//! `strix bench wgsl`: kernels that anyone wrote, checked, swept and held against the roofline of the device.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use strix_benches::wgsl::{self, Expression, FEATURES, Operand, Reference, Request, Sweep};
use strix_benches::{Arithmetic, Clock, Kind, Run, Settings};
use strix_engine::{Gpu, GpuOptions};

use super::machine::{self, Isa};
use super::options::{Deadline, On, Pace, Progress, limits, time};
use super::output::Output;
use super::page;
use crate::writable::try_file;
use crate::{Usage, failure, system};

/// Default bytes of operands that are on the device at a time, at most.
const MEMORY: u64 = 2 << 30;

const EXAMPLES: &str = "\
Examples:
  strix bench wgsl saxpy.wgsl x=f32[N]:normal y=f32[N]:normal,out params.a=2 --set N=1048576 \\
      --override WG=64,128,256 --flops 2*N --bytes 12*N --check \"2*x[i] + y[i]\"
  strix bench wgsl naive.wgsl tiled.wgsl a=f32[MxK]:normal b=f32[KxN]:normal c=f32[MxN]:out --set M=512 --set N=512 \\
      --set K=512 --workgroups N/16,M/16 --flops 2*M*N*K --check naive.wgsl --html matmul.html
  strix bench wgsl softmax.wgsl x=@logits.npy y=f32[x.len]:out --check y=softmax.npy --gpu navi31,ampere

OPERANDS are NAME=TYPE[SIDES]:CONTENT. TYPE is f32, f16, bf16, i32, u32, i8 or u8 (small ones lie in words), or a \
texture's format with its sides, rows first: rgba8unorm[256x512]. SIDES are expressions with x or commas between them, \
or .. where the kernel says its size. CONTENT is normal, normal(MEAN, DEVIATION), uniform, uniform(FROM, TO), index, zeros, \
ones or a number, and out for what is compared. NAME=FILE.npy is an array of NumPy's. NAME=VALUE and NAME.MEMBER=VALUE are \
numbers of uniforms and immediates; a member takes the variable of its name by itself. A sampler is linear or nearest.

EXPRESSIONS have + - * / % ( ) comparisons, && and ||, abs sqrt exp log log2 sin cos tanh floor ceil round f16 f32 pow min max \
ceil_div shr and select; sum(k, n, TERM), largest and least over k from 0 to n - 1. They may name variables (--set), \
overrides, wg.x wg.y wg.z, and an operand's NAME.len and sides NAME.0 NAME.1. In --check there are operands as they were at \
first, NAME[...], the element's index i, and its coordinates i0 i1 ....";

/// Time kernels of yours, written in WGSL: checked, swept, and held against what the device can do
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files of WGSL, which take turns, and what their bindings are given
    #[arg(value_name = "FILE.wgsl|OPERAND", required = true)]
    given: Vec<String>,
    /// The kernel, of a file with several
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Workgroups along x, y and z; a part of one is a whole one [default: an invocation for each element of the first
    /// output]
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = expressions)]
    workgroups: Option<Expressions>,
    /// Values of an override; all combinations are timed
    #[arg(long = "override", value_name = "NAME=V,..", value_parser = Sweep::parse)]
    overrides: Vec<Sweep>,
    /// Values of a variable of expressions; all combinations are timed
    #[arg(long = "set", value_name = "NAME=V,..", value_parser = Sweep::parse)]
    variables: Vec<Sweep>,
    /// What the output should be: an array, what another kernel makes of the same operands, or an expression of each
    /// element; NAME= before it says of which output
    #[arg(long, value_name = "[OUT=]REF.npy|REF.wgsl|EXPR", value_parser = Reference::parse)]
    check: Vec<Reference>,
    /// Workgroups of the kernel that --check names [default: those of --workgroups]
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = expressions)]
    check_workgroups: Option<Expressions>,
    /// Largest error of floats, in parts of the largest expected value
    #[arg(long, value_name = "PART", default_value_t = 2e-4)]
    tolerance: f64,
    /// Operations of a run
    #[arg(long, value_name = "EXPR", value_parser = Expression::parse)]
    flops: Option<Expression>,
    /// Bytes that a run must move [default: each operand once]
    #[arg(long, value_name = "EXPR", value_parser = Expression::parse)]
    bytes: Option<Expression>,
    /// The operations that are counted, and so the roof that they have
    #[arg(long, value_enum, default_value = "f32")]
    arithmetic: Kinds,
    /// Let every pass have the same operands: caches may answer for the memory
    #[arg(long)]
    hot: bool,
    /// Stop a kernel that takes longer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    limit: Duration,
    /// Run each kernel for so long before it is timed
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = time)]
    warm_up: Duration,
    /// Take the host's clock even where the device has one
    #[arg(long)]
    no_timestamps: bool,
    /// Take the roofline of a stored run, and do not measure it
    #[arg(long, value_name = "RUN")]
    roofline: Option<PathBuf>,
    /// Write a page that runs the same in a browser, and its roofline's kernels, and measure nothing here
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    page: Option<PathBuf>,
    #[command(flatten)]
    isa: Isa,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    on: On,
}

/// Expressions with commas between them.
#[derive(Clone)]
struct Expressions(Vec<Expression>);

fn expressions(text: &str) -> Result<Expressions, String> {
    let all = wgsl::expression::at_commas(text);
    if all.len() > 3 {
        return Err("a grid has three sides at most".into());
    }
    all.into_iter().map(Expression::parse).collect::<Result<_, _>>().map(Expressions)
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kinds {
    /// Multiply-adds of f32
    F32,
    /// Multiply-adds of f16
    F16,
    /// dot4I8Packed
    Dot4,
}

impl Args {
    fn request(&self) -> anyhow::Result<Request> {
        let is_file = |text: &&String| Path::new(text).extension().is_some_and(|e| e == "wgsl");
        let (files, operands): (Vec<_>, Vec<_>) = self.given.iter().partition(is_file);
        if files.is_empty() {
            return Err(Usage("name a file that ends in .wgsl".into()).into());
        }
        Ok(Request {
            files: files.into_iter().map(PathBuf::from).collect(),
            entry: self.entry.clone(),
            operands: operands.into_iter().map(|text| Operand::parse(text)).collect::<Result<_, _>>()?,
            workgroups: self.workgroups.clone().map(|e| e.0),
            overrides: self.overrides.clone(),
            variables: self.variables.clone(),
            references: self.check.clone(),
            reference_workgroups: self.check_workgroups.clone().map(|e| e.0),
            tolerance: self.tolerance,
            flops: self.flops.clone(),
            bytes: self.bytes.clone(),
            arithmetic: match self.arithmetic {
                Kinds::F32 => Arithmetic::F32,
                Kinds::F16 => Arithmetic::F16,
                Kinds::Dot4 => Arithmetic::Dot4,
            },
            cold: !self.hot,
            limit: self.limit,
        })
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let deadline = Deadline::of(&args.pace);
    let request = args.request()?;
    if let Some(page) = &args.page {
        try_file(page)?;
    }
    let stored = args.output.before()?;
    let places = args.isa.places()?;
    let roofline = args.roofline.as_deref().map(Run::load).transpose()?;
    let options = GpuOptions { more_features: FEATURES, ..args.on.options() };
    let gpu = Gpu::with(&options)?;
    // What is wrong with the request is said before anything is measured.
    let (jobs, notes) = wgsl::plan(&request, &gpu)?;
    if let Some(path) = &args.page {
        let files: Vec<_> = request.files.iter().map(|file| file.display().to_string()).collect();
        return page::write(path, &jobs, &gpu, args.pace.quick, &files.join(", "));
    }
    let mut clock = Clock::new(&gpu).warmed(args.warm_up);
    if args.no_timestamps {
        clock = clock.without_timestamps();
    }
    let mut progress = Progress::begin()?;
    let roof = match roofline {
        Some(run) => run.roofline,
        None => limits(&clock, &args.pace, deadline, &mut progress)?,
    };
    let mut run = Run::begin(Kind::Wgsl, &gpu, roof);
    run.notes.extend(notes);
    if !clock.has_timestamps() {
        run.notes.push(
            "Without timestamp queries: times are the host's, with what a submit and a wait cost.".into(),
        );
    }
    let quarter = gpu.memory_bytes().map_or(MEMORY, |bytes| bytes / 4);
    let mut settings = Settings::new(args.pace.quick, MEMORY.min(quarter));
    if let Some(left) = deadline.left() {
        settings = settings.until(left, jobs.len());
    }
    let mut done = 0;
    let rows = wgsl::run(&clock, &run.roofline, &jobs, &settings, &mut |event| {
        progress.on(&event, &mut done, jobs.len())
    });
    run.rows = match rows {
        Err(error @ strix_benches::Error::Engine(strix_engine::Error::TooLong { .. })) => {
            progress.bar.finish_and_clear();
            // The device never lets go of what is on it: not even the process could end as usual.
            let words = "it was stopped; --limit gives it longer";
            system::end_at_once(failure::report(&anyhow::Error::new(error).context(words)));
        }
        rows => rows?,
    };
    if run.rows.len() < jobs.len() {
        run.notes.push(deadline.words(run.rows.len(), jobs.len()));
    }
    machine::attach(&places, &jobs, &mut run).context("machine code")?;
    let code = progress.end(&run);
    args.output.after(&run, stored.as_ref())?;
    Ok(if code == crate::DONE && run.num_outside() > 0 { crate::FAULT } else { code })
}

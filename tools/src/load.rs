//! Adapter, storage and weights: options that several commands share, and loading with a progress bar.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use strix_engine::{Gpu, GpuOptions};
use strix_model::{Activations, Dtype, KvDtype, LoadOptions, Model, Source, shown};

use crate::named::{NANO, mention_folder, named};
use crate::terminal::{note, whisper};
use crate::{Usage, cache, system};

/// Reads a size on the command line.
pub(crate) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "it is no size such as 4GiB or 512MiB".into())
}

/// Reads a whole number, 0 or more.
pub(crate) fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let most = u64::MAX >> (64 - 8 * size_of::<T>());
    let read = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    read.ok_or_else(|| format!("it is no whole number from 0 to {most}"))
}

/// Reads a size of memory.
fn memory(text: &str) -> Result<ByteSize, String> {
    let size = size(text)?;
    match text.trim().parse::<u64>() {
        Ok(bytes) if bytes < 1 << 20 => Err(format!("that is {bytes} bytes; did you mean {bytes}GiB?")),
        _ => Ok(size),
    }
}

#[derive(clap::Args)]
pub(crate) struct Adapter {
    /// Part of the name or backend of the adapter to use, e.g. nvidia or gl; see `strix devices`
    #[arg(long, value_name = "NAME", env = "STRIX_ADAPTER", hide_env = true)]
    pub(crate) adapter: Option<String>,
    /// Copy the weights to the device even where it could use the mapped file itself
    #[arg(long)]
    no_import: bool,
}

impl Adapter {
    pub(crate) fn options(&self) -> GpuOptions {
        let adapter = self.adapter.clone().filter(|name| !name.is_empty());
        let mut options = GpuOptions { adapter, ..GpuOptions::from_env() };
        options.no_import |= self.no_import;
        options
    }

    pub(crate) fn open(&self) -> anyhow::Result<Gpu> {
        system::check_limits()?;
        let gpu = Gpu::with(&self.options())?;
        gpu.passed_over().iter().for_each(|adapter| note(&format!("passed over {adapter}")));
        Ok(gpu)
    }
}

/// The model to load.
#[derive(clap::Args)]
pub(crate) struct ModelArg {
    /// Folder of a model: config.json, tokenizer and weights, or its file of weights; nano is the built-in one, ./nano a
    /// folder of that name [default: nano]
    #[arg(short, long, value_name = "DIR")]
    model: Option<PathBuf>,
}

impl ModelArg {
    /// Its folder, unless it is the built-in one.
    pub(crate) fn dir(&self) -> Option<&Path> {
        named(self.model.as_deref())
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.dir().map_or(Source::Nano, Source::Dir)
    }

    /// Says what a newcomer should know: that nano is tiny, or that the device can be tuned.
    pub(crate) fn mention(&self, gpu: &Gpu) {
        match (self.dir(), &self.model) {
            (Some(_), _) => cache::mention_tuning(gpu),
            (None, Some(name)) => {
                mention_folder(name);
                whisper("asking nano, the built-in model, which knows coloured shapes and little else")
            }
            (None, None) => {
                whisper(
                    "no --model: asking nano, the built-in model, which knows coloured shapes and little else",
                );
            }
        }
    }
}

impl fmt::Display for ModelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dir() {
            Some(dir) => dir.display().fmt(f),
            None => f.write_str(NANO),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightDtype {
    /// As in the file
    Auto,
    F32,
    Bf16,
    Int8,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kv {
    F32,
    /// Half the bytes
    F16,
}

#[derive(Clone, Copy, ValueEnum)]
enum RowDtype {
    F32,
    /// With weights of int8 or bf16: products in f16, two of which many GPUs compute at a time, for prompts and pictures
    F16,
    /// With weights of int8: rounded row by row; exact sums of integers, and some error (see README)
    Int8,
}

#[derive(clap::Args)]
pub(crate) struct Storage {
    /// What weight matrices are stored as on the device
    #[arg(long, value_enum, default_value = "auto")]
    dtype: WeightDtype,
    /// With int8: weights that share a scale [default: all of an output channel]
    #[arg(long, value_parser = ["32", "64", "128"], value_name = "WEIGHTS")]
    group: Option<String>,
    /// With int8: the vision tower and the abstractor too
    #[arg(long)]
    vision: bool,
    /// What keys and values are stored as in the KV cache
    #[arg(long, value_enum, default_value = "f32")]
    kv: Kv,
    /// What rows of activations become before they are multiplied
    #[arg(long, value_enum, default_value = "f32")]
    activations: RowDtype,
    /// Positions of prompt and answer together [default: as many as the model was trained for]
    #[arg(long, value_name = "POSITIONS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    ctx: Option<u32>,
    /// Memory of the KV cache, which conversations share, e.g. 2GiB [default: for one of --ctx positions, or for as many
    /// as 1 GiB holds, up to 16]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    kv_memory: Option<ByteSize>,
    /// Device memory to stay within, e.g. 4GiB: layers that do not fit are streamed from the file. All weights count,
    /// even those that could be read where the file is mapped, so that it stands for a smaller device [default: what is
    /// free]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    device_memory: Option<ByteSize>,
}

impl Storage {
    /// Dtypes of matrices, keys and values, in words.
    pub(crate) fn words(&self) -> String {
        let kv = if matches!(self.kv, Kv::F16) { ", KV cache of f16" } else { "" };
        let group = self.group.as_ref().map_or(String::new(), |group| format!(" in groups of {group}"));
        let dtype = match self.dtype {
            WeightDtype::Auto => "weights as in the checkpoint",
            WeightDtype::F32 => "weights of f32",
            WeightDtype::Bf16 => "weights of bf16",
            WeightDtype::Int8 => "weights of int8",
        };
        format!("{dtype}{group}{kv}")
    }

    pub(crate) fn options(&self) -> anyhow::Result<LoadOptions> {
        let group = self.group.as_deref().map(str::parse).transpose()?;
        let dtype = match self.dtype {
            WeightDtype::Int8 => Dtype::Int8 { group },
            _ if group.is_some() => return Err(Usage("--group needs --dtype int8".into()).into()),
            _ if self.vision => return Err(Usage("--vision needs --dtype int8".into()).into()),
            WeightDtype::Auto => Dtype::Auto,
            WeightDtype::F32 => Dtype::F32,
            WeightDtype::Bf16 => Dtype::Bf16,
        };
        let kv = match self.kv {
            Kv::F32 => KvDtype::F32,
            Kv::F16 => KvDtype::F16,
        };
        let activations = match self.activations {
            RowDtype::F32 => Activations::F32,
            RowDtype::F16 => Activations::F16,
            RowDtype::Int8 => Activations::Int8,
        };
        Ok(LoadOptions {
            dtype,
            kv,
            activations,
            int8_vision: self.vision,
            ctx: self.ctx,
            kv_memory: self.kv_memory.map(|size| size.as_u64()),
            device_memory: self.device_memory.map(|size| size.as_u64()),
            ..LoadOptions::default()
        })
    }
}

/// Loads a model. A progress bar appears when it takes longer than a second.
pub(crate) fn load(
    gpu: &Gpu,
    source: Source<'_>,
    options: &LoadOptions,
) -> Result<Model, strix_model::Error> {
    cache::mention_unwritable(gpu);
    let started = Instant::now();
    let options = &LoadOptions { cache_dir: cache::dir(), ..options.clone() };
    let mut bar = None;
    let model = Model::load_on(gpu, source, options, &mut |progress| {
        if started.elapsed() > Duration::from_secs(1) {
            let bar = bar.get_or_insert_with(|| ProgressBar::new(progress.total_bytes).with_style(style()));
            bar.set_message(shown(&progress.what).to_string());
            bar.set_position(progress.done_bytes);
        }
        ControlFlow::Continue(())
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    model.inspect(|model| model.notes().iter().for_each(|line| note(line)))
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}  {wide_msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

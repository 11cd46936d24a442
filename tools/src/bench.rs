//! `strix bench`: what kernels and models take, and what share that is of what the device can do.

mod answers;
mod device;
mod frames;
mod kernels;
mod machine;
mod model;
mod options;
mod output;
mod page;
mod wgsl;

const EXAMPLES: &str = "\
Examples:
  strix bench kernels --quick
  strix bench kernels --shape gemm/256x11008x4096/int8 --html gemm.html
  strix bench model mplug-owl2-int8 --context 512,2048
  strix bench wgsl saxpy.wgsl x=f32[65536]:normal y=f32[65536]:out --check \"2*x[i]\"";

/// Time kernels or a model, and hold them against what the device can do
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Kernels(kernels::Args),
    Model(model::Args),
    Answers(answers::Args),
    Device(device::Args),
    Frames(frames::Args),
    Wgsl(Box<wgsl::Args>),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.what {
        What::Kernels(args) => kernels::run(args),
        What::Model(args) => model::run(args),
        What::Answers(args) => answers::run(args),
        What::Device(args) => device::run(args),
        What::Frames(args) => frames::run(args),
        What::Wgsl(args) => wgsl::run(args),
    }
}

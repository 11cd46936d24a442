//! web-rwkv's kernels on wgpu: the products of a weight matrix and rows that the decoder needs, and nothing else.
//! No norm, no attention: what a LLaMA of web-rwkv would take at least.

use anyhow::{Context as _, Result, bail};
use half::f16;
use strix_peer_driver::{self as driver, Job, timed};
use web_rwkv::context::{Context, ContextBuilder, InstanceExt};
use web_rwkv::tensor::kind::ReadWrite;
use web_rwkv::tensor::matrix::Matrix;
use web_rwkv::tensor::ops::{Activation, TensorOp};
use web_rwkv::tensor::shape::Shape;
use web_rwkv::tensor::{TensorCpu, TensorGpu, TensorInit as _, TensorInto as _};
use web_rwkv::wgpu::{Instance, PowerPreference};

const DIM: usize = 4096;
const WIDE: usize = 11008;
/// The head is too large for one binding.
const HEAD_PARTS: usize = 4;
const HEAD_PART: usize = 8000;

fn main() -> Result<()> {
    let job = Job::read()?;
    let adapter = pollster::block_on(Instance::default().adapter(PowerPreference::HighPerformance))?;
    let device = adapter.get_info().name;
    let limits = adapter.limits();
    let context = pollster::block_on(ContextBuilder::new(adapter).limits(limits).build())?;
    driver::engine("web-rwkv 0.10.20", &device);

    let layer = [(DIM, DIM); 4].into_iter().chain([(DIM, WIDE), (DIM, WIDE), (WIDE, DIM)]);
    let head = [(DIM, HEAD_PART)].repeat(HEAD_PARTS);
    let ((layer, head), spent) = timed(|| {
        let make = |shapes: &mut dyn Iterator<Item = (usize, usize)>| {
            shapes.map(|(k, n)| weights(&context, &job.dtype, k, n)).collect::<Result<Vec<_>>>()
        };
        Ok((make(&mut { layer })?, make(&mut head.into_iter())?))
    })?;
    driver::load(spent);

    let run = |rows: u32| -> Result<()> {
        // The layer's weights are larger than any cache: reading them again for each layer is reading others.
        for _ in 0..job.layers {
            products(&context, &layer, rows as usize)?;
        }
        products(&context, &head, 1)
    };
    if job.tokens > 0 {
        run(1)?;
        let spent = timed(|| (0..job.tokens).try_for_each(|_| run(1)))?.1;
        driver::decode(&job, spent);
    }
    for (i, &rows) in job.prefill.iter().enumerate() {
        if i == 0 {
            products(&context, &layer[..1], rows as usize)?;
        }
        driver::prefill(rows, timed(|| run(rows))?.1);
    }
    driver::memory();
    Ok(())
}

struct Weights {
    matrix: Matrix,
    k: usize,
    n: usize,
}

fn weights(context: &Context, dtype: &str, k: usize, n: usize) -> Result<Weights> {
    let value =
        |i: usize| f16::from_f32(((i.wrapping_mul(2_654_435_761) >> 8) % 255) as f32 / 3683.0 - 0.0345);
    let values: Vec<f16> = (0..k * n).map(value).collect();
    let values: TensorGpu<f16, ReadWrite> = TensorCpu::from_data(Shape::new(k, n, 1, 1), values)?.to(context);
    let matrix = match dtype {
        "f16" => Matrix::Fp16(values),
        "int8" => Matrix::quant_u8(&values)?,
        _ => bail!("web-rwkv has int8 and f16, not {dtype}"),
    };
    wait(context)?;
    Ok(Weights { matrix, k, n })
}

/// Each matrix by rows of its own, one after the other.
fn products(context: &Context, weights: &[Weights], rows: usize) -> Result<()> {
    let mut ops = vec![];
    for w in weights {
        let x: TensorGpu<f16, ReadWrite> = context.tensor_init(Shape::new(w.k, rows, 1, 1));
        let y: TensorGpu<f16, ReadWrite> = context.tensor_init(Shape::new(w.n, rows, 1, 1));
        let op: TensorOp = w.matrix.matmul_op(&x, &y, Activation::None, rows > 1)?;
        ops.push(op);
    }
    context.queue.submit(context.encode(&TensorOp::List(ops)));
    wait(context)
}

fn wait(context: &Context) -> Result<()> {
    let done = context.device.poll(web_rwkv::wgpu::PollType::wait_indefinitely());
    done.context("waiting for the device").map(drop)
}

//! candle on the processor: prefill and decode of a GGUF file by its own quantized LLaMA.

use std::fs::File;

use anyhow::{Context as _, Result};
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use strix_peer_driver::{self as driver, Job, timed};

fn main() -> Result<()> {
    let job = Job::read()?;
    driver::engine("candle 0.11.1", "the processor, native code");
    let path = job.model.as_ref().context("a GGUF file is needed")?;
    let (mut model, spent) = timed(|| {
        let mut file = File::open(path).with_context(|| path.clone())?;
        let content = Content::read(&mut file)?;
        Ok(ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?)
    })?;
    driver::load(spent);

    for (i, &rows) in job.prefill.iter().enumerate() {
        // The first warms caches and threads.
        for run in 0..if i == 0 { 2 } else { 1 } {
            model.clear_kv_cache();
            let spent = timed(|| forward(&mut model, rows, 0))?.1;
            if run == 1 || i > 0 {
                driver::prefill(rows, spent);
            }
        }
    }
    if job.tokens > 0 {
        model.clear_kv_cache();
        forward(&mut model, job.context, 0)?;
        forward(&mut model, 1, job.context)?;
        let steps = 1..=job.tokens;
        let spent = timed(|| steps.map(|i| forward(&mut model, 1, job.context + i)).collect::<Result<()>>())?;
        driver::decode(&job, spent.1);
    }
    driver::memory();
    Ok(())
}

/// Rows after `position`; the last one's token is looked for.
fn forward(model: &mut ModelWeights, rows: u32, position: u32) -> Result<()> {
    let ids: Vec<u32> = (0..rows).map(|i| 300 + (position + i) * 7919 % 31000).collect();
    let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
    let logits = model.forward(&ids, position as usize)?;
    logits.argmax(1)?.to_vec1::<u32>()?;
    Ok(())
}

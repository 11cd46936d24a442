//! Benches as a page for a browser.

use std::path::Path;

use strix_benches::page::{Page, PageBench, SHAPES, of_kernel};
use strix_benches::wgsl::{Job, on_page};
use strix_benches::{Bench, Clock, Shape, probes};
use strix_engine::Gpu;

use crate::terminal::{note, whisper};
use crate::{DONE, Usage};

/// Writes a page of jobs.
pub(super) fn write(path: &Path, jobs: &[Job], gpu: &Gpu, quick: bool, title: &str) -> anyhow::Result<u8> {
    let benches = jobs.iter().map(|job| on_page(job, gpu)).collect::<Result<Vec<_>, _>>()?;
    finish(path, benches, gpu, quick, title)
}

/// Writes a page of kernels of ours: those that are named, or small ones.
pub(super) fn write_kernels(path: &Path, named: Vec<Bench>, gpu: &Gpu, quick: bool) -> anyhow::Result<u8> {
    let mut benches = named;
    if benches.is_empty() {
        for shape in SHAPES {
            for shape in Shape::parse(shape)? {
                benches.push(Bench::of(shape)?);
            }
        }
    }
    let clock = Clock::new(gpu);
    let mut steps = vec![];
    for bench in &benches {
        match of_kernel(&clock, bench) {
            Ok(made) => steps.extend(made),
            Err(error) => note(&format!("{} is left out: {error}", bench.name())),
        }
    }
    if steps.is_empty() {
        return Err(
            Usage("none of these kernels fits on a page: name smaller ones with --shape".into()).into()
        );
    }
    finish(path, steps, gpu, quick, "Strix's kernels")
}

fn finish(path: &Path, benches: Vec<PageBench>, gpu: &Gpu, quick: bool, title: &str) -> anyhow::Result<u8> {
    let page = Page::new(probes::on_page(gpu)?, benches, quick);
    strix_benches::write(path, &page.html(title))?;
    whisper(&format!("{}: the page is written; open it in a browser with WebGPU", path.display()));
    Ok(DONE)
}

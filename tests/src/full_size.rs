//! What `cargo xtask full-size` measures at the size of the 8.2B model: conversion, loading, an answer, an answer
//! on a device that is smaller than the model, and the arithmetic at full width.
//!
//! The model is random and made here. Every command runs in a process of its own, so that its memory is its own.

mod disk;
mod plan;
mod points;
mod process;
mod report;

pub use plan::Plan;
pub use report::{Figure, Findings};

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use strix_engine::Gpu;
use strix_model::weights::FileDtype;
use strix_model::{Dtype, LoadOptions};

use crate::full_width::{BOUND, CTX, FullWidth, config};

impl Plan {
    /// Measures every point; one that cannot be measured is a figure that fell short.
    ///
    /// # Errors
    ///
    /// If there is no adapter, no `strix`, or no room on the disk.
    pub fn run(&self) -> Result<Findings> {
        let gpu = Gpu::new()?;
        let mut findings = Findings::new(&gpu);
        println!("adapter: {}\n", gpu.name());
        if self.points.iter().any(|point| *point < 5) {
            ensure!(
                self.strix.is_file(),
                "{}: no such file; build it: cargo build --release",
                self.strix.display()
            );
            points::make_room(self)?;
        }
        for &point in &self.points {
            println!("── {}", points::title(point));
            let start = Instant::now();
            let done = match point {
                1 => points::convert(self, &mut findings),
                2 => points::load(self, &mut findings),
                3 => points::answer(self, &mut findings),
                4 => points::small_device(self, &mut findings),
                5 => self.full_width(&gpu, &mut findings),
                _ => bail!("there is no point {point}; they are 1 to 5"),
            };
            if let Err(error) = done {
                findings.failed(point, &error);
            }
            println!("── {:.0} s\n", start.elapsed().as_secs_f64());
        }
        Ok(findings)
    }

    fn full_width(&self, gpu: &Gpu, findings: &mut Findings) -> Result<()> {
        for &dtype in &self.dtypes {
            let options = LoadOptions { dtype, ctx: Some(CTX as u32), chunk: 128, ..LoadOptions::default() };
            let mut full = FullWidth::new(gpu, config(1, 1, 6), FileDtype::F32, &options)?;
            // Under int8 the vision tower and the abstractor are as under f32.
            let vision = !matches!(dtype, Dtype::Int8 { .. });
            full.check_all(12, vision)?;
            full.check_end(CTX)?;
            let report = full.report().clone();
            println!("{report}");
            let value = format!("{:.1e} of the largest value, in {}", report.worst().1, report.worst().0);
            findings.add(Figure {
                point: 5,
                what: format!("worst of {} tensors, {dtype}", report.errors.len()),
                value,
                asked: format!("at most {BOUND:.0e}"),
                good: Some(report.good()),
            });
            findings.widths.push(report);
        }
        Ok(())
    }
}

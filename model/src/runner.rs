//! The decoder's compiled programs: one for prompts, and one for each number of sequences that are decoded together.

use std::time::Duration;

use strix_engine::{Graph, Program, TensorId};
use strix_shaders::cursors::Run;
use strix_shaders::{Cursors, Routing};

use crate::Result;
use crate::decoder::{Logits, Regime, Rows, Tap};
use crate::kv_pool::Sequence;
use crate::model::Model;
use crate::session::{Picture, Row, trace};

/// Most sequences that are decoded together.
pub(crate) const TOGETHER: usize = 16;

/// What a run does of one sequence: rows behind its positions, for which it has pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub sequence: &'a Sequence,
    pub rows: &'a [Row],
    /// Encoded pictures, those of `rows` among them.
    pub pictures: &'a [Picture],
    /// Candidates wanted of its last row.
    pub candidates: u32,
}

/// A decoder program for up to so many rows of up to so many sequences.
#[derive(Debug)]
pub(crate) struct Pass {
    pub program: Program,
    pub rows: Rows,
    pub out: Logits,
    /// Rows.
    pub size: usize,
    sequences: usize,
    /// Values of inputs before they are written.
    values: [Vec<u32>; 3],
    /// Pages as they were written last.
    pages: Vec<u32>,
}

impl Pass {
    pub(crate) fn compile(
        model: &Model,
        regime: Regime,
        size: u32,
        sequences: u32,
        all_logits: bool,
        tap: &mut Tap,
    ) -> Result<Self> {
        let inner = &model.inner;
        let mut g = Graph::new(inner.gpu.target());
        let rows = Rows::declare(&mut g, &inner.config.text, regime, size, sequences, inner.ctx);
        let out = inner.decoder.record(&mut g, &inner.config.text, &inner.kv, rows, all_logits, tap);
        Ok(Self {
            program: Program::compile(&inner.gpu, g)?,
            rows,
            out,
            size: size as usize,
            sequences: sequences as usize,
            values: Default::default(),
            pages: vec![],
        })
    }

    /// Sets what the next run does.
    pub(crate) fn write(&mut self, parts: &[Part<'_>]) {
        let Rows { tokens, visual, routing, cursors, last, candidates, .. } = self.rows;
        let rows = || parts.iter().flat_map(|part| part.rows);
        let [values, runs, modality] = &mut self.values;
        values.clear();
        values.extend(rows().map(|row| if let Row::Token(id) = row { *id } else { 0 }));
        self.program.write(tokens, values);
        modality.clear();
        modality.extend(rows().map(|row| u32::from(matches!(row, Row::Image { .. }))));
        if let Some(visual) = visual {
            self.program.write(visual.modality, modality);
        }
        Routing::write(modality, values);
        self.program.write(routing.0, values);

        let of = |part: &Part<'_>| Run { start: part.sequence.len() as u32, rows: part.rows.len() as u32 };
        let mut each: [Run; TOGETHER] = [Run { start: 0, rows: 0 }; TOGETHER];
        each.iter_mut().zip(parts).for_each(|(run, part)| *run = of(part));
        Cursors::write(&each[..parts.len()], self.size as u32, self.sequences, values, runs);
        self.program.write(cursors.rows, values);
        self.program.write(cursors.runs, runs);
        let [_, most] = cursors.pages.shape();
        values.clear();
        for part in parts {
            let end = values.len() + most as usize;
            values.extend(part.sequence.pages());
            values.resize(end, 0);
        }
        if *values != self.pages {
            self.program.write(cursors.pages, values);
            self.pages.clone_from(values);
        }
        if let Some(last) = last {
            let mut row = 0;
            values.clear();
            values.extend(parts.iter().map(|part| {
                row += part.rows.len() as u32;
                row - 1
            }));
            self.program.write(last, values);
        }
        values.clear();
        values.extend(parts.iter().map(|part| part.candidates));
        self.program.write(candidates, values);
        if let (Some(visual), true) = (visual, self.values[2].contains(&1)) {
            let [_, dim] = visual.rows.shape().map(|n| n as usize);
            let mut values = vec![0.0; rows().count() * dim];
            let mut out = values.chunks_exact_mut(dim);
            for part in parts {
                for (row, out) in part.rows.iter().zip(&mut out) {
                    if let Row::Image { picture, row } = *row {
                        let of = part.pictures.iter().find(|of| of.id == picture);
                        out.copy_from_slice(of.expect("the pictures of its rows").row(row as usize, dim));
                    }
                }
            }
            self.program.write(visual.rows, &values);
        }
    }

    /// Runs what was written, unless `go_on` says no between two submits: whether it ran.
    pub(crate) fn run(&mut self, reads: &[TensorId], go_on: Option<&dyn Fn() -> bool>) -> Result<bool> {
        Ok(match go_on {
            None => self.program.run(reads).map(|()| true)?,
            Some(go_on) => self.program.run_while(reads, Duration::from_millis(50), go_on)?,
        })
    }
}

/// The programs of a model.
#[derive(Debug)]
pub(crate) struct Runner {
    pub prefill: Pass,
    /// For 1, 2, 4, … rows; but for the first compiled when they are needed.
    decode: Vec<Pass>,
}

impl Runner {
    pub(crate) fn compile(model: &Model) -> Result<Self> {
        let inner = &model.inner;
        let rows = inner.options.chunk.min(inner.ctx.max(2));
        let prefill = Pass::compile(model, Regime::Prefill, rows, 1, false, &mut Tap::default())?;
        let decode = Pass::compile(model, Regime::Decode, 1, 1, false, &mut Tap::default())?;
        if let Some(prefix) = trace::trace_prefix() {
            model.with_encoder(|encoder| {
                let programs = [&encoder.program, &prefill.program, &decode.program];
                trace::check_prefix(&prefix, programs.into_iter().flat_map(Program::written))
            })?;
        }
        Ok(Self { prefill, decode: vec![decode] })
    }

    /// The program that decodes one row each of so many sequences.
    pub(crate) fn decode(&mut self, model: &Model, sequences: usize) -> Result<&mut Pass> {
        let size = sequences.next_power_of_two();
        let at = match self.decode.iter().position(|pass| pass.size == size) {
            Some(at) => at,
            None => {
                let rows = size as u32;
                let pass = Pass::compile(model, Regime::Decode, rows, rows, false, &mut Tap::default())?;
                self.decode.push(pass);
                self.decode.len() - 1
            }
        };
        Ok(&mut self.decode[at])
    }
}

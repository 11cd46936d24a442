//! The decoder's compiled programs: for prompts of one sequence or of several, and for each number of sequences that are
//! decoded together.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use strix_engine::{Graph, Program, TensorId, logged};
use strix_shaders::cursors::Run;
use strix_shaders::{Cursors, Routing};

use crate::decoder::{Logits, RecordedRun, Regime, Rows, TOGETHER, Tap};
use crate::kv_pool::Sequence;
use crate::loaded::Loaded;
use crate::pictures::Encoded;
use crate::rows::Row;
use crate::{Result, trace};

/// What a run does of one sequence: rows behind its positions, for which it has pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share<'a> {
    pub sequence: &'a Sequence,
    pub rows: &'a [Row],
    /// Pictures, those of `rows` among them.
    pub pictures: &'a [Arc<Encoded>],
    /// Candidates wanted of its last row.
    pub candidates: u32,
}

impl Share<'_> {
    /// The pictures that its rows are of.
    fn seen(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        let is_of = |id| move |row: &Row| matches!(row, Row::Image { picture, .. } if *picture == id);
        self.pictures.iter().filter(move |picture| self.rows.iter().any(is_of(picture.id)))
    }
}

/// A decoder program for up to so many rows of up to so many sequences.
#[derive(Debug)]
pub(crate) struct Pass {
    pub program: Program,
    pub rows: Rows,
    pub out: Logits,
    /// Rows.
    pub size: usize,
    pub sequences: usize,
    /// Values of inputs before they are written.
    values: [Vec<u32>; 3],
    /// Pages as they were written last.
    pages: Vec<u32>,
}

impl Pass {
    pub(crate) fn compile(
        loaded: &Loaded,
        regime: Regime,
        size: u32,
        sequences: u32,
        all_logits: bool,
        tap: &mut Tap,
    ) -> Result<Self> {
        let mut g = Graph::new(loaded.gpu.target());
        let rows = Rows::declare(&mut g, regime, size, sequences, loaded.ctx, &loaded.visual);
        let out = loaded.decoder.record(&mut g, &loaded.config.text, &loaded.kv, rows, all_logits, tap);
        Self::of_recorded(loaded, RecordedRun { graph: g, rows, out })
    }

    fn of_recorded(loaded: &Loaded, recorded: RecordedRun) -> Result<Self> {
        let RecordedRun { graph, rows, out } = recorded;
        let ([size], [sequences]) = (rows.tokens.shape(), rows.candidates.shape());
        Ok(Self {
            program: Program::compile(&loaded.gpu, graph)?,
            rows,
            out,
            size: size as usize,
            sequences: sequences as usize,
            values: Default::default(),
            pages: vec![],
        })
    }

    /// A program of the runner's.
    fn of(loaded: &Loaded, kind: PassKind) -> Result<Self> {
        let (regime, size, sequences) = match kind {
            PassKind::Decode(size) => (Regime::Decode, size, size),
            PassKind::Prefill(sequences) => {
                (Regime::Prefill, loaded.options.chunk.min(loaded.ctx.max(2)), sequences)
            }
        };
        let planned = match kind {
            PassKind::Decode(1) => loaded.planned().decode.take(),
            PassKind::Prefill(1) => loaded.planned().prefill.take(),
            _ => None,
        };
        match planned.filter(|recorded| *recorded.graph.target() == loaded.gpu.target()) {
            Some(recorded) => Self::of_recorded(loaded, recorded),
            None => Self::compile(loaded, regime, size, sequences, false, &mut Tap::default()),
        }
    }

    /// Sets what the next run does.
    ///
    /// # Errors
    ///
    /// If the device has no room for its pictures, or is lost.
    pub(crate) fn write(&mut self, loaded: &Loaded, parts: &[Share<'_>]) -> Result<()> {
        let Rows { tokens, visual, routing, cursors, last, candidates, .. } = self.rows;
        let rows = || parts.iter().flat_map(|part| part.rows);
        let first_rows = match visual {
            Some(_) => loaded.pictures().need(parts.iter().flat_map(Share::seen).cloned().collect())?,
            None => vec![],
        };
        let [values, runs, modality] = &mut self.values;
        values.clear();
        values.extend(rows().map(|row| match *row {
            Row::Token(id) => id,
            Row::Image { picture, row } => {
                let found = first_rows.iter().find(|(id, _)| *id == picture);
                row + found.expect("the pictures of its rows").1
            }
        }));
        self.program.write(tokens, values);
        modality.clear();
        modality.extend(rows().map(|row| u32::from(matches!(row, Row::Image { .. }))));
        if let Some(visual) = visual {
            self.program.write(visual.modality, modality);
        }
        Routing::write(modality, values);
        self.program.write(routing.0, values);

        let of = |part: &Share<'_>| Run { start: part.sequence.len() as u32, rows: part.rows.len() as u32 };
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
        Ok(())
    }

    /// Writes to files what `STRIX_TRACE` names of the run that was set.
    pub(crate) fn dump(&mut self, loaded: &Loaded, parts: &[Share<'_>]) -> Result<()> {
        let (Some(prefix), [part, ..]) = (trace::trace_prefix(), parts) else { return Ok(()) };
        let position = format!("{:05}", part.sequence.len());
        trace::dump(&mut self.program, loaded, part.sequence.pages(), &prefix, &position)
    }

    /// Begins a run of what was set, which reads what is wanted.
    pub(crate) fn begin(&mut self, wanted: Wanted) -> Result<()> {
        let [ids, values, logits] = [self.out.ids.id(), self.out.values.id(), self.out.logits.id()];
        let reads: &[TensorId] = match wanted {
            Wanted { candidates: false, logits: false } => &[],
            Wanted { candidates: true, logits: false } => &[ids, values],
            Wanted { candidates: false, logits: true } => &[logits],
            Wanted { candidates: true, logits: true } => &[ids, values, logits],
        };
        Ok(self.program.begin(reads)?)
    }
}

/// What samplers want of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub candidates: bool,
    pub logits: bool,
}

impl FromIterator<Option<u32>> for Wanted {
    /// Of sequences that want so many candidates each, or all logits.
    fn from_iter<T: IntoIterator<Item = Option<u32>>>(wants: T) -> Self {
        wants.into_iter().fold(Self::default(), |wanted, want| Self {
            candidates: wanted.candidates || want.is_some(),
            logits: wanted.logits || want.is_none(),
        })
    }
}

/// What one of the runner's programs is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassKind {
    /// One row each of so many sequences.
    Decode(u32),
    /// Chunks of prompts of up to so many sequences.
    Prefill(u32),
}

/// The programs of a model.
#[derive(Debug)]
pub(crate) struct Runner {
    /// For chunks of one prompt.
    pub prefill: Pass,
    /// For chunks of several prompts; compiled when they are needed.
    pub prefill_many: Option<Pass>,
    /// For 1, 2, 4, … rows; but for the first compiled when they are needed.
    decode: Vec<Pass>,
    compiling: Option<(PassKind, JoinHandle<Result<Pass>>)>,
}

impl Runner {
    pub(crate) fn compile(loaded: &Loaded) -> Result<Self> {
        let [prefill, decode] =
            [Pass::of(loaded, PassKind::Prefill(1))?, Pass::of(loaded, PassKind::Decode(1))?];
        Ok(Self { prefill, prefill_many: None, decode: vec![decode], compiling: None })
    }

    /// Those that are compiled with it.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &Program> {
        [&self.prefill].into_iter().chain(&self.decode).map(|pass| &pass.program)
    }

    /// The program that decodes one row each of so many sequences, compiled now if it is not there.
    pub(crate) fn decode(&mut self, loaded: &Loaded, sequences: usize) -> Result<&mut Pass> {
        let size = sequences.next_power_of_two();
        if !self.decode.iter().any(|pass| pass.size == size) {
            let pass = Pass::of(loaded, PassKind::Decode(size as u32))?;
            self.insert(pass);
        }
        Ok(self.decode.iter_mut().find(|pass| pass.size == size).expect("inserted"))
    }

    /// The same if it is there. If it is not, it is being compiled, and this is the one that takes most of them.
    pub(crate) fn decode_now(&mut self, loaded: &Arc<Loaded>, sequences: usize) -> Result<&mut Pass> {
        let size = sequences.next_power_of_two();
        self.prepare(loaded, PassKind::Decode(size as u32), |runner| {
            runner.decode.iter().any(|pass| pass.size == size)
        })?;
        let fits = |pass: &&mut Pass| pass.size <= size;
        Ok(self.decode.iter_mut().rfind(fits).expect("there is one for a single row"))
    }

    /// The program for chunks of prompts of so many sequences. If it is not there, it is being compiled, and this is the
    /// one for a single sequence.
    pub(crate) fn prefill_now(&mut self, loaded: &Arc<Loaded>, sequences: usize) -> Result<&mut Pass> {
        if sequences > 1 {
            self.prepare(loaded, PassKind::Prefill(TOGETHER as u32), |runner| runner.prefill_many.is_some())?;
        }
        Ok(self.prefill_of(sequences > 1))
    }

    /// The program for chunks of several prompts, if that is asked for and there, or else the one for chunks of one.
    pub(crate) fn prefill_of(&mut self, many: bool) -> &mut Pass {
        match &mut self.prefill_many {
            Some(pass) if many => pass,
            _ => &mut self.prefill,
        }
    }

    /// Has a program compiled on a thread of its own, one after the other.
    fn prepare(
        &mut self,
        loaded: &Arc<Loaded>,
        kind: PassKind,
        is_there: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        if self.compiling.as_ref().is_some_and(|(_, thread)| thread.is_finished()) {
            let (kind, thread) = self.compiling.take().expect("just seen");
            // One that panics is compiled here, where its panic is heard.
            let pass = thread.join().unwrap_or_else(|_| Pass::of(loaded, kind))?;
            self.insert(pass);
        }
        if self.compiling.is_none() && !is_there(self) {
            let loaded = loaded.clone();
            let compile = move || Pass::of(&loaded, kind);
            let thread = thread::Builder::new().name("strix compiler".into()).spawn(logged(compile));
            match thread {
                Ok(thread) => self.compiling = Some((kind, thread)),
                // Without a thread it is not compiled, and the others do.
                Err(error) => tracing::warn!(%error, ?kind, "no thread to compile a program on"),
            }
        }
        Ok(())
    }

    fn insert(&mut self, pass: Pass) {
        match pass.rows.regime {
            Regime::Prefill => self.prefill_many = Some(pass),
            Regime::Decode => {
                let at = self.decode.partition_point(|other| other.size < pass.size);
                if self.decode.get(at).is_none_or(|other| other.size != pass.size) {
                    self.decode.insert(at, pass);
                }
            }
        }
    }

    /// Waits for what is being compiled.
    pub(crate) fn settle(&mut self) {
        if let Some((_, thread)) = self.compiling.take()
            && let Ok(Ok(pass)) = thread.join()
        {
            self.insert(pass);
        }
    }
}

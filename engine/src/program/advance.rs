//! Running a program: whole, or in pieces between which others have the device.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::run::{Piece, Run};
use super::{Compiled, Program, dispatch, dispatch_grid};
use crate::graph::{Graph, Step};
use crate::segments::{Load, Queue};
use crate::submission::Submission;
use crate::waiting::Turn;
use crate::{Gpu, Result, TensorId};

impl Program {
    /// Runs every step and waits: in one submit, or with one a group of streamed tensors. `reads` are the outputs
    /// to copy back.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn run(&mut self, reads: &[TensorId]) -> Result<()> {
        self.begin(reads)?;
        while !self.advance(Duration::MAX)? {}
        Ok(())
    }

    /// Submits every step of a graph without inputs and outputs. Nothing is waited for: what the steps wrote is there for all
    /// that is submitted after them.
    ///
    /// # Errors
    ///
    /// As [`Program::compile`].
    ///
    /// # Panics
    ///
    /// If it has inputs or outputs, or uses tensors that take turns.
    pub fn launch(gpu: &Gpu, graph: Graph) -> Result<()> {
        let program = Self::build(gpu, graph, false)?;
        let is_alone =
            program.inputs.staging.is_none() && program.outputs.is_empty() && program.streams.is_empty();
        assert!(is_alone, "a graph is launched that the host writes to or reads from");
        let steps: Vec<_> = program.graph.steps.iter().zip(&program.steps).collect();
        program.submit_steps(&steps, None).map(drop)
    }

    /// Has a software driver compile what it would compile with the first run of each kernel, which takes it up to seconds: by
    /// running it with no workgroups. Then no submit is longer than it may be, nor does one tell a wrong time.
    pub(super) fn warm(&self) -> Result<()> {
        if !self.gpu.target().is_cpu {
            return Ok(());
        }
        let mut seen = HashSet::new();
        for (step, compiled) in self.graph.steps.iter().zip(&self.steps) {
            if seen.insert(step.shader.label.as_str()) {
                self.gpu.turn();
                let submitted = self.submit_steps(&[(step, compiled)], Some([0; 3]))?;
                self.gpu.wait_for(&submitted)?;
            }
        }
        Ok(())
    }

    /// Submits some steps, each with its own grid or with another.
    fn submit_steps(&self, steps: &[(&Step, &Compiled)], groups: Option<[u32; 3]>) -> Result<Submission> {
        self.gpu.check_alive()?;
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (step, compiled) in steps {
                dispatch_grid(&mut pass, &step.label, compiled, groups.unwrap_or(compiled.groups));
            }
        }
        self.gpu.submit(encoder)
    }

    /// [`Program::run`] in submits that take half a `slice` of device time each, which ends early when `go_on` says no.
    /// It is asked before each submit; when it says no, at most two are under way and are waited for. Returns whether
    /// every step ran: only then is there anything to read.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn run_while(
        &mut self,
        reads: &[TensorId],
        slice: Duration,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool> {
        if !go_on() {
            return Ok(false);
        }
        self.begin(reads)?;
        while !self.advance(slice)? {
            if !go_on() {
                return self.abandon().map(|()| false);
            }
        }
        Ok(true)
    }

    /// Begins a run that [`Program::advance`] does. `reads` are the outputs to copy back.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    ///
    /// # Panics
    ///
    /// If a run is under way.
    pub fn begin(&mut self, reads: &[TensorId]) -> Result<()> {
        assert!(self.run.is_none(), "a run is under way: let it end, or abandon it");
        self.gpu.check_alive()?;
        for output in &mut self.outputs {
            if std::mem::take(&mut output.mapped) {
                self.gpu.guarded(|| output.staging.unmap())?;
            }
            output.is_wanted = reads.contains(&output.id);
        }
        self.run = Some(Run {
            queue: Queue::new(&self.gpu),
            next: 0,
            last: None,
            done: Instant::now(),
            turn: Turn::default(),
        });
        Ok(())
    }

    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Submits the next steps of the run that is under way, and waits for those before them; after the last steps, for
    /// these. Whether the run has ended.
    ///
    /// The steps of a submit take about half a `slice` of device time, or are a single one that takes longer: two
    /// submits are under way at a time. What a step takes is seen while programs run. A step that was never seen is
    /// submitted alone.
    ///
    /// Where the app tells of its [frames](crate::Frames), one submit is under way at a time, and those between two frames
    /// take a `slice` together.
    ///
    /// # Errors
    ///
    /// If the device is lost. The run has ended then.
    ///
    /// # Panics
    ///
    /// If no run is under way.
    pub fn advance(&mut self, slice: Duration) -> Result<bool> {
        let mut run = self.run.take().expect("a run was begun");
        match self.advance_run(&mut run, slice) {
            Ok(false) => {
                self.run = Some(run);
                Ok(false)
            }
            Ok(true) => Ok(true),
            Err(error) => {
                // The device may be well, where weights could not be read: the inputs are mapped then, as after a run that
                // did not fail, and the next run copies them again.
                let settled = self.map_inputs().and_then(|()| run.queue.wait_for_the_last());
                let _ = settled.and_then(|()| self.gpu.poll());
                Err(error)
            }
        }
    }

    /// Ends a run of which steps are still to come, if one is under way, and waits for those that were submitted.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn abandon(&mut self) -> Result<()> {
        let Some(run) = self.run.take() else { return Ok(()) };
        self.map_inputs()?;
        run.queue.wait_for_the_last()
    }

    fn advance_run(&mut self, run: &mut Run, slice: Duration) -> Result<bool> {
        if run.next == 0 {
            self.copy_inputs(run.queue.encoder())?;
        }
        let segment =
            self.segments.iter().find(|segment| segment.steps.end > run.next || segment.steps.is_empty());
        let (load, end) =
            segment.map_or((None, run.next), |segment| (segment.load.clone(), segment.steps.end));
        if self.gpu.is_paced() {
            // What is under way would take of the turn.
            run.wait_for_the_last(&mut self.costs)?;
        }
        // Nobody else may fill the slot until the steps that use it are submitted.
        let stream = load.as_ref().map(|load| &self.streams[load.stream]);
        let mut state = stream.map(|stream| stream.state());
        if let (Some(load), Some(stream), Some(state)) = (&load, stream, &mut state) {
            run.queue.bring(stream, load, state)?;
        }
        let steps = match self.gpu.is_paced() {
            true => {
                let expected = self.costs.first(run.next..end);
                let left = run.turn.take(&self.gpu, slice, expected);
                self.costs.piece(run.next..end, left)
            }
            false => self.costs.piece(run.next..end, slice / 2),
        };
        {
            let mut pass = run.queue.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for at in steps.clone() {
                dispatch(&mut pass, &self.graph.steps[at].label, &self.steps[at]);
            }
        }
        run.next = steps.end;
        let ends = run.next == self.steps.len();
        if ends {
            self.copy_outputs(run.queue.encoder());
        }
        let submitted = Instant::now();
        run.queue.submit()?;
        self.inputs.are_copied();
        if let (Some(load), Some(state)) = (&load, &mut state) {
            state.used[load.slot] = run.queue.last();
        }
        drop(state);
        let before = run.last.replace(Piece { steps, submitted });
        if !ends {
            run.wait_for(before, &mut self.costs)?;
            return Ok(false);
        }
        self.end(run, before)?;
        Ok(true)
    }

    /// Waits for the last steps, whose outputs can be read then.
    fn end(&mut self, run: &mut Run, before: Option<Piece>) -> Result<()> {
        self.map_inputs()?;
        for output in self.outputs.iter_mut().filter(|output| output.is_wanted) {
            self.gpu.guarded(|| output.staging.map_async(wgpu::MapMode::Read, .., |_| ()))?;
            output.mapped = true;
        }
        run.wait_for(before, &mut self.costs)?;
        if let Some(load) = self.next_load() {
            let stream = &self.streams[load.stream];
            let mut state = stream.state();
            run.queue.bring(stream, &load, &mut state)?;
        }
        let start = Instant::now();
        run.queue.wait_for_the_last()?;
        let last = run.last.take();
        run.note(last, start, &mut self.costs);
        self.check_mapped()
    }

    /// Sees to it that what a run maps is mapped: on a lost device wgpu says of nothing that it failed.
    fn check_mapped(&self) -> Result<()> {
        if let Some(staging) = &self.inputs.staging {
            staging.get_mapped_range_mut(..4).map_err(|e| self.gpu.lose(e))?;
        }
        for output in self.outputs.iter().filter(|o| o.mapped) {
            output.staging.get_mapped_range(..4).map_err(|e| self.gpu.lose(e))?;
        }
        Ok(())
    }

    /// The group that the next run begins with, if it can come while this run ends.
    fn next_load(&self) -> Option<Load> {
        let mut loads = self.segments.iter().filter_map(|s| s.load.clone());
        let (first, last) = (loads.next()?, loads.next_back()?);
        (first.stream == last.stream && first.slot != last.slot).then_some(first)
    }

    /// Unmaps the inputs and copies those that changed. They have changed until that is submitted.
    fn copy_inputs(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let Some(staging) = &self.inputs.staging else { return Ok(()) };
        self.gpu.guarded(|| staging.unmap())?;
        self.inputs.mapped = false;
        for (id, offset, bytes, _) in self.inputs.ranges.iter().filter(|range| range.3) {
            if let Some(to) = &self.regions[id.0 as usize] {
                encoder.copy_buffer_to_buffer(staging, *offset, &to.buffer, to.offset, *bytes);
            }
        }
        Ok(())
    }

    fn copy_outputs(&self, encoder: &mut wgpu::CommandEncoder) {
        for output in self.outputs.iter().filter(|output| output.is_wanted) {
            let from = self.regions[output.id.0 as usize].as_ref().expect("an output is written");
            let bytes = output.staging.size();
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &output.staging, 0, bytes);
        }
    }

    /// Copies the inputs for steps that are run one by one.
    pub(super) fn submit_inputs(&mut self) -> Result<()> {
        self.begin(&[])?;
        self.run = None;
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.copy_inputs(&mut encoder)?;
        self.gpu.submit(encoder)?;
        self.inputs.are_copied();
        self.map_inputs()
    }

    /// Maps the inputs for the next run, once what was submitted has read them.
    fn map_inputs(&mut self) -> Result<()> {
        if let (Some(staging), false) = (&self.inputs.staging, self.inputs.mapped) {
            self.gpu.guarded(|| staging.map_async(wgpu::MapMode::Write, .., |_| ()))?;
            self.inputs.mapped = true;
        }
        Ok(())
    }
}

//! Looking into a program: every tensor of a run, steps beside their CPU references, times, loop counts.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use half::f16;
use wgpu::BufferUsages as U;

use super::{Program, dispatch};
use crate::graph::{Reference, ReferenceArgs, Step};
use crate::profile::StepTime;
use crate::region::Region;
use crate::segments::{Queue, Segment};
use crate::slots::State;
use crate::{Access, Result, Shader, TensorId};

/// One step as [`Program::trace`] saw it run.
#[derive(Debug)]
pub struct Traced<'a> {
    /// The step's name.
    pub label: &'a str,
    /// The kernel's specialisation.
    pub kernel: &'a str,
    /// Label and content of each tensor it wrote; f16 as f32.
    pub written: Vec<(&'a str, Vec<u8>)>,
}

/// One step with all that it needs to be run elsewhere, and what it should write.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The kernel.
    pub shader: Arc<Shader>,
    /// Bytes of its `Params`.
    pub params: Vec<u8>,
    /// Workgroups along x, y, z.
    pub groups: [u32; 3],
    /// Its tensors, in the order of the storage bindings.
    pub tensors: Vec<CapturedTensor>,
}

/// One tensor of a [`Captured`] step.
#[derive(Clone, Debug)]
pub struct CapturedTensor {
    /// Its content before the step.
    pub before: Vec<u8>,
    /// Where the step writes it, its content afterwards: by the CPU reference, or where there is none, by the device.
    pub after: Option<Vec<u8>>,
    /// Whether it is of f16.
    pub is_f16: bool,
}

/// Where the device and a kernel's CPU reference part.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Index of the step.
    pub step: usize,
    /// Its name.
    pub label: String,
    /// The kernel's specialisation.
    pub kernel: String,
    /// The tensor that differs.
    pub tensor: String,
    /// Its worst element.
    pub element: usize,
    /// That element on the device.
    pub got: f32,
    /// That element by the reference.
    pub want: f32,
}

/// Distance of a step's result from its CPU reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// The step's name.
    pub label: String,
    /// The kernel's specialisation.
    pub kernel: String,
    /// Largest difference, in parts of the largest expected value.
    pub max: f64,
    /// Root of the mean square of the differences, in parts of that of the expected values.
    pub rms: f64,
    /// Whether the result is stored as f16, which cannot be closer than half a step of it.
    pub is_f16: bool,
}

impl Program {
    /// Brings in what a step uses of a stream, nothing else being under way, and keeps it there.
    fn hold(&self, step: usize) -> Result<Option<MutexGuard<'_, State>>> {
        let segment = self.segments.iter().find(|s| s.steps.contains(&step));
        let Some(load) = segment.and_then(|s| s.load.as_ref()) else { return Ok(None) };
        let stream = &self.streams[load.stream];
        let mut state = stream.state();
        let mut queue = Queue::new(&self.gpu);
        self.gpu.wait()?;
        queue.bring(stream, load, &mut state)?;
        queue.submit()?;
        Ok(Some(state))
    }

    /// Runs step by step and shows what each wrote. Slow: two submits a step.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn trace(&mut self, mut see: impl FnMut(Traced<'_>)) -> Result<()> {
        self.submit_inputs()?;
        for (index, step) in self.graph.steps.iter().enumerate() {
            let _held = self.hold(index)?;
            self.run_step(index)?;
            let mut written = vec![];
            for arg in step.args.iter().filter(|a| a.access == Access::ReadWrite) {
                let content = self.words(arg.id, self.gpu.download(&self.region(index, arg.id))?);
                written.push((self.graph.label_of(arg.id), content));
            }
            see(Traced { label: &step.label, kernel: &step.shader.label, written });
        }
        self.gpu.wait()
    }

    /// Runs step by step, each also through its CPU reference on the same inputs, and reports the first
    /// whose result is further than `tolerance` (relative to the tensor's largest value) from it; f16 may
    /// always be off by one step, as the numbers they were rounded from are not quite equal.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn replay(&mut self, tolerance: f32) -> Result<Option<Difference>> {
        let mut found = None;
        self.beside_references(|Compared { index, step, tensor, is_f16, got, want }| {
            let tolerance = if is_f16 { tolerance.max(f16::EPSILON.to_f32()) } else { tolerance };
            if let Some((element, got, want)) = worst(got, want, tolerance) {
                let (label, kernel) = (step.label.clone(), step.shader.label.clone());
                let tensor = tensor.to_owned();
                found = Some(Difference { step: index, label, kernel, tensor, element, got, want });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Runs step by step, each also through its CPU reference on the same inputs: how far each tensor that a step wrote
    /// is from it. Steps without a reference are left out.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn deviations(&mut self) -> Result<Vec<Deviation>> {
        let mut all = vec![];
        self.beside_references(|Compared { step, is_f16, got, want, .. }| {
            let [max, rms] = deviation(got, want);
            let (label, kernel) = (step.label.clone(), step.shader.label.clone());
            all.push(Deviation { label, kernel, max, rms, is_f16 });
            true
        })?;
        Ok(all)
    }

    /// Runs step by step, and takes down what each was given and should write.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn capture(&mut self) -> Result<Vec<Captured>> {
        self.submit_inputs()?;
        let mut captured = vec![];
        for (index, step) in self.graph.steps.iter().enumerate() {
            let _held = self.hold(index)?;
            let before = self.contents(index)?;
            self.run_step(index)?;
            let after = match step.reference {
                Some(reference) => {
                    let bytes = |(words, before): (&Vec<u64>, &Vec<u8>)| {
                        bytemuck::cast_slice::<u64, u8>(words)[..before.len()].to_vec()
                    };
                    referenced(step, reference, &before).iter().zip(&before).map(bytes).collect()
                }
                None => self.contents(index)?,
            };
            let tensors =
                step.args.iter().zip(before.into_iter().zip(after)).map(|(arg, (before, after))| {
                    CapturedTensor {
                        before,
                        after: (arg.access == Access::ReadWrite).then_some(after),
                        is_f16: self.graph.values[arg.id.0 as usize].is_f16,
                    }
                });
            captured.push(Captured {
                shader: step.shader.clone(),
                params: step.params.clone(),
                groups: step.groups,
                tensors: tensors.collect(),
            });
        }
        self.gpu.wait()?;
        Ok(captured)
    }

    /// Runs step by step, each also through its CPU reference on the same inputs, and shows both results until `see`
    /// says that it has seen enough.
    fn beside_references(&mut self, mut see: impl FnMut(Compared<'_>) -> bool) -> Result<()> {
        self.submit_inputs()?;
        'steps: for (index, step) in self.graph.steps.iter().enumerate() {
            let _held = self.hold(index)?;
            let Some(reference) = step.reference else {
                self.run_step(index)?;
                continue;
            };
            let tensors = referenced(step, reference, &self.contents(index)?);
            self.run_step(index)?;
            for (arg, want) in step.args.iter().zip(&tensors).filter(|(a, _)| a.access == Access::ReadWrite) {
                let value = &self.graph.values[arg.id.0 as usize];
                let got = self.gpu.download(&self.region(index, arg.id))?;
                let [got, want]: [Vec<f32>; 2] = [got, bytemuck::cast_slice(want).to_vec()]
                    .map(|bytes| bytemuck::pod_collect_to_vec(&self.words(arg.id, bytes)));
                let (tensor, is_f16) = (value.label.as_str(), value.is_f16);
                if !see(Compared { index, step, tensor, is_f16, got: &got, want: &want }) {
                    break 'steps;
                }
            }
        }
        self.gpu.wait()
    }

    /// Device time of every step of one run.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries, or is lost.
    pub fn profile(&mut self) -> Result<Vec<StepTime>> {
        self.gpu.can_profile()?;
        // A query set holds at most 4,096 queries.
        let mut times = Vec::with_capacity(self.steps.len());
        self.submit_inputs()?;
        for Segment { steps, .. } in &self.segments {
            let _held = self.hold(steps.start)?;
            for at in steps.clone().step_by(2048) {
                times.extend(self.profile_range(at..steps.end.min(at + 2048))?);
            }
        }
        Ok(times)
    }

    fn profile_range(&self, range: Range<usize>) -> Result<Vec<StepTime>> {
        let device = self.gpu.device();
        let count = 2 * range.len() as u32;
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = u64::from(count) * 8;
        let resolved = self.gpu.buffer("profile", bytes, U::QUERY_RESOLVE | U::COPY_SRC, false)?;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, at) in range.clone().enumerate() {
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(2 * i as u32),
                end_of_pass_write_index: Some(2 * i as u32 + 1),
            };
            let label = self.graph.steps[at].label.as_str();
            let descriptor =
                wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: Some(writes) };
            dispatch(&mut encoder.begin_compute_pass(&descriptor), label, &self.steps[at]);
        }
        encoder.resolve_query_set(&set, 0..count, &resolved, 0);
        self.gpu.submit(encoder)?;
        let resolved = Region::of(resolved, bytes);
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&self.gpu.download(&resolved)?);
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let time = |(at, stamps): (usize, &[u64])| StepTime {
            label: self.graph.steps[at].label.clone(),
            kernel: self.graph.steps[at].shader.label.clone(),
            ns: stamps[1].saturating_sub(stamps[0]) as f64 * period,
        };
        Ok(range.zip(stamps.chunks_exact(2)).map(time).collect())
    }

    /// Loop iterations of each step's busiest invocation over all runs so far, and the bound that
    /// [`Graph::push`](crate::Graph::push) was given: `(label, counted, bound)`.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    ///
    /// # Panics
    ///
    /// If the program was not made by [`Program::compile_audited`].
    pub fn trips(&self) -> Result<Vec<(String, u64, u64)>> {
        let audit = self.audit.as_ref().expect("made by compile_audited");
        let count = |(step, buffer): (&Step, &wgpu::Buffer)| {
            let region = Region::of(buffer.clone(), 16);
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&self.gpu.download(&region)?);
            Ok((step.label.clone(), u64::from(words[0]), step.trips))
        };
        self.graph.steps.iter().zip(&audit.counts).map(count).collect()
    }

    /// A tensor's content with f16 as f32.
    fn words(&self, id: TensorId, bytes: Vec<u8>) -> Vec<u8> {
        if !self.graph.values[id.0 as usize].is_f16 {
            return bytes;
        }
        let halves: Vec<f16> = bytemuck::pod_collect_to_vec(&bytes);
        let floats: Vec<f32> = halves.into_iter().map(f16::to_f32).collect();
        bytemuck::cast_slice(&floats).to_vec()
    }

    /// The content of each operand of a step.
    fn contents(&self, index: usize) -> Result<Vec<Vec<u8>>> {
        let args = &self.graph.steps[index].args;
        args.iter().map(|arg| self.gpu.download(&self.region(index, arg.id))).collect()
    }

    fn run_step(&self, index: usize) -> Result<()> {
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        dispatch(
            &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()),
            &self.graph.steps[index].label,
            &self.steps[index],
        );
        self.gpu.submit(encoder)?;
        self.gpu.wait()
    }
}

/// What a step's CPU reference makes of its operands' contents, in words that may reach beyond the last byte.
fn referenced(step: &Step, reference: Reference, before: &[Vec<u8>]) -> Vec<Vec<u64>> {
    let mut tensors: Vec<Vec<u64>> = before.iter().map(|b| bytemuck::pod_collect_to_vec(b)).collect();
    let bindings = &step.shader.bindings;
    reference(&mut ReferenceArgs { params: &step.params, bindings, tensors: &mut tensors });
    tensors
}

/// A tensor that a step wrote, on the device and by its reference.
struct Compared<'a> {
    index: usize,
    step: &'a Step,
    tensor: &'a str,
    is_f16: bool,
    got: &'a [f32],
    want: &'a [f32],
}

/// The worst element, where it is further off than `tolerance` times the largest expected value. A tensor
/// without a normal number is one of integers (ids, counts), which must be equal.
fn worst(got: &[f32], want: &[f32], tolerance: f32) -> Option<(usize, f32, f32)> {
    let scale = scale(want);
    let error = |(got, want)| difference(got, want, scale);
    let pairs = got.iter().copied().zip(want.iter().copied());
    let (i, (g, w)) = pairs.enumerate().max_by(|a, b| error(a.1).total_cmp(&error(b.1)))?;
    (error((g, w)) > tolerance * scale).then_some((i, g, w))
}

/// The largest expected value; 0 of integers, which are no normal numbers.
fn scale(want: &[f32]) -> f32 {
    want.iter().filter(|v| v.is_normal()).fold(0.0, |most, v| most.max(v.abs()))
}

fn difference(got: f32, want: f32, scale: f32) -> f32 {
    match got - want {
        _ if got.to_bits() == want.to_bits() || got == want => 0.0,
        d if d.is_nan() || scale == 0.0 => f32::INFINITY,
        // A device may flush what is too small to be normal.
        d => d.abs(),
    }
}

/// The largest difference in parts of the largest expected value, and the root of the mean square of all in parts of
/// that of the expected values.
fn deviation(got: &[f32], want: &[f32]) -> [f64; 2] {
    let scale = scale(want);
    let (mut most, mut squares, mut expected) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (&got, &want) in got.iter().zip(want) {
        let d = f64::from(difference(got, want, scale));
        most = most.max(d);
        squares += d * d;
        expected += if want.is_finite() { f64::from(want).powi(2) } else { 0.0 };
    }
    if most == 0.0 { [0.0; 2] } else { [most / f64::from(scale), (squares / expected).sqrt()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_relative_to_the_largest_and_to_the_mean() {
        assert_eq!(deviation(&[3.0, 4.0], &[3.0, 4.0]), [0.0; 2]);
        assert_eq!(deviation(&[3.0, 5.0], &[3.0, 4.0]), [0.25, 0.2]);
        assert_eq!(deviation(&[f32::NAN, 4.0], &[3.0, 4.0])[0], f64::INFINITY);
        // Integers are equal or they are wrong.
        let [two, three] = [2, 3].map(f32::from_bits);
        assert_eq!(deviation(&[two], &[two]), [0.0; 2]);
        assert_eq!(deviation(&[two], &[three])[0], f64::INFINITY);
    }

    #[test]
    fn a_flushed_denormal_is_no_difference_and_another_integer_is() {
        let tiny = f32::from_bits(11_000);
        assert_eq!(worst(&[1.0, -0.0], &[1.0, -tiny], 1e-6), None);
        assert_eq!(worst(&[tiny], &[f32::from_bits(11_001)], 1e-6), Some((0, tiny, f32::from_bits(11_001))));
        assert_eq!(worst(&[0.0, 1.0], &[0.0, 1.1], 1e-3), Some((1, 1.0, 1.1)));
        assert_eq!(worst(&[0.0; 3], &[0.0; 3], 0.0), None);
        assert!(worst(&[f32::NAN, 1.0], &[1.0, 1.0], 1e-3).is_some());
    }
}

//! One kernel at one point of the sweeps.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use strix_engine::{Gpu, MAX_GROUPS};

use super::check::{Compared, Expected, Reference};
use super::device::Kernel;
use super::expression::{Expression, Variables, listed};
use super::operand::Content;
use super::resolve::{Failure, array, choose_output, fits, for_each_element, grid, known, overridden};
use super::source::{Binding, Kind, Source};
use super::value::Value;
use super::{Request, Sweep, params};
use crate::roofline::Arithmetic;
use crate::run::{Check, Row};
use crate::{Error, Result, Work};

/// One kernel at one point of the sweeps.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file's name, the kernel's if it is one of several, and what is swept.
    pub name: String,
    /// The text.
    pub source: Rc<Source>,
    /// Name of the kernel.
    pub entry: String,
    /// Values of overrides.
    pub constants: BTreeMap<String, f64>,
    /// Values of overrides and variables that were asked for.
    pub settings: BTreeMap<String, f64>,
    /// All that expressions may name.
    pub variables: Variables,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Invocations of a workgroup.
    pub workgroup: [u32; 3],
    /// Bytes and operations of a run.
    pub work: Work,
    /// The kind of the operations.
    pub arithmetic: Arithmetic,
    pub(super) cold: bool,
    pub(super) given: Vec<(Binding, Value)>,
    references: Vec<Referenced>,
    pub(super) tolerance: f64,
    limit: Duration,
}

/// What an output should be, and the job of the kernel that says so, if one does.
type Referenced = (Reference, Option<Box<Job>>);

/// Every combination of some sweeps.
fn points(sweeps: &[Sweep]) -> Vec<BTreeMap<String, f64>> {
    sweeps.iter().fold(vec![BTreeMap::new()], |points, sweep| {
        let with = |point: &BTreeMap<String, f64>, value: f64| {
            let mut point = point.clone();
            point.insert(sweep.name.clone(), value);
            point
        };
        points.iter().flat_map(|point| sweep.values.iter().map(move |&v| with(point, v))).collect()
    })
}

/// The jobs of a request, for a device of these abilities: the point of a sweep that it has no room for is left out, if
/// another is not, and told of in the notes.
///
/// # Errors
///
/// If a file, an operand or an expression is wrong, or the device lacks what every point needs.
pub fn plan(request: &Request, gpu: &Gpu) -> Result<(Vec<Job>, Vec<String>)> {
    let sources =
        request.files.iter().map(|path| Source::load(path).map(Rc::new)).collect::<Result<Vec<_>>>()?;
    plan_sources(request, &sources, gpu)
}

/// The same of texts that have been read, whatever the request's files are.
///
/// # Errors
///
/// As [`plan`].
pub fn plan_sources(request: &Request, sources: &[Rc<Source>], gpu: &Gpu) -> Result<(Vec<Job>, Vec<String>)> {
    let (mut jobs, mut notes, mut first) = (vec![], vec![], None);
    let mut names: Vec<&Path> = vec![];
    let single = sources.len() == 1;
    for source in sources {
        let path = &source.path;
        if let Some(missing) = source.missing(gpu.device().features()) {
            return Err(source.error(format!("it needs {missing}, which {} has not", gpu.name())));
        }
        let entry = source.entry(request.entry.as_deref())?.to_owned();
        let known = source.overrides();
        let swept = |sweep: &&Sweep| known.contains(&sweep.name);
        if let Some(none) = request.overrides.iter().find(|o| !known.contains(&o.name)) {
            // With several files an override may be of one of them alone.
            if single {
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                return Err(source.error(format!(
                    "it has no override {}; there are {}",
                    none.name,
                    listed(&known)
                )));
            }
        }
        let overrides: Vec<_> = request.overrides.iter().filter(swept).cloned().collect();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let twin = names.iter().any(|other| other.file_stem() == path.file_stem());
        names.push(path);
        let mut base = if twin { path.display().to_string() } else { stem };
        if source.entries().len() > 1 {
            base = format!("{base}/{entry}");
        }
        for constants in points(&overrides) {
            for variables in points(&request.variables) {
                let mut varied: Vec<_> = vec![];
                for sweep in overrides.iter().chain(&request.variables).filter(|sweep| sweep.values.len() > 1)
                {
                    let value = constants.get(&sweep.name).or(variables.get(&sweep.name));
                    varied.push(format!("{}={}", sweep.name, value.copied().unwrap_or_default()));
                }
                let name =
                    if varied.is_empty() { base.clone() } else { format!("{base}[{}]", varied.join(", ")) };
                let point = Point {
                    name: name.clone(),
                    source,
                    entry: &entry,
                    constants: &constants,
                    variables: &variables,
                };
                match Job::of(request, gpu, &point, single) {
                    Ok(job) => jobs.push(job),
                    Err(Failure::Device(reason)) if !varied.is_empty() => {
                        notes.push(format!("{name} is left out: {reason}"));
                        first.get_or_insert(source.error(reason));
                    }
                    Err(Failure::Device(reason)) => return Err(source.error(reason)),
                    Err(Failure::Request(error)) => return Err(error),
                }
            }
        }
    }
    match first {
        Some(error) if jobs.is_empty() => Err(error),
        _ => Ok((jobs, notes)),
    }
}

/// A kernel and a point of the sweeps.
struct Point<'a> {
    name: String,
    source: &'a Rc<Source>,
    entry: &'a str,
    constants: &'a BTreeMap<String, f64>,
    variables: &'a BTreeMap<String, f64>,
}

impl Job {
    fn of(request: &Request, gpu: &Gpu, point: &Point<'_>, single: bool) -> Result<Self, Failure> {
        let (source, entry) = (point.source, point.entry);
        let limits = gpu.device().limits();
        let mut variables = point.variables.clone();
        let workgroup = overridden(source, entry, point.constants, &limits, &mut variables)?;
        let bindings = source.bindings(entry)?;
        fits(&bindings, &limits).map_err(Failure::Device)?;
        if single && request.references.iter().all(|r| !matches!(r.expected, Expected::Kernel(_))) {
            known(source, request, &bindings)?;
        }
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        // Arrays come first: numbers may be of their sizes.
        let mut values: Vec<Option<Value>> = vec![];
        for binding in &bindings {
            let value = array(source, request, binding, &variables, most)?;
            if let Some(Value::Array(content) | Value::Texture(content, ..)) = &value {
                variables.insert(format!("{}.len", binding.name), content.len() as f64);
                for (axis, side) in content.shape.iter().enumerate() {
                    variables.insert(format!("{}.{axis}", binding.name), *side as f64);
                }
            }
            values.push(value);
        }
        let mut given = vec![];
        for (binding, value) in bindings.into_iter().zip(values) {
            let value = match value {
                Some(value) => value,
                None => {
                    let of: Vec<_> =
                        request.operands.iter().filter(|o| params::is_of(o, &binding)).cloned().collect();
                    let bytes = params::bytes(source, &binding, &of, &variables)?;
                    match binding.kind {
                        // Numbers of a storage buffer.
                        Kind::Storage { .. } => Value::Array(Content::of_bytes(bytes)),
                        _ => Value::Numbers(bytes),
                    }
                }
            };
            given.push((binding, value));
        }
        choose_output(request, &mut given);
        let grid = match &request.workgroups {
            Some(sides) => grid(sides, &variables)?,
            None => for_each_element(source, &given, workgroup)?,
        };
        let side = limits.max_compute_workgroups_per_dimension.min(MAX_GROUPS);
        if let Some(too_many) = grid.iter().find(|&&n| n > side) {
            let reason =
                format!("{too_many} workgroups along one axis are more than the {side} that devices allow");
            return Err(Error::Option(reason).into());
        }
        let counted = |what: &str, expression: &Option<Expression>, default: u64| match expression {
            None => Ok(default),
            Some(e) => {
                let value = e.value(&variables).map_err(|e| Error::Option(format!("{what} {e}")))?;
                Ok::<_, Error>(value.max(0.0) as u64)
            }
        };
        let once = given.iter().map(|(_, value)| value.bytes()).sum();
        let work = Work {
            bytes: counted("bytes", &request.bytes, once)?,
            flops: counted("flops", &request.flops, 0)?,
        };
        let mut settings = point.constants.clone();
        settings.extend(point.variables.iter().map(|(name, value)| (name.clone(), *value)));
        let mut job = Self {
            name: point.name.clone(),
            source: source.clone(),
            entry: entry.to_owned(),
            constants: point.constants.clone(),
            settings,
            variables,
            grid,
            workgroup,
            work,
            arithmetic: request.arithmetic,
            cold: request.cold,
            given,
            references: vec![],
            tolerance: request.tolerance,
            limit: request.limit,
        };
        job.references = job.references_of(request, gpu, point)?;
        Ok(job)
    }

    /// Bytes of its operands.
    pub(super) fn bytes(&self) -> u64 {
        self.given.iter().map(|(_, value)| value.bytes()).sum()
    }

    fn references_of(
        &self,
        request: &Request,
        gpu: &Gpu,
        point: &Point<'_>,
    ) -> Result<Vec<Referenced>, Failure> {
        let outputs: Vec<_> = self.outputs().map(|(binding, _)| binding.name.as_str()).collect();
        let mut references = vec![];
        for reference in &request.references {
            match &reference.output {
                Some(name) if !outputs.contains(&name.as_str()) => {
                    return Err(Error::Option(format!(
                        "check of {name}: it is no output; outputs are {} (say {name}=f32[..]:out)",
                        listed(&outputs)
                    ))
                    .into());
                }
                None if outputs.len() != 1 => {
                    return Err(Error::Option(format!(
                        "check: say of which output it is, as in y=...; there are {}",
                        listed(&outputs)
                    ))
                    .into());
                }
                _ => {}
            }
            let other = match &reference.expected {
                Expected::Kernel(path) => {
                    let source = Rc::new(Source::load(path)?);
                    if let Some(missing) = source.missing(gpu.device().features()) {
                        return Err(Failure::Request(
                            source.error(format!("it needs {missing}, which {} has not", gpu.name())),
                        ));
                    }
                    let entry = match source.entries().contains(&self.entry.as_str()) {
                        true => self.entry.clone(),
                        false => source.entry(None)?.to_owned(),
                    };
                    let known = source.overrides();
                    let constants = point
                        .constants
                        .iter()
                        .filter(|(name, _)| known.contains(name))
                        .map(|(n, v)| (n.clone(), *v));
                    let request = Request {
                        references: vec![],
                        workgroups: request
                            .reference_workgroups
                            .clone()
                            .or_else(|| request.workgroups.clone()),
                        ..request.clone()
                    };
                    let name = path.display().to_string();
                    let constants = constants.collect();
                    let point = Point {
                        name,
                        source: &source,
                        entry: &entry,
                        constants: &constants,
                        variables: point.variables,
                    };
                    Some(Box::new(Self::of(&request, gpu, &point, false)?))
                }
                _ => None,
            };
            references.push((reference.clone(), other));
        }
        Ok(references)
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = (&Binding, &Content)> {
        self.given.iter().filter_map(|(binding, value)| Some((binding, value.output()?)))
    }

    /// Compiles it.
    ///
    /// # Errors
    ///
    /// If wgpu or the driver refuse it.
    pub(super) fn kernel(&self, gpu: &Gpu) -> Result<Kernel> {
        self.compiled(gpu, &self.source.text)
    }

    fn compiled(&self, gpu: &Gpu, text: &str) -> Result<Kernel> {
        let constants =
            self.constants.iter().map(|(name, value)| (self.source.key(name), *value)).collect::<Vec<_>>();
        let constants: Vec<_> = constants.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let given = self.given.clone();
        Ok(Kernel::new(gpu, &self.name, text, &self.entry, &constants, given, self.grid, self.limit)?)
    }

    /// Compares results with what they should be, and sees whether writes went beyond an operand.
    ///
    /// # Errors
    ///
    /// If the device fails, or a reference is of another size.
    pub(super) fn check(&self, kernel: &Kernel, row: &mut Row) -> Result<()> {
        let left = kernel.left(false)?;
        let mut outside = left.outside;
        outside.extend(self.audited(kernel)?);
        outside.dedup_by(|b, a| a.0 == b.0);
        for (name, first, words) in outside {
            let content = self.given.iter().find_map(|(b, v)| match v {
                Value::Array(content) if b.name == name => Some(content),
                _ => None,
            });
            let Some(content) = content else { continue };
            let at = first as f64 / content.element.bytes() as f64;
            row.outside.push(format!(
                "it writes outside of {name}: {words} words, the first of them at element {at} of {}",
                content.len()
            ));
        }
        let (mut all, mut worst) = (vec![], vec![]);
        for compared in self.compared(kernel, &left.outputs)? {
            if let Some(places) = &compared.places {
                let name = &compared.name;
                row.remarks.push(format!(
                    "{name} was compared at {} of its {} elements",
                    places.len(),
                    compared.len
                ));
            }
            let (check, words) = compared.check(self.tolerance);
            all.push(check);
            worst.extend(words);
        }
        row.check = all.into_iter().reduce(together).unwrap_or_default();
        row.remarks.extend(worst);
        Ok(())
    }

    /// Outputs beside what the references say.
    ///
    /// # Errors
    ///
    /// If a reference fails, or is of another size.
    pub(super) fn compared(&self, kernel: &Kernel, left: &[Vec<u8>]) -> Result<Vec<Compared>> {
        let outputs: Vec<_> = self.outputs().zip(left).collect();
        let operands = if self.references.is_empty() { BTreeMap::new() } else { self.operands() };
        let mut all = vec![];
        for (reference, other) in &self.references {
            let is = |((b, _), _): &&((&Binding, &Content), &Vec<u8>)| {
                reference.output.as_ref().is_none_or(|name| *name == b.name)
            };
            let Some(((binding, content), bytes)) = outputs.iter().find(is) else { continue };
            let got = content.values_of(bytes);
            let (name, element) = (binding.name.as_str(), content.element);
            all.push(match (&reference.expected, other) {
                (Expected::File(path), _) => Compared::with_file(name, element, got, path)?,
                (Expected::Expression(e), _) => Compared::with_expression(
                    name,
                    element,
                    &content.shape,
                    &got,
                    e,
                    &self.variables,
                    &operands,
                )?,
                (Expected::Kernel(path), Some(other)) => {
                    let left = other.kernel(&kernel.gpu)?.left(false)?;
                    let place = other.outputs().position(|(b, _)| b.name == name);
                    let want = place.map(|at| content.values_of(&left.outputs[at])).ok_or_else(|| {
                        Error::Kernel { path: path.clone(), reason: format!("it has no output {name}") }
                    })?;
                    let len = got.len();
                    Compared { name: name.into(), element, got, want, places: None, len }
                }
                (Expected::Kernel(_), None) => continue,
            });
        }
        Ok(all)
    }

    /// Initial contents as numbers.
    fn operands(&self) -> BTreeMap<String, Vec<f64>> {
        let array = |(binding, value): &(Binding, Value)| match value {
            Value::Array(c) | Value::Texture(c, ..) => Some((binding.name.clone(), c.values_of(&c.bytes))),
            _ => None,
        };
        self.given.iter().filter_map(array).collect()
    }

    /// Runs it with more bound than its operands, and says where it wrote then. Lengths of arrays are still those of the
    /// operands: the text is given them as numbers.
    fn audited(&self, kernel: &Kernel) -> Result<Vec<(String, i64, usize)>> {
        let length = |(binding, value): &(Binding, Value)| {
            let Value::Array(content) = value else { return None };
            let stride = binding.stride?;
            Some((
                binding.variable,
                (content.bytes.len() as u64).saturating_sub(binding.fixed_bytes) / stride,
            ))
        };
        let lengths: Vec<_> = self.given.iter().filter_map(length).collect();
        let writes =
            |(b, _): &(Binding, Value)| b.kind == (Kind::Storage { writes: true }) && b.stride.is_some();
        if !self.given.iter().any(writes) {
            return Ok(vec![]);
        }
        let Some(text) = self.source.with_lengths(&lengths) else { return Ok(vec![]) };
        let other = if text == self.source.text { None } else { Some(self.compiled(&kernel.gpu, &text)?) };
        Ok(other.as_ref().unwrap_or(kernel).left(true)?.outside)
    }
}

/// The worse of two checks.
fn together(a: Check, b: Check) -> Check {
    match (a, b) {
        (Check::Right { max: m, rms: r }, Check::Right { max, rms }) => {
            Check::Right { max: max.max(m), rms: rms.max(r) }
        }
        (wrong @ Check::Wrong { .. }, _) | (_, wrong) => wrong,
    }
}

//! What the words of a request are for one kernel and one device: contents of bindings, a grid, sizes of workgroups.

use std::collections::BTreeMap;

use naga::back::pipeline_constants::{PipelineConstantError, process_overrides};
use naga::{ImageDimension, Literal, ShaderStage};
use strix_engine::wgpu::Limits;

use super::Request;
use super::expression::{Expression, Variables, listed};
use super::operand::{Content, Given, Operand};
use super::params;
use super::source::{Binding, Kind, Source, chain};
use super::texture::{FORMATS, Format};
use super::value::Value;
use crate::{Error, Result};

/// Why there is no job.
pub(super) enum Failure {
    /// The request is wrong.
    Request(Error),
    /// The device is too small.
    Device(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

/// What a binding is given, if that is no number of a uniform's.
pub(super) fn array(
    source: &Source,
    request: &Request,
    binding: &Binding,
    variables: &Variables,
    most: u64,
) -> Result<Option<Value>> {
    let operand = request.operands.iter().find(|operand| operand.name == binding.name);
    let wrong = |what: &str| Error::Option(format!("operand {}: it is {what}", binding.name));
    match (binding.kind, operand.map(|o| &o.given)) {
        (Kind::Uniform | Kind::Immediate, Some(Given::Array(description))) if description.output => {
            Err(wrong("no output: the kernel cannot write it"))
        }
        (Kind::Uniform, Some(Given::Array(description))) => {
            let content = description.content(binding, variables, most)?;
            if (content.bytes.len() as u64) < binding.fixed_bytes {
                return Err(wrong(&format!("of {} bytes, and the kernel needs {}", content.bytes.len(), binding.fixed_bytes)));
            }
            Ok(Some(Value::Numbers(content.bytes)))
        }
        (Kind::Uniform | Kind::Immediate, _) => Ok(None),
        (Kind::Sampler, Some(Given::Sampler { linear })) => Ok(Some(Value::Sampler { linear: *linear })),
        (Kind::Sampler, None) => Ok(Some(Value::Sampler { linear: false })),
        (Kind::Sampler, Some(_)) => Err(wrong("a sampler: say linear or nearest")),
        (Kind::Storage { writes }, Some(Given::Array(description))) => {
            if description.output && !writes {
                return Err(wrong("no output: the kernel only reads it (var<storage, read_write> is written)"));
            }
            let content = description.content(binding, variables, most)?;
            sized(binding, &content)?;
            Ok(Some(Value::Array(content)))
        }
        (Kind::Texture { dimension, .. }, Some(Given::Array(description))) => {
            texture(binding, description.format.as_deref(), dimension, description.content(binding, variables, most)?).map(Some)
        }
        (Kind::StorageTexture { dimension, format, .. }, Some(Given::Array(description))) => {
            let name = format!("{format:?}").to_lowercase();
            if description.format.as_deref().is_some_and(|given| given != name) {
                return Err(wrong(&format!("a texture of {name}")));
            }
            texture(binding, Some(&name), dimension, description.content(binding, variables, most)?).map(Some)
        }
        (Kind::Storage { .. }, None) if binding.stride.is_none() && has_members(request, binding) => Ok(None),
        (_, Some(_)) => Err(wrong("no number: say what it holds, as in x=f32[4096]:normal")),
        (_, None) => Err(source.error(format!(
            "binding {} (@group({}) @binding({})) is given nothing: say {0}=f32[4096]:normal, or what it holds",
            binding.name, binding.place[0], binding.place[1]
        ))),
    }
}

fn has_members(request: &Request, binding: &Binding) -> bool {
    request.operands.iter().any(|operand| operand.name != binding.name && params::is_of(operand, binding))
}

/// Whether the bytes of an operand are what the kernel's type takes.
fn sized(binding: &Binding, content: &Content) -> Result<()> {
    let (bytes, fixed) = (content.bytes.len() as u64, binding.fixed_bytes);
    let fits = match binding.stride {
        None => bytes == fixed.next_multiple_of(4),
        Some(stride) => bytes >= fixed + stride && (bytes - fixed).is_multiple_of(stride),
    };
    if fits {
        return Ok(());
    }
    let wanted = match (binding.stride, fixed) {
        (None, fixed) => format!("exactly {fixed}"),
        (Some(stride), 0) => format!("a multiple of {stride}"),
        (Some(stride), fixed) => format!("{fixed} and a multiple of {stride}"),
    };
    let sides: Vec<_> = content.shape.iter().map(u64::to_string).collect();
    Err(Error::Option(format!(
        "operand {}: {}[{}] is {bytes} bytes, and the kernel's type takes {wanted}",
        binding.name,
        content.element.name(),
        sides.join("x"),
    )))
}

fn texture(
    binding: &Binding,
    format: Option<&str>,
    dimension: ImageDimension,
    content: Content,
) -> Result<Value> {
    let wrong = |what: String| Error::Option(format!("operand {}: {what}", binding.name));
    let named = format.map(|name| FORMATS.iter().find(|f| f.name == name).copied().ok_or(name));
    let format: Format = match named {
        Some(Ok(format)) => format,
        Some(Err(name)) => return Err(wrong(format!("textures of {name} cannot be given here"))),
        None => {
            return Err(wrong("it is a texture: say its format, as in rgba8unorm[256x256]:uniform".into()));
        }
    };
    // The sides are of texels, or of numbers with the channels last.
    let axes = match dimension {
        ImageDimension::D1 => 1,
        ImageDimension::D3 => 3,
        _ => 2,
    };
    let mut sides = content.shape.clone();
    let texels = sides.len() == axes;
    if sides.len() == axes + 1 && sides.last() == Some(&format.channels) {
        sides.pop();
    }
    if sides.len() != axes {
        return Err(wrong(format!(
            "a texture of {axes} axes has as many sides, rows before columns, not {}",
            content.shape.len()
        )));
    }
    let mut extent = [1; 3];
    for (to, from) in extent.iter_mut().zip(sides.iter().rev()) {
        *to = u32::try_from(*from).map_err(|_| wrong("it is too large".into()))?;
    }
    let content = if texels { content.times(format.channels) } else { content };
    Ok(Value::Texture(content, format, extent))
}

/// Where the request names no output, all that the kernel may write is one.
pub(super) fn choose_output(request: &Request, given: &mut [(Binding, Value)]) {
    if given.iter().any(|(_, value)| value.output().is_some()) || request.references.is_empty() {
        return;
    }
    for (binding, value) in given {
        let writes = match binding.kind {
            Kind::Storage { writes } => writes,
            Kind::StorageTexture { access, .. } => access.contains(naga::StorageAccess::STORE),
            _ => false,
        };
        if let Value::Array(content) | Value::Texture(content, ..) = value {
            content.output = writes;
        }
    }
}

/// Whether every operand is of a binding: of several files, what one binds may be none of another's.
pub(super) fn known(source: &Source, request: &Request, bindings: &[Binding]) -> Result<()> {
    let of = |operand: &&Operand| !bindings.iter().any(|binding| params::is_of(operand, binding));
    match request.operands.iter().find(of) {
        Some(operand) => {
            let names: Vec<_> = bindings.iter().map(|b| b.name.as_str()).collect();
            Err(source.error(format!("it binds no {}; it binds {}", operand.name, listed(&names))))
        }
        None => Ok(()),
    }
}

/// Whether a device has as many bindings.
pub(super) fn fits(bindings: &[Binding], limits: &Limits) -> Result<(), String> {
    let count = |is: fn(Kind) -> bool| bindings.iter().filter(|b| is(b.kind)).count() as u32;
    let group =
        bindings.iter().filter(|b| b.kind != Kind::Immediate).map(|b| b.place[0] + 1).max().unwrap_or(0);
    let kinds = [
        (
            "storage buffers",
            count(|k| matches!(k, Kind::Storage { .. })),
            limits.max_storage_buffers_per_shader_stage,
        ),
        ("uniform buffers", count(|k| k == Kind::Uniform), limits.max_uniform_buffers_per_shader_stage),
        (
            "textures",
            count(|k| matches!(k, Kind::Texture { .. })),
            limits.max_sampled_textures_per_shader_stage,
        ),
        (
            "storage textures",
            count(|k| matches!(k, Kind::StorageTexture { .. })),
            limits.max_storage_textures_per_shader_stage,
        ),
        ("samplers", count(|k| k == Kind::Sampler), limits.max_samplers_per_shader_stage),
        ("groups of bindings", group, limits.max_bind_groups),
    ];
    match kinds.iter().find(|(_, has, most)| has > most) {
        Some((what, has, most)) => Err(format!("it binds {has} {what}, and this device allows {most}")),
        None => Ok(()),
    }
}

/// Workgroups along each axis; a part of one is a whole one.
pub(super) fn grid(sides: &[Expression], variables: &Variables) -> Result<[u32; 3]> {
    let mut grid = [1; 3];
    for (to, side) in grid.iter_mut().zip(sides) {
        let value = side.value(variables).map_err(|e| Error::Option(format!("workgroups {e}")))?;
        if !(value > 0.0 && value < 4e9) {
            return Err(Error::Option(format!(
                "workgroups {:?} are {value}, which is no number of them",
                side.text()
            )));
        }
        *to = value.ceil() as u32;
    }
    Ok(grid)
}

/// As many workgroups as have an invocation for each element of the first output.
pub(super) fn for_each_element(
    source: &Source,
    given: &[(Binding, Value)],
    workgroup: [u32; 3],
) -> Result<[u32; 3]> {
    let writes = |(binding, value): &(Binding, Value)| match (binding.kind, value) {
        (Kind::Storage { writes: true }, Value::Array(content)) => {
            let stride = binding.stride.unwrap_or(content.element.bytes());
            Some((content.bytes.len() as u64).div_ceil(stride))
        }
        _ => None,
    };
    let elements = given.iter().find_map(writes).filter(|_| workgroup[1] == 1 && workgroup[2] == 1);
    let elements = elements
        .ok_or_else(|| source.error("say how many workgroups it runs, as in --workgroups N/256,M".into()))?;
    Ok([elements.div_ceil(u64::from(workgroup[0])).min(u64::from(u32::MAX)) as u32, 1, 1])
}

/// Puts in the values of overrides: the variables that they are, and the size of a workgroup.
pub(super) fn overridden(
    source: &Source,
    entry: &str,
    constants: &BTreeMap<String, f64>,
    limits: &Limits,
    variables: &mut Variables,
) -> Result<[u32; 3], Failure> {
    let named = constants.iter().map(|(name, value)| (source.key(name), *value)).collect();
    let at = Some((ShaderStage::Compute, entry));
    let (module, info) =
        process_overrides(&source.module, &source.info, at, &named).map_err(|e| match e {
            PipelineConstantError::ValidationError(e) => Failure::Device(chain(e.as_inner())),
            e => source.error(format!("its overrides: {e} (say --override NAME=VALUE)")).into(),
        })?;
    for (_, constant) in module.constants.iter() {
        let value = number(&module.global_expressions[constant.init]);
        if let (Some(name), Some(value)) = (&constant.name, value) {
            variables.entry(name.clone()).or_insert(value);
        }
    }
    // Those that the kernel does not use are gone there.
    for (_, other) in source.module.overrides.iter() {
        let Some(name) = &other.name else { continue };
        let default = other.init.and_then(|init| number(&source.module.global_expressions[init]));
        if let Some(value) = constants.get(name).copied().or(default) {
            variables.entry(name.clone()).or_insert(value);
        }
    }
    let is = |(_, e): &(usize, &naga::EntryPoint)| e.name == entry && e.stage == ShaderStage::Compute;
    let Some((index, point)) = module.entry_points.iter().enumerate().find(is) else {
        return Err(source.error(format!("{entry} is gone after its overrides")).into());
    };
    let size = point.workgroup_size;
    for (name, side) in ["wg.x", "wg.y", "wg.z"].iter().zip(size) {
        variables.insert((*name).into(), f64::from(side));
    }
    let invocations = size.iter().map(|&n| u64::from(n)).product::<u64>();
    let most = [
        limits.max_compute_workgroup_size_x,
        limits.max_compute_workgroup_size_y,
        limits.max_compute_workgroup_size_z,
    ];
    if invocations > u64::from(limits.max_compute_invocations_per_workgroup)
        || size.iter().zip(most).any(|(&has, most)| has > most)
    {
        return Err(Failure::Device(format!(
            "its workgroups are of {}x{}x{} = {invocations} invocations, and this device allows {}, {}x{}x{} at most",
            size[0],
            size[1],
            size[2],
            limits.max_compute_invocations_per_workgroup,
            most[0],
            most[1],
            most[2]
        )));
    }
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| source.error(format!("sizes of its types: {e}")))?;
    let used = module.global_variables.iter().filter(|(handle, variable)| {
        variable.space == naga::AddressSpace::WorkGroup && !info.get_entry_point(index)[*handle].is_empty()
    });
    let bytes = used.map(|(_, variable)| u64::from(layouter[variable.ty].size)).sum::<u64>();
    let most = u64::from(limits.max_compute_workgroup_storage_size);
    if bytes > most {
        return Err(Failure::Device(format!(
            "it needs {bytes} bytes of workgroup memory, and this device has {most}"
        )));
    }
    Ok(size)
}

/// A literal as a number.
fn number(expression: &naga::Expression) -> Option<f64> {
    let naga::Expression::Literal(literal) = expression else { return None };
    Some(match *literal {
        Literal::F32(value) => f64::from(value),
        Literal::F64(value) => value,
        Literal::U32(value) => f64::from(value),
        Literal::I32(value) => f64::from(value),
        Literal::Bool(value) => f64::from(u8::from(value)),
        Literal::AbstractInt(value) => value as f64,
        Literal::AbstractFloat(value) => value,
        _ => return None,
    })
}

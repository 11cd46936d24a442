//! What a binding is given, and what wgpu is told of it.

use naga::{ImageDimension, ScalarKind, StorageAccess};
use strix_engine::wgpu;

use super::operand::Content;
use super::source::{Binding, Kind};
use super::texture::Format;

/// What a binding is given.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A uniform or immediates.
    Numbers(Vec<u8>),
    /// A storage buffer.
    Array(Content),
    /// A texture: columns, rows and layers.
    Texture(Content, Format, [u32; 3]),
    /// A sampler that interpolates, or does not.
    Sampler { linear: bool },
}

impl Value {
    /// Bytes that a run goes through at least once.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Numbers(bytes) => bytes.len() as u64,
            Self::Array(content) | Self::Texture(content, ..) => content.bytes.len() as u64,
            Self::Sampler { .. } => 0,
        }
    }

    /// What is compared after a run.
    pub(super) fn output(&self) -> Option<&Content> {
        match self {
            Self::Array(content) | Self::Texture(content, ..) => Some(content).filter(|c| c.output),
            _ => None,
        }
    }
}

/// The layout of a binding that is given this; `filtered`: a sampler interpolates its texture.
pub(super) fn layout_entry(binding: &Binding, value: &Value, filtered: bool) -> wgpu::BindGroupLayoutEntry {
    let view = |dimension| match dimension {
        ImageDimension::D1 => wgpu::TextureViewDimension::D1,
        ImageDimension::D3 => wgpu::TextureViewDimension::D3,
        _ => wgpu::TextureViewDimension::D2,
    };
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let ty = match (binding.kind, value) {
        (Kind::Storage { writes }, _) => buffer(wgpu::BufferBindingType::Storage { read_only: !writes }),
        (Kind::Texture { dimension, kind }, Value::Texture(_, format, _)) => wgpu::BindingType::Texture {
            sample_type: match kind {
                ScalarKind::Sint => wgpu::TextureSampleType::Sint,
                ScalarKind::Uint => wgpu::TextureSampleType::Uint,
                _ => wgpu::TextureSampleType::Float {
                    filterable: filtered || !format.name.ends_with("32float"),
                },
            },
            view_dimension: view(dimension),
            multisampled: false,
        },
        (Kind::StorageTexture { dimension, access, .. }, Value::Texture(_, format, _)) => {
            wgpu::BindingType::StorageTexture {
                access: match (access.contains(StorageAccess::LOAD), access.contains(StorageAccess::STORE)) {
                    (true, true) => wgpu::StorageTextureAccess::ReadWrite,
                    (true, false) => wgpu::StorageTextureAccess::ReadOnly,
                    _ => wgpu::StorageTextureAccess::WriteOnly,
                },
                format: format.format,
                view_dimension: view(dimension),
            }
        }
        (Kind::Sampler, Value::Sampler { linear: true }) => {
            wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering)
        }
        (Kind::Sampler, _) => wgpu::BindingType::Sampler(wgpu::SamplerBindingType::NonFiltering),
        _ => buffer(wgpu::BufferBindingType::Uniform),
    };
    let visibility = wgpu::ShaderStages::COMPUTE;
    wgpu::BindGroupLayoutEntry { binding: binding.place[1], visibility, ty, count: None }
}

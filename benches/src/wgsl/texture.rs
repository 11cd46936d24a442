//! Formats of textures that can be given.

use strix_engine::wgpu::TextureFormat;

use super::element::Element;

/// A format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    /// Its name in WGSL.
    pub(super) name: &'static str,
    /// wgpu's own.
    pub(super) format: TextureFormat,
    /// What a texel is made of.
    pub(super) element: Element,
    /// How many of them.
    pub(super) channels: u64,
}

const fn of(name: &'static str, format: TextureFormat, element: Element, channels: u64) -> Format {
    Format { name, format, element, channels }
}

/// All of them.
pub(super) const FORMATS: [Format; 15] = [
    of("r8unorm", TextureFormat::R8Unorm, Element::U8, 1),
    of("rg8unorm", TextureFormat::Rg8Unorm, Element::U8, 2),
    of("rgba8unorm", TextureFormat::Rgba8Unorm, Element::U8, 4),
    of("rgba8snorm", TextureFormat::Rgba8Snorm, Element::I8, 4),
    of("rgba8uint", TextureFormat::Rgba8Uint, Element::U8, 4),
    of("rgba8sint", TextureFormat::Rgba8Sint, Element::I8, 4),
    of("r16float", TextureFormat::R16Float, Element::F16, 1),
    of("rgba16float", TextureFormat::Rgba16Float, Element::F16, 4),
    of("r32float", TextureFormat::R32Float, Element::F32, 1),
    of("rg32float", TextureFormat::Rg32Float, Element::F32, 2),
    of("rgba32float", TextureFormat::Rgba32Float, Element::F32, 4),
    of("r32uint", TextureFormat::R32Uint, Element::U32, 1),
    of("rgba32uint", TextureFormat::Rgba32Uint, Element::U32, 4),
    of("r32sint", TextureFormat::R32Sint, Element::I32, 1),
    of("rgba32sint", TextureFormat::Rgba32Sint, Element::I32, 4),
];

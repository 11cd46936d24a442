//! Textures of an app's as rows of pixels that kernels read.

use std::ops::Range;

use wgpu::TextureFormat as F;
use wgpu::TextureUsages as U;

use crate::lost::caught;
use crate::shader::{Access, Shader};
use crate::{Error, Gpu, Resident, Result};

/// Words of a row are a multiple of this: rows that are copied begin at multiples of 256 bytes.
const ROW_WORDS: u32 = wgpu::COPY_BYTES_PER_ROW_ALIGNMENT / 4;

/// Pixels of a row, one a lane. Bytes of a format that holds them as sRGB come as what they mean, and are made bytes again.
const WGSL: &str = "\
struct Params { x: u32, y: u32, width: u32, pitch: u32, is_srgb: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var picture: texture_2d<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn texture_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let x = group.x * 64u + lane;
    if x >= params.width { return; }
    let pixel = textureLoad(picture, vec2<u32>(params.x + x, params.y + group.y), 0);
    var c = pixel.rgb;
    if params.is_srgb != 0u {
        c = select(1.055 * pow(c, vec3<f32>(1.0 / 2.4)) - 0.055, 12.92 * c, c <= vec3<f32>(0.0031308));
    }
    let bytes = vec3<u32>(floor(clamp(c, vec3<f32>(0.0), vec3<f32>(1.0)) * 255.0 + 0.5));
    y[group.y * params.pitch + x] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (255u << 24u);
}
";

/// Part of a texture, as a picture.
///
/// Its format is one of `Rgba8Unorm`, `Rgba8UnormSrgb`, `Bgra8Unorm` and `Bgra8UnormSrgb`: its bytes are taken as those of a
/// picture file are, and alpha is dropped. It has the usage `COPY_SRC` or `TEXTURE_BINDING`, and is of the device that the
/// model is on. A texture of another device is refused, but one of another `wgpu::Instance` may be taken for a texture of this
/// one: wgpu numbers them alike.
#[derive(Clone, Copy, Debug)]
pub struct TextureRegion<'a> {
    /// The texture.
    pub texture: &'a wgpu::Texture,
    /// Pixels to the left of the part and above it, of its mip level.
    pub origin: [u32; 2],
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Its mip level.
    pub mip_level: u32,
    /// Its layer, of a texture that has several.
    pub layer: u32,
}

impl<'a> From<&'a wgpu::Texture> for TextureRegion<'a> {
    /// All of its first layer.
    fn from(texture: &'a wgpu::Texture) -> Self {
        let size = [texture.width(), texture.height()];
        Self { texture, origin: [0, 0], size, mip_level: 0, layer: 0 }
    }
}

/// Some rows of a texture, a word a pixel and 8 bits a channel, in memory of the device.
#[derive(Debug)]
pub struct TextureRows {
    /// `[rows, pitch]`, of which a row's first words are its pixels.
    pub words: Resident<u32, 2>,
    /// Whether the lowest byte is blue; else it is red.
    pub is_bgr: bool,
}

impl TextureRegion<'_> {
    /// Words from one of its rows to the next.
    pub fn pitch(&self) -> u32 {
        self.size[0].next_multiple_of(ROW_WORDS)
    }

    fn is_bgr(&self) -> bool {
        matches!(self.texture.format(), F::Bgra8Unorm | F::Bgra8UnormSrgb)
    }

    /// Refuses what is no picture.
    fn check(&self) -> Result<()> {
        let (texture, refuse) = (self.texture, |reason: String| Err(Error::Texture(reason)));
        let format = texture.format();
        if !matches!(format, F::Rgba8Unorm | F::Rgba8UnormSrgb | F::Bgra8Unorm | F::Bgra8UnormSrgb) {
            return refuse(format!(
                "its format is {format:?}; it can be Rgba8Unorm, Rgba8UnormSrgb, Bgra8Unorm or Bgra8UnormSrgb"
            ));
        }
        if texture.dimension() != wgpu::TextureDimension::D2 || texture.sample_count() != 1 {
            return refuse(format!(
                "it is {:?} with {} samples a pixel; it can be D2 with 1: resolve it first",
                texture.dimension(),
                texture.sample_count()
            ));
        }
        if !texture.usage().intersects(U::COPY_SRC | U::TEXTURE_BINDING) {
            return refuse(format!(
                "its usage is {:?}: create it with COPY_SRC or TEXTURE_BINDING too",
                texture.usage()
            ));
        }
        let (levels, layers) = (texture.mip_level_count(), texture.depth_or_array_layers());
        if self.mip_level >= levels || self.layer >= layers {
            return refuse(format!(
                "mip level {} of layer {} is asked for, and it has {levels} levels and {layers} layers",
                self.mip_level, self.layer
            ));
        }
        let has = [texture.width(), texture.height()].map(|side| (side >> self.mip_level).max(1));
        let [[x, y], [width, height]] = [self.origin, self.size];
        let fits = |at: u32, size: u32, has: u32| at.checked_add(size).is_some_and(|end| end <= has);
        if !fits(x, width, has[0]) || !fits(y, height, has[1]) || self.size.contains(&0) {
            let [has_width, has_height] = has;
            return refuse(format!(
                "{width} x {height} pixels at {x}, {y} are asked for, and it has {has_width} x {has_height}"
            ));
        }
        Ok(())
    }
}

impl Gpu {
    /// Copies rows of a texture to memory that kernels read. Nothing is waited for: what was submitted to the queue before is
    /// in them, and the texture may be written again by what is submitted after.
    ///
    /// # Errors
    ///
    /// If the texture is no picture or of another device, or the device has no room.
    ///
    /// # Panics
    ///
    /// If the region has no such rows.
    pub fn texture_rows(&self, region: TextureRegion<'_>, rows: Range<u32>) -> Result<TextureRows> {
        self.check_alive()?;
        region.check()?;
        assert!(rows.start < rows.end && rows.end <= region.size[1], "rows {rows:?} of {:?}", region.size);
        let words = Resident::zeros("texture", [rows.len() as u32, region.pitch()]);
        let to = words.untyped().region(self)?.buffer;
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let is_copied = region.texture.usage().contains(U::COPY_SRC);
        // It panics of textures of another instance, where it does not take them for its own.
        let submitted = caught(|| match is_copied {
            true => self.copy_rows(&region, &rows, &to),
            false => self.load_rows(&region, &rows, &to),
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::Texture(format!("wgpu does not take it: {error}")));
        }
        submitted.map_err(|panic| Error::Texture(format!("wgpu does not know it: {panic}")))??;
        Ok(TextureRows { words, is_bgr: is_copied && region.is_bgr() })
    }

    fn copy_rows(&self, region: &TextureRegion<'_>, rows: &Range<u32>, to: &wgpu::Buffer) -> Result<()> {
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let [x, y] = region.origin;
        let from = wgpu::TexelCopyTextureInfo {
            texture: region.texture,
            mip_level: region.mip_level,
            origin: wgpu::Origin3d { x, y: y + rows.start, z: region.layer },
            aspect: wgpu::TextureAspect::All,
        };
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(4 * region.pitch()),
            rows_per_image: None,
        };
        let size =
            wgpu::Extent3d { width: region.size[0], height: rows.len() as u32, depth_or_array_layers: 1 };
        encoder.copy_texture_to_buffer(from, wgpu::TexelCopyBufferInfo { buffer: to, layout }, size);
        self.submit(encoder).map(drop)
    }

    /// The same by a kernel, where a texture cannot be copied from.
    fn load_rows(&self, region: &TextureRegion<'_>, rows: &Range<u32>, to: &wgpu::Buffer) -> Result<()> {
        let shader = Shader {
            name: "texture_rows",
            label: "texture_rows".into(),
            variants: vec![],
            wgsl: WGSL.into(),
            bindings: vec![
                crate::Binding { number: 0, name: "params", access: Access::Uniform },
                crate::Binding { number: 1, name: "picture", access: Access::Picture },
                crate::Binding { number: 2, name: "y", access: Access::ReadWrite },
            ],
        };
        let kernel = self.pipeline(&shader, None)?;
        let [x, y] = region.origin;
        let is_srgb = u32::from(region.texture.format().is_srgb());
        let params = [x, y + rows.start, region.size[0], region.pitch(), is_srgb, 0, 0, 0];
        let uniform = self.buffer(
            "texture params",
            32,
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            false,
        )?;
        self.upload_little(&uniform, bytemuck::cast_slice(&params))?;
        let view = region.texture.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(wgpu::TextureViewDimension::D2),
            base_mip_level: region.mip_level,
            mip_level_count: Some(1),
            base_array_layer: region.layer,
            array_layer_count: Some(1),
            ..Default::default()
        });
        let bind_group = self.bind_group(&wgpu::BindGroupDescriptor {
            label: Some("texture_rows"),
            layout: &kernel.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 2, resource: to.as_entire_binding() },
            ],
        });
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(region.size[0].div_ceil(64), rows.len() as u32, 1);
        }
        self.submit(encoder).map(drop)
    }
}

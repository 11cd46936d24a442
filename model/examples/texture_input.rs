//! A question about what an app has drawn: the texture is the picture, and none of its pixels comes to the host.
//!
//! ```sh
//! cargo run -p strix-model --features nano --example texture_input
//! ```

use std::error::Error;

use strix_model::{GenerateOptions, Gpu, LoadOptions, Model, Source, TextureRegion, unwatched, wgpu};

/// A shape in the middle of a triangle that covers the texture.
const WGSL: &str = "
@vertex fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
    return vec4<f32>(f32(i32(i & 1u) * 4 - 1), f32(i32(i >> 1u) * 4 - 1), 0.0, 1.0);
}
@fragment fn paint(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
    let is_inside = distance(at.xy, vec2<f32>(400.0, 300.0)) < 150.0;
    return select(vec4<f32>(1.0), vec4<f32>(0.0, 0.0, 1.0, 1.0), is_inside);
}
";

fn main() -> Result<(), Box<dyn Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let gpu = Gpu::from_wgpu(device.clone(), queue.clone())?;
    let options = LoadOptions::default();
    let model = Model::load_on(&gpu, Source::Nano, &options, &mut unwatched)?;

    let drawing = draw(&device, &queue);
    let mut session = model.session()?;
    session.add_texture(&drawing)?;
    let whole = session.ask("what shape is in the image?", &GenerateOptions::default())?.finish()?;
    println!("the whole drawing: {}", whole.text);

    // Part of it, by a name: whoever gives "the middle" again has it encoded already.
    let middle = TextureRegion { origin: [200, 100], size: [400, 400], ..(&drawing).into() };
    let mut session = model.session()?;
    session.add_texture_as(middle, "the middle")?;
    let middle = session.ask("what color is the shape?", &GenerateOptions::default())?.finish()?;
    println!("its middle: {}", middle.text);
    assert_eq!([whole.text, middle.text], ["circle", "blue"]);
    Ok(())
}

/// What an app draws: a blue circle.
fn draw(device: &wgpu::Device, queue: &wgpu::Queue) -> wgpu::Texture {
    let format = wgpu::TextureFormat::Rgba8UnormSrgb;
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("drawing"),
        size: wgpu::Extent3d { width: 800, height: 600, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        // Either of the last two lets Strix read it.
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING,
        view_formats: &[],
    });
    let source = wgpu::ShaderSource::Wgsl(WGSL.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("drawing"),
        layout: None,
        vertex: wgpu::VertexState {
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    });
    let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view: &view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations::default(),
        })],
        ..Default::default()
    });
    pass.set_pipeline(&pipeline);
    pass.draw(0..3, 0..1);
    drop(pass);
    queue.submit([encoder.finish()]);
    texture
}

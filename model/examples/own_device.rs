//! A model on the device that an app draws with: frames go on while it loads and answers.
//!
//! ```sh
//! cargo run -p strix-model --features nano --example own_device
//! ```
//!
//! It draws to a texture, so that it needs no window. An app with one calls `Frames::frame` behind its `present`. An app needs
//! `pollster` beside `strix-model`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use strix_model::image::RgbImage;
use strix_model::{
    Frames, GenerateOptions, Gpu, LoadOptions, Model, Sharing, Source, unwatched, wanted_features,
    wanted_limits, wgpu,
};

fn main() -> Result<(), Box<dyn Error>> {
    // The app's own device. Features and limits that Strix wants are asked for; none of them is needed.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: wanted_features(&adapter),
        required_limits: wanted_limits(&adapter),
        ..Default::default()
    }))?;

    // Strix computes on it between the app's frames, a slice after each.
    let frames = Frames::new();
    let sharing = Sharing { adapter: Some(adapter), frames: Some(frames.clone()), ..Sharing::default() };
    let gpu = Gpu::share(device.clone(), queue.clone(), sharing)?;
    for missing in gpu.missing() {
        println!("faster with {missing}");
    }

    // What waits for the device has a thread of its own.
    let answering = thread::spawn(move || answer(&gpu).map_err(|error| error.to_string()));
    let mut longest = Duration::ZERO;
    let mut drawn = 0;
    let window = window(&device);
    while !answering.is_finished() {
        let start = Instant::now();
        draw(&device, &queue, &window);
        frames.frame();
        longest = longest.max(start.elapsed());
        drawn += 1;
        thread::sleep(Duration::from_millis(16).saturating_sub(start.elapsed()));
    }
    println!("{drawn} frames meanwhile; the app's thread was held for {longest:.1?} at most");
    answering.join().map_err(|_| "the answering thread panicked")??;
    Ok(())
}

/// Loads the model that is built in, and asks it about a picture.
fn answer(gpu: &Gpu) -> strix_model::Result<()> {
    let options = LoadOptions { slice: Duration::from_millis(4), ..LoadOptions::default() };
    let model = Model::load_on(gpu, Source::Nano, &options, &mut unwatched)?;
    let mut session = model.session()?;
    let circle = |x: u32, y: u32| (f64::from(x) - 56.0).hypot(f64::from(y) - 56.0) < 30.0;
    let picture =
        RgbImage::from_fn(112, 112, |x, y| if circle(x, y) { [0, 0, 255] } else { [255; 3] }.into());
    session.add_image(&picture)?;
    let mut answer = session.ask("what color is the shape?", &GenerateOptions::default())?;
    for token in answer.by_ref() {
        println!("a token: {:?}", token?.text);
    }
    assert_eq!(answer.text(), "blue");
    Ok(())
}

/// What the app draws to.
fn window(device: &wgpu::Device) -> wgpu::TextureView {
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("window"),
        size: wgpu::Extent3d { width: 640, height: 480, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    });
    texture.create_view(&wgpu::TextureViewDescriptor::default())
}

/// A frame of the app's.
fn draw(device: &wgpu::Device, queue: &wgpu::Queue, window: &wgpu::TextureView) {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    drop(encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view: window,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations {
                load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                store: wgpu::StoreOp::Store,
            },
        })],
        ..Default::default()
    }));
    queue.submit([encoder.finish()]);
}

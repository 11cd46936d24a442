//! Textures as pictures: prepared on the device with the very values of pixels that come from the host.

use strix_engine::{Gpu, TextureRegion, wgpu};
use strix_model::config::PreprocessorConfig;
use strix_model::image::{self, Preprocess, RgbImage};
use strix_model::{Error, GenerateOptions, LoadOptions, Model, Session};
use strix_tests::{gpu, nano};
use wgpu::TextureFormat as F;
use wgpu::TextureUsages as U;

use super::adapter;

fn model(preprocess: Preprocess) -> Model {
    nano::load_with(gpu(), &LoadOptions { preprocess, ctx: Some(256), ..LoadOptions::default() })
}

/// A texture of those pixels, with noise for alpha.
fn texture(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pixels: &RgbImage,
    format: F,
    usage: U,
) -> wgpu::Texture {
    let (width, height) = pixels.dimensions();
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("picture"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: usage | U::COPY_DST,
        view_formats: &[],
    });
    let is_bgra = matches!(format, F::Bgra8Unorm | F::Bgra8UnormSrgb);
    let bytes: Vec<u8> = pixels
        .pixels()
        .enumerate()
        .flat_map(|(i, pixel)| {
            let [r, g, b] = pixel.0;
            if is_bgra { [b, g, r, i as u8] } else { [r, g, b, i as u8] }
        })
        .collect();
    let layout =
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * width), rows_per_image: None };
    queue.write_texture(texture.as_image_copy(), &bytes, layout, size);
    texture
}

fn on_gpu(pixels: &RgbImage, format: F, usage: U) -> wgpu::Texture {
    texture(gpu().device(), gpu().queue(), pixels, format, usage)
}

/// Noise with large areas of black and white, over which a bicubic swings beyond what a byte holds.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = width.wrapping_mul(31).wrapping_add(height) | 1;
    RgbImage::from_fn(width, height, |x, y| {
        let mut byte = |shift: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (x / 5 + y / 7 + shift) % 4 {
                0 => 0,
                1 => 255,
                _ => (state >> 24) as u8,
            }
        };
        ::image::Rgb([byte(0), byte(1), byte(2)])
    })
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_texture_is_prepared_bit_for_bit_as_the_same_pixels() {
    let sizes = [(640, 480), (333, 517), (57, 56), (56, 56), (97, 3), (2, 141), (1, 1), (1, 9), (1021, 1)];
    for mode in [Preprocess::Resize, Preprocess::Pad, Preprocess::Crop] {
        let model = model(mode);
        for (i, (width, height)) in sizes.into_iter().enumerate() {
            let pixels = noise(width, height);
            let Ok(want) = model.pixels(&pixels) else {
                continue;
            };
            // Each way to read it, and each format, in turn.
            let format = [F::Rgba8Unorm, F::Rgba8UnormSrgb, F::Bgra8Unorm, F::Bgra8UnormSrgb][i % 4];
            for usage in [U::COPY_SRC, U::TEXTURE_BINDING] {
                let got = model.texture_pixels(&on_gpu(&pixels, format, usage)).unwrap();
                let differ = bits(&got).iter().zip(bits(&want)).filter(|(a, b)| *a != b).count();
                assert_eq!(differ, 0, "{width} x {height} {mode:?} {format:?} {usage:?} of {}", want.len());
            }
        }
    }
}

#[test]
fn every_byte_of_every_format_is_that_byte() {
    // A square of the vision tower's size is not resized.
    let model = model(Preprocess::Resize);
    let side = model.config().vision.image_size as u32;
    let pixels = RgbImage::from_fn(side, side, |x, y| {
        let at = (y * side + x) as u8;
        ::image::Rgb([at, at.wrapping_mul(7), 255 - at])
    });
    let want = model.pixels(&pixels).unwrap();
    for format in [F::Rgba8Unorm, F::Rgba8UnormSrgb, F::Bgra8Unorm, F::Bgra8UnormSrgb] {
        for usage in [U::COPY_SRC, U::TEXTURE_BINDING] {
            let got = model.texture_pixels(&on_gpu(&pixels, format, usage)).unwrap();
            assert_eq!(bits(&got), bits(&want), "{format:?} {usage:?}");
        }
    }
}

#[test]
fn a_part_of_a_texture_is_a_picture() {
    let model = model(Preprocess::Resize);
    let pixels = noise(200, 90);
    let [x, y, width, height] = [13, 7, 101, 64];
    let part = ::image::imageops::crop_imm(&pixels, x, y, width, height).to_image();
    let want = model.pixels(&part).unwrap();
    for usage in [U::COPY_SRC, U::TEXTURE_BINDING] {
        let texture = on_gpu(&pixels, F::Rgba8Unorm, usage);
        let region = TextureRegion { origin: [x, y], size: [width, height], ..(&texture).into() };
        assert_eq!(bits(&model.texture_pixels(region).unwrap()), bits(&want));
        let beyond = TextureRegion { origin: [x, y], size: [188, 10], ..(&texture).into() };
        let error = model.texture_pixels(beyond).unwrap_err().to_string();
        assert!(error.contains("188 x 10 pixels at 13, 7") && error.contains("it has 200 x 90"), "{error}");
    }
}

/// The model's own size, as the 8.2B model has it: 448 a side of up to 4096.
#[test]
fn large_textures_are_cut_into_strips() {
    let c = PreprocessorConfig::new(448);
    let gpu = strix_engine::Gpu::with(&strix_engine::GpuOptions {
        max_binding_bytes: Some(3 << 20),
        ..strix_engine::GpuOptions::from_env()
    })
    .unwrap();
    for (width, height) in [(1500, 900), (850, 1400)] {
        let pixels = noise(width, height);
        let texture = texture(gpu.device(), gpu.queue(), &pixels, F::Rgba8Unorm, U::COPY_SRC);
        for mode in [Preprocess::Resize, Preprocess::Pad, Preprocess::Crop] {
            let got = image::preprocess_texture(&gpu, (&texture).into(), mode, &c).unwrap();
            let want = image::preprocess(&pixels, mode, &c).unwrap();
            assert_eq!(bits(&got), bits(&want), "{width} x {height} {mode:?}");
        }
    }
}

fn ask(session: &mut Session, sample: &nano::Sample) -> Vec<u32> {
    let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
    answer.by_ref().for_each(|token| drop(token.unwrap()));
    answer.ids().to_vec()
}

#[test]
fn a_question_about_a_texture_has_the_answer_about_its_pixels() {
    let model = nano::load(gpu(), 256, 64);
    let sample = nano::sample("caption");
    let picture = &sample.pictures()[0];
    let texture = on_gpu(picture, F::Rgba8UnormSrgb, U::COPY_SRC | U::RENDER_ATTACHMENT);
    let mut session = model.session().unwrap();
    session.add_texture(&texture).unwrap();
    // What is drawn to it from now on is not in the picture.
    let black = RgbImage::new(picture.width(), picture.height());
    let layout = wgpu::TexelCopyBufferLayout {
        offset: 0,
        bytes_per_row: Some(4 * black.width()),
        rows_per_image: None,
    };
    let bytes = vec![0; 4 * (black.width() * black.height()) as usize];
    gpu().queue().write_texture(texture.as_image_copy(), &bytes, layout, texture.size());
    let want = {
        let mut session = model.session().unwrap();
        sample.add_pictures(&mut session);
        ask(&mut session, &sample)
    };
    assert_eq!(ask(&mut session, &sample), want);

    // It is saved as any other is.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("session");
    session.save(&file, strix_model::SaveOptions::default()).unwrap();
    assert_eq!(model.restore(&file).unwrap().turns(), session.turns());
}

#[test]
fn a_texture_with_a_name_is_encoded_once() {
    let model = nano::load(gpu(), 256, 64);
    let sample = nano::sample("caption");
    let texture = on_gpu(&sample.pictures()[0], F::Rgba8Unorm, U::COPY_SRC);
    let mut encoded = vec![];
    let mut count = |add: &dyn Fn(&mut Session)| {
        let mut session = model.session().unwrap();
        add(&mut session);
        ask(&mut session, &sample);
        encoded.push(model.activity().encoded_pictures);
    };
    count(&|session| session.add_texture(&texture).unwrap());
    count(&|session| session.add_texture(&texture).unwrap());
    count(&|session| session.add_texture_as(&texture, "frame 7").unwrap());
    count(&|session| session.add_texture_as(&texture, "frame 7").unwrap());
    count(&|session| session.add_texture_as(&texture, "frame 8").unwrap());
    assert_eq!(encoded, [1, 2, 3, 3, 4]);
}

#[test]
fn what_is_no_picture_is_refused_and_said() {
    // Both of one instance: textures of another are nothing that wgpu could tell from its own.
    let adapter = adapter();
    let device = || pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let ((device, queue), (other, others)) = (device(), device());
    let gpu = Gpu::from_wgpu(device.clone(), queue.clone()).unwrap();
    let model = nano::load(&gpu, 256, 64);
    let mut session = model.session().unwrap();
    let mut refused = |texture: &wgpu::Texture, words: &[&str]| {
        let error = session.add_texture(texture).unwrap_err();
        assert!(matches!(error, Error::Engine(strix_engine::Error::Texture(_))), "{error:?}");
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let pixels = noise(8, 8);
    refused(
        &texture(&device, &queue, &pixels, F::Rgba8Unorm, U::RENDER_ATTACHMENT),
        &["COPY_SRC or TEXTURE_BINDING"],
    );
    let made = |device: &wgpu::Device, format, sample_count| {
        device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: 8, height: 8, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: U::RENDER_ATTACHMENT | U::TEXTURE_BINDING,
            view_formats: &[],
        })
    };
    refused(&made(&device, F::Rgba16Float, 1), &["Rgba16Float", "Rgba8UnormSrgb"]);
    refused(&made(&device, F::Rgba8Unorm, 4), &["4 samples"]);
    refused(&texture(&other, &others, &pixels, F::Rgba8Unorm, U::COPY_SRC), &["wgpu does not take it"]);
    refused(
        &texture(&other, &others, &pixels, F::Rgba8Unorm, U::TEXTURE_BINDING),
        &["wgpu does not take it"],
    );
    // The model is as it was.
    let sample = nano::sample("caption");
    sample.add_pictures(&mut session);
    assert!(!ask(&mut session, &sample).is_empty());
}

//! Operands to time kernels with: numbers that are cheap to make and the same on every machine.

use std::sync::LazyLock;

use strix_engine::{Gpu, Resident, Result};
use strix_shaders::cursors::PAGE;
use strix_shaders::{Format, HeadShape, KvCache, KvElement, KvPart, Layout, Linear, Routing};

/// Weight formats, each with its name.
pub const FORMATS: [(&str, Format); 6] = [
    ("f32", Format::F32),
    ("bf16", Format::Bf16),
    ("int8", Format::Int8 { group: None }),
    ("int8g128", Format::Int8 { group: Some(128) }),
    ("int8g64", Format::Int8 { group: Some(64) }),
    ("int8g32", Format::Int8 { group: Some(32) }),
];

/// Numbers in [-1, 1); a prime number of them, so that rows of any usual length begin differently.
static NOISE: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut s = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        (s >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(65_521).collect()
});

/// `len` numbers in [-1, 1).
pub fn noise(len: usize) -> Vec<f32> {
    NOISE.iter().copied().cycle().take(len).collect()
}

/// A tensor of [`noise`] on the device.
///
/// # Errors
///
/// If the device has no room for it.
pub fn tensor<const R: usize>(gpu: &Gpu, label: &str, shape: [u32; R]) -> Result<Resident<f32, R>> {
    let data = noise(shape.iter().map(|&d| d as usize).product());
    Resident::zeros(label, shape).with_texels().filled(gpu, &data)
}

/// A cache of keys and values of noise on the device, with pages for `context` positions.
///
/// # Errors
///
/// If the device has no room for it.
pub fn cache<T: KvElement>(gpu: &Gpu, heads: HeadShape, context: u32) -> Result<KvCache<T>> {
    let limit = gpu.target().max_binding_bytes;
    let KvCache { parts } = KvCache::new("cache", context.div_ceil(PAGE), heads, limit);
    let filled = |tensor: Resident<T, 3>| {
        let noise = noise(tensor.shape().iter().map(|&n| n as usize).product());
        tensor.filled(gpu, &noise.into_iter().map(T::nearest).collect::<Vec<_>>())
    };
    let parts = parts.into_iter().map(|KvPart { k, v }| Ok(KvPart { k: filled(k)?, v: filled(v)? }));
    Ok(KvCache { parts: parts.collect::<Result<_>>()? })
}

/// A projection of noise on the device, of a size that makes results of [`noise`] about 1.
///
/// # Errors
///
/// If the device has no room for it.
pub fn projection(gpu: &Gpu, name: &str, layout: Layout, bias: bool) -> Result<Linear> {
    let start = |set: u32, half: u32, row: u32| {
        (row as usize * 7919 + half as usize * 104_729 + set as usize * 1_299_709) % NOISE.len()
    };
    let scale = 3.0 / (layout.k as f32).sqrt();
    let fill = |set: u32, half: u32, row: u32, out: &mut [f32]| {
        let noise = NOISE[start(set, half, row)..].iter().chain(NOISE.iter().cycle());
        out.iter_mut().zip(noise).for_each(|(w, noise)| *w = noise * scale);
    };
    let bias_of = |set: u32, half: u32, row: u32| NOISE[start(set, half, row)];
    Linear::upload(gpu, name, name, layout, fill, bias.then_some(&bias_of as &dyn Fn(u32, u32, u32) -> f32))
}

/// A routing of `rows` rows. If `mixed`, every second is an image's.
pub fn routing(rows: u32, mixed: bool) -> Resident<u32, 1> {
    let modality: Vec<u32> = (0..rows).map(|r| u32::from(mixed) * (r % 2)).collect();
    Resident::from_slice("routing", [rows + 2], &Routing::of(&modality))
}

/// The same with room for as many rows, but a few of them listed: for references that are slow.
pub fn few_rows(rows: u32, mixed: bool) -> Resident<u32, 1> {
    if rows <= 5 {
        return routing(rows, mixed);
    }
    let few: Vec<u32> = (0..5).map(|i| i * (rows - 1) / 4).collect();
    let (image, text): (Vec<u32>, Vec<u32>) = few.iter().partition(|&r| mixed && r % 2 == 1);
    let mut list = vec![text.len() as u32, image.len() as u32];
    list.extend(text.iter().chain(&image));
    list.resize(rows as usize + 2, 0);
    Resident::from_slice("routing", [rows + 2], &list)
}

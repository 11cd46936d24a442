// y[r * G + c, (k * P + v) * P + u] = pixels[k, r * P + v, c * P + u],  G = size / P patches a side
//
// Dosovitskiy et al. 2021, section 3.1: the image as rows of patches, in the order of a convolution's
// weights, so that the patch embedding is a matrix product. A workgroup gathers 512 elements.

struct Params {
    /// Colour channels.
    channels: u32,
    /// Pixels along a side of the image.
    size: u32,
    /// Pixels along a side of a patch.
    patch_size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<f32>;      // [channels, size, size]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;     // [G * G, channels * P * P]

@compute @workgroup_size(64)
fn patches(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let side = params.size / params.patch_size;
    let area = params.patch_size * params.patch_size;
    let width = params.channels * area;
    let row = group.y / side * params.patch_size;
    let column = group.y % side * params.patch_size;
    let end = min(width, (group.x + 1u) * 512u);
    //~ trips: 9
    for (var i = group.x * 512u + lane; i < end; i += 64u) {
        let line = i / area * params.size + row + i % area / params.patch_size;
        y[group.y * width + i] = pixels[line * params.size + column + i % params.patch_size];
    }
}

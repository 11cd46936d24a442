// y[0] = class_row + position[0],  y[1 + p] = patches[p] + position[1 + p]
//
// Dosovitskiy et al. 2021, eq. 1. A workgroup adds 512 elements of a row.

struct Params {
    /// Rows of `y`: the patches and one.
    rows: u32,
    /// Elements in a row.
    dim: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<f32>;     // [rows - 1, dim]
@group(0) @binding(2) var<storage, read> class_row: array<f32>;   // [dim]
@group(0) @binding(3) var<storage, read> position: array<f32>;    // [rows, dim]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;     // [rows, dim]

@compute @workgroup_size(64)
fn class_token(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * params.dim;
    let end = min(params.dim, (group.x + 1u) * 512u);
    //~ trips: 9
    for (var i = group.x * 512u + lane; i < end; i += 64u) {
        if group.y == 0u {
            y[i] = class_row[i] + position[i];
        } else {
            y[row + i] = patches[row - params.dim + i] + position[row + i];
        }
    }
}

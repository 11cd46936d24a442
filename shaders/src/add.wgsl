// y[r, i] = x[r, i] + table[r, i]
//
// A workgroup adds 256 vectors of four; every tensor is padded to whole ones.

struct Params {
    /// Elements in all.
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [rows, dim]
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;     // [rows, dim]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;   // [rows, dim]

@compute @workgroup_size(64)
fn add(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let end = min((params.len + 3u) / 4u, (group.x + 1u) * 256u);
    //~ trips: 5
    for (var i = group.x * 256u + lane; i < end; i += 64u) {
        y[i] = x[i] + table[i];
    }
}

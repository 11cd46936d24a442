// y[i] = x[min(index[i], rows - 1)]
//
// A workgroup copies 256 wide elements of a row.

//~ variants: width = 1 4
#import wide

struct Params {
    /// Rows of `x`.
    rows: u32,
    /// Elements in a row.
    dim: u32,
    /// Rows of `y`.
    taken: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Wide>;          // [rows, dim]
@group(0) @binding(2) var<storage, read> index: array<u32>;       // [taken]
@group(0) @binding(3) var<storage, read_write> y: array<Wide>;    // [taken, dim]

@compute @workgroup_size(64)
fn take_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = params.dim / WIDTH;
    let row = min(index[group.y], params.rows - 1u);
    let end = min(width, (group.x + 1u) * 256u);
    //~ trips: 5
    for (var i = group.x * 256u + lane; i < end; i += 64u) {
        y[group.y * width + i] = x[row * width + i];
    }
}

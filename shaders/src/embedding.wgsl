// x[r] = table[tokens[r]] where modality[r] = 0, visual[tokens[r]] where it is 1
//
// Ye et al. 2023, section 3.1: the image's rows take their places in the sequence. The table is split by
// rows over several buffers, one dispatch each: a dispatch writes the rows whose token its part holds, the
// first one also the image's. A workgroup copies 512 elements of a row.

//~ variants: table = f32 bf16
//~ variants: images = no yes

struct Params {
    /// Rows of `y`.
    rows: u32,
    /// Elements in a row.
    dim: u32,
    /// Token whose embedding is the part's first row.
    first: u32,
    /// Rows of the part.
    count: u32,
    /// 1 where this dispatch also writes the image's rows, else 0.
    images: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part: array<u32>;        // [count, dim] f32, or pairs of bf16
@group(0) @binding(2) var<storage, read> tokens: array<u32>;      // [rows]
//% if images == "yes"
@group(0) @binding(3) var<storage, read> modality: array<u32>;    // [rows]
@group(0) @binding(4) var<storage, read> visual: array<f32>;      // [image rows, dim]
//% endif
@group(0) @binding(5) var<storage, read_write> y: array<f32>;     // [rows, dim]

/// Element `i` of row `row` of the part.
fn element(row: u32, i: u32) -> f32 {
//% if table == "bf16"
    let word = part[row * ((params.dim + 1u) / 2u) + i / 2u];
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, i % 2u == 1u));
//% else
    return bitcast<f32>(part[row * params.dim + i]);
//% endif
}

@compute @workgroup_size(64)
fn embedding(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y;
//% if images == "yes"
    let image = modality[row] == 1u;
//% else
    let image = false;
//% endif
    // Below the part's first row this wraps around and is larger than any count.
    let at = tokens[row] - params.first;
    if select(at >= params.count, params.images == 0u, image) {
        return;
    }
    let first = group.x * 512u + lane;
    let end = min(params.dim, (group.x + 1u) * 512u);
    //~ trips: 9
    for (var i = first; i < end; i += 64u) {
//% if images == "yes"
        if image {
            y[row * params.dim + i] = visual[tokens[row] * params.dim + i];
            continue;
        }
//% endif
        y[row * params.dim + i] = element(at, i);
    }
}

// q[r, i] = round(127 x[r, i] / max_j |x[r, j]|),  scale[r] = max_j |x[r, j]| / 127
//
// Symmetric, to nearest, ties to even: rows of activations as int8, four columns a word, for gemm_dot.wgsl. Columns
// are padded with zeros to a multiple of 32. One workgroup per row. A single row may be normalised on the way:
// x ⊙ gain is rounded, and 1 / rms(x) goes into its scale.

//~ variants: lanes = 8 16 32 64 plain team
//~ variants: x = vec4 scalar
//~ variants: norm = no yes
#import lanes

struct Params {
    /// Columns of x.
    k: u32,
    /// Added to the mean square of a row that is normalised.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
//% if x == "vec4"
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // [rows, k]
//% else
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [rows, k]
//% endif
//% if norm == "yes"
//% if x == "vec4"
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;      // [modalities, k]
//% else
@group(0) @binding(2) var<storage, read> gain: array<f32>;            // [modalities, k]
//% endif
@group(0) @binding(3) var<storage, read> routing: array<u32>;         // rows of text, of image, then their indices
//% endif
@group(0) @binding(4) var<storage, read_write> q: array<u32>;         // [rows, k / 4]
@group(0) @binding(5) var<storage, read_write> scale: array<f32>;     // [rows]

/// Columns 4 i .. 4 i + 3 of a row; zeros beyond its end.
fn x_at(row: u32, i: u32) -> vec4<f32> {
//% if x == "vec4"
    let width = params.k / 4u;
    return select(vec4<f32>(), x[row * width + min(i, width - 1u)], i < width);
//% else
    let k = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
    let c = row * params.k + min(k, vec4<u32>(params.k - 1u));
    return select(vec4<f32>(), vec4<f32>(x[c.x], x[c.y], x[c.z], x[c.w]), k < vec4<u32>(params.k));
//% endif
}

//% if norm == "yes"
/// The gain of the same columns; beyond the end that of the last ones.
fn gain_at(modality: u32, i: u32) -> vec4<f32> {
//% if x == "vec4"
    let width = params.k / 4u;
    return gain[modality * width + min(i, width - 1u)];
//% else
    let k = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
    let c = modality * params.k + min(k, vec4<u32>(params.k - 1u));
    return vec4<f32>(gain[c.x], gain[c.y], gain[c.z], gain[c.w]);
//% endif
}
//% endif

@compute @workgroup_size(LANES)
fn quantise_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
//% if lanes == "team"
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(num_subgroups) subgroups: u32,
//% endif
) {
//% if lanes == "team"
    subgroup = subgroup_id;
    num_subgroups = subgroups;
//% endif
    let row = group.x;
    let words = (params.k + 31u) / 32u * 8u;
//% if norm == "yes"
    let image_row = u32(routing[0] == 0u);
    var squares = 0.0;
//% endif

    var most = vec4<f32>();
    //~ trips: (k + 31) // 32 * 8 / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < words; i += LANES) {
        var v = x_at(row, i);
//% if norm == "yes"
        squares += dot(v, v);
        v *= gain_at(image_row, i);
//% endif
        most = max(most, abs(v));
    }
    let largest = lane_max(lane, max(max(most.x, most.y), max(most.z, most.w)));
    let factor = select(0.0, 127.0 / largest, largest > 0.0);

    //~ trips: (k + 31) // 32 * 8 / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < words; i += LANES) {
        var v = x_at(row, i);
//% if norm == "yes"
        v *= gain_at(image_row, i);
//% endif
        q[row * words + i] = pack4xI8(vec4<i32>(round(v * factor)));
    }
    var unit = largest / 127.0;
//% if norm == "yes"
    unit *= inverseSqrt(lane_sum(lane, squares) / f32(params.k) + params.eps);
//% endif
    if lane == 0u {
        scale[row] = unit;
    }
}

// y[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + eps) * gain[modality[r], i]
//
// Zhang & Sennrich 2019, eq. 4; the gain of the row's modality as in Ye et al. 2023, eq. 4 (LN_V, LN_T).
// One workgroup per row; sums in f32.

//~ variants: lanes = 8 16 32 64 plain
#import lanes

struct Params {
    /// Rows of `x`.
    rows: u32,
    /// Elements in a row.
    dim: u32,
    /// Added to the mean square, so that a row of zeros stays zero.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;           // [rows, dim]
@group(0) @binding(2) var<storage, read> gain: array<f32>;        // [modalities, dim]
@group(0) @binding(3) var<storage, read> modality: array<u32>;    // [rows]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;     // [rows, dim]

@compute @workgroup_size(LANES)
fn rms_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * params.dim;

    var squares = 0.0;
    //~ trips: dim / (64 if lanes == "plain" else lanes) + 1
    for (var i = lane; i < params.dim; i += LANES) {
        squares = fma(x[row + i], x[row + i], squares);
    }
    let scale = inverseSqrt(lane_sum(lane, squares) / f32(params.dim) + params.eps);

    let gain_row = modality[group.x] * params.dim;
    //~ trips: dim / (64 if lanes == "plain" else lanes) + 1
    for (var i = lane; i < params.dim; i += LANES) {
        y[row + i] = x[row + i] * scale * gain[gain_row + i];
    }
}

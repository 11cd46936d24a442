// y[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + eps) * gain[modality[r], i]
//
// Zhang & Sennrich 2019, eq. 4; the gain of the row's modality as in Ye et al. 2023, eq. 4 (LN_V, LN_T).
// One workgroup per row; sums in f32. Where rows are alike, all are live and have the one gain; else those that are not
// live are skipped.

//~ variants: lanes = 8 16 32 64 plain team
//~ variants: rows = alike mixed
//~ variants: width = 1 4
// #import lanes
// #import wide

// Elements that a lane reads at a time: a GPU's memory is far.

struct Params {
    /// Rows of `x`.
    rows: u32,
    /// Elements in a row.
    dim: u32,
    /// Added to the mean square, so that a row of zeros stays zero.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Wide>;          // [rows, dim]
@group(0) @binding(2) var<storage, read> gain: array<Wide>;       // [modalities, dim]
@group(0) @binding(3) var<storage, read> modality: array<u32>;         // [rows]
@group(0) @binding(4) var<storage, read> cursors: array<vec2<u32>>;    // [rows] sequence, position

/// Sequence of a row that is not live.
const NOT_LIVE = 0xffffffffu;
@group(0) @binding(5) var<storage, read_write> y: array<Wide>;         // [rows, dim]

@compute @workgroup_size(LANES)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if cursors[group.x].x == NOT_LIVE {
        return;
    }
    let width = params.dim / WIDTH;
    let row = group.x * width;

    var squares = Wide();
    //~ trips: dim / 4 / 16 + 1
    for (var i = lane; i < width; i += LANES) {
        squares = fma(x[row + i], x[row + i], squares);
    }
    let sum = lane_sum(lane, wide_sum(squares));
    let scale = inverseSqrt(sum / f32(params.dim) + params.eps);

    let gain_row = modality[group.x] * width;
    //~ trips: dim / 4 / 16 + 1
    for (var i = lane; i < width; i += LANES) {
        y[row + i] = x[row + i] * scale * gain[gain_row + i];
    }
}
// One workgroup is LANES lanes: a subgroup where its size is fixed and known, else 64 lanes that meet in
// workgroup memory. The importing kernel declares the variant `lanes`; of its values, `team` is subgroups of any size
// that meet there, of which the kernel tells: `subgroup = …; num_subgroups = …`.

const LANES = 16u;

/// Returns the sum of `value` over all lanes, to every lane.
fn lane_sum(lane: u32, value: f32) -> f32 {
    return subgroupAdd(value);
}

/// Returns the largest `value` over all lanes, to every lane.
fn lane_max(lane: u32, value: f32) -> f32 {
    return subgroupMax(value);
}
// A Wide is what one load moves: four floats of a row whose length is a multiple of 4, else one, or two where
// f16 come in pairs. The importing kernel declares or sets `width`; its arrays of Wide are indexed in units of
// WIDTH floats.

const WIDTH = 4u;

alias Wide = vec4<f32>;

fn wide_sum(v: Wide) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

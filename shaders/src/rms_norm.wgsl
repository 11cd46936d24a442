// y[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + eps) * gain[modality[r], i]
//
// Zhang & Sennrich 2019, eq. 4; the gain of the row's modality as in Ye et al. 2023, eq. 4 (LN_V, LN_T).
// One workgroup per row; sums in f32. Where rows are alike, all are live and have the one gain; else those that are not
// live are skipped.

//~ variants: lanes = 8 16 32 64 plain team
//~ variants: rows = alike mixed
//~ variants: width = 1 4
#import lanes
#import wide

// Elements that a lane reads at a time: a GPU's memory is far.
//% set ahead = 1 if lanes is number else 4

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
//% if rows == "mixed"
@group(0) @binding(3) var<storage, read> modality: array<u32>;         // [rows]
@group(0) @binding(4) var<storage, read> cursors: array<vec2<u32>>;    // [rows] sequence, position

/// Sequence of a row that is not live.
const NOT_LIVE = 0xffffffffu;
//% endif
@group(0) @binding(5) var<storage, read_write> y: array<Wide>;         // [rows, dim]

@compute @workgroup_size(LANES)
fn rms_norm(
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
//% if rows == "mixed"
    if cursors[group.x].x == NOT_LIVE {
        return;
    }
//% endif
    let width = params.dim / WIDTH;
    let row = group.x * width;

    var squares = Wide();
    //~ trips: dim / ${width} / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < width; i += ${ahead}u * LANES) {
//% if ahead == 1
        squares = fma(x[row + i], x[row + i], squares);
//% else
//% for n in range(ahead)
        let x_${n} = x[row + min(i + ${n}u * LANES, width - 1u)];
//% endfor
//% for n in range(ahead)
        squares = fma(x_${n}, select(Wide(), x_${n}, i + ${n}u * LANES < width), squares);
//% endfor
//% endif
    }
    let sum = lane_sum(lane, wide_sum(squares));
    let scale = inverseSqrt(sum / f32(params.dim) + params.eps);

//% if rows == "mixed"
    let gain_row = modality[group.x] * width;
//% else
    let gain_row = 0u;
//% endif
    //~ trips: dim / ${width} / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < width; i += ${ahead}u * LANES) {
//% if ahead == 1
        y[row + i] = x[row + i] * scale * gain[gain_row + i];
//% else
//% for n in range(ahead)
        let at_${n} = min(i + ${n}u * LANES, width - 1u);
        let y_${n} = x[row + at_${n}] * scale * gain[gain_row + at_${n}];
//% endfor
//% for n in range(ahead)
        if i + ${n}u * LANES < width {
            y[row + i + ${n}u * LANES] = y_${n};
        }
//% endfor
//% endif
    }
}

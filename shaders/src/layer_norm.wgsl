// y[r, i] = (x[r, i] - m) / sqrt(mean_j((x[r, j] - m)^2) + eps) * gain[i] + bias[i],  m = mean_j(x[r, j])
//
// Ba et al. 2016, eq. 4, with the variance of the population. One workgroup per row; the mean first and
// then the squared deviations from it, so that nothing cancels; sums in f32.

//~ variants: lanes = 8 16 32 64 plain team
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
    /// Row of `y` that takes the first row of `x`.
    first_row: u32,
    /// Added to the variance.
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Wide>;          // [rows, dim]
@group(0) @binding(2) var<storage, read> gain: array<Wide>;       // [dim]
@group(0) @binding(3) var<storage, read> bias: array<Wide>;       // [dim]
@group(0) @binding(4) var<storage, read_write> y: array<Wide>;    // [first_row + rows or more, dim]

@compute @workgroup_size(LANES)
fn layer_norm(
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
    let width = params.dim / WIDTH;
    let row = group.x * width;

    var sum = Wide();
    //~ trips: dim / ${width} / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < width; i += ${ahead}u * LANES) {
//% if ahead == 1
        sum += x[row + i];
//% else
//% for n in range(ahead)
        let x_${n} = x[row + min(i + ${n}u * LANES, width - 1u)];
//% endfor
//% for n in range(ahead)
        sum += select(Wide(), x_${n}, i + ${n}u * LANES < width);
//% endfor
//% endif
    }
    let mean = lane_sum(lane, wide_sum(sum)) / f32(params.dim);

    var squares = Wide();
    //~ trips: dim / ${width} / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < width; i += ${ahead}u * LANES) {
//% if ahead == 1
        let deviation = x[row + i] - mean;
        squares = fma(deviation, deviation, squares);
//% else
//% for n in range(ahead)
        let x_${n} = x[row + min(i + ${n}u * LANES, width - 1u)];
//% endfor
//% for n in range(ahead)
        let deviation_${n} = select(Wide(), x_${n} - mean, i + ${n}u * LANES < width);
        squares = fma(deviation_${n}, deviation_${n}, squares);
//% endfor
//% endif
    }
    let variance = lane_sum(lane, wide_sum(squares)) / f32(params.dim);
    let scale = inverseSqrt(variance + params.eps);

    let y_row = (params.first_row + group.x) * width;
    //~ trips: dim / ${width} / ${lanes if lanes is number else 64} + 1
    for (var i = lane; i < width; i += ${ahead}u * LANES) {
//% if ahead == 1
        y[y_row + i] = (x[row + i] - mean) * scale * gain[i] + bias[i];
//% else
//% for n in range(ahead)
        let at_${n} = min(i + ${n}u * LANES, width - 1u);
        let y_${n} = (x[row + at_${n}] - mean) * scale * gain[at_${n}] + bias[at_${n}];
//% endfor
//% for n in range(ahead)
        if i + ${n}u * LANES < width {
            y[y_row + i + ${n}u * LANES] = y_${n};
        }
//% endfor
//% endif
    }
}

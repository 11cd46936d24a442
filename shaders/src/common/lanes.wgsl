// One workgroup is LANES lanes: a subgroup where its size is fixed and known, else 64 lanes that meet in
// workgroup memory. The importing kernel declares the variant `lanes`.

//% if lanes == "plain"
const LANES = 64u;
var<workgroup> partial: array<f32, LANES>;
//% else
const LANES = ${lanes}u;
//% endif

/// Returns the sum of `value` over all lanes, to every lane.
fn lane_sum(lane: u32, value: f32) -> f32 {
//% if lanes == "plain"
    workgroupBarrier();
    partial[lane] = value;
    // Six halvings; a kernel reduces at most eight times.
    //~ trips: 6 * 8
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            partial[lane] += partial[lane + stride];
        }
    }
    workgroupBarrier();
    return partial[0];
//% else
    return subgroupAdd(value);
//% endif
}

/// Returns the largest `value` of all lanes, to every lane.
fn lane_max(lane: u32, value: f32) -> f32 {
//% if lanes == "plain"
    workgroupBarrier();
    partial[lane] = value;
    //~ trips: 6 * 8
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            partial[lane] = max(partial[lane], partial[lane + stride]);
        }
    }
    workgroupBarrier();
    return partial[0];
//% else
    return subgroupMax(value);
//% endif
}

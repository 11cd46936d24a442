// One workgroup is LANES lanes: a subgroup where its size is fixed and known, else 64 lanes that meet in
// workgroup memory. The importing kernel declares the variant `lanes`; of its values, `team` is subgroups of any size
// that meet there, of which the kernel tells: `subgroup = …; num_subgroups = …`.

//% if lanes == "plain"
const LANES = 64u;
var<workgroup> partial: array<f32, LANES>;
//% elif lanes == "team"
const LANES = 256u;
/// Of each subgroup: as many as there are lanes, whatever sizes a device says its subgroups have.
var<workgroup> partial: array<f32, LANES>;
var<private> subgroup: u32;
var<private> num_subgroups: u32;
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
            partial[lane] = partial[lane] + partial[lane + stride];
        }
    }
    workgroupBarrier();
    return partial[0];
//% elif lanes == "team"
    let own = subgroupAdd(value);
    workgroupBarrier();
    partial[subgroup] = own;
    workgroupBarrier();
    var all = partial[0];
    //~ trips: 256 * 8
    for (var i = 1u; i < num_subgroups; i++) {
        all = all + partial[i];
    }
    return all;
//% else
    return subgroupAdd(value);
//% endif
}

/// Returns the largest `value` over all lanes, to every lane.
fn lane_max(lane: u32, value: f32) -> f32 {
//% if lanes == "plain"
    workgroupBarrier();
    partial[lane] = value;
    // Six halvings; a kernel reduces at most eight times.
    //~ trips: 6 * 8
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            partial[lane] = max(partial[lane], partial[lane + stride]);
        }
    }
    workgroupBarrier();
    return partial[0];
//% elif lanes == "team"
    let own = subgroupMax(value);
    workgroupBarrier();
    partial[subgroup] = own;
    workgroupBarrier();
    var all = partial[0];
    //~ trips: 256 * 8
    for (var i = 1u; i < num_subgroups; i++) {
        all = max(all, partial[i]);
    }
    return all;
//% else
    return subgroupMax(value);
//% endif
}

// y[lane of all] = sum of what it read; the sums keep the reads alive
//
// Streaming read: a workgroup reads RUN consecutive elements as STREAMS streams, its lanes adjacent elements of
// each; always 16 loads are in flight.

const LANES = ${lanes}u;
const RUN = ${run}u;
const STREAMS = ${streams}u;
const STREAM = RUN / STREAMS;
/// Loads of a stream at a time.
const EACH = 16u / STREAMS;

@group(0) @binding(0) ${x};    // [groups, RUN]
@group(0) @binding(1) var<storage, read_write> y: array<${element}>;    // [groups, LANES]

/// The n-th of the 16 loads from element `first` on.
fn load(first: u32, n: u32) -> ${element} {
    let i = first + n / EACH * STREAM + n % EACH * LANES;
    return ${load};
}

@compute @workgroup_size(LANES)
fn stream(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * RUN + lane;
    var p = ${element}();
    var q = ${element}();
    for (var i = first; i < group.x * RUN + STREAM; i += EACH * LANES) {
        p += load(i, 0u) ^ load(i, 1u);
        q += load(i, 2u) ^ load(i, 3u);
        p += load(i, 4u) ^ load(i, 5u);
        q += load(i, 6u) ^ load(i, 7u);
        p += load(i, 8u) ^ load(i, 9u);
        q += load(i, 10u) ^ load(i, 11u);
        p += load(i, 12u) ^ load(i, 13u);
        q += load(i, 14u) ^ load(i, 15u);
    }
    y[group.x * LANES + lane] = p + q;
}

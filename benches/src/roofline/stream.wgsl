// y[lane of all] = sum of what it read; the sums keep the reads alive
//
// Streaming read: a workgroup reads RUN consecutive elements as 16 streams, its lanes adjacent elements of
// each, so that 16 loads are in flight.

const LANES = ${lanes}u;
const RUN = ${run}u;
const STREAM = RUN / 16u;

@group(0) @binding(0) ${x};    // [groups, RUN]
@group(0) @binding(1) var<storage, read_write> y: array<${element}>;    // [groups, LANES]

fn load(i: u32) -> ${element} {
    return ${load};
}

@compute @workgroup_size(LANES)
fn stream(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * RUN + lane;
    var p = ${element}();
    var q = ${element}();
    for (var i = first; i < group.x * RUN + STREAM; i += LANES) {
        p += load(i) ^ load(i + STREAM);
        q += load(i + 2u * STREAM) ^ load(i + 3u * STREAM);
        p += load(i + 4u * STREAM) ^ load(i + 5u * STREAM);
        q += load(i + 6u * STREAM) ^ load(i + 7u * STREAM);
        p += load(i + 8u * STREAM) ^ load(i + 9u * STREAM);
        q += load(i + 10u * STREAM) ^ load(i + 11u * STREAM);
        p += load(i + 12u * STREAM) ^ load(i + 13u * STREAM);
        q += load(i + 14u * STREAM) ^ load(i + 15u * STREAM);
    }
    y[group.x * LANES + lane] = p + q;
}

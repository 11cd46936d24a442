// y[lane of all] = sum of what it read; the sums keep the reads alive
//
// Streaming read: a workgroup reads RUN consecutive elements as 16 streams, its lanes adjacent elements of
// each, so that 16 loads are in flight.

const LANES = ${lanes}u;
const RUN = ${run}u;
const STREAM = RUN / 16u;

@group(0) @binding(0) var<storage, read> x: array<${element}>;          // [groups, RUN]
@group(0) @binding(1) var<storage, read_write> y: array<${element}>;    // [groups, LANES]

@compute @workgroup_size(LANES)
fn stream(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * RUN + lane;
    var p = ${element}();
    var q = ${element}();
    for (var i = first; i < group.x * RUN + STREAM; i += LANES) {
        p += x[i] ^ x[i + STREAM];
        q += x[i + 2u * STREAM] ^ x[i + 3u * STREAM];
        p += x[i + 4u * STREAM] ^ x[i + 5u * STREAM];
        q += x[i + 6u * STREAM] ^ x[i + 7u * STREAM];
        p += x[i + 8u * STREAM] ^ x[i + 9u * STREAM];
        q += x[i + 10u * STREAM] ^ x[i + 11u * STREAM];
        p += x[i + 12u * STREAM] ^ x[i + 13u * STREAM];
        q += x[i + 14u * STREAM] ^ x[i + 15u * STREAM];
    }
    y[group.x * LANES + lane] = p + q;
}

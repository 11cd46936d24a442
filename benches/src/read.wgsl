// y[lane of all] = sum of the vec4s it read; the sums keep the reads alive
//
// Streaming read: each workgroup reads RUN consecutive vec4s, its lanes adjacent ones, 8 loads in flight.

const LANES = 64u;
const RUN = 8192u;

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;          // [groups, RUN]
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;    // [groups, LANES]

@compute @workgroup_size(LANES)
fn read(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = vec4<u32>();
    for (var i = group.x * RUN + lane; i < (group.x + 1u) * RUN; i += 8u * LANES) {
        let a = (x[i] ^ x[i + LANES]) + (x[i + 2u * LANES] ^ x[i + 3u * LANES]);
        let b = (x[i + 4u * LANES] ^ x[i + 5u * LANES]) + (x[i + 6u * LANES] ^ x[i + 7u * LANES]);
        sum += a ^ b;
    }
    y[group.x * LANES + lane] = sum;
}

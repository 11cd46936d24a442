// sums[g] = the sum of what workgroup g reads. An invocation adds PER elements, a workgroup's width apart; then half of the
// invocations add what the other half holds, until one is left.

override WG: u32 = 256u;
override PER: u32 = 16u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

var<workgroup> partial: array<f32, WG>;

@compute @workgroup_size(WG)
fn reduction(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * WG * PER + lane;
    var sum = 0.0;
    for (var i = 0u; i < PER; i++) {
        sum += x[start + i * WG];
    }
    partial[lane] = sum;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    if lane == 0u {
        sums[group.x] = partial[0];
    }
}

// clpeak's method for the memory (global_bandwidth, vectors of four): 16 loads an invocation, a workgroup's width apart.

override WG: u32 = 256u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn reads(@builtin(workgroup_id) group: vec3<u32>, @builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * WG * 16u + lane;
    var sum = x[at] + x[at + WG] + x[at + 2u * WG] + x[at + 3u * WG];
    sum += x[at + 4u * WG] + x[at + 5u * WG] + x[at + 6u * WG] + x[at + 7u * WG];
    sum += x[at + 8u * WG] + x[at + 9u * WG] + x[at + 10u * WG] + x[at + 11u * WG];
    sum += x[at + 12u * WG] + x[at + 13u * WG] + x[at + 14u * WG] + x[at + 15u * WG];
    y[id.x] = sum.x + sum.y + sum.z + sum.w;
}

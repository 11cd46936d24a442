// Atomic additions: to workgroup memory, to memory where every lane has a word of its own, and to one word of all.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
const TURNS = 64u;
@group(0) @binding(0) var<storage, read_write> y: array<atomic<u32>>;
var<workgroup> own: array<atomic<u32>, 256>;

@compute @workgroup_size(WG)
fn in_workgroups(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var turn = 0u; turn < TURNS; turn++) {
        atomicAdd(&own[lane], turn);
    }
    atomicAdd(&y[id.x], atomicLoad(&own[lane]));
}

@compute @workgroup_size(WG)
fn apart(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var turn = 0u; turn < TURNS; turn++) {
        atomicAdd(&y[id.x], turn);
    }
}

@compute @workgroup_size(WG)
fn together(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var turn = 0u; turn < TURNS; turn++) {
        atomicAdd(&y[0], turn);
    }
}

// Barriers of workgroups.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
const TURNS = 64u;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
var<workgroup> tile: array<u32, 256>;

@compute @workgroup_size(WG)
fn barrier(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = lane;
    for (var turn = 0u; turn < TURNS; turn++) {
        tile[lane] = sum;
        workgroupBarrier();
        sum += tile[(lane + 1u) % WG];
        workgroupBarrier();
    }
    y[id.x] = sum;
}

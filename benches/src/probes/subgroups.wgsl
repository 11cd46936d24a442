// Sums over subgroups, each of the one before.
enable subgroups;
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
const TURNS = 256u;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn subgroups(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = id.x;
    for (var turn = 0u; turn < TURNS; turn++) {
        sum = subgroupAdd(sum ^ turn);
    }
    y[id.x] = sum;
}

// Reads workgroup memory, 16 bytes a lane and turn.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
const TURNS = 256u;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> tile: array<vec4<f32>, 256>;

@compute @workgroup_size(WG)
fn in_tile(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < 256u; i += WG) {
        tile[i] = x[i];
    }
    workgroupBarrier();
    var sum = vec4<f32>();
    for (var turn = 0u; turn < TURNS; turn++) {
        sum += tile[(lane + turn) % 256u];
    }
    y[id.x] = sum.x + sum.y + sum.z + sum.w;
}

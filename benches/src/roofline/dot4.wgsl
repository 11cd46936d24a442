// y = 12 independent chains of dot products of four int8 a lane, without any load in the loop
//
// 1024 rounds of 12 products of 4 elements; 98,304 operations a lane.

const LANES = ${lanes}u;

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;          // [2] of which the first word is a factor
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;    // [groups, LANES]

fn next(p: u32, m: u32) -> u32 {
    return p + bitcast<u32>(dot4I8Packed(p, m));
}

@compute @workgroup_size(LANES)
fn dot4(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = x[0].x;
    var a = vec4<u32>(lane, lane + 1u, lane + 2u, lane + 3u);
    var b = a + 4u;
    var c = b + 4u;
    for (var i = 0u; i < 1024u; i++) {
        a = vec4<u32>(next(a.x, m), next(a.y, m), next(a.z, m), next(a.w, m));
        b = vec4<u32>(next(b.x, m), next(b.y, m), next(b.z, m), next(b.w, m));
        c = vec4<u32>(next(c.x, m), next(c.y, m), next(c.z, m), next(c.w, m));
    }
    y[group.x * LANES + lane] = a + b + c;
}

${enable}
// y = 12 independent chains of multiply-adds a lane, without any load in the loop
//
// 1024 rounds of 12 multiply-adds of 4 elements; 98,304 FLOPs a lane.

const LANES = ${lanes}u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;          // [2] factor and summand
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;    // [groups, LANES]

@compute @workgroup_size(LANES)
fn multiply_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let m = vec4<${element}>(vec4<f32>(x[0].x));
    let c = vec4<${element}>(vec4<f32>(x[1].x));
    var p = vec4<${element}>(vec4<f32>(f32(lane)));
    var q = p + m;
    var r = q + m;
    for (var i = 0u; i < 1024u; i++) {
        p = fma(p, m, c);
        q = fma(q, m, c);
        r = fma(r, m, c);
        p = fma(p, m, c);
        q = fma(q, m, c);
        r = fma(r, m, c);
        p = fma(p, m, c);
        q = fma(q, m, c);
        r = fma(r, m, c);
        p = fma(p, m, c);
        q = fma(q, m, c);
        r = fma(r, m, c);
    }
    y[group.x * LANES + lane] = vec4<f32>(p + q + r);
}

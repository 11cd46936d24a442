// Multiplies and adds: four chains a lane, of four numbers each.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
const TURNS = 256u;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn multiply_add(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = x[0];
    let n = x[1];
    var a = vec4(f32(id.x)) + x[2];
    var b = a + x[3];
    var c = b + x[4];
    var d = c + x[5];
    for (var turn = 0u; turn < TURNS; turn++) {
        a = fma(a, m, n);
        b = fma(b, m, n);
        c = fma(c, m, n);
        d = fma(d, m, n);
        a = fma(a, m, n);
        b = fma(b, m, n);
        c = fma(c, m, n);
        d = fma(d, m, n);
    }
    let sum = a + b + c + d;
    y[id.x] = sum.x + sum.y + sum.z + sum.w;
}

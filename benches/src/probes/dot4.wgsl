// Dot products of four pairs of 8-bit integers: four chains a lane.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
const TURNS = 256u;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<i32>;

@compute @workgroup_size(WG)
fn dot4(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = x[0];
    var a = x[1] + id.x;
    var b = x[2] + id.x;
    var c = x[3] + id.x;
    var d = x[4] + id.x;
    for (var turn = 0u; turn < TURNS; turn++) {
        a += u32(dot4I8Packed(a, m));
        b += u32(dot4I8Packed(b, m));
        c += u32(dot4I8Packed(c, m));
        d += u32(dot4I8Packed(d, m));
    }
    y[id.x] = i32(a + b + c + d);
}

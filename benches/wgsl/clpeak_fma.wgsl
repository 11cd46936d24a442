// clpeak's method for multiply-adds (compute_sp, vectors of four): two numbers, each made of the other by turns, 128 times 16.

override WG: u32 = 256u;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn mads(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var p = x[0];
    var q = vec4(f32(lane));
    for (var i = 0u; i < 128u; i++) {
        p = fma(q, p, q); q = fma(p, q, p); p = fma(q, p, q); q = fma(p, q, p);
        p = fma(q, p, q); q = fma(p, q, p); p = fma(q, p, q); q = fma(p, q, p);
        p = fma(q, p, q); q = fma(p, q, p); p = fma(q, p, q); q = fma(p, q, p);
        p = fma(q, p, q); q = fma(p, q, p); p = fma(q, p, q); q = fma(p, q, p);
    }
    y[id.x] = q.x + q.y + q.z + q.w;
}

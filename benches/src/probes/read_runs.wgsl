// Reads x once, every lane a run of its own: what suits a processor, whose lanes are one core's.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn reads(@builtin(global_invocation_id) id: vec3<u32>) {
    let length = arrayLength(&x) / (WG * GROUPS);
    var sum = vec4<f32>();
    for (var i = 0u; i < length; i++) {
        sum += x[id.x * length + i];
    }
    y[id.x] = sum.x + sum.y + sum.z + sum.w;
}

// Reads x once, a workgroup's lanes side by side.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn reads(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = vec4<f32>();
    for (var i = id.x; i < arrayLength(&x); i += WG * GROUPS) {
        sum += x[i];
    }
    y[id.x] = sum.x + sum.y + sum.z + sum.w;
}

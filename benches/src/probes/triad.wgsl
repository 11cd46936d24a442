// z = x + a y (McCalpin's STREAM).
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> z: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn triad(@builtin(global_invocation_id) id: vec3<u32>) {
    for (var i = id.x; i < arrayLength(&x); i += WG * GROUPS) {
        z[i] = x[i] + 3.0 * y[i];
    }
}

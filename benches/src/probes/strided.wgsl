// Reads 4 bytes of every 64.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn strided(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = 0.0;
    for (var i = id.x; i < arrayLength(&x) / 16u; i += WG * GROUPS) {
        sum += x[i * 16u];
    }
    y[id.x] = sum;
}

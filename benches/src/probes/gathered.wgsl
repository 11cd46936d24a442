// Reads 4 bytes at a time from anywhere in x, whose length is a power of two.
override WG: u32 = 64u;
override GROUPS: u32 = 256u;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn gathered(@builtin(global_invocation_id) id: vec3<u32>) {
    var sum = 0.0;
    for (var i = id.x; i < arrayLength(&x) / 16u; i += WG * GROUPS) {
        var at = (i ^ (i >> 15u)) * 0x21f0aaadu;
        at = (at ^ (at >> 15u)) * 0xd35a2d97u;
        sum += x[(at ^ (at >> 15u)) & (arrayLength(&x) - 1u)];
    }
    y[id.x] = sum;
}

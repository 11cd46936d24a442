// y[0] = x[0]: the least that a dispatch can do

@group(0) @binding(0) var<storage, read> x: array<u32>;          // [1]
@group(0) @binding(1) var<storage, read_write> y: array<u32>;    // [1]

@compute @workgroup_size(1)
fn nothing() {
    y[0] = x[0];
}

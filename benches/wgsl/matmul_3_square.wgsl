// c = a b, third stage: square workgroups, whose invocations share rows of a and columns of b in the cache.

override M: u32 = 256u;
override N: u32 = 256u;
override K: u32 = 256u;
// What an invocation computes.
const ROWS = 1u;
const COLUMNS = 1u;

@group(0) @binding(0) var<storage, read> a: array<f32>;          // [M, K]
@group(0) @binding(1) var<storage, read> b: array<f32>;          // [K, N]
@group(0) @binding(2) var<storage, read_write> c: array<f32>;    // [M, N]

@compute @workgroup_size(16, 16)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * ROWS;
    let column = id.x * COLUMNS;
    if row >= M || column >= N {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < K; k++) {
        sum += a[row * K + k] * b[k * N + column];
    }
    c[row * N + column] = sum;
}

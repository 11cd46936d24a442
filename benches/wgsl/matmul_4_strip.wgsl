// c = a b, fourth stage: an invocation computes four elements of a row, so that what it loads of a serves four times.

override M: u32 = 256u;
override N: u32 = 256u;
override K: u32 = 256u;
// What an invocation computes.
const ROWS = 1u;
const COLUMNS = 4u;

@group(0) @binding(0) var<storage, read> a: array<f32>;          // [M, K]
@group(0) @binding(1) var<storage, read> b: array<f32>;          // [K, N]
@group(0) @binding(2) var<storage, read_write> c: array<f32>;    // [M, N]

@compute @workgroup_size(8, 16)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * ROWS;
    let column = id.x * COLUMNS;
    if row >= M || column >= N {
        return;
    }
    var sum = vec4<f32>();
    for (var k = 0u; k < K; k++) {
        let at = k * N + column;
        sum += a[row * K + k] * vec4(b[at], b[at + 1u], b[at + 2u], b[at + 3u]);
    }
    let at = row * N + column;
    c[at] = sum.x;
    c[at + 1u] = sum.y;
    c[at + 2u] = sum.z;
    c[at + 3u] = sum.w;
}

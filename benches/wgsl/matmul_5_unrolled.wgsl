// c = a b, fifth stage: an invocation computes 8 x 8 elements in registers, with every loop over them written out.
// M and N are multiples of 8.

override M: u32 = 256u;
override N: u32 = 256u;
override K: u32 = 256u;
// What an invocation computes.
const ROWS = 8u;
const COLUMNS = 8u;
override WX: u32 = 8u;
override WY: u32 = 8u;

@group(0) @binding(0) var<storage, read> a: array<f32>;          // [M, K]
@group(0) @binding(1) var<storage, read> b: array<f32>;          // [K, N]
@group(0) @binding(2) var<storage, read_write> c: array<f32>;    // [M, N]

@compute @workgroup_size(WX, WY)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * ROWS;
    let column = id.x * COLUMNS;
    if row >= M || column >= N {
        return;
    }
    var sum0 = array<vec4<f32>, 2>();
    var sum1 = array<vec4<f32>, 2>();
    var sum2 = array<vec4<f32>, 2>();
    var sum3 = array<vec4<f32>, 2>();
    var sum4 = array<vec4<f32>, 2>();
    var sum5 = array<vec4<f32>, 2>();
    var sum6 = array<vec4<f32>, 2>();
    var sum7 = array<vec4<f32>, 2>();
    for (var k = 0u; k < K; k++) {
        let at = k * N + column;
        let b0 = vec4(b[at], b[at + 1u], b[at + 2u], b[at + 3u]);
        let b1 = vec4(b[at + 4u], b[at + 5u], b[at + 6u], b[at + 7u]);
        let a0 = a[(row + 0u) * K + k];
        let a1 = a[(row + 1u) * K + k];
        let a2 = a[(row + 2u) * K + k];
        let a3 = a[(row + 3u) * K + k];
        let a4 = a[(row + 4u) * K + k];
        let a5 = a[(row + 5u) * K + k];
        let a6 = a[(row + 6u) * K + k];
        let a7 = a[(row + 7u) * K + k];
        sum0[0] += a0 * b0;
        sum0[1] += a0 * b1;
        sum1[0] += a1 * b0;
        sum1[1] += a1 * b1;
        sum2[0] += a2 * b0;
        sum2[1] += a2 * b1;
        sum3[0] += a3 * b0;
        sum3[1] += a3 * b1;
        sum4[0] += a4 * b0;
        sum4[1] += a4 * b1;
        sum5[0] += a5 * b0;
        sum5[1] += a5 * b1;
        sum6[0] += a6 * b0;
        sum6[1] += a6 * b1;
        sum7[0] += a7 * b0;
        sum7[1] += a7 * b1;
    }
    store(row + 0u, column, sum0);
    store(row + 1u, column, sum1);
    store(row + 2u, column, sum2);
    store(row + 3u, column, sum3);
    store(row + 4u, column, sum4);
    store(row + 5u, column, sum5);
    store(row + 6u, column, sum6);
    store(row + 7u, column, sum7);
}

fn store(row: u32, column: u32, sum: array<vec4<f32>, 2>) {
    let at = row * N + column;
    c[at] = sum[0].x;
    c[at + 1u] = sum[0].y;
    c[at + 2u] = sum[0].z;
    c[at + 3u] = sum[0].w;
    c[at + 4u] = sum[1].x;
    c[at + 5u] = sum[1].y;
    c[at + 6u] = sum[1].z;
    c[at + 7u] = sum[1].w;
}

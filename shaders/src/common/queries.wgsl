// Heads of q, read four dimensions at a time. The importing kernel also imports `heads`.

/// Dimensions from 4 * d4 on of the head whose first element is `at`. Past the head's end zeros, which void what the keys
/// hold there.
fn query(at: u32, d4: u32) -> vec4<f32> {
    let dims = vec4(4u * d4) + vec4(0u, 1u, 2u, 3u);
//% if heads == "scalar"
    let i = at + min(dims, vec4(params.head_dim - 1u));
    let value = vec4(q[i.x], q[i.y], q[i.z], q[i.w]);
//% else
    let value = q[at / 4u + min(d4, params.head_dim / 4u - 1u)];
//% endif
    return select(vec4(0.0), value, dims < vec4(params.head_dim));
}

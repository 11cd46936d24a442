// Heads of k, read four dimensions at a time. The importing kernel also imports `heads`, and
// declares or sets `loads`: where the tensor is read as texels, only where they are is here.

//% if loads == "storage"
//% if heads != "scalar"
/// Elements from 4 * i on.
fn k_four(i: u32) -> vec4<f32> {
//% if heads == "f16"
    let halves = k[i];
    return vec4(unpack2x16float(halves.x), unpack2x16float(halves.y));
//% else
    return k[i];
//% endif
}
//% endif

/// Dimensions from 4 * d4 on of the head whose first element is `at`. Past the head's end its last ones.
fn k_at(at: u32, d4: u32) -> vec4<f32> {
//% if heads == "scalar"
    let inside = min(d4, (params.head_dim - 1u) / 4u);
    let rest = min(vec4(0u, 1u, 2u, 3u), vec4(params.head_dim - 1u - 4u * inside));
    let i = at + key_part(inside) + rest;
    return vec4(k[i.x], k[i.y], k[i.z], k[i.w]);
//% else
    let inside = min(d4, params.head_dim / 4u - 1u);
    return k_four(at / 4u + key_part(inside) / 4u);
//% endif
}
//% endif

/// Where in a key its dimensions from 4 * d4 on are.
fn key_part(d4: u32) -> u32 {
//% if heads == "f16"
    return d4 / 2u * params.k_chunk + d4 % 2u * 4u;
//% else
    return d4 * params.k_chunk;
//% endif
}

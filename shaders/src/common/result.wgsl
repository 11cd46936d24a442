// Heads of the result y. The importing kernel also imports `heads`.

/// Writes dimensions from 4 * d4 on of the head that begins at `at`, up to its end.
fn put(at: u32, d4: u32, value: vec4<f32>) {
//% if heads != "scalar"
    if d4 < params.head_dim / 4u {
        y[at / 4u + d4] = value;
    }
//% else
//% for c in range(4)
    if 4u * d4 + ${c}u < params.head_dim {
        y[at + 4u * d4 + ${c}u] = value[${c}u];
    }
//% endfor
//% endif
}

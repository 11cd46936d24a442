// Heads of q, k and v as vec4s of dimensions. The importing kernel declares the variant `heads`: vec4 where
// every head begins at a multiple of 4 elements and is as long, else scalar.

//% if heads == "vec4"
alias Element = vec4<f32>;
//% else
alias Element = f32;
//% endif

//% for t in ["q", "k", "v"]
/// Dimensions from 4 * d4 on of the head whose first element is `at`. Past the head's end its last ones.
fn ${t}_at(at: u32, d4: u32) -> vec4<f32> {
//% if heads == "vec4"
    return ${t}[at / 4u + min(d4, params.head_dim / 4u - 1u)];
//% else
    let d = at + min(vec4(4u * d4) + vec4(0u, 1u, 2u, 3u), vec4(params.head_dim - 1u));
    return vec4(${t}[d.x], ${t}[d.y], ${t}[d.z], ${t}[d.w]);
//% endif
}
//% endfor

/// `q_at`, but zero past the head's end, which voids what the keys hold there.
fn query(at: u32, d4: u32) -> vec4<f32> {
    let inside = vec4(4u * d4) + vec4(0u, 1u, 2u, 3u) < vec4(params.head_dim);
    return select(vec4(0.0), q_at(at, d4), inside);
}

/// Writes dimensions from 4 * d4 on of the head that begins at `at`, up to its end.
fn put(at: u32, d4: u32, value: vec4<f32>) {
//% if heads == "vec4"
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

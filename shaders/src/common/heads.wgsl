// Heads of q, k and v as vec4s of dimensions. The importing kernel declares the variant `heads`: vec4 where
// every head begins at a multiple of 4 elements and is as long, f16 where moreover k and v are f16, two to a
// word; else scalar. It may set `loaded` to fewer than all three, and declare `loads` and import `texels`: with
// these k and v are read as such, of f16 where every head begins at a multiple of 8 and is as long.
//
// A kernel whose lanes have a head between them, in registers, sets `vecs` to the vec4s that one load brings (2 of f16
// as texels, else 1) and takes k and v by loads; slot i of a lane is then vec4 number `place(i, lane)`.

//% if heads == "scalar"
alias Element = f32;
//% else
alias Element = vec4<f32>;
//% endif
//% if heads == "f16"
alias KvElement = vec2<u32>;
//% else
alias KvElement = Element;
//% endif

/// Where a key of a head begins. Those of a cache lie in blocks of 16, see kv_cache.rs.
fn key_at(key: u32) -> u32 {
    return key / 16u * (16u * params.k_row) + key % 16u * params.k_key;
}

/// Where in a key its dimensions from 4 * d4 on are.
fn key_part(d4: u32) -> u32 {
    return ${"d4 / 2u * params.k_chunk + d4 % 2u * 4u" if heads == "f16" else "d4 * params.k_chunk"};
}

//% set loaded = loaded | default(["q", "k", "v"])
//% set vecs = vecs | default(0)
//% if vecs
/// vec4s of a load.
const VECS = ${vecs}u;

/// Which vec4 of a head is in a lane's slot.
fn place(slot: u32, lane: u32) -> u32 {
    return (slot / VECS * LANES + lane) * VECS + slot % VECS;
}
//% endif

//% for t in loaded
//% if vecs == 2 and t != "q"
/// Dimensions from 8 * n on of the head whose first element is `at`. Past the head's end its last ones.
fn ${t}_load(at: u32, n: u32) -> array<vec4<f32>, 2> {
    let n_inside = min(n, params.head_dim / 8u - 1u);
    let halves = ${t}_texels_at(at / 8u + ${"params.k_chunk / 8u * n_inside" if t == "k" else "n_inside"});
    return array(
        vec4(unpack2x16float(halves.x), unpack2x16float(halves.y)),
        vec4(unpack2x16float(halves.z), unpack2x16float(halves.w)),
    );
}
//% else
/// Dimensions from 4 * d4 on of the head whose first element is `at`. Past the head's end its last ones.
fn ${t}_at(at: u32, d4: u32) -> vec4<f32> {
//% if heads == "scalar"
    let inside = min(d4, (params.head_dim - 1u) / 4u);
    let rest = min(vec4(0u, 1u, 2u, 3u), vec4(params.head_dim - 1u - 4u * inside));
    let i = at + ${"key_part(inside)" if t == "k" else "4u * inside"} + rest;
    return vec4(${t}[i.x], ${t}[i.y], ${t}[i.z], ${t}[i.w]);
//% else
    let inside = min(d4, params.head_dim / 4u - 1u);
    let i = at / 4u + ${"key_part(inside) / 4u" if t == "k" else "inside"};
//% if loads is defined and loads == "texels" and t != "q"
    return bitcast<vec4<f32>>(${t}_texels_at(i));
//% elif heads == "f16" and t != "q"
    let halves = ${t}[i];
    return vec4(unpack2x16float(halves.x), unpack2x16float(halves.y));
//% else
    return ${t}[i];
//% endif
//% endif
}

//% if vecs and t != "q"
fn ${t}_load(at: u32, n: u32) -> array<vec4<f32>, 1> {
    return array(${t}_at(at, n));
}
//% endif
//% endif
//% endfor

//% if "q" in loaded
/// `q_at`, but zero past the head's end, which voids what the keys hold there.
fn query(at: u32, d4: u32) -> vec4<f32> {
    let inside = vec4(4u * d4) + vec4(0u, 1u, 2u, 3u) < vec4(params.head_dim);
    return select(vec4(0.0), q_at(at, d4), inside);
}
//% endif

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

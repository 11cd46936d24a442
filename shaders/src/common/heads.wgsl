// Heads of q, k and v as vec4s of dimensions. The importing kernel declares the variant `heads`: vec4 where
// every head begins at a multiple of 4 elements and is as long, f16 where moreover k and v are f16, two to a
// word; else scalar. It may set `loaded` to fewer than all three, and declare `loads` and import `texels`: with
// these k and v are read as such, of f16 where every head begins at a multiple of 8 and is as long.
//
// A kernel whose lanes have a head between them, in registers, sets `vecs` to the vec4s that one load brings (2 of f16
// as texels, else 1) and takes k and v by loads; slot i of a lane is then vec4 number `place(i, lane)`. It counts in
// loads, LOAD elements each, and adds `k_part` and `v_part` outside of its loop: lavapipe moves nothing out of one.

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

/// Where in a key its dimensions from 4 * d4 on are.
fn key_part(d4: u32) -> u32 {
    return ${"d4 / 2u * params.k_chunk + d4 % 2u * 4u" if heads == "f16" else "d4 * params.k_chunk"};
}

//% set loaded = loaded | default(["q", "k", "v"])
//% set vecs = vecs | default(0)
//% if vecs
/// vec4s of a load.
const VECS = ${vecs}u;
/// Elements of a load; scalar heads are counted in elements.
const LOAD = ${1 if heads == "scalar" else 4 * vecs}u;
//% if vecs == 2
/// Loads bring k and v in units of this, which is what becomes of f16 whose bits are only shifted: to convert them is
/// more work on lavapipe than to scale q and the probabilities.
const UNIT = 0x1p112f;

/// Four f16, two to a word, in units of UNIT.
fn floats(words: vec2<u32>) -> vec4<f32> {
    // Sign and, after three copies of it, exponent and mantissa where f32 has them.
    let bits = bitcast<vec4<i32>>(vec4(words.x << 16u, words.x, words.y << 16u, words.y)) >> vec4(3u);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(bits) & vec4(0x8fffe000u));
}
//% else
/// Loads bring k and v in units of this.
const UNIT = 1.0;
//% endif

/// Which vec4 of a head is in a lane's slot.
fn place(slot: u32, lane: u32) -> u32 {
    return (slot / VECS * LANES + lane) * VECS + slot % VECS;
}
//% endif

//% for t in loaded
//% if vecs and t != "q"
/// Where, after the first load of a head, its load n is. Past the head's end its last one.
fn ${t}_part(n: u32) -> u32 {
//% if heads == "scalar"
    return 0u;
//% else
    let inside = min(n, params.head_dim / (4u * VECS) - 1u);
    return ${"key_part(inside * VECS) / LOAD" if t == "k" else "inside"};
//% endif
}

/// Load n of a head, which is at `at`.
fn ${t}_load(at: u32, n: u32) -> array<vec4<f32>, ${vecs}> {
//% if vecs == 2
    let words = ${t}_texels_at(at);
    return array(floats(words.xy), floats(words.zw));
//% elif heads == "scalar"
    return array(${t}_at(at, n));
//% else
    return array(${t}_four(at));
//% endif
}
//% endif
//% if vecs != 2 or t == "q"
//% if heads != "scalar"
/// Elements from 4 * i on.
fn ${t}_four(i: u32) -> vec4<f32> {
//% if loads is defined and loads == "texels" and t != "q"
    return bitcast<vec4<f32>>(${t}_texels_at(i));
//% elif heads == "f16" and t != "q"
    let halves = ${t}[i];
    return vec4(unpack2x16float(halves.x), unpack2x16float(halves.y));
//% else
    return ${t}[i];
//% endif
}
//% endif

/// Dimensions from 4 * d4 on of the head whose first element is `at`. Past the head's end its last ones.
fn ${t}_at(at: u32, d4: u32) -> vec4<f32> {
//% if heads == "scalar"
    let inside = min(d4, (params.head_dim - 1u) / 4u);
    let rest = min(vec4(0u, 1u, 2u, 3u), vec4(params.head_dim - 1u - 4u * inside));
    let i = at + ${"key_part(inside)" if t == "k" else "4u * inside"} + rest;
    return vec4(${t}[i.x], ${t}[i.y], ${t}[i.z], ${t}[i.w]);
//% else
    let inside = min(d4, params.head_dim / 4u - 1u);
    return ${t}_four(at / 4u + ${"key_part(inside) / 4u" if t == "k" else "inside"});
//% endif
}
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

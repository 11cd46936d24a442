// Heads of k and v that the lanes of a subgroup have between them, in registers. The importing kernel declares the
// variants `heads` and `loads` and the constant LANES, imports `heads`, `key_fours`, `value_fours` and `texels`, and sets
// `vecs` to the vec4s that one load brings: 2 of f16 as texels, where every head begins at a multiple of 8 elements and is
// as long; else 1.
//
// Slot i of a lane is vec4 number `place(i, lane)` of a head. The kernel counts in loads, LOAD elements each, and adds
// `k_part` and `v_part` outside of its loop: lavapipe moves nothing out of one.

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

//% if heads == "scalar"
fn k_part(n: u32) -> u32 {
    return 0u;
}

fn v_part(n: u32) -> u32 {
    return 0u;
}

fn k_load(at: u32, n: u32) -> array<vec4<f32>, 1> {
    return array(k_at(at, n));
}

fn v_load(at: u32, n: u32) -> array<vec4<f32>, 1> {
    return array(v_at(at, n));
}
//% else
/// Where, after the first load of a key, its load n is. Past the head's end its last one.
fn k_part(n: u32) -> u32 {
    return key_part(min(n, params.head_dim / (4u * VECS) - 1u) * VECS) / LOAD;
}

/// Where, after the first load of a value, its load n is. Past the head's end its last one.
fn v_part(n: u32) -> u32 {
    return min(n, params.head_dim / (4u * VECS) - 1u);
}

/// Load n of a key, which is at `at`.
fn k_load(at: u32, n: u32) -> array<vec4<f32>, ${vecs}> {
//% if vecs == 2
    let words = textureLoad(k_texels, texel(at));
    return array(floats(words.xy), floats(words.zw));
//% elif loads == "texels"
    return array(bitcast<vec4<f32>>(textureLoad(k_texels, texel(at))));
//% else
    return array(k_four(at));
//% endif
}

/// Load n of a value, which is at `at`.
fn v_load(at: u32, n: u32) -> array<vec4<f32>, ${vecs}> {
//% if vecs == 2
    let words = textureLoad(v_texels, texel(at));
    return array(floats(words.xy), floats(words.zw));
//% elif loads == "texels"
    return array(bitcast<vec4<f32>>(textureLoad(v_texels, texel(at))));
//% else
    return array(v_four(at));
//% endif
}
//% endif

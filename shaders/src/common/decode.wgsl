// One head of a row of a decode step, each row of another sequence: parameters, bindings, rotation and append. The
// importing kernel declares the variants `heads` and `width`, declares or sets `loads`, and also imports `heads`, `keys`,
// `pages`, `halves` and `wide`.

/// Below any score, and still finite when one is subtracted.
const LOWEST = -1e30;

struct Params {
    /// Rows of `y`.
    rows: u32,
    /// Positions the cache has room for: whole pages of 16.
    slots: u32,
    /// Pages of a sequence.
    sequence_pages: u32,
    /// Heads of q.
    num_heads: u32,
    /// Heads of k, and of v.
    num_kv_heads: u32,
    /// Heads that share a key and value head.
    heads_per_kv: u32,
    /// Dimensions of a head.
    head_dim: u32,
    /// Elements of a key: a 16th of those of 16 keys.
    k_row: u32,
    /// Elements from one key to the next of the same 16.
    k_key: u32,
    /// Elements from one 16 bytes of a key to its next.
    k_chunk: u32,
    /// The first of the heads of keys and values that `k` and `v` hold.
    first_kv_head: u32,
    /// Number of the heads that they hold.
    part_kv_heads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Wide>;             // [rows, num_heads + 2 num_kv_heads, head_dim]
@group(0) @binding(2) var<storage, read> tables: array<Wide>;          // [positions, head_dim]: cos, sin
@group(0) @binding(3) var<storage, read> cursors: array<vec2<u32>>;    // [rows] sequence, position
@group(0) @binding(4) var<storage, read> pages: array<u32>;            // [sequences, sequence_pages]
//% if loads == "texels"
// k and v again: what this step writes of them it does not read.
@group(0) @binding(5) var k_texels: texture_storage_2d<rgba32uint, read>;    // [part_kv_heads, slots, head_dim]
@group(0) @binding(6) var v_texels: texture_storage_2d<rgba32uint, read>;    // [part_kv_heads, slots, head_dim]
//% endif
//% if result is defined and result == "parts"
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;    // [rows, num_heads, splits, dims / 4 + 1]
//% else
@group(0) @binding(7) var<storage, read_write> y: array<Element>;      // [rows, num_heads, head_dim]
//% endif
@group(0) @binding(8) var<storage, read_write> k: array<KvElement>;    // [part_kv_heads, slots, head_dim]
@group(0) @binding(9) var<storage, read_write> v: array<KvElement>;    // [part_kv_heads, slots, head_dim]

/// One head of a row.
struct Work {
    /// Whose row it is.
    sequence: u32,
    /// At which position.
    position: u32,
    /// Keys before the new one.
    keys: u32,
    /// Where q, the new key, the new value and the result begin.
    q: u32,
    k: u32,
    v: u32,
    y: u32,
    /// Where the cache of the head of keys and values begins.
    cached: u32,
    /// Where in it the new ones go.
    slot: u32,
    /// Whether they go there: of the heads that share them the first appends them.
    appends: bool,
}

/// Head n of those that attend to `k` and `v`, as it is numbered in q and in the result.
fn head_of(n: u32) -> u32 {
    return params.first_kv_head * params.heads_per_kv + n;
}

/// Head n of those that attend to `k` and `v`.
fn work_of(n: u32, row: u32, cursor: vec2<u32>) -> Work {
    let room = params.sequence_pages * 16u;
    let head = head_of(n);
    let kv_n = n / params.heads_per_kv;
    let kv_head = params.first_kv_head + kv_n;
    let first = row * (params.num_heads + 2u * params.num_kv_heads);
    var work: Work;
    work.sequence = cursor.x;
    work.position = cursor.y;
    work.keys = min(room, cursor.y);
    work.q = (first + head) * params.head_dim;
    work.k = (first + params.num_heads + kv_head) * params.head_dim;
    work.v = work.k + params.num_kv_heads * params.head_dim;
    work.y = (row * params.num_heads + head) * params.head_dim;
    work.cached = kv_n * params.slots * params.head_dim;
    work.slot = slot_of(cursor.x, min(cursor.y, room - 1u));
    work.appends = cursor.y < room && n % params.heads_per_kv == 0u;
    return work;
}

/// How dimensions from 4 * d4 on of a head turn at this position.
struct Turn {
    cos: vec4<f32>,
    sin: vec4<f32>,
}

//% if width == 4
fn turn(position: u32, d4: u32) -> Turn {
    let half = params.head_dim / 8u;
    let inside = min(d4, 2u * half - 1u);
    let at = position * 2u * half + select(inside - half, inside, inside < half);
    return Turn(tables[at], tables[at + half]);
}

/// Dimensions from 4 * d4 on of the head of q or of the new key that begins at `at`, rotated; zero past its end.
fn rotated(at: u32, d4: u32, turn: Turn) -> vec4<f32> {
    let half = params.head_dim / 8u;
    let inside = min(d4, 2u * half - 1u);
    let x = qkv[at / 4u + inside];
    let other = qkv[at / 4u + select(inside - half, inside + half, inside < half)];
    let result = x * turn.cos + select(other, -other, inside < half) * turn.sin;
    return select(vec4(0.0), result, d4 < 2u * half);
}

/// Dimensions from 4 * d4 on of the new value that begins at `at`. Past its end its last ones.
fn new_value(at: u32, d4: u32) -> vec4<f32> {
    return qkv[at / 4u + min(d4, params.head_dim / 4u - 1u)];
}
//% else
fn turn(position: u32, d4: u32) -> Turn {
    let half = params.head_dim / 2u;
    var result = Turn(vec4(0.0), vec4(0.0));
//% for c in range(4)
    {
        let d = min(4u * d4 + ${c}u, params.head_dim - 1u);
        let at = position * params.head_dim + select(d - half, d, d < half);
        result.cos[${c}u] = tables[at];
        result.sin[${c}u] = tables[at + half];
    }
//% endfor
    return result;
}

/// Dimensions from 4 * d4 on of the head of q or of the new key that begins at `at`, rotated; zero past its end.
fn rotated(at: u32, d4: u32, turn: Turn) -> vec4<f32> {
    let half = params.head_dim / 2u;
    var result = vec4(0.0);
//% for c in range(4)
    {
        let d = 4u * d4 + ${c}u;
        if d < params.head_dim {
            let other = select(qkv[at + d - half], -qkv[at + d + half], d < half);
            result[${c}u] = qkv[at + d] * turn.cos[${c}u] + other * turn.sin[${c}u];
        }
    }
//% endfor
    return result;
}

/// Dimensions from 4 * d4 on of the new value that begins at `at`. Past its end its last ones.
fn new_value(at: u32, d4: u32) -> vec4<f32> {
    let d = at + min(vec4(4u * d4) + vec4(0u, 1u, 2u, 3u), vec4(params.head_dim - 1u));
    return vec4(qkv[d.x], qkv[d.y], qkv[d.z], qkv[d.w]);
}
//% endif

//% if heads == "f16"
/// What the cache holds of four dimensions.
fn stored(value: vec4<f32>) -> KvElement {
    return vec2(halves(value.xy), halves(value.zw));
}

/// What is read of them later.
fn kept(value: vec4<f32>) -> vec4<f32> {
    let halves = stored(value);
    return vec4(unpack2x16float(halves.x), unpack2x16float(halves.y));
}
//% else
fn stored(value: vec4<f32>) -> vec4<f32> {
    return value;
}

fn kept(value: vec4<f32>) -> vec4<f32> {
    return value;
}
//% endif

/// Writes dimensions from 4 * d4 on of the key that begins at `at`, up to its end.
fn append_k(at: u32, d4: u32, value: vec4<f32>) {
    let four = at + key_part(d4);
//% if heads != "scalar"
    if d4 < params.head_dim / 4u {
        k[four / 4u] = stored(value);
    }
//% else
//% for c in range(4)
    if 4u * d4 + ${c}u < params.head_dim {
        k[four + ${c}u] = value[${c}u];
    }
//% endfor
//% endif
}

/// Writes dimensions from 4 * d4 on of the value that begins at `at`, up to its end.
fn append_v(at: u32, d4: u32, value: vec4<f32>) {
    let four = at + 4u * d4;
//% if heads != "scalar"
    if d4 < params.head_dim / 4u {
        v[four / 4u] = stored(value);
    }
//% else
//% for c in range(4)
    if 4u * d4 + ${c}u < params.head_dim {
        v[four + ${c}u] = value[${c}u];
    }
//% endfor
//% endif
}

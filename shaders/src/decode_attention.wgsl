// y[r, n] = Σ_j softmax_j(q[r, n] · k[n', j] / √head_dim) v[n', j],   n' = n / heads_per_kv, j ≤ position of r
//
// attention.wgsl for the rows of a decode step, each of another sequence, which rotates q and the new key as
// rope_append.wgsl does and appends key and value to the cache. One workgroup takes one head of a row; its teams of LANES lanes take LANES keys
// each in turn, and one team adds up the results of all at the end. The new key and value are taken from
// registers, as the cache will hold them, and only the first head of those that share them writes them: of the
// cache itself nobody reads what is written. Scores: a lane a key, q broadcast. Output: a lane some dimensions,
// probabilities broadcast. Where there are no subgroups both are broadcast through workgroup memory.

//~ variants: lanes = 8 16 32 64 plain
//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: teams = one many
//~ variants: loads = storage texels
//~ variants: width = 1 4
//~ where: teams == ("one" if lanes == 8 else ("many" if lanes == "plain" else teams))
//~ where: loads == "storage" or (lanes in [8, 16] and width == 4)
//~ where: width == 1 or heads != "scalar"
//% set loaded = ["k", "v"]
//% set textures = ["k_texels", "v_texels"]
#import heads
#import keys
#import pages
#import halves
#import subgroups
#import texels
#import wide

//% set plain = lanes == "plain"
//% set team = 32 if plain else lanes
//% set one = teams == "one"
//% set teams = 1 if one else [8, 256 // team] | min
//% set vecs = 2 if heads == "f16" and loads == "texels" else 1
//% set slots = [dims // 4 // team, vecs] | max
const LANES = ${team}u;
const TEAMS = ${teams}u;
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Wide>;             // [rows, num_heads + 2 num_kv_heads, head_dim]
@group(0) @binding(2) var<storage, read> tables: array<Wide>;          // [positions, head_dim]: cos, sin
@group(0) @binding(3) var<storage, read> cursors: array<vec2<u32>>;    // [rows] sequence, position
@group(0) @binding(4) var<storage, read> pages: array<u32>;            // [sequences, sequence_pages]
//% if loads == "texels"
// k and v again: what this step writes of them it does not read.
@group(0) @binding(5) var k_texels: texture_storage_2d<rgba32uint, read>;    // [num_kv_heads, slots, head_dim]
@group(0) @binding(6) var v_texels: texture_storage_2d<rgba32uint, read>;    // [num_kv_heads, slots, head_dim]
//% endif
//% set first = 7 if loads == "texels" else 5
@group(0) @binding(${first}) var<storage, read_write> y: array<Element>;          // [rows, num_heads, head_dim]
@group(0) @binding(${first + 1}) var<storage, read_write> k: array<KvElement>;    // [num_kv_heads, slots, head_dim]
@group(0) @binding(${first + 2}) var<storage, read_write> v: array<KvElement>;    // [num_kv_heads, slots, head_dim]

//% if plain
var<workgroup> q_tile: array<vec4<f32>, ${dims // 4}>;            // [dims / 4]
var<workgroup> tile: array<f32, ${team * teams}>;                 // [TEAMS, LANES] scores, probabilities, sums
//% endif
//% if teams > 1
var<workgroup> tops: array<f32, TEAMS>;
var<workgroup> sums: array<f32, TEAMS>;
var<workgroup> parts: array<vec4<f32>, ${teams * dims // 4}>;    // [TEAMS, dims / 4]
//% endif

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

//% for t in ["k", "v"]
/// Writes dimensions from 4 * d4 on of what begins at `at`, up to its end.
fn append_${t}(at: u32, d4: u32, value: vec4<f32>) {
    let four = at + ${"key_part(d4)" if t == "k" else "4u * d4"};
//% if heads != "scalar"
    if d4 < params.head_dim / 4u {
        ${t}[four / 4u] = stored(value);
    }
//% else
//% for c in range(4)
    if 4u * d4 + ${c}u < params.head_dim {
        ${t}[four + ${c}u] = value[${c}u];
    }
//% endfor
//% endif
}
//% endfor

@compute @workgroup_size(${team * teams})
fn decode_attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let head = group.x;
    let lane = index % LANES;
    let team = index / LANES;
    let cursor = cursors[group.y];
    if cursor.x == NOT_LIVE {
        return;
    }
    let sequence = cursor.x;
    let position = cursor.y;
    let room = params.sequence_pages * 16u;
    // Those before the new one.
    let keys = min(room, position);

    let scale = inverseSqrt(f32(params.head_dim));
    let kv_head = head / params.heads_per_kv;
    let row = group.y * (params.num_heads + 2u * params.num_kv_heads);
    let q_new = (row + head) * params.head_dim;
    let k_new = (row + params.num_heads + kv_head) * params.head_dim;
    let v_new = k_new + params.num_kv_heads * params.head_dim;
    let y_new = (group.y * params.num_heads + head) * params.head_dim;
    let cached = kv_head * params.slots * params.head_dim;
    let appends = position < room && head % params.heads_per_kv == 0u;
    let slot = slot_of(sequence, min(position, room - 1u));

    // A lane's part of the new score.
    var part = 0.0;
//% if plain
    if index < ${dims // 4}u {
        let turn = turn(position, index);
        let q4 = rotated(q_new, index, turn) * scale;
        let k4 = rotated(k_new, index, turn);
        q_tile[index] = q4;
        part = dot(q4, kept(k4));
        if appends {
            append_k(cached + key_at(slot), index, k4);
        }
    }
    tile[index] = part;
    workgroupBarrier();
    var new_score = 0.0;
    //~ trips: 64
    for (var d4 = 0u; d4 < ${dims // 4}u; d4++) {
        new_score += tile[d4];
    }
    workgroupBarrier();
//% else
//% for i in range(slots)
    let turn_${i} = turn(position, place(${i}u, lane));
    let q_${i} = rotated(q_new, place(${i}u, lane), turn_${i}) * scale;
    let new_k_${i} = rotated(k_new, place(${i}u, lane), turn_${i});
    part += dot(q_${i}, kept(new_k_${i}));
    if appends && team == 0u {
        append_k(cached + key_at(slot), place(${i}u, lane), new_k_${i});
    }
//% endfor
    let new_score = subgroupAdd(part);
//% endif
    // The first team has the new key.
    var top = select(LOWEST, new_score, team == 0u);
    var sum = select(0.0, 1.0, index == 0u);
//% for i in range(slots)
    let new_v_${i} = new_value(v_new, place(${i}u, lane));
    var y_${i} = select(vec4(0.0), kept(new_v_${i}), team == 0u);
    if appends && team == 0u {
        append_v(cached + slot * params.head_dim, place(${i}u, lane), new_v_${i});
    }
//% endfor

//% if not plain
    // Here and not in the loop, out of which lavapipe moves nothing: each of these would be as much work as a product.
//% if loads == "texels"
//% for n in range(dims // 4)
    let q_at_${n} = subgroupBroadcast(q_${n // vecs // lanes * vecs + n % vecs}, ${n // vecs % lanes}u) * UNIT;
//% endfor
//% endif
//% for n in range(dims // 4 // vecs)
    let k_part_${n} = k_part(${n}u);
//% endfor
    let v_row = params.head_dim / LOAD;
//% for n in range(slots // vecs)
    let v_first_${n} = cached / LOAD + v_part(${n * team}u + lane);
//% endfor
//% endif

    //~ trips: sequence_pages * 16 // (lanes if teams == "one" else 128) + 1
    for (var base = 0u; base < keys; base += LANES * TEAMS) {
        let first = base + team * LANES;
        let key = first + lane;
        // What lies past the last key may be anything: those lanes take the last key again.
//% if lanes in [8, 16]
        // They are of one page: its table is looked at once.
        let page_0 = min(first, keys - 1u);
        let slot_0 = slot_of(sequence, page_0);
        let others_0 = min(keys - 1u - page_0, LANES - 1u);
        let k_row = cached + key_at(slot_0 + min(lane, others_0));
//% else
        let k_row = cached + key_at(slot_of(sequence, min(key, keys - 1u)));
//% endif
        var score = 0.0;
//% if plain
        //~ trips: (sequence_pages // 16 + 1) * ((head_dim + 3) // 4)
        for (var d4 = 0u; d4 < (params.head_dim + 3u) / 4u; d4++) {
            score += dot(q_tile[d4], k_at(k_row, d4));
        }
//% else
//% for n in range(dims // 4 // vecs)
        let k_${n} = k_load(k_row / LOAD + k_part_${n}, ${n}u);
//% for v in range(vecs)
//% if loads == "texels"
        score += dot(q_at_${n * vecs + v}, k_${n}[${v}u]);
//% else
        score += dot(subgroupBroadcast(q_${n // lanes}, ${n % lanes}u), k_${n}[0u]);
//% endif
//% endfor
//% endfor
//% endif

//% if plain
        tile[index] = score;
        workgroupBarrier();
        var next_top = top;
        //~ trips: (sequence_pages // 16 + 1) * 32
        for (var j = 0u; j < LANES; j++) {
            next_top = max(next_top, tile[team * LANES + j]);
        }
        workgroupBarrier();
//% else
        let next_top = larger(top, largest(score));
//% endif
        // The last key counts once.
        let p = select(0.0, exp(score - next_top), key < keys);
        let rescale = exp(top - next_top);
        top = next_top;
        sum = fma(sum, rescale, p);
//% for i in range(slots)
        y_${i} *= rescale;
//% endfor

//% if plain
        tile[index] = p;
        workgroupBarrier();
        //~ trips: (sequence_pages // 16 + 1) * 32
        for (var j = 0u; j < LANES; j++) {
            let v_row = slot_of(sequence, min(first + j, keys - 1u)) * params.head_dim + cached;
//% for i in range(slots)
            y_${i} = fma(vec4(tile[team * LANES + j]), v_at(v_row, place(${i}u, lane)), y_${i});
//% endfor
        }
        workgroupBarrier();
//% else
        let p_unit = p * UNIT;
//% for j in range(lanes)
//% set page = j // 16 * 16
//% if j == page
//% if lanes not in [8, 16]
        let page_${j} = min(first + ${j}u, keys - 1u);
        let slot_${j} = slot_of(sequence, page_${j});
        let others_${j} = min(keys - 1u - page_${j}, 15u);
//% endif
//% for n in range(slots // vecs)
        var v_at_${j}_${n} = v_first_${n} + slot_${j} * v_row;
        let v_last_${j}_${n} = v_at_${j}_${n} + others_${j} * v_row;
//% endfor
//% endif
        let p_${j} = vec4(subgroupBroadcast(p_unit, ${j}u));
//% for n in range(slots // vecs)
        let v_${j}_${n} = v_load(min(v_at_${page}_${n}, v_last_${page}_${n}), ${n * team}u + lane);
        v_at_${page}_${n} += v_row;
//% for v in range(vecs)
        y_${n * vecs + v} = fma(p_${j}, v_${j}_${n}[${v}u], y_${n * vecs + v});
//% endfor
//% endfor
//% endfor
//% endif
    }

//% if plain
    tile[index] = sum;
    workgroupBarrier();
    sum = 0.0;
    //~ trips: 32
    for (var j = 0u; j < LANES; j++) {
        sum += tile[team * LANES + j];
    }
//% else
    sum = subgroupAdd(sum);
//% endif
//% if teams == 1
//% for i in range(slots)
    put(y_new, place(${i}u, lane), y_${i} / sum);
//% endfor
//% else
    // A team that had no key adds zeros.
    if lane == 0u {
        tops[team] = top;
        sums[team] = sum;
    }
//% for i in range(slots)
    if place(${i}u, lane) < ${dims // 4}u {
        parts[team * ${dims // 4}u + place(${i}u, lane)] = y_${i};
    }
//% endfor
    workgroupBarrier();
    if index < ${dims // 4}u {
        top = LOWEST;
//% for t in range(teams)
        top = max(top, tops[${t}u]);
//% endfor
        var all = 0.0;
        var result = vec4(0.0);
//% for t in range(teams)
        let weight_${t} = exp(tops[${t}u] - top);
        all = fma(weight_${t}, sums[${t}u], all);
        result = fma(vec4(weight_${t}), parts[${t * dims // 4}u + index], result);
//% endfor
        put(y_new, index, result / all);
    }
//% endif
}

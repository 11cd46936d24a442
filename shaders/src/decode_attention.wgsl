// y[n] = Σ_j softmax_j(q[n] · k[j, n'] / √head_dim) v[j, n'],   n' = n / heads_per_kv, j ≤ span[0]
//
// attention.wgsl for the one row of a decode step. One workgroup takes one head; its teams of LANES lanes
// take LANES keys each in turn, and one team adds up the results of all at the end. Scores: a lane a key, q
// broadcast. Output: a lane 4 dimensions (slot i of lane l is vec4 number i * LANES + l), probabilities
// broadcast. Where there are no subgroups both are broadcast through workgroup memory.

//~ variants: lanes = 8 16 32 64 plain
//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
#import heads

//% set plain = lanes == "plain"
//% set team = 32 if plain else lanes
//% set teams = 1 if lanes == 8 else [8, 256 // team] | min
//% set slots = [dims // 4 // team, 1] | max
const LANES = ${team}u;
const TEAMS = ${teams}u;
/// Below any score, and still finite when one is subtracted.
const LOWEST = -1e30;

struct Params {
    /// Rows of `k` and `v`.
    keys: u32,
    /// Heads that share a key and value head.
    heads_per_kv: u32,
    /// Dimensions of a head.
    head_dim: u32,
    /// Element of head 0 in a row of `q`.
    q_offset: u32,
    /// Elements from one head of `q` to the next.
    q_stride: u32,
    /// Elements from one row of `k` to the next.
    k_row: u32,
    /// Element of head 0 in a row of `k`.
    k_offset: u32,
    /// Elements from one head of `k` to the next.
    k_stride: u32,
    /// Elements from one row of `v` to the next.
    v_row: u32,
    /// Element of head 0 in a row of `v`.
    v_offset: u32,
    /// Elements from one head of `v` to the next.
    v_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Element>;          // [1, _]
@group(0) @binding(2) var<storage, read> k: array<KvElement>;        // [keys, k_row]
@group(0) @binding(3) var<storage, read> v: array<KvElement>;        // [keys, v_row]
@group(0) @binding(4) var<storage, read> span: array<u32>;           // [2] position
@group(0) @binding(5) var<storage, read_write> y: array<Element>;    // [num_heads, head_dim]

//% if plain
var<workgroup> q_tile: array<vec4<f32>, ${dims // 4}>;            // [dims / 4]
var<workgroup> tile: array<f32, ${team * teams}>;                 // [TEAMS, LANES] scores, probabilities, sums
//% endif
//% if teams > 1
var<workgroup> tops: array<f32, TEAMS>;
var<workgroup> sums: array<f32, TEAMS>;
var<workgroup> parts: array<vec4<f32>, ${teams * dims // 4}>;    // [TEAMS, dims / 4]
//% endif

@compute @workgroup_size(${team * teams})
fn decode_attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let head = group.x;
    let lane = index % LANES;
    let team = index / LANES;
    let keys = min(params.keys, span[0] + 1u);

    let scale = inverseSqrt(f32(params.head_dim));
    let q_head = params.q_offset + head * params.q_stride;
    let kv_head = head / params.heads_per_kv;
    let k_head = params.k_offset + kv_head * params.k_stride;
    let v_head = params.v_offset + kv_head * params.v_stride;

//% if plain
    if index < ${dims // 4}u {
        q_tile[index] = query(q_head, index) * scale;
    }
    workgroupBarrier();
//% endif
//% for i in range(slots)
//% if not plain
    let q_${i} = query(q_head, ${i * team}u + lane) * scale;
//% endif
    var y_${i} = vec4(0.0);
//% endfor
    var top = LOWEST;
    var sum = 0.0;

    //~ trips: keys // (8 if lanes == 8 else 128) + 1
    for (var base = 0u; base < keys; base += LANES * TEAMS) {
        let first = base + team * LANES;
        let key = first + lane;
        // What lies past the last key may be anything: those lanes take the last key again.
        let k_row = min(key, keys - 1u) * params.k_row + k_head;
        var score = 0.0;
//% if plain
        //~ trips: (keys // 256 + 1) * ((head_dim + 3) // 4)
        for (var d4 = 0u; d4 < (params.head_dim + 3u) / 4u; d4++) {
            score += dot(q_tile[d4], k_at(k_row, d4));
        }
//% else
//% for d4 in range(dims // 4)
        score += dot(subgroupBroadcast(q_${d4 // lanes}, ${d4 % lanes}u), k_at(k_row, ${d4}u));
//% endfor
//% endif

//% if plain
        tile[index] = score;
        workgroupBarrier();
        var next_top = top;
        //~ trips: (keys // 256 + 1) * 32
        for (var j = 0u; j < LANES; j++) {
            next_top = max(next_top, tile[team * LANES + j]);
        }
        workgroupBarrier();
//% else
        let next_top = max(top, subgroupMax(score));
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
        //~ trips: (keys // 256 + 1) * 32
        for (var j = 0u; j < LANES; j++) {
            let v_row = min(first + j, keys - 1u) * params.v_row + v_head;
//% for i in range(slots)
            y_${i} = fma(vec4(tile[team * LANES + j]), v_at(v_row, ${i * team}u + lane), y_${i});
//% endfor
        }
        workgroupBarrier();
//% else
//% for j in range(lanes)
        let v_row_${j} = min(first + ${j}u, keys - 1u) * params.v_row + v_head;
        let p_${j} = vec4(subgroupBroadcast(p, ${j}u));
//% for i in range(slots)
        y_${i} = fma(p_${j}, v_at(v_row_${j}, ${i * team}u + lane), y_${i});
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
    put(head * params.head_dim, ${i * team}u + lane, y_${i} / sum);
//% endfor
//% else
    // A team that had no key adds zeros.
    if lane == 0u {
        tops[team] = top;
        sums[team] = sum;
    }
//% for i in range(slots)
    if ${i * team}u + lane < ${dims // 4}u {
        parts[team * ${dims // 4}u + ${i * team}u + lane] = y_${i};
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
        put(head * params.head_dim, index, result / all);
    }
//% endif
}

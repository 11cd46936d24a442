// y[r, n] = Σ_j softmax_j(q[r, n] · k[j, n'] / √head_dim) v[j, n']: attention.wgsl for GPUs
//
// Dao 2023 (FlashAttention-2), algorithm 1. A workgroup takes QUERIES rows of one head past all keys, KEYS at a
// time, the rows' q, the scores and a part of the keys, or of the values, in workgroup memory. TEAM threads have
// 4 of the rows: for scores every TEAM-th key each, for the output every TEAM-th vec4 of dimensions. A row's
// maximum is found by all of its team from the scores themselves, so that no step is left to the order of
// threads. Needs no subgroups.

//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: mask = full causal
#import heads
#import queries
#import key_fours
#import value_fours
#import result
#import keys
#import flash
#import seen
#import pages

//% set loads = "storage"
//% set team = {32: 8, 64: 16, 128: 16, 256: 32}[dims]
//% set queries = {32: 32, 64: 32, 128: 16, 256: 8}[dims]
//% set keys = 32
//% set teams = queries // 4
//% set threads = team * teams
//% set own_keys = keys // team
//% set own_dims = [dims // 4 // team, 1] | max
//% set part_dims = 8
//% set part_keys = keys * part_dims // (dims // 4)
const QUERIES = ${queries}u;
const KEYS = ${keys}u;
const TEAM = ${team}u;
const TEAMS = ${teams}u;
const THREADS = ${threads}u;
/// vec4s of a head.
const WIDTH = ${dims // 4}u;
/// vec4s of all keys that are in workgroup memory at a time, and values.
const PART_WIDTH = ${part_dims}u;
const PART_KEYS = ${part_keys}u;

@group(0) @binding(3) var<storage, read> v: array<KvElement>;        // [≥ keys, v_row]
@group(0) @binding(6) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]

var<workgroup> q_tile: array<vec4<f32>, ${queries * dims // 4}>;      // [QUERIES, WIDTH]
var<workgroup> scores: array<vec4<f32>, ${keys * teams}>;             // [KEYS, TEAMS] 4 rows each; then probabilities
var<workgroup> part: array<vec4<f32>, ${keys * part_dims}>;           // [KEYS, PART_WIDTH] or [PART_KEYS, WIDTH]

@compute @workgroup_size(THREADS)
fn attention_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let head = group.y;
    let tile = tile_at(group.x, QUERIES);
    let row = tile.row;
    let rows = tile.rows;
    let sequence = tile.sequence;
    if row >= rows {
        return;
    }
    let keys = min(params.keys, seen_by(tile, min(QUERIES, rows - row) - 1u));

    let scale = inverseSqrt(f32(params.head_dim));
    let q_head = params.q_offset + head * params.q_stride;
    let kv_head = head / params.heads_per_kv;
    let k_head = params.k_offset + kv_head * params.k_stride;
    let v_head = params.v_offset + kv_head * params.v_stride;

//% for i in range((queries * dims // 4) // threads)
    {
        let at = thread + ${i * threads}u;
        let q_row = min(row + at / WIDTH, rows - 1u) * params.q_row + q_head;
        q_tile[at] = query(q_row, at % WIDTH) * scale;
    }
//% endfor

    let lane = thread % TEAM;
    let team = thread / TEAM;
    // Keys that the team's four rows see.
    let own = 4u * team;
    let own_seen = vec4(seen_by(tile, own), seen_by(tile, own + 1u), seen_by(tile, own + 2u), seen_by(tile, own + 3u));
    var top = vec4(UNSEEN);
    var sum = vec4(0.0);
//% for r in range(4)
//% for i in range(own_dims)
    var y_${r}_${i} = vec4(0.0);
//% endfor
//% endfor

    //~ trips: (keys + 31) // 32 + 1
    for (var first = 0u; first < keys; first += KEYS) {
//% for j in range(own_keys)
        var s_${j} = vec4(0.0);
//% endfor
        //~ trips: ((keys + 31) // 32 + 1) * ${dims // 32 + 1}
        for (var d4 = 0u; d4 < WIDTH; d4 += PART_WIDTH) {
            workgroupBarrier();
//% for i in range(keys * part_dims // threads)
            {
                let at = thread + ${i * threads}u;
                let key = at / PART_WIDTH;
                // What lies past the last key may be anything: the last key stands in, unseen.
                let k_row = k_head + key_at(slot_of(sequence, min(first + key, keys - 1u)));
                part[key * PART_WIDTH + ((at ^ key) % PART_WIDTH)] = k_at(k_row, d4 + at % PART_WIDTH);
            }
//% endfor
            workgroupBarrier();
//% for i in range(part_dims)
            {
//% for r in range(4)
                let q_${r} = q_tile[(4u * team + ${r}u) * WIDTH + d4 + ${i}u];
//% endfor
//% for j in range(own_keys)
                let k_${j} = part[(lane + ${j * team}u) * PART_WIDTH + ((${i}u ^ (lane + ${j * team}u)) % PART_WIDTH)];
                s_${j} += vec4(dot(q_0, k_${j}), dot(q_1, k_${j}), dot(q_2, k_${j}), dot(q_3, k_${j}));
//% endfor
            }
//% endfor
        }
//% for j in range(own_keys)
        s_${j} = select(vec4(UNSEEN), s_${j}, vec4(first + lane + ${j * team}u) < own_seen);
        scores[(lane + ${j * team}u) * TEAMS + team] = s_${j};
//% endfor
        workgroupBarrier();
        var next_top = top;
//% for j in range(keys)
        next_top = max(next_top, scores[${j * teams}u + team]);
//% endfor
        workgroupBarrier();
//% for j in range(own_keys)
        // An unseen key is exactly zero, even where nothing has been seen yet.
        scores[(lane + ${j * team}u) * TEAMS + team] = select(vec4(0.0), exp(s_${j} - next_top), s_${j} > vec4(UNSEEN));
//% endfor
        let rescale = exp(top - next_top);
        top = next_top;
        sum *= rescale;
//% for r in range(4)
//% for i in range(own_dims)
        y_${r}_${i} *= rescale.${["x", "y", "z", "w"][r]};
//% endfor
//% endfor

        //~ trips: ((keys + 31) // 32 + 1) * ${dims // 32 + 1}
        for (var j = 0u; j < KEYS; j += PART_KEYS) {
            workgroupBarrier();
//% for i in range(keys * part_dims // threads)
            {
                let at = thread + ${i * threads}u;
                let v_row = slot_of(sequence, min(first + j + at / WIDTH, keys - 1u)) * params.v_row + v_head;
                part[at] = v_at(v_row, at % WIDTH);
            }
//% endfor
            workgroupBarrier();
//% for j in range(part_keys)
            {
                let p = scores[(j + ${j}u) * TEAMS + team];
                sum += p;
//% for i in range(own_dims)
                let v_${i} = part[${j}u * WIDTH + lane + ${i * team}u];
//% for r in range(4)
                y_${r}_${i} = fma(vec4(p.${["x", "y", "z", "w"][r]}), v_${i}, y_${r}_${i});
//% endfor
//% endfor
            }
//% endfor
        }
    }

//% for r in range(4)
    if row + 4u * team + ${r}u < rows {
        let y_head = ((row + 4u * team + ${r}u) * params.num_heads + head) * params.head_dim;
//% for i in range(own_dims)
        put(y_head, lane + ${i * team}u, y_${r}_${i} / sum.${["x", "y", "z", "w"][r]});
//% endfor
    }
//% endfor
}

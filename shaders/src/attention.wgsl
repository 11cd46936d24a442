// y[r, n] = Σ_j softmax_j(q[r, n] · k[j, n'] / √head_dim) v[j, n'],   n' = n / heads_per_kv, j ≤ position of r
//
// Dao et al. 2022 (FlashAttention), algorithm 1, over Milakov & Gimelshein 2018's online softmax. One
// workgroup, a subgroup, takes QUERIES rows of one head past all keys, KEYS * LANES at a time, so that each load of a key
// or value serves all rows. Scores: a lane KEYS keys, the rows' q broadcast from the registers of all lanes.
// Output: a lane some dimensions, probabilities broadcast. With a causal mask rows may be of several sequences; the rows
// of a workgroup are of one.

//~ variants: lanes = 8 16 32 64
//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: mask = full causal
//~ variants: queries = 8 16 32
//~ variants: keys = 1 2 4
//~ variants: loads = storage texels
//~ where: (queries == 8 and keys == 1) or lanes in [8, 16]
//~ where: queries < 32 or (lanes == 16 and keys == 2)
//~ where: loads == "storage" or (lanes in [8, 16] and heads != "scalar")
//~ where: dims <= (64 if heads == "scalar" else 128) or lanes not in [8, 16]
#import heads
#import queries
#import key_fours
#import value_fours
#import head_loads
#import result
#import keys
#import flash
#import seen
#import subgroups
#import texels
#import pages

//% set vecs = 2 if heads == "f16" and loads == "texels" else 1
//% set slots = [dims // 4 // lanes, vecs] | max
const LANES = ${lanes}u;
const QUERIES = ${queries}u;
/// Keys of a lane.
const KEYS = ${keys}u;

//% if loads == "texels"
@group(0) @binding(3) var v_texels: texture_storage_2d<rgba32uint, read>;    // [≥ keys, v_row]
//% else
@group(0) @binding(3) var<storage, read> v: array<KvElement>;        // [≥ keys, v_row]
//% endif
@group(0) @binding(6) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]

@compute @workgroup_size(LANES)
fn attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = head_of(group.y);
    let tile_rows = tile_at(group.x, QUERIES);
    let row = tile_rows.row;
    let rows = tile_rows.rows;
    let sequence = tile_rows.sequence;
    if row >= rows {
        return;
    }
    let keys = keys_of(tile_rows, QUERIES);
    let scale = inverseSqrt(f32(params.head_dim));
    let begin = head_at(group.y);

//% for r in range(queries)
    let q_row_${r} = min(row + ${r}u, rows - 1u) * params.q_row + begin.q;
    let seen_${r} = seen_by(tile_rows, ${r}u);
    var top_${r} = UNSEEN;
    var sum_${r} = 0.0;
//% for i in range(slots)
    var y_${r}_${i} = vec4(0.0);
    let q_${r}_${i} = query(q_row_${r}, place(${i}u, lane)) * (scale * UNIT);
//% endfor
//% endfor
//% for n in range(dims // 4 // vecs)
    let k_part_${n} = k_part(${n}u);
//% endfor
    let v_row = params.v_row / LOAD;
//% for n in range(slots // vecs)
    let v_first_${n} = begin.v / LOAD + v_part(${n * lanes}u + lane);
//% endfor

    //~ trips: (keys + ${lanes - 1}) // ${lanes} + 1
    for (var first = 0u; first < keys; first += KEYS * LANES) {
        // What lies past the last key may be anything: those lanes take the last key instead, unseen.
//% for g in range(keys)
        let key_${g} = first + ${g * lanes}u + lane;
//% if lanes in [8, 16]
        // They are of one page: its table is looked at once.
        let page_${g} = min(first + ${g * lanes}u, keys - 1u);
        let slot_${g} = slot_of(sequence, page_${g});
        let others_${g} = min(keys - 1u - page_${g}, LANES - 1u);
        let k_row_${g} = begin.k + key_at(slot_${g} + min(lane, others_${g}));
//% else
        let k_row_${g} = begin.k + key_at(slot_of(sequence, min(key_${g}, keys - 1u)));
//% endif
//% for r in range(queries)
        var s_${r}_${g} = 0.0;
//% endfor
//% endfor
//% for n in range(dims // 4 // vecs)
        {
//% for g in range(keys)
            let k_${g} = k_load(k_row_${g} / LOAD + k_part_${n}, ${n}u);
//% endfor
//% for r in range(queries)
//% for v in range(vecs)
            let q_${r}_at_${v} = subgroupBroadcast(q_${r}_${n // lanes * vecs + v}, ${n % lanes}u);
//% for g in range(keys)
            // Not a chain of four additions to s: a software driver takes one row after the other, and would wait.
            s_${r}_${g} += dot(q_${r}_at_${v}, k_${g}[${v}u]);
//% endfor
//% endfor
//% endfor
        }
//% endfor

//% for r in range(queries)
//% for g in range(keys)
        s_${r}_${g} = select(UNSEEN, s_${r}_${g}, key_${g} < seen_${r});
//% endfor
//% endfor
//% for r in range(queries)
        var max_${r} = s_${r}_0;
//% for g in range(1, keys)
        max_${r} = larger(max_${r}, s_${r}_${g});
//% endfor
        max_${r} = larger(top_${r}, largest(max_${r}));
        let rescale_${r} = exp(top_${r} - max_${r});
        top_${r} = max_${r};
        sum_${r} *= rescale_${r};
        // An unseen key is exactly zero, even where nothing has been seen yet.
//% for g in range(keys)
        let p_${r}_${g} = select(0.0, exp(s_${r}_${g} - max_${r}), s_${r}_${g} > UNSEEN);
        sum_${r} += p_${r}_${g};
//% endfor
//% for i in range(slots)
        y_${r}_${i} *= rescale_${r};
//% endfor
//% endfor

        // A row's sums stay in registers past LANES values, and a broadcast serves all of its dimensions.
//% for g in range(keys)
        {
//% for j in range(lanes)
//% if j % 16 == 0
//% if lanes not in [8, 16]
            let page_${j} = min(first + ${j}u, keys - 1u);
            let slot_${j} = slot_of(sequence, page_${j});
            let others_${j} = min(keys - 1u - page_${j}, 15u);
//% endif
//% set of = g if lanes in [8, 16] else j
//% for n in range(slots // vecs)
            var v_at_${j}_${n} = v_first_${n} + slot_${of} * v_row;
            let v_last_${j}_${n} = v_at_${j}_${n} + others_${of} * v_row;
//% endfor
//% endif
//% set page = j // 16 * 16
//% for n in range(slots // vecs)
            let v_${j}_${n} = v_load(min(v_at_${page}_${n}, v_last_${page}_${n}), ${n * lanes}u + lane);
            v_at_${page}_${n} += v_row;
//% endfor
//% endfor
//% for r in range(queries)
            let p_unit_${r} = p_${r}_${g} * UNIT;
//% for j in range(lanes)
            let p_${r}_${g}_${j} = vec4(subgroupBroadcast(p_unit_${r}, ${j}u));
//% for n in range(slots // vecs)
//% for v in range(vecs)
            y_${r}_${n * vecs + v} = fma(p_${r}_${g}_${j}, v_${j}_${n}[${v}u], y_${r}_${n * vecs + v});
//% endfor
//% endfor
//% endfor
//% endfor
        }
//% endfor
    }

//% for r in range(queries)
    sum_${r} = subgroupAdd(sum_${r});
    if row + ${r}u < rows {
//% for i in range(slots)
        put(((row + ${r}u) * params.num_heads + head) * params.head_dim, place(${i}u, lane), y_${r}_${i} / sum_${r});
//% endfor
    }
//% endfor
}

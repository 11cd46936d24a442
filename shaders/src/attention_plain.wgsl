// y[r, n] = Σ_j softmax_j(q[r, n] · k[j, n'] / √head_dim) v[j, n']: attention.wgsl without subgroups
//
// One workgroup takes QUERIES rows of one head past all keys, LANES at a time. Scores: a lane a key, the rows' q in
// workgroup memory. Output: a lane some dimensions, scores and probabilities passed on through workgroup memory.

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
//% set slots = [dims // 4 // 32, 1] | max
const LANES = 32u;
const QUERIES = 8u;

@group(0) @binding(3) var<storage, read> v: array<KvElement>;        // [≥ keys, v_row]
@group(0) @binding(6) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]

var<workgroup> q_tile: array<vec4<f32>, ${8 * dims // 4}>;    // [QUERIES, dims / 4]
var<workgroup> tile: array<f32, 256>;                         // [QUERIES, LANES] scores, probabilities, sums

@compute @workgroup_size(LANES)
fn attention_plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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

//% for r in range(8)
    let q_row_${r} = min(row + ${r}u, rows - 1u) * params.q_row + begin.q;
    let seen_${r} = seen_by(tile_rows, ${r}u);
    var top_${r} = UNSEEN;
    var sum_${r} = 0.0;
//% for i in range(slots)
    var y_${r}_${i} = vec4(0.0);
    if lane + ${32 * i}u < ${dims // 4}u {
        q_tile[${r * dims // 4 + 32 * i}u + lane] = query(q_row_${r}, ${32 * i}u + lane) * scale;
    }
//% endfor
//% endfor
    workgroupBarrier();

    //~ trips: (keys + 31) // 32 + 1
    for (var first = 0u; first < keys; first += LANES) {
        // What lies past the last key may be anything: those lanes take the last key instead, unseen.
        let key = first + lane;
        let k_row = begin.k + key_at(slot_of(sequence, min(key, keys - 1u)));
//% for r in range(8)
        var s_${r} = 0.0;
//% endfor
        //~ trips: ((keys + 31) // 32 + 1) * ((head_dim + 3) // 4)
        for (var d4 = 0u; d4 < (params.head_dim + 3u) / 4u; d4++) {
            let k4 = k_at(k_row, d4);
//% for r in range(8)
            s_${r} += dot(q_tile[${r * dims // 4}u + d4], k4);
//% endfor
        }

//% for r in range(8)
        s_${r} = select(UNSEEN, s_${r}, key < seen_${r});
        tile[${32 * r}u + lane] = s_${r};
//% endfor
        workgroupBarrier();
//% for r in range(8)
        var max_${r} = top_${r};
//% endfor
        //~ trips: ((keys + 31) // 32 + 1) * 8
        for (var j = 0u; j < LANES; j += 4u) {
//% for r in range(8)
            max_${r} = max(max_${r}, max(max(tile[${32 * r}u + j], tile[${32 * r + 1}u + j]),
                                         max(tile[${32 * r + 2}u + j], tile[${32 * r + 3}u + j])));
//% endfor
        }
        workgroupBarrier();
//% for r in range(8)
        let rescale_${r} = exp(top_${r} - max_${r});
        top_${r} = max_${r};
        sum_${r} *= rescale_${r};
        // An unseen key is exactly zero, even where nothing has been seen yet.
        let p_${r} = select(0.0, exp(s_${r} - max_${r}), s_${r} > UNSEEN);
        sum_${r} += p_${r};
//% for i in range(slots)
        y_${r}_${i} *= rescale_${r};
//% endfor
        tile[${32 * r}u + lane] = p_${r};
//% endfor

        workgroupBarrier();
        //~ trips: ((keys + 31) // 32 + 1) * 8
        for (var j = 0u; j < LANES; j += 4u) {
//% for u in range(4)
            let v_row_${u} = slot_of(sequence, min(first + j + ${u}u, keys - 1u)) * params.v_row + begin.v;
//% for i in range(slots)
            let v_${u}_${i} = v_at(v_row_${u}, ${32 * i}u + lane);
//% for r in range(8)
            y_${r}_${i} = fma(vec4(tile[${32 * r + u}u + j]), v_${u}_${i}, y_${r}_${i});
//% endfor
//% endfor
//% endfor
        }
        workgroupBarrier();
    }

//% for r in range(8)
    tile[${32 * r}u + lane] = sum_${r};
    sum_${r} = 0.0;
//% endfor
    workgroupBarrier();
    //~ trips: 32
    for (var j = 0u; j < LANES; j++) {
//% for r in range(8)
        sum_${r} += tile[${32 * r}u + j];
//% endfor
    }
//% for r in range(8)
    if row + ${r}u < rows {
//% for i in range(slots)
        put(((row + ${r}u) * params.num_heads + head) * params.head_dim, ${32 * i}u + lane, y_${r}_${i} / sum_${r});
//% endfor
    }
//% endfor
}

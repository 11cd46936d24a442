// y[r, n] = Σ_j softmax_j(q[r, n] · k[j, n'] / √head_dim) v[j, n']: attention.wgsl for GPUs
//
// Dao 2023 (FlashAttention-2), algorithm 1. A workgroup takes QUERIES rows of one head past all keys, KEYS at a time.
// LANES threads have 4 of the rows: for scores 4 of the keys each, for the output every LANES-th vec4 of dimensions.
// What they multiply passes through workgroup memory, 16 dimensions of q and of the keys at a time, then some of the
// values; its next part is under way meanwhile. q and keys lie there turned: a vec4 holds one dimension of four rows, or
// keys, so that a thread reads few of them for many products. Needs no subgroups, and leaves no step to the order of
// threads.

//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: mask = full causal
//~ variants: unroll = all part
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
//% set lanes = 8 if dims == 32 else 16
//% set groups = 128 // lanes
//% set own = dims // 4 // lanes
//% set kv_loads = lanes // 8
//% set q_loads = groups // 8
//% set part_keys = 16 // own
const THREADS = 128u;
const LANES = ${lanes}u;
/// Fours of rows.
const GROUPS = ${groups}u;
const QUERIES = ${4 * groups}u;
const KEYS = ${4 * lanes}u;
/// vec4s of a head.
const WIDTH = ${dims // 4}u;
/// Values that are in workgroup memory at a time.
const PART_KEYS = ${part_keys}u;
const LOG2_E = 1.4426950408889634;

@group(0) @binding(3) var<storage, read> v: array<KvElement>;        // [≥ keys, v_row]
@group(0) @binding(6) var<storage, read_write> y: array<Element>;    // [rows, num_heads, head_dim]

/// Scores of four rows, then probabilities: [KEYS / 4, 4, GROUPS].
var<workgroup> scores: array<array<array<vec4<f32>, ${groups}>, 4>, ${lanes}>;
/// 16 dimensions of q of four rows; then what lanes found of them, [LANES / 4, 4, GROUPS].
var<workgroup> of_rows: array<array<array<vec4<f32>, ${groups}>, 4>, 4>;
/// 16 dimensions of four keys each; then values, [PART_KEYS, WIDTH].
var<workgroup> part: array<array<array<vec4<f32>, ${lanes}>, 4>, 4>;
/// Where each key begins, and each value.
var<workgroup> begins: array<vec2<u32>, ${4 * lanes}>;

/// Where a key begins, and its value. What lies past the last may be anything: the last one stands in, unseen.
fn begin_of(sequence: u32, key: u32, keys: u32, kv_head: u32) -> vec2<u32> {
    let slot = slot_of(sequence, min(key, keys - 1u));
    return vec2(
        params.k_offset + kv_head * params.k_stride + key_at(slot),
        params.v_offset + kv_head * params.v_stride + slot * params.v_row,
    );
}

/// Dimensions from 4 * d4 on of the head of q that begins at `at`, times `scale`. Past the head's end zeros, which void what
/// the keys hold there.
fn scaled(at: u32, d4: u32, scale: f32) -> vec4<f32> {
//% if heads == "scalar"
    return query(at, d4) * scale;
//% else
    let last = params.head_dim / 4u - 1u;
    return q[at / 4u + min(d4, last)] * select(0.0, scale, d4 <= last);
//% endif
}

@compute @workgroup_size(THREADS)
fn attention_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let head = head_of(group.y);
    let tile = tile_at(group.x, QUERIES);
    let row = tile.row;
    let rows = tile.rows;
    let sequence = tile.sequence;
    if row >= rows {
        return;
    }
    let keys = min(params.keys, seen_by(tile, min(QUERIES, rows - row) - 1u));
    let kv_head = group.y / params.heads_per_kv;
    let scale = LOG2_E * inverseSqrt(f32(params.head_dim));
    let lane = thread % LANES;
    let four = thread / LANES;
    let width = (params.head_dim + 3u) / 4u;
    // Steps of 16 dimensions.
    let steps = (width + 3u) / 4u;

    // What this thread loads: vec4s of q, of keys, adjacent threads those that follow each other, and of values.
//% for i in range(q_loads)
    let q_from${i} = min(row + ${32 * i}u + thread / 4u, rows - 1u) * params.q_row + params.q_offset + head * params.q_stride;
//% endfor
    var begin = begin_of(sequence, thread % KEYS, keys, kv_head);

    // Keys that the four rows see.
    let own_row = row + 4u * four;
    let own_seen = vec4(seen_by(tile, 4u * four)) + vec4(${"0u, 1u, 2u, 3u" if mask == "causal" else "0u"});
    var top = vec4(UNSEEN);
    var sum = vec4(0.0);
//% for r in range(4)
//% for i in range(own)
    var y_${r}_${i} = vec4(0.0);
//% endfor
//% endfor

    //~ trips: (keys + ${4 * lanes - 1}) // ${4 * lanes} + 1
    for (var first = 0u; first < keys; first += KEYS) {
        if thread < KEYS {
            begins[thread] = begin;
        }
        workgroupBarrier();
        begin = begin_of(sequence, first + KEYS + thread % KEYS, keys, kv_head);
//% for i in range(kv_loads)
        let k_from${i} = begins[thread / 4u + ${32 * i}u].x;
//% if heads != "scalar"
        let k_last${i} = (k_from${i} + key_part(width - 1u)) / 4u;
        let k_step${i} = (k_from${i} + key_part(thread % 4u)) / 4u;
        var k_${i} = k_four(min(k_step${i}, k_last${i}));
//% else
        var k_${i} = k_at(k_from${i}, thread % 4u);
//% endif
//% endfor
//% for i in range(q_loads)
        var q_${i} = scaled(q_from${i}, thread % 4u, scale);
//% endfor
//% for c in range(4)
        var s_${c} = vec4(0.0);
//% endfor
        //~ trips: ((keys + ${4 * lanes - 1}) // ${4 * lanes} + 1) * ${dims // 16 + 1}
        for (var step = 0u; step < steps; step++) {
            workgroupBarrier();
//% for i in range(q_loads)
//% for j in range(4)
            of_rows[thread % 4u][${j}][${8 * i}u + thread / 16u][thread / 4u % 4u] = q_${i}[${j}];
//% endfor
//% endfor
//% for i in range(kv_loads)
//% for j in range(4)
            part[thread % 4u][${j}][${8 * i}u + thread / 16u][thread / 4u % 4u] = k_${i}[${j}];
//% endfor
//% endfor
            workgroupBarrier();
            let next = 4u * min(step + 1u, steps - 1u);
//% for i in range(q_loads)
            q_${i} = scaled(q_from${i}, next + thread % 4u, scale);
//% endfor
//% for i in range(kv_loads)
//% if heads != "scalar"
            k_${i} = k_four(min(k_step${i} + key_part(next) / 4u, k_last${i}));
//% else
            k_${i} = k_at(k_from${i}, next + thread % 4u);
//% endif
//% endfor
//% if unroll == "part"
            //~ trips: ((keys + ${4 * lanes - 1}) // ${4 * lanes} + 1) * ${(dims // 16 + 1) * 5}
            for (var i = 0u; i < 4u; i++) {
//% endif
//% for d in range(16 if unroll == "all" else 4)
            {
                let q = of_rows[${d // 4 if unroll == "all" else "i"}][${d % 4}][four];
                let k = part[${d // 4 if unroll == "all" else "i"}][${d % 4}][lane];
//% for c in range(4)
                s_${c} = fma(vec4(k[${c}]), q, s_${c});
//% endfor
            }
//% endfor
//% if unroll == "part"
            }
//% endif
        }

        // The first values are under way while the scores become probabilities.
//% for i in range(kv_loads)
        let v_key${i} = (thread + ${128 * i}u) / WIDTH;
        let v_four${i} = (thread + ${128 * i}u) % WIDTH;
        var v_${i} = v_at(begins[v_key${i}].y, v_four${i});
//% endfor
//% for c in range(4)
        s_${c} = select(vec4(UNSEEN), s_${c}, vec4(first + 4u * lane + ${c}u) < own_seen);
//% endfor
        workgroupBarrier();
        of_rows[lane / 4u][lane % 4u][four] = max(max(s_0, s_1), max(s_2, s_3));
        workgroupBarrier();
        var next_top = top;
//% for n in range(lanes)
        next_top = max(next_top, of_rows[${n // 4}][${n % 4}][four]);
//% endfor
        // Every row has seen a key by now, so that one it does not see is exactly zero.
        let rescale = exp2(top - next_top);
        top = next_top;
        sum *= rescale;
//% for c in range(4)
        let p_${c} = exp2(s_${c} - top);
        sum += p_${c};
        scores[lane][${c}][four] = p_${c};
//% endfor
//% for r in range(4)
//% for i in range(own)
        y_${r}_${i} *= rescale[${r}];
//% endfor
//% endfor

        //~ trips: ((keys + ${4 * lanes - 1}) // ${4 * lanes} + 1) * ${4 * lanes // part_keys + 1}
        for (var j = 0u; j < ${4 * lanes // part_keys}u; j++) {
            workgroupBarrier();
//% for i in range(kv_loads)
            part[thread / ${4 * lanes}u + ${128 * i // (4 * lanes)}u][thread / LANES % 4u][thread % LANES] = v_${i};
//% endfor
            workgroupBarrier();
            let next = min(j + 1u, ${4 * lanes // part_keys - 1}u) * PART_KEYS;
//% for i in range(kv_loads)
            v_${i} = v_at(begins[next + v_key${i}].y, v_four${i});
//% endfor
//% if unroll == "part"
            //~ trips: ((keys + ${4 * lanes - 1}) // ${4 * lanes} + 1) * ${lanes * 2 + 1}
            for (var i = 0u; i < ${part_keys // 4}u; i++) {
//% endif
//% for n in range(part_keys if unroll == "all" else 4)
            {
                let p = scores[j * ${part_keys // 4}u + ${n // 4 if unroll == "all" else "i"}][${n % 4}][four];
//% for i in range(own)
                let v_${i} = part[${(n * own + i) // 4}u${"" if unroll == "all" else " + i * " ~ own ~ "u"}][${(n * own + i) % 4}][lane];
//% for r in range(4)
                y_${r}_${i} = fma(vec4(p[${r}]), v_${i}, y_${r}_${i});
//% endfor
//% endfor
            }
//% endfor
//% if unroll == "part"
            }
//% endif
        }
    }

    workgroupBarrier();
    of_rows[lane / 4u][lane % 4u][four] = sum;
    workgroupBarrier();
    var all = vec4(0.0);
//% for n in range(lanes)
    all += of_rows[${n // 4}][${n % 4}][four];
//% endfor
//% for r in range(4)
    if own_row + ${r}u < rows {
        let y_head = ((own_row + ${r}u) * params.num_heads + head) * params.head_dim;
//% for i in range(own)
        put(y_head, lane + ${i * lanes}u, y_${r}_${i} / all[${r}]);
//% endfor
    }
//% endfor
}

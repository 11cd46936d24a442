// y[r, n] = Σ_j softmax_j(q[r, n] · k[n', j] / √head_dim) v[n', j]: decode_attention.wgsl without subgroups
//
// The same plan, with teams of LANES lanes that pass q, scores and probabilities on through workgroup memory.

//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: width = 1 4
//~ where: width == 1 or heads != "scalar"
#import decode
#import teams
#import heads
#import key_fours
#import value_fours
#import result
#import keys
#import pages
#import halves
#import wide

//% set loads = "storage"
//% set num_teams = 8
//% set slots = [dims // 4 // 32, 1] | max
const LANES = 32u;
const TEAMS = 8u;

var<workgroup> q_tile: array<vec4<f32>, ${dims // 4}>;    // [dims / 4]
var<workgroup> tile: array<f32, 256>;                     // [TEAMS, LANES] scores, probabilities, sums

@compute @workgroup_size(256)
fn decode_attention_plain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = index % LANES;
    let team = index / LANES;
    let cursor = cursors[group.y];
    if cursor.x == NOT_LIVE {
        return;
    }
    let work = work_of(group.x, group.y, cursor);
    let sequence = work.sequence;
    let keys = work.keys;
    let cached = work.cached;
    let scale = inverseSqrt(f32(params.head_dim));

    // A lane's part of the new score.
    var part = 0.0;
    if index < ${dims // 4}u {
        let turn = turn(work.position, index);
        let q4 = rotated(work.q, index, turn) * scale;
        let k4 = rotated(work.k, index, turn);
        q_tile[index] = q4;
        part = dot(q4, kept(k4));
        if work.appends {
            append_k(cached + key_at(work.slot), index, k4);
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
    // The first team has the new key.
    var top = select(LOWEST, new_score, team == 0u);
    var sum = select(0.0, 1.0, index == 0u);
//% for i in range(slots)
    let new_v_${i} = new_value(work.v, ${32 * i}u + lane);
    var y_${i} = select(vec4(0.0), kept(new_v_${i}), team == 0u);
    if work.appends && team == 0u {
        append_v(cached + work.slot * params.head_dim, ${32 * i}u + lane, new_v_${i});
    }
//% endfor

    //~ trips: sequence_pages * 16 // 128 + 1
    for (var base = 0u; base < keys; base += LANES * TEAMS) {
        let first = base + team * LANES;
        let key = first + lane;
        // What lies past the last key may be anything: those lanes take the last key again.
        let k_row = cached + key_at(slot_of(sequence, min(key, keys - 1u)));
        var score = 0.0;
        //~ trips: (sequence_pages // 16 + 1) * ((head_dim + 3) // 4)
        for (var d4 = 0u; d4 < (params.head_dim + 3u) / 4u; d4++) {
            score += dot(q_tile[d4], k_at(k_row, d4));
        }

        tile[index] = score;
        workgroupBarrier();
        var next_top = top;
        //~ trips: (sequence_pages // 16 + 1) * 32
        for (var j = 0u; j < LANES; j++) {
            next_top = max(next_top, tile[team * LANES + j]);
        }
        workgroupBarrier();
        // The last key counts once.
        let p = select(0.0, exp(score - next_top), key < keys);
        let rescale = exp(top - next_top);
        top = next_top;
        sum = fma(sum, rescale, p);
//% for i in range(slots)
        y_${i} *= rescale;
//% endfor

        tile[index] = p;
        workgroupBarrier();
        //~ trips: (sequence_pages // 16 + 1) * 32
        for (var j = 0u; j < LANES; j++) {
            let v_row = slot_of(sequence, min(first + j, keys - 1u)) * params.head_dim + cached;
//% for i in range(slots)
            y_${i} = fma(vec4(tile[team * LANES + j]), v_at(v_row, ${32 * i}u + lane), y_${i});
//% endfor
        }
        workgroupBarrier();
    }

    tile[index] = sum;
    workgroupBarrier();
    sum = 0.0;
    //~ trips: 32
    for (var j = 0u; j < LANES; j++) {
        sum += tile[team * LANES + j];
    }
    if lane == 0u {
        tops[team] = top;
        sums[team] = sum;
    }
//% for i in range(slots)
    if ${32 * i}u + lane < ${dims // 4}u {
        parts[team * ${dims // 4}u + ${32 * i}u + lane] = y_${i};
    }
//% endfor
    workgroupBarrier();
    if index < ${dims // 4}u {
        put(work.y, index, joined(index));
    }
}

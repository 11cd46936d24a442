// parts[r, n, s] = Σ_j exp(q[r, n] · k[n', j] / √head_dim - top) v[n', j], top and Σ_j exp(…) over the keys j of split s
//
// decode_attention.wgsl for GPUs, its keys split over several workgroups (Dao et al. 2023, Flash-Decoding), which
// decode_attention_join.wgsl puts together. A workgroup takes 64 keys at a time: for scores four threads have a key, a
// quarter of its dimensions each, for the output teams of a thread a vec4 of dimensions take the keys in turn. All loads
// of a turn are of straight code, so that they are under way together. The first split has the new key as well, from
// registers, and appends it. Needs no subgroups.

//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: width = 1 4
//~ where: width == 1 or heads != "scalar"
#import decode
#import heads
#import key_fours
#import value_fours
#import keys
#import pages
#import halves
#import wide
#import splits
#import teams

//% set loads = "storage"
//% set result = "parts"
//% set lanes = dims // 4
//% set num_teams = 256 // lanes
//% set own = 64 // num_teams
/// vec4s of a head, and threads of a team.
const LANES = ${lanes}u;
const TEAMS = ${num_teams}u;
/// Keys of a turn.
const KEYS = 64u;

var<workgroup> q_tile: array<vec4<f32>, LANES>;
/// What each quarter of the dimensions adds to the scores of the turn's keys: [4, KEYS / 4]
var<workgroup> quarters: array<array<vec4<f32>, 16>, 4>;

@compute @workgroup_size(256)
fn decode_attention_split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let cursor = cursors[group.y];
    if cursor.x == NOT_LIVE {
        return;
    }
    let work = work_of(group.x, group.y, cursor);
    let size = split_size(work.keys, groups.z);
    let first = group.z * size;
    let is_first = group.z == 0u;
    if first >= work.keys && !is_first {
        return;
    }
    let keys = min(first + size, work.keys);
    let sequence = work.sequence;
    let cached = work.cached;
    let lane = index % LANES;
    let team = index / LANES;

    // A lane's part of the new score.
    var new_part = 0.0;
    if index < LANES {
        let turn = turn(work.position, index);
        let q4 = rotated(work.q, index, turn) * inverseSqrt(f32(params.head_dim));
        q_tile[index] = q4;
        if is_first {
            let k4 = rotated(work.k, index, turn);
            new_part = dot(q4, kept(k4));
            if work.appends {
                append_k(cached + key_at(work.slot), index, k4);
            }
        }
    }
    quarters[index / 64u][index % 64u / 4u][index % 4u] = new_part;
    workgroupBarrier();
    // The first team has the new key.
    let has_new = is_first && team == 0u;
    var top = LOWEST;
    var sum = 0.0;
    var y_own = vec4(0.0);
    if has_new {
        var new_score = vec4(0.0);
//% for n in range([lanes // 4, 1] | max)
        new_score += quarters[${n // 16}][${n % 16}];
//% endfor
        top = (new_score.x + new_score.y) + (new_score.z + new_score.w);
        sum = 1.0;
        let value = new_value(work.v, lane);
        y_own = kept(value);
        if work.appends {
            append_v(cached + work.slot * params.head_dim, lane, value);
        }
    }

    let quarter = index / KEYS;
    //~ trips: sequence_pages * 16 // 64 + 2
    for (var base = first; base < keys; base += KEYS) {
        // What lies past the last key may be anything: the last one is taken again.
        let k_row = cached + key_at(slot_of(sequence, min(base + index % KEYS, keys - 1u)));
        let team_key = base + team * ${own}u;
        let page_key = min(team_key, keys - 1u);
        let v_row = cached + slot_of(sequence, page_key) * params.head_dim;
        // Others of the same page.
        let others = keys - 1u - page_key;
//% for i in range(lanes // 4)
        let k_${i} = k_at(k_row, quarter * ${lanes // 4}u + ${i}u);
//% endfor
//% if dims != 256
//% for j in range(own)
        let v_${j} = v_at(v_row + min(${j}u, others) * params.head_dim, lane);
//% endfor
//% endif
        var score = 0.0;
//% for i in range(lanes // 4)
        score += dot(q_tile[quarter * ${lanes // 4}u + ${i}u], k_${i});
//% endfor
        workgroupBarrier();
        quarters[quarter][index % KEYS / 4u][index % 4u] = score;
        workgroupBarrier();
//% if dims == 256
        // Not under way with the keys: both are more than a small GPU's registers hold.
//% for j in range(own)
        let v_${j} = v_at(v_row + min(${j}u, others) * params.head_dim, lane);
//% endfor
//% endif
        var next_top = top;
//% for n in range(own)
//% if n % 4 == 0
//% set at = "[(team * " ~ own ~ "u + " ~ n ~ "u) / 4u]"
        let s_${n // 4} = (quarters[0]${at} + quarters[1]${at}) + (quarters[2]${at} + quarters[3]${at});
//% endif
        let s_own_${n} = select(LOWEST, s_${n // 4}[${n % 4 if own >= 4 else "team * " ~ own ~ "u % 4u + " ~ n ~ "u"}], team_key + ${n}u < keys);
        next_top = max(next_top, s_own_${n});
//% endfor
        let rescale = exp(top - next_top);
        top = next_top;
        sum *= rescale;
        y_own *= rescale;
//% for n in range(own)
        // Past the last key nothing is added, even by a team that has none.
        let p_${n} = select(0.0, exp(s_own_${n} - top), team_key + ${n}u < keys);
        sum += p_${n};
        y_own = fma(vec4(p_${n}), v_${n}, y_own);
//% endfor
    }

    if lane == 0u {
        tops[team] = top;
        sums[team] = sum;
    }
    parts[team * LANES + lane] = y_own;
    workgroupBarrier();
    if index < LANES {
        let at = ((group.y * params.num_heads + head_of(group.x)) * groups.z + group.z) * (LANES + 1u);
        let all = joined_parts(index);
        y[at + index] = all.y;
        if index == 0u {
            y[at + LANES] = vec4(all.top, all.sum, 0.0, 0.0);
        }
    }
}

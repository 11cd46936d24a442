// y[r, n] = Σ_j softmax_j(q[r, n] · k[n', j] / √head_dim) v[n', j],   n' = n / heads_per_kv, j ≤ position of r
//
// attention.wgsl for the rows of a decode step, each of another sequence, which rotates q and the new key as
// rope_append.wgsl does and appends key and value to the cache. One workgroup takes one head of a row; its teams of LANES
// lanes, a subgroup each, take LANES keys each in turn, and one team adds up the results of all at the end. The new key and
// value are taken from registers, as the cache will hold them, and only the first head of those that share them writes
// them: of the cache itself nobody reads what is written. Scores: a lane a key, q broadcast. Output: a lane some
// dimensions, probabilities broadcast.

//~ variants: lanes = 8 16 32 64
//~ variants: dims = 32 64 128 256
//~ variants: heads = vec4 scalar f16
//~ variants: teams = one many
//~ variants: loads = storage texels
//~ variants: width = 1 4
//~ where: teams == "one" or lanes != 8
//~ where: loads == "storage" or (lanes in [8, 16] and width == 4)
//~ where: width == 1 or heads != "scalar"
//~ where: dims <= (64 if heads == "scalar" else 128) or lanes not in [8, 16]
#import decode
#import teams
#import heads
#import key_fours
#import value_fours
#import head_loads
#import result
#import keys
#import pages
#import halves
#import subgroups
#import texels
#import wide

//% set num_teams = 1 if teams == "one" else [8, 256 // lanes] | min
//% set vecs = 2 if heads == "f16" and loads == "texels" else 1
//% set slots = [dims // 4 // lanes, vecs] | max
const LANES = ${lanes}u;
const TEAMS = ${num_teams}u;

@compute @workgroup_size(${lanes * num_teams})
fn decode_attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
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
//% for i in range(slots)
    let turn_${i} = turn(work.position, place(${i}u, lane));
    let q_${i} = rotated(work.q, place(${i}u, lane), turn_${i}) * scale;
    let new_k_${i} = rotated(work.k, place(${i}u, lane), turn_${i});
    part += dot(q_${i}, kept(new_k_${i}));
    if work.appends && team == 0u {
        append_k(cached + key_at(work.slot), place(${i}u, lane), new_k_${i});
    }
//% endfor
    let new_score = subgroupAdd(part);
    // The first team has the new key.
    var top = select(LOWEST, new_score, team == 0u);
    var sum = select(0.0, 1.0, index == 0u);
//% for i in range(slots)
    let new_v_${i} = new_value(work.v, place(${i}u, lane));
    var y_${i} = select(vec4(0.0), kept(new_v_${i}), team == 0u);
    if work.appends && team == 0u {
        append_v(cached + work.slot * params.head_dim, place(${i}u, lane), new_v_${i});
    }
//% endfor

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
    let v_first_${n} = cached / LOAD + v_part(${n * lanes}u + lane);
//% endfor

//% if lanes == 16 and teams == "one"
    // Turns take one page each. LLVM would move the arithmetic of its place into what lavapipe makes of the load, a loop over
    // lanes.
    var page = sequence * params.sequence_pages;
//% endif
    //~ trips: sequence_pages * 16 // ${lanes * num_teams} + 1
    for (var base = 0u; base < keys; base += LANES * TEAMS) {
        let first = base + team * LANES;
        let key = first + lane;
        // What lies past the last key may be anything: those lanes take the last key again.
//% if lanes in [8, 16]
        // They are of one page: its table is looked at once.
        let page_0 = min(first, keys - 1u);
//% if lanes == 16 and teams == "one"
        // A load takes lavapipe a turn a lane, but none for those that do without.
        var entry = 0u;
        if lane == 0u {
            entry = pages[page];
        }
        let slot_0 = subgroupBroadcast(entry, 0u) * 16u;
        page += 1u;
//% else
        let slot_0 = slot_of(sequence, page_0);
//% endif
        let others_0 = min(keys - 1u - page_0, LANES - 1u);
        let k_row = cached + key_at(slot_0 + min(lane, others_0));
//% else
        let k_row = cached + key_at(slot_of(sequence, min(key, keys - 1u)));
//% endif
        var score = 0.0;
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

        let next_top = larger(top, largest(score));
        // The last key counts once.
        let p = select(0.0, exp(score - next_top), key < keys);
        let rescale = exp(top - next_top);
        top = next_top;
        sum = fma(sum, rescale, p);
//% for i in range(slots)
        y_${i} *= rescale;
//% endfor

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
        let v_${j}_${n} = v_load(min(v_at_${page}_${n}, v_last_${page}_${n}), ${n * lanes}u + lane);
        v_at_${page}_${n} += v_row;
//% for v in range(vecs)
        y_${n * vecs + v} = fma(p_${j}, v_${j}_${n}[${v}u], y_${n * vecs + v});
//% endfor
//% endfor
//% endfor
    }

    sum = subgroupAdd(sum);
//% if num_teams == 1
//% for i in range(slots)
    put(work.y, place(${i}u, lane), y_${i} / sum);
//% endfor
//% else
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
        put(work.y, index, joined(index));
    }
//% endif
}

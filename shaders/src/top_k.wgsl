// ids[r], values[r] = the k largest of logits[r, 0 .. vocab], largest first, the lowest id first where values tie
//
// One workgroup a row. Lane l owns the logits l, l + 256, … and knows the best of them that is not taken yet. A
// round finds the best of these 256, in two steps of 16, and only the lane that owned it looks at its logits
// again. Logits are compared as integers of the same order, so the result is exact; NaN is above all.

struct Params {
    /// Rows of logits.
    rows: u32,
    /// Logits in a row.
    vocab: u32,
    /// How many to take at most.
    k: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<u32>;          // [rows, vocab], the bits of f32
@group(0) @binding(2) var<storage, read> wanted: array<u32>;          // [rows], how many this run takes of each
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;       // [rows, k]
@group(0) @binding(4) var<storage, read_write> values: array<u32>;    // [rows, k], the bits of f32

struct Candidate {
    /// The logit, as `ordered` has it; 0 is below every logit.
    key: u32,
    id: u32,
}

const NONE = Candidate(0u, 0xffffffffu);

var<workgroup> of_lane: array<Candidate, 256>;
var<workgroup> of_block: array<Candidate, 16>;

/// The order of f32 as that of u32: -inf < … < 0 = -0 < … < inf < NaN.
fn ordered(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return 0xffffffffu;
    }
    // -0 is not above its own sign bit, and so becomes what 0 does.
    return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}

fn better(a: Candidate, b: Candidate) -> bool {
    return a.key > b.key || (a.key == b.key && a.id < b.id);
}

@compute @workgroup_size(256)
fn top_k(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rounds = min(params.k, wanted[group.x]);
    let row = group.x * params.vocab;
    let taken = group.x * params.k;
    // All of key `below` with an id under `first` are taken, as is all above.
    var below = 0xffffffffu;
    var first = 0u;
    var stale = true;
    //~ trips: k + 1
    for (var rank = 0u; rank < rounds; rank++) {
        if stale {
            var best = NONE;
            //~ trips: k * (vocab / 256 + 2)
            for (var id = lane; id < params.vocab; id += 256u) {
                let key = ordered(logits[row + id]);
                let free = key < below || (key == below && id >= first);
                if free && key > best.key {
                    best = Candidate(key, id);
                }
            }
            of_lane[lane] = best;
        }
        workgroupBarrier();
        if lane < 16u {
            var best = of_lane[lane * 16u];
            //~ trips: k * 16
            for (var i = 1u; i < 16u; i++) {
                if better(of_lane[lane * 16u + i], best) {
                    best = of_lane[lane * 16u + i];
                }
            }
            of_block[lane] = best;
        }
        workgroupBarrier();
        var best = of_block[0];
        //~ trips: k * 16
        for (var i = 1u; i < 16u; i++) {
            if better(of_block[i], best) {
                best = of_block[i];
            }
        }
        if lane == 0u {
            ids[taken + rank] = best.id;
            values[taken + rank] = 0xff800000u;
            if best.key > 0u {
                values[taken + rank] = logits[row + best.id];
            }
        }
        below = best.key;
        first = best.id + 1u;
        stale = best.key > 0u && best.id % 256u == lane;
    }
}

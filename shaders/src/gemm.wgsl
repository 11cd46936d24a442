// y[r, n] = act(sum_k x[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n]
//
// Ye et al. 2023, eq. 5-7 and every other projection. Rows are gathered through `routing`, those of each
// modality with that modality's weights, and scattered back: a row costs its own projection once, however
// text and image interleave. A shared projection has one set and takes the same list.
//
// A single row may be normalised on the way: y = (x ⊙ gain) Wᵀ / rms(x), the root taken from the very loads
// of the sum.
//
// Workgroups that share columns follow each other, so that the weights they read are still in the cache.
// One workgroup computes ROWS rows by 4 * LANES packed columns, a lane 4 of the columns in registers. Lanes
// load distinct vec4s of x and share them by broadcast; without subgroups every lane loads every one.
// Weights as in packing.rs. ROWS = 1 is the gemv of decoding.

//~ variants: weights = f32 bf16 int8 int8_group
//~ variants: lanes = 8 16 32 64 plain
//~ variants: rows = 1 2 4 8 16
//~ variants: x = whole vec4 scalar
//~ variants: loads = storage texels
//~ variants: norm = no yes
//~ variants: epilogue = none residual quick_gelu swiglu
//~ variants: bias = no yes
//~ where: norm == "no" or rows == 1
//~ where: x != "whole" or lanes != "plain"
//~ where: rows in [1, 8] or lanes in [8, 16]
//~ where: loads == "storage" or (lanes in [8, 16] and x != "scalar")
#import projection
#import columns
#import texels
#import mad

//% set residual = "yes" if epilogue == "residual" else "no"
//% set width = 32 if lanes == "plain" else lanes
//% set chunks = 8 if weights == "f32" else (4 if weights == "bf16" else 2)
//% set grouped = weights == "int8_group"
// What of 16 bytes is unpacked at a time.
//% set fours = [""] if weights == "f32" else ([".xy", ".zw"] if weights == "bf16" else [".x", ".y", ".z", ".w"])
// int8 for software devices: see `unpack`.
//% set unshifted = weights in ["int8", "int8_group"] and lanes in [8, 16]
// Columns of a step. A turn of 16 rows by 32 columns, unrolled, is more text than a processor keeps decoded.
//% set columns = 16 if rows == 16 and not grouped else 32
//% set vecs = columns // 4
//% set step_chunks = chunks * columns // 32
// Steps that a turn of the loop takes. A single row takes several, so that a load is of all lanes, and one of scales serves
// four groups; beyond the end x is 0 then, whatever the weights there.
//% set stride = 1 if rows > 1 else (4 if grouped else (width // 8 if x == "whole" else 1))
//% set rows_a_load = width // vecs
//% set steps_a_load = [width // vecs, stride] | min
//% set loads_a_turn = stride // steps_a_load if rows == 1 else (rows + rows_a_load - 1) // rows_a_load
//% set rows_loaded = 1 if rows == 1 else loads_a_turn

const LANES = ${width}u;
const ROWS = ${rows}u;
/// Loads of 16 bytes a packed row in a step.
const CHUNKS = ${step_chunks}u;

/// a + x · w for the four columns of a lane.
fn mad4(a: vec4<f32>, x: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(mad(a.x, x, w0), mad(a.y, x, w1), mad(a.z, x, w2), mad(a.w, x, w3));
}

@compute @workgroup_size(LANES)
fn gemm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.x, ROWS);
    if tile.first >= tile.end {
        return;
    }
    let modality = tile.modality;
//% if lanes == "plain"
//% for r in range(rows)
    let row${r} = routing[min(tile.first + ${r}u, tile.end - 1u)];
//% endfor
//% else
    // A load takes ${vecs} lanes a row: lane l has vec4 l % ${vecs} of row l / ${vecs}. A single row that is a whole number of
    // loads takes all lanes.
//% for i in range(rows_loaded)
    let row${i} = routing[min(tile.first + min(${i * rows_a_load}u + lane / ${vecs}u, ROWS - 1u), tile.end - 1u)];
//% endfor
//% endif

//% if norm == "yes"
    let image_row = u32(routing[0] == 0u);
    var squares = 0.0;
//% endif

    // Packed rows are whole numbers of 32 columns.
    let steps = (params.k + 31u) / 32u * ${32 // columns}u;
    let p = group.y * (4u * LANES) + lane / SPAN * (4u * SPAN) + lane % SPAN;
//% for c in range(4)
    let p${c} = p + ${c}u * SPAN;
    let block${c} = place_of(min(p${c} / 16u, params.blocks - 1u), modality);
    let at${c} = block${c} * steps * CHUNKS * 16u + p${c} % 16u;
//% endfor

//% for r in range(rows)
    var a${r} = vec4<f32>();
//% endfor
//% if grouped
    // `scales_at`, with what it divides outside of the loop: lavapipe moves nothing out of one, and divides lane by lane.
    // A group is a power of two of steps.
    let shift = firstTrailingBit(params.group_steps);
    let fours = (groups_of_row() + 3u) / 4u;
//% for c in range(4)
    let scale${c} = block${c} * fours * 16u + p${c} % 16u;
//% endfor
//% endif
    //~ trips: (k + 31) // 32 * ${32 // columns} + 2
    for (var step = 0u; step < steps; step += ${stride}u) {
//% if lanes != "plain"
//% for i in range(loads_a_turn)
//% set row, first = (0, vecs * steps_a_load * i) if rows == 1 else (i, 0)
        var x${i} = load_x(row${row}, step * ${vecs}u + ${first}u + lane % ${vecs * steps_a_load}u);
//% if norm == "yes"
        squares += dot(x${i}, x${i});
        x${i} *= load_gain(image_row, step * ${vecs}u + ${first}u + lane % ${vecs * steps_a_load}u);
//% endif
//% if unshifted
        x${i} *= UNITS;
//% endif
//% endfor
//% endif
//% if grouped and rows == 1
//% for c in range(4)
        let scales${c} = scale[scale${c} + (step >> shift) / 4u * 16u];
//% endfor
//% endif
//% for sub in range(stride)
//% if grouped
        {
            let number = (step + ${sub}u) >> shift;
            let i = number % 4u;
//% if rows == 1
            let factor = vec4<f32>(scales0[i], scales1[i], scales2[i], scales3[i]);
//% else
            let four = number / 4u * 16u;
            let factor = vec4<f32>(
                scale[scale0 + four][i],
                scale[scale1 + four][i],
                scale[scale2 + four][i],
                scale[scale3 + four][i],
            );
//% endif
            // The sum of this group begins at zero.
//% for r in range(rows)
            let before${r} = a${r};
            a${r} = vec4<f32>();
//% endfor
//% endif
//% for chunk in range(step_chunks)
        {
            let at = ((step + ${sub}u) * CHUNKS + ${chunk}u) * 16u;
//% for c in range(4)
            let q${c} = weight_at(at${c} + at);
//% endfor
//% for word in range(8 // chunks)
            {
//% set j = chunk * (8 // chunks) + word
//% for c in range(4)
                let w${c} = unpack(q${c}${fours[word]});
//% endfor
//% for r in range(rows)
//% if lanes == "plain"
                var v${r} = load_x(row${r}, step * ${vecs}u + ${vecs * sub + j}u);
//% if norm == "yes"
                squares += dot(v0, v0);
                v0 *= load_gain(image_row, step * ${vecs}u + ${vecs * sub + j}u);
//% endif
//% else
//% set load, first = (sub // steps_a_load, sub % steps_a_load) if rows == 1 else (r // rows_a_load, r % rows_a_load)
                let v${r} = subgroupBroadcast(x${load}, ${vecs * first + j}u);
//% endif
                a${r} = mad4(a${r}, v${r}, w0, w1, w2, w3);
//% endfor
            }
//% endfor
        }
//% endfor
//% if grouped
//% for r in range(rows)
            a${r} = fma(a${r}, factor, before${r});
//% endfor
        }
//% endif
//% endfor
    }

//% if norm == "yes"
//% if lanes == "plain"
    let sum = squares;
//% else
    // As many lanes have the row between them as take a step, and so have the others.
    let sum = subgroupAdd(squares) / f32(LANES / ${vecs * steps_a_load}u);
//% endif
    a0 *= inverseSqrt(sum / f32(params.k) + params.eps);
//% endif
    let affine = affine_of(modality, p);
//% for r in range(rows)
    if tile.first + ${r}u < tile.end {
        finish(routing[tile.first + ${r}u], p, affine, a${r});
    }
//% endfor
}

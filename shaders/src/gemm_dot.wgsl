// y[r, n] = act(s[r] sum_k q[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n],  x[r, k] ≈ s[r] q[r, k]
//
// gemm.wgsl over activations of int8 (quantise_rows.wgsl), whose sums over a row, or over the columns that share a
// scale of the weights, are exact. A single row can also be rounded on the way, by every workgroup for itself: it
// looks for the largest column first, then rounds as it sums. Lanes load distinct 16 columns of x and share their
// words by broadcast.

//~ variants: weights = int8 int8_group
//~ variants: lanes = 8 16 32 64 plain
//~ variants: rows = 1 8
//~ variants: x = int8 vec4
//~ variants: loads = storage texels
//~ variants: norm = no yes
//~ variants: epilogue = none residual quick_gelu swiglu
//~ variants: bias = no yes
//~ where: x == "int8" or (rows == 1 and lanes != "plain")
//~ where: norm == "no" or x != "int8"
//~ where: loads == "storage" or lanes in [8, 16]
#import projection
#import columns
#import texels

//% set residual = "yes" if epilogue == "residual" else "no"
//% set width = 32 if lanes == "plain" else lanes
//% set rows_a_load = width // 2
//% set loads_a_step = (rows + rows_a_load - 1) // rows_a_load
//% set grouped = weights == "int8_group"
const LANES = ${width}u;
const ROWS = ${rows}u;

/// a + x · w for the four columns of a lane, four numbers a word.
fn dot4(a: vec4<i32>, x: u32, w0: u32, w1: u32, w2: u32, w3: u32) -> vec4<i32> {
    return a + vec4<i32>(dot4I8Packed(x, w0), dot4I8Packed(x, w1), dot4I8Packed(x, w2), dot4I8Packed(x, w3));
}

@compute @workgroup_size(LANES)
fn gemm_dot(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.x, ROWS);
    if tile.first >= tile.end {
        return;
    }
    let modality = tile.modality;
    let steps = (params.k + 31u) / 32u;
//% if lanes == "plain"
//% for r in range(rows)
    let row${r} = routing[min(tile.first + ${r}u, tile.end - 1u)];
//% endfor
//% elif x == "int8"
    // A load takes 2 lanes a row: lane l has 16 columns of row l / 2.
//% for i in range(loads_a_step)
    let row${i} = routing[min(tile.first + min(${i * rows_a_load}u + lane / 2u, ROWS - 1u), tile.end - 1u)];
//% endfor
//% else
    let row0 = routing[tile.first];
//% if norm == "yes"
    let image_row = u32(routing[0] == 0u);
    var squares = 0.0;
//% endif
    var most = vec4<f32>();
    //~ trips: k // 4 / ${width} + 1
    for (var i = lane; i < params.k / 4u; i += LANES) {
        var v = load_x(row0, i);
//% if norm == "yes"
        squares += dot(v, v);
        v *= load_gain(image_row, i);
//% endif
        most = max(most, abs(v));
    }
    let largest = subgroupMax(max(max(most.x, most.y), max(most.z, most.w)));
    let inverse = select(0.0, 127.0 / largest, largest > 0.0);
    var unit = largest / 127.0;
//% if norm == "yes"
    unit *= inverseSqrt(subgroupAdd(squares) / f32(params.k) + params.eps);
//% endif
//% endif

    let p = group.y * (4u * LANES) + lane / SPAN * (4u * SPAN) + lane % SPAN;
//% for c in range(4)
    let p${c} = p + ${c}u * SPAN;
    let place${c} = place_of(min(p${c} / 16u, params.blocks - 1u), modality);
//% endfor
//% for r in range(rows)
    var a${r} = vec4<i32>();
//% if grouped
    var b${r} = vec4<f32>();
//% endif
//% endfor

//% if grouped
//% for c in range(4)
    var scales${c} = vec4<f32>();
//% endfor
//% endif

    //~ trips: (k + 31) // 32
    for (var step = 0u; step < steps; step++) {
//% if grouped
        if step % (4u * params.group_steps) == 0u {
//% for c in range(4)
            scales${c} = scales_at(place${c}, step / params.group_steps / 4u, p${c} % 16u);
//% endfor
        }
//% endif
//% if lanes != "plain"
//% if x == "int8"
//% for i in range(loads_a_step)
        let x${i} = load_x(row${i}, 2u * step + lane % 2u);
//% endfor
//% else
        var v = load_x(row0, step * 8u + lane % 8u);
//% if norm == "yes"
        v *= load_gain(image_row, step * 8u + lane % 8u);
//% endif
        let x0 = pack4xI8(vec4<i32>(round(v * inverse)));
//% endif
//% endif
//% for chunk in range(2)
        {
//% for c in range(4)
            let q${c} = chunk_at(place${c}, 2u * step + ${chunk}u, p${c} % 16u);
//% endfor
//% for r in range(rows)
//% if lanes == "plain"
            let x${r} = load_x(row${r}, 2u * step + ${chunk}u);
//% endif
//% for word in ["x", "y", "z", "w"]
            {
//% if lanes == "plain"
                let v = x${r}.${word};
//% elif x == "int8"
                let v = subgroupBroadcast(x${r // rows_a_load}.${word}, ${r % rows_a_load * 2 + chunk}u);
//% else
                let v = subgroupBroadcast(x0, ${4 * chunk + loop.index0}u);
//% endif
                a${r} = dot4(a${r}, v, q0.${word}, q1.${word}, q2.${word}, q3.${word});
            }
//% endfor
//% endfor
        }
//% endfor
//% if grouped
        if (step + 1u) % params.group_steps == 0u || step + 1u == steps {
            let factor = vec4<f32>(scales0.x, scales1.x, scales2.x, scales3.x);
//% for r in range(rows)
            b${r} = fma(vec4<f32>(a${r}), factor, b${r});
            a${r} = vec4<i32>();
//% endfor
//% for c in range(4)
            scales${c} = scales${c}.yzwx;
//% endfor
        }
//% endif
    }

    let affine = affine_of(modality, p);
//% for r in range(rows)
    if tile.first + ${r}u < tile.end {
        let row = routing[tile.first + ${r}u];
//% if x == "int8"
        let unit = row_scale[row];
//% endif
//% if grouped
        finish(row, p, affine, b${r} * unit);
//% else
        finish(row, p, affine, vec4<f32>(a${r}) * unit);
//% endif
    }
//% endfor
}

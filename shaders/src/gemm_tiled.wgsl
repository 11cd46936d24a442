// y[r, n] = act(sum_k x[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n]: gemm.wgsl for GPUs
//
// A workgroup computes ROWS rows by COLS packed columns, DEPTH columns of x and of the weights at a time: all
// threads load them, unpacked, into workgroup memory, and each then multiplies its share, every 16th column of
// every (threads / 16)th row, in registers. What the next turn loads is under way meanwhile. Needs no subgroups.
//
// Tiles are rows of vec4s. Threads that read a tile together read one vec4 of adjacent rows; their places are
// turned by the row, so that these lie in different banks.

//~ variants: weights = f32 bf16 int8 int8_group
//~ variants: rows = 32 64 128
//~ variants: cols = 64 128
//~ variants: x = vec4 scalar
//~ variants: bias = no yes
//~ variants: residual = no yes
#import projection
#import pairs
#import mad

//% set loads = "storage"
//% set norm = "no"
//% set depth = 32 if rows + cols <= 128 else 16
//% set threads = [rows * cols // 16, 256] | min
//% set tall = threads // 16
//% set own_rows = rows // tall
//% set own_cols = cols // 16
//% set words = 1 if weights == "f32" else (2 if weights == "bf16" else 4)
//% set chunks = depth // 4 // words
//% set x_loads = (rows * depth // 4 + threads - 1) // threads
//% set w_loads = (cols * chunks + threads - 1) // threads

const ROWS = ${rows}u;
const COLS = ${cols}u;
const THREADS = ${threads}u;
/// vec4s of a row of a tile.
const WIDTH = ${depth // 4}u;
/// Loads of 16 bytes for each packed row of a tile.
const CHUNKS = ${chunks}u;

var<workgroup> x_tile: array<vec4<f32>, ${rows * depth // 4}>;    // [ROWS, WIDTH]
var<workgroup> w_tile: array<vec4<f32>, ${cols * depth // 4}>;    // [COLS, WIDTH]

/// Where a tile has vec4 number i of a row.
fn slot(row: u32, i: u32) -> u32 {
//% if depth == 32
    return row * WIDTH + (i ^ (row % WIDTH));
//% else
    return row * WIDTH + (i ^ (row / 2u % WIDTH));
//% endif
}

@compute @workgroup_size(THREADS)
fn gemm_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = tile_of(group.x, ROWS);
    if tile.first >= tile.end {
        return;
    }
    let modality = tile.modality;
    let first = group.y * COLS;

    // What this thread loads: vec4s of x ...
//% for i in range(x_loads)
    let x_at${i} = thread + ${i * threads}u;
    let x_row${i} = routing[min(tile.first + x_at${i} / WIDTH, tile.end - 1u)];
    let x_slot${i} = slot(x_at${i} / WIDTH, x_at${i} % WIDTH);
    var x${i} = load_x(x_row${i}, x_at${i} % WIDTH);
//% endfor
    // ... and 16 bytes of packed rows, adjacent threads those of adjacent rows.
//% for i in range(w_loads)
    let w_at${i} = thread + ${i * threads}u;
    let w_row${i} = w_at${i} % COLS;
    let place${i} = place_of(min((first + w_row${i}) / 16u, params.blocks - 1u), modality);
    var q${i} = chunk_at(place${i}, min(w_at${i} / COLS, CHUNKS - 1u), w_row${i} % 16u);
//% if weights == "int8_group"
    var factor${i} = scale_at(place${i}, 0u, w_row${i} % 16u);
//% endif
//% endfor

    // What it computes: rows y, y + ${tall}, ... by columns x, x + 16, ...
    let column = thread % 16u;
    let row = thread / 16u;
//% for r in range(own_rows)
//% for c in range(own_cols)
    var a${r}_${c} = 0.0;
//% endfor
//% endfor

    let turns = (params.k + 31u) / 32u * ${32 // depth}u;
    //~ trips: (k + 31) // 32 * ${32 // depth}
    for (var turn = 0u; turn < turns; turn++) {
        workgroupBarrier();
//% for i in range(x_loads)
//% if (i + 1) * threads > rows * depth // 4
        if x_at${i} < ROWS * WIDTH {
            x_tile[x_slot${i}] = x${i};
        }
//% else
        x_tile[x_slot${i}] = x${i};
//% endif
//% endfor
//% for i in range(w_loads)
        if w_at${i} < COLS * CHUNKS {
            let at = w_at${i} / COLS * ${words}u;
//% for j in range(words)
//% if weights == "f32"
            let w${j} = unpack(q${i});
//% elif weights == "bf16"
            let w${j} = unpack(q${i}.${["xy", "zw"][j]});
//% else
            let w${j} = unpack(q${i}.${["x", "y", "z", "w"][j]});
//% endif
//% if weights == "int8_group"
            w_tile[slot(w_row${i}, at + ${j}u)] = w${j} * factor${i};
//% else
            w_tile[slot(w_row${i}, at + ${j}u)] = w${j};
//% endif
//% endfor
        }
//% endfor
        workgroupBarrier();

        let next = min(turn + 1u, turns - 1u);
//% for i in range(x_loads)
        x${i} = load_x(x_row${i}, next * WIDTH + x_at${i} % WIDTH);
//% endfor
//% for i in range(w_loads)
        q${i} = chunk_at(place${i}, next * CHUNKS + min(w_at${i} / COLS, CHUNKS - 1u), w_row${i} % 16u);
//% if weights == "int8_group"
        factor${i} = scale_at(place${i}, next / ${32 // depth}u, w_row${i} % 16u);
//% endif
//% endfor

        //~ trips: (k + 31) // 32 * 8
        for (var i = 0u; i < WIDTH; i++) {
//% for r in range(own_rows)
            let x${r} = x_tile[slot(row + ${r * tall}u, i)];
//% endfor
//% for c in range(own_cols)
            let w${c} = w_tile[slot(column + ${c * 16}u, i)];
//% endfor
//% for r in range(own_rows)
//% for c in range(own_cols)
            a${r}_${c} = mad(a${r}_${c}, x${r}, w${c});
//% endfor
//% endfor
        }
    }

//% for r in range(own_rows)
    if tile.first + row + ${r * tall}u < tile.end {
        let y_row = routing[tile.first + row + ${r * tall}u];
//% for c in range(own_cols // 2)
        finish_pair(y_row, modality, first + ${32 * c}u + column, a${r}_${2 * c}, a${r}_${2 * c + 1});
//% endfor
    }
//% endfor
}

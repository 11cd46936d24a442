// y[r, n] = act(sum_k x[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n]: gemm.wgsl for GPUs
//
// A workgroup computes ROWS rows by COLS packed columns, 16 columns of x and of the weights at a time: all threads load
// them, unpacked, into workgroup memory, and each then multiplies its share in registers. What the next turn loads is
// under way meanwhile. Needs no subgroups.
//
// Tiles are turned: a vec4 holds one column of four rows, so that a thread reads few of them for many products. All
// but a thread's own place in a tile is constant, and neither an address nor a bound is computed anew in the loop.
//
// With arithmetic = f16 tiles and products are f16, two of which a GPU computes at a time, and the products of 32 columns
// are summed in f16 before they join the sum, which is f32. Rows of int8 are multiplied as 128ths: their sums stay within
// f16 so long as |x| does not exceed 2,047.

//~ variants: weights = f32 bf16 int8 int8_group
//~ variants: rows = 32 64 128
//~ variants: cols = 64 128
//~ variants: arithmetic = f32 f16
//~ variants: x = whole vec4 scalar
//~ variants: bias = no yes
//~ variants: residual = no yes
//~ where: arithmetic == "f32" or (weights != "f32" and x != "scalar")
//% if arithmetic == "f16"
//~ requires: f16
enable f16;
//% endif
#import projection
#import fours

//% set loads = "storage"
//% set norm = "no"
//% set own_rows = 8 if rows >= 64 else 4
//% set own_cols = 8 if rows == 128 and cols == 128 else 4
//% set across = cols // own_cols
//% set tall = rows // own_rows
//% set threads = across * tall
//% set bytes = {"f32": 4, "bf16": 2, "int8": 1, "int8_group": 1}[weights]
//% set sum = "h" if arithmetic == "f16" else "a"
// Powers of two, by which numbers lose nothing.
//% set unit = " * 0x1p-7" if arithmetic == "f16" and weights == "int8" else ""
//% set words = cols * 4 * bytes // threads
//% set piece = [words, 4] | min
//% set w_loads = words // piece
//% set x_loads = rows * 4 // threads
//% set parts = 4 // piece
// What of a piece is unpacked at a time.
//% set fours = [".xy", ".zw"] if weights == "bf16" else [".x", ".y", ".z", ".w"]

const ROWS = ${rows}u;
const COLS = ${cols}u;
const THREADS = ${threads}u;
/// Threads side by side.
const ACROSS = ${across}u;
/// Pieces of the weights, one load each, that a block of 16 packed rows has for a turn.
const PIECES = ${16 * bytes * parts}u;

/// Columns of four rows: [4, 4] columns, [ROWS / 4] fours of rows that follow each other.
var<workgroup> x_tile: array<array<array<vec4<${arithmetic}>, ${rows // 4}>, 4>, 4>;
/// The same of four packed rows: two that follow each other, and the two of the next block.
var<workgroup> w_tile: array<array<array<vec4<${arithmetic}>, ${cols // 4}>, 4>, 4>;

@compute @workgroup_size(THREADS)
fn gemm_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = tile_of(group.x, ROWS);
    if tile.first >= tile.end {
        return;
    }
    let modality = tile.modality;
    let first = group.y * COLS;

    // What this thread loads: vec4s of rows, of which adjacent threads take four that follow each other ...
//% for i in range(x_loads)
    let x_row${i} = thread / 4u + ${i * threads // 4}u;
    let x_from${i} = row_of_x(routing[min(tile.first + x_row${i}, tile.end - 1u)]);
    var x${i} = load_x_from(x_from${i}, thread % 4u);
//% endfor
    // ... and pieces of packed rows, in the order in which they lie there.
//% for i in range(w_loads)
    let piece${i} = thread + ${i * threads}u;
    let block${i} = min(first / 16u + piece${i} / PIECES, params.blocks - 1u);
    let place${i} = place_of(block${i}, modality);
    let w_from${i} = place${i} * chunks_of_row() * ${16 * parts}u + piece${i} % PIECES;
    let row${i} = piece${i} / ${parts}u % 16u;
    var q${i} = weight[w_from${i}];
//% if weights == "int8_group"
    let scale_from${i} = scales_of_row(place${i}, row${i});
    var factor${i} = scale_of_group(scale_from${i}, 0u);
//% endif
    // Where in the tile they go.
    let packed${i} = piece${i} / PIECES * 16u + row${i};
    let w_four${i} = (piece${i} % PIECES / ${16 * parts}u * ${parts}u + piece${i} % ${parts}u) * ${piece // bytes}u;
    let w_slot${i} = packed${i} / 32u * 8u + packed${i} % 16u / 2u;
    let w_part${i} = packed${i} / 16u % 2u * 2u + packed${i} % 2u;
//% endfor

    // What it computes: four rows of each slot of x by four packed columns of each of w.
    let column = thread % ACROSS;
    let row = thread / ACROSS;
//% for r in range(own_rows)
//% for c in range(own_cols // 4)
    var a${r}_${c} = vec4<f32>();
//% if arithmetic == "f16"
    var h${r}_${c} = vec4<f16>();
//% endif
//% endfor
//% endfor

    let turns = (params.k + 15u) / 16u;
    //~ trips: (k + 15) // 16
    for (var turn = 0u; turn < turns; turn++) {
        workgroupBarrier();
//% for i in range(x_loads)
//% for j in range(4)
        x_tile[thread % 4u][${j}][x_row${i} / 4u][x_row${i} % 4u] = ${arithmetic}(x${i}[${j}]);
//% endfor
//% endfor
//% for i in range(w_loads)
//% for f in range(piece // bytes)
        {
            let w = unpack(q${i}${fours[f] if piece > bytes else ""});
//% for j in range(4)
            w_tile[w_four${i} + ${f}u][${j}][w_slot${i}][w_part${i}] = ${arithmetic}(w[${j}]${" * factor" ~ i if weights == "int8_group" else unit});
//% endfor
        }
//% endfor
//% endfor
        workgroupBarrier();

        let next = min(turn + 1u, turns - 1u);
//% for i in range(x_loads)
        x${i} = load_x_from(x_from${i}, next * 4u + thread % 4u);
//% endfor
//% if weights == "int8_group"
        let group = group_of(next / 2u);
//% endif
//% for i in range(w_loads)
        q${i} = weight[w_from${i} + next * PIECES];
//% if weights == "int8_group"
        factor${i} = scale_of_group(scale_from${i}, group);
//% endif
//% endfor

//% for four in range(4)
//% for j in range(4)
        {
//% for r in range(own_rows // 4)
            let x${r} = x_tile[${four}][${j}][row * ${own_rows // 4}u + ${r}u];
//% endfor
//% for c in range(own_cols // 4)
            let w${c} = w_tile[${four}][${j}][column + ${c * across}u];
//% endfor
//% for r in range(own_rows)
//% for c in range(own_cols // 4)
            ${sum}${r}_${c} = fma(vec4(x${r // 4}[${r % 4}]), w${c}, ${sum}${r}_${c});
//% endfor
//% endfor
        }
//% endfor
//% endfor
//% if arithmetic == "f16"
        if turn % 2u == 1u || turn + 1u == turns {
//% for r in range(own_rows)
//% for c in range(own_cols // 4)
            a${r}_${c} += vec4<f32>(h${r}_${c})${" * 0x1p7" if weights == "int8" else ""};
            h${r}_${c} = vec4<f16>();
//% endfor
//% endfor
        }
//% endif
    }

    // Sums leave one row after the other: the code of what follows them is there once.
//% for c in range(own_cols // 4)
    let p${c} = first + (column + ${c * across}u) / 8u * 32u + (column + ${c * across}u) % 8u * 2u;
    let affine${c} = affine_of_four(modality, p${c});
//% endfor
    let begin = tile.first + row * ${own_rows}u;
    let end = min(begin + ${own_rows}u, tile.end);
    //~ trips: ${own_rows + 1}
    for (var at = begin; at < end; at++) {
//% for c in range(own_cols // 4)
        var sums${c} = a0_${c};
//% endfor
        switch at - begin {
//% for r in range(1, own_rows)
            case ${r}u: {
//% for c in range(own_cols // 4)
                sums${c} = a${r}_${c};
//% endfor
            }
//% endfor
            default: {}
        }
        let y_row = routing[at];
//% for c in range(own_cols // 4)
        finish_four(y_row, p${c}, affine${c}, sums${c});
//% endfor
    }
}

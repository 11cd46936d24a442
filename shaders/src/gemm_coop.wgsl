// y[r, n] = act(sum_k x[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n]: gemm_tiled.wgsl by cooperative matrices
//
// A workgroup computes TILE rows by TILE packed columns, DEPTH columns of x and of the weights at a time: all threads load
// them, unpacked and rounded to what the matrices hold, into workgroup memory, and each subgroup then multiplies a quarter
// of the rows by columns, SIZE by SIZE by SIZE, with sums in f32. What the next turn loads is under way meanwhile. Sums
// leave through workgroup memory, 32 columns of each quarter at a time, for their epilogue. Four subgroups are expected; it
// is right with any number. Control flow is the same for all threads of a subgroup, as the matrices ask for.

//~ requires: cooperative_matrix
//~ variants: weights = f32 bf16 int8 int8_group
//~ variants: matrix = f16x16 f16x8 f32x8
//~ variants: lanes = 8 32 64
//~ variants: x = whole vec4 scalar
//~ variants: bias = no yes
//~ variants: residual = no yes
//~ where: weights != "f32" or matrix == "f32x8"
//~ where: lanes != 8 or matrix == "f16x8"
enable wgpu_cooperative_matrix;
//% if matrix != "f32x8"
enable f16;
//% endif
#import projection
#import pairs

//% set loads = "storage"
//% set norm = "no"
//% set size = 16 if matrix == "f16x16" else 8
//% set number = "f32" if matrix == "f32x8" else "f16"
//% set depth = 16 if matrix == "f32x8" else 32
// Parts of a tile, one for each subgroup: two by two, or where they are of few registers two by four.
//% set parts = 8 if lanes == 32 else 4
//% set threads = parts * lanes
// A software device compiles what is unrolled for long.
//% set tile = 32 if lanes == 8 else 8 * size
// What of 16 bytes is unpacked at a time.
//% set fours = [""] if weights == "f32" else ([".xy", ".zw"] if weights == "bf16" else [".x", ".y", ".z", ".w"])
//% set words = fours | length
//% set chunks = depth // 4 // words
//% set x_loads = tile * depth // 4 // threads
//% set w_loads = (tile * chunks + threads - 1) // threads
// Metal's matrices are loaded from scalars; vectors tell others how they lie.
//% set wide = matrix == "f16x16"
//% set row = depth + (8 if number == "f16" else 4)
//% set stride = row // 4 if wide else row
//% set unit = 1 if wide else 4
//% set down = tile // 2
//% set along = tile * 2 // parts
//% set tall = down // size
//% set blocks = along // size
//% set halves = along // 32 if along >= 32 else 1
//% set stages = down // size * halves
//% set across = tile // halves

alias Number = ${number};
alias Left = coop_mat${size}x${size}<${number}, A>;
alias Right = coop_mat${size}x${size}<${number}, B>;
alias Sums = coop_mat${size}x${size}<f32, C>;

const THREADS = ${threads}u;
const SIZE = ${size}u;
const TILE = ${tile}u;
/// Rows of a part, and its columns.
const DOWN = ${down}u;
const ALONG = ${along}u;
const PARTS = ${parts}u;
/// Columns of a row of sums that leave at a time.
const ACROSS = ${across}u;
const DEPTH = ${depth}u;
/// Of rows in a tile: a little longer than they are, so that those that are read together lie in different banks.
const STRIDE = ${stride}u;
/// Loads of 16 bytes for each packed row of a tile.
const CHUNKS = ${chunks}u;

var<workgroup> x_tile: array<${"vec4<Number>" if wide else "Number"}, ${tile * stride}>;    // [TILE, STRIDE]
var<workgroup> w_tile: array<${"vec4<Number>" if wide else "Number"}, ${tile * stride}>;    // [TILE, STRIDE]
var<workgroup> y_tile: array<f32, ${2 * size * across}>;    // [2, SIZE, ACROSS]

/// The nearest that a matrix can hold.
fn rounded(v: vec4<f32>) -> vec4<Number> {
//% if number == "f16"
    return vec4<f16>(clamp(v, vec4(-65504.0), vec4(65504.0)));
//% else
    return v;
//% endif
}

//% for name in ["x", "w"]
fn put_${name}(at: u32, n: vec4<Number>) {
//% if wide
    ${name}_tile[at] = n;
//% else
//% for i in range(4)
    ${name}_tile[4u * at + ${i}u] = n[${i}];
//% endfor
//% endif
}

//% endfor
//% set whole = weights == "int8" and number == "f16"
@compute @workgroup_size(THREADS)
fn gemm_coop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    // A tile of no rows multiplies what it finds, and writes nothing.
    let tile = tile_of(group.x, TILE);
    let modality = tile.modality;
    let first = group.y * TILE;

    let x_column = thread % (DEPTH / 4u);
//% for i in range(x_loads)
    let x_at${i} = thread + ${i * threads}u;
    let x_from${i} = row_of_x(routing[min(tile.first + x_at${i} / (DEPTH / 4u), tile.end - 1u)]);
    let x_put${i} = x_at${i} / (DEPTH / 4u) * ${row // 4}u + x_column;
//% endfor
//% for i in range(w_loads)
    let w_at${i} = thread + ${i * threads}u;
    let w_row${i} = w_at${i} % TILE;
    let place${i} = place_of(min((first + w_row${i}) / 16u, params.blocks - 1u), modality);
    let w_from${i} = (place${i} * chunks_of_row() + min(w_at${i} / TILE, CHUNKS - 1u)) * 16u + w_row${i} % 16u;
    let w_put${i} = w_row${i} * ${row // 4}u + w_at${i} / TILE * ${words}u;
//% endfor
    // Turns come in pairs, so that what the one loads is not what the other still has. Beyond the last, x is zero.
    let last = (params.k + 31u) / 32u * ${32 // depth}u - 1u;
    let pairs = last / 2u + 1u;

    // One, where there are as many subgroups as parts.
    //~ trips: ${parts}
    for (var round = 0u; round * subgroups < PARTS; round++) {
        // Subgroups beyond the parts do once more what the last one does.
        let own = min(round * subgroups + subgroup, PARTS - 1u);
        let left = own % 2u * DOWN * STRIDE;
        let right = own / 2u * ALONG * STRIDE;
        // Of the second turn they are loaded in the first.
//% for i in range(x_loads)
        var x0_${i} = load_x_from(x_from${i}, x_column);
        var x1_${i}: vec4<f32>;
//% endfor
//% for i in range(w_loads)
        var q0_${i} = weight[w_from${i}];
        var q1_${i}: Piece;
//% if weights == "int8_group"
        var factor0_${i} = scale_at(place${i}, 0u, w_row${i} % 16u);
        var factor1_${i}: f32;
//% endif
//% endfor
//% for r in range(tall)
//% for c in range(blocks)
        var a${r}_${c} = Sums();
//% endfor
//% endfor

        //~ trips: (k + 31) // 32 * ${32 // depth * 2} + 4
        for (var pair = 0u; pair < pairs; pair++) {
//% for s in range(2)
            workgroupBarrier();
//% for i in range(x_loads)
            put_x(x_put${i}, rounded(x${s}_${i}));
//% endfor
//% for i in range(w_loads)
//% if (i + 1) * threads > tile * chunks
            if w_at${i} < TILE * CHUNKS {
//% else
            {
//% endif
//% for j in range(words)
//% if whole
                put_w(w_put${i} + ${j}u, vec4<f16>(unpack4xI8(q${s}_${i}${fours[j]})));
//% else
                put_w(w_put${i} + ${j}u, rounded(unpack(q${s}_${i}${fours[j]})${" * factor" ~ s ~ "_" ~ i if weights == "int8_group" else ""}));
//% endif
//% endfor
            }
//% endfor
            workgroupBarrier();

//% set next = "next" ~ s
            let ${next} = ${"2u * pair + 1u" if s == 0 else "2u * min(pair + 1u, pairs - 1u)"};
//% for i in range(x_loads)
            x${1 - s}_${i} = load_x_from(x_from${i}, ${next} * (DEPTH / 4u) + x_column);
//% endfor
//% for i in range(w_loads)
            q${1 - s}_${i} = weight[w_from${i} + min(${next}, last) * CHUNKS * 16u];
//% if weights == "int8_group"
            factor${1 - s}_${i} = scale_at(place${i}, min(${next}, last) / ${32 // depth}u, w_row${i} % 16u);
//% endif
//% endfor
//% for k in range(depth // size)
            {
//% for c in range(blocks)
                let w${c} = coopLoad<Right>(&w_tile[right + ${(c * size * row + k * size) // (4 // unit)}u], STRIDE);
//% endfor
//% for r in range(tall)
                let x${r} = coopLoadT<Left>(&x_tile[left + ${(r * size * row + k * size) // (4 // unit)}u], STRIDE);
//% for c in range(blocks)
                a${r}_${c} = coopMultiplyAdd(x${r}, w${c}, a${r}_${c});
//% endfor
//% endfor
            }
//% endfor
//% endfor
        }

        // SIZE rows of up to 32 columns of each part: the code of what follows the sums is there once.
        //~ trips: ${(stages + 1) * parts}
        for (var stage = 0u; stage < ${stages}u; stage++) {
            workgroupBarrier();
            let y_part = own % 2u * SIZE * ACROSS + own / 2u * ${along // halves}u;
            switch stage {
//% for r in range(tall)
//% for half in range(halves)
                case ${r * halves + half}u: {
//% for c in range(blocks // halves)
                    coopStoreT(a${r}_${half * blocks // halves + c}, &y_tile[y_part + ${c * size}u], ACROSS);
//% endfor
                }
//% endfor
//% endfor
                default: {}
            }
            workgroupBarrier();
            //~ trips: ${(size * across // threads + 1) * (stages + 1) * parts}
            for (var i = thread; i < SIZE * ACROSS; i += THREADS) {
                // Packed columns n and n + 16 of a row.
                let y_row = i / ${across // 2}u;
                let y_column = i % ${across // 2}u / 16u * 32u + i % 16u;
                let y_at = y_row * ACROSS + y_column;
                let row = tile.first + y_row / SIZE * DOWN + stage / ${halves}u * SIZE + y_row % SIZE;
                let n = y_column / ${32 if halves > 1 else tile}u * ALONG + stage % ${halves}u * 32u + y_column % ${32 if halves > 1 else tile}u;
                let part = y_column / ${along // halves}u * 2u + y_row / SIZE;
                if row < tile.end && part / subgroups == round {
                    finish_pair(routing[row], modality, first + n, y_tile[y_at], y_tile[y_at + 16u]);
                }
            }
        }
        workgroupBarrier();
    }
}

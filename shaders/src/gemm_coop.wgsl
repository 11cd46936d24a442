// y[r, n] = act(sum_k x[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n]: gemm_tiled.wgsl by cooperative matrices
//
// A workgroup of four subgroups computes 64 rows by 64 packed columns, DEPTH columns of x and of the weights at a time:
// all threads load them, unpacked and rounded to what the matrices hold, into workgroup memory, and each subgroup then
// multiplies all rows by 16 of the columns, SIZE by SIZE by SIZE, with sums in f32. These leave through workgroup memory,
// half of the rows at a time, for their epilogue. Control flow is the same for all threads, as the matrices ask for.

//~ requires: cooperative_matrix
//~ variants: weights = f32 bf16 int8 int8_group
//~ variants: matrix = f16x16 f16x8 f32x8
//~ variants: lanes = 32 64
//~ variants: x = vec4 scalar
//~ variants: bias = no yes
//~ variants: residual = no yes
//~ where: weights != "f32" or matrix == "f32x8"
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
//% set threads = 4 * lanes
//% set words = 1 if weights == "f32" else (2 if weights == "bf16" else 4)
//% set chunks = depth // 4 // words
//% set x_loads = 64 * depth // 4 // threads
//% set w_loads = (64 * chunks + threads - 1) // threads
//% set down = 64 // size
//% set along = 16 // size

alias Number = ${number};
alias Left = coop_mat${size}x${size}<${number}, A>;
alias Right = coop_mat${size}x${size}<${number}, B>;
alias Sums = coop_mat${size}x${size}<f32, C>;

const THREADS = ${threads}u;
const SIZE = ${size}u;
const DEPTH = ${depth}u;
/// Loads of 16 bytes for each packed row of a tile.
const CHUNKS = ${chunks}u;

var<workgroup> x_tile: array<Number, ${64 * depth}>;    // [64, DEPTH]
var<workgroup> w_tile: array<Number, ${64 * depth}>;    // [64, DEPTH]
var<workgroup> y_tile: array<f32, 2048>;                // [32, 64]

/// The nearest that a matrix can hold.
fn rounded(v: vec4<f32>) -> vec4<Number> {
//% if number == "f16"
    return vec4<f16>(clamp(v, vec4(-65504.0), vec4(65504.0)));
//% else
    return v;
//% endif
}

fn put_x(at: u32, v: vec4<f32>) {
    let n = rounded(v);
//% for i in range(4)
    x_tile[at + ${i}u] = n[${i}];
//% endfor
}

fn put_w(at: u32, v: vec4<f32>) {
    let n = rounded(v);
//% for i in range(4)
    w_tile[at + ${i}u] = n[${i}];
//% endfor
}

@compute @workgroup_size(THREADS)
fn gemm_coop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    // A tile of no rows multiplies what it finds, and writes nothing.
    let tile = tile_of(group.x, 64u);
    let modality = tile.modality;
    let first = group.y * 64u;

//% for i in range(x_loads)
    let x_at${i} = thread + ${i * threads}u;
    let x_row${i} = routing[min(tile.first + x_at${i} / (DEPTH / 4u), tile.end - 1u)];
//% endfor
//% for i in range(w_loads)
    let w_at${i} = thread + ${i * threads}u;
    let place${i} = place_of(min((first + w_at${i} % 64u) / 16u, params.blocks - 1u), modality);
//% endfor
//% for r in range(down)
//% for c in range(along)
    var a${r}_${c} = Sums();
//% endfor
//% endfor

    let turns = (params.k + 31u) / 32u * ${32 // depth}u;
    //~ trips: (k + 31) // 32 * ${32 // depth}
    for (var turn = 0u; turn < turns; turn++) {
        workgroupBarrier();
//% for i in range(x_loads)
        put_x(4u * x_at${i}, load_x(x_row${i}, turn * (DEPTH / 4u) + x_at${i} % (DEPTH / 4u)));
//% endfor
//% for i in range(w_loads)
        if w_at${i} < 64u * CHUNKS {
            let row = w_at${i} % 64u;
            let chunk = w_at${i} / 64u;
            let q = chunk_at(place${i}, turn * CHUNKS + chunk, row % 16u);
//% if weights == "int8_group"
            let factor = scale_at(place${i}, turn / ${32 // depth}u, row % 16u);
//% endif
//% for j in range(words)
//% if weights == "f32"
            let w${j} = unpack(q);
//% elif weights == "bf16"
            let w${j} = unpack(q.${["xy", "zw"][j]});
//% else
            let w${j} = unpack(q.${["x", "y", "z", "w"][j]});
//% endif
//% if weights == "int8_group"
            put_w(row * DEPTH + chunk * ${4 * words}u + ${4 * j}u, w${j} * factor);
//% else
            put_w(row * DEPTH + chunk * ${4 * words}u + ${4 * j}u, w${j});
//% endif
//% endfor
        }
//% endfor
        workgroupBarrier();
//% for k in range(depth // size)
        {
//% for c in range(along)
            let w${c} = coopLoad<Right>(&w_tile[(16u * subgroup + ${c * size}u) * DEPTH + ${k * size}u], DEPTH);
//% endfor
//% for r in range(down)
            let x${r} = coopLoadT<Left>(&x_tile[${r * size}u * DEPTH + ${k * size}u], DEPTH);
//% for c in range(along)
            a${r}_${c} = coopMultiplyAdd(x${r}, w${c}, a${r}_${c});
//% endfor
//% endfor
        }
//% endfor
    }

//% for half in range(2)
    workgroupBarrier();
//% for r in range(down // 2)
//% for c in range(along)
    coopStoreT(a${half * (down // 2) + r}_${c}, &y_tile[${r * size}u * 64u + 16u * subgroup + ${c * size}u], 64u);
//% endfor
//% endfor
    workgroupBarrier();
//% for i in range(32 * 32 // threads)
    {
        // Packed columns n and n + 16 of a row, n in an even block.
        let at = thread + ${i * threads}u;
        let row = tile.first + ${32 * half}u + at / 32u;
        let n = at % 32u / 16u * 32u + at % 16u;
        if row < tile.end {
            let y_at = at / 32u * 64u + n;
            finish_pair(routing[row], modality, first + n, y_tile[y_at], y_tile[y_at + 16u]);
        }
    }
//% endfor
//% endfor
}

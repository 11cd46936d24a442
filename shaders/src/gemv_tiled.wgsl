// y[r, n] = act(sum_k x[r, k] * w[modality(r)][n, k] + bias[n]) + residual[r, n]: few rows, for GPUs
//
// A workgroup takes BLOCKS blocks of 16 packed rows. 16 threads have a packed row of each block each and every
// SLICES-th chunk of it, so that the workgroup reads THREADS adjacent 16 bytes of a block at a time; the slices'
// sums are then added in their order through workgroup memory, the same at every run. A single row may be
// normalised on the way, as in gemm.wgsl. Needs no subgroups.

//~ variants: weights = f32 bf16 int8 int8_group
//~ variants: rows = 1 2 4 8 16
//~ variants: blocks = 2 4
//~ variants: threads = 64 256
//~ variants: x = whole vec4 scalar
//~ variants: norm = no yes
//~ variants: bias = no yes
//~ variants: residual = no yes
//~ where: norm == "no" or rows == 1
//~ where: blocks == 2 or rows == 1
#import projection
#import pairs
#import mad

//% set loads = "storage"
// What a group's scale is multiplied by: of few rows their sums, of many, which are more, the weights.
//% set scaled = "none" if weights != "int8_group" else ("sums" if rows < 8 else "weights")
// What of 16 bytes is unpacked at a time.
//% set fours = [""] if weights == "f32" else ([".xy", ".zw"] if weights == "bf16" else [".x", ".y", ".z", ".w"])
//% set words = fours | length

const ROWS = ${rows}u;
const BLOCKS = ${blocks}u;
const THREADS = ${threads}u;
const SLICES = ${threads // 16}u;

var<workgroup> partial: array<f32, ${threads * blocks}>;    // [SLICES, BLOCKS, 16]
//% if norm == "yes"
var<workgroup> squares_of: array<f32, SLICES>;
//% endif

/// Sum over all slices of row `row` of block `block`.
fn total(block: u32, row: u32) -> f32 {
    var sum = 0.0;
//% for s in range(threads // 16)
    sum += partial[${s * blocks * 16}u + block * 16u + row];
//% endfor
    return sum;
}

@compute @workgroup_size(THREADS)
fn gemv_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = tile_of(group.x, ROWS);
    if tile.first >= tile.end {
        return;
    }
    let modality = tile.modality;
//% for r in range(rows)
    let row${r} = routing[min(tile.first + ${r}u, tile.end - 1u)];
//% endfor
//% if norm == "yes"
    let image_row = u32(routing[0] == 0u);
    var squares = 0.0;
//% endif

    let packed_row = thread % 16u;
    let slice = thread / 16u;
//% for b in range(blocks)
    let place${b} = place_of(min(group.y * BLOCKS + ${b}u, params.blocks - 1u), modality);
//% for r in range(rows)
    var a${r}_${b} = 0.0;
//% endfor
//% endfor

    let chunks = chunks_of_row();
    //~ trips: (k + 31) // 32 * ${8 // words} // ${threads // 16} + 1
    for (var chunk = slice; chunk < chunks; chunk += SLICES) {
//% for b in range(blocks)
        let q${b} = chunk_at(place${b}, chunk, packed_row);
//% if weights == "int8_group"
        let factor${b} = scale_at(place${b}, chunk / 2u, packed_row);
//% endif
//% if scaled == "sums"
//% for r in range(rows)
        let before${r}_${b} = a${r}_${b};
        a${r}_${b} = 0.0;
//% endfor
//% endif
//% endfor
//% for j in range(words)
        {
//% for b in range(blocks)
            let w${b} = unpack(q${b}${fours[j]})${" * factor" ~ b if scaled == "weights" else ""};
//% endfor
//% for r in range(rows)
            var x${r} = load_x(row${r}, chunk * ${words}u + ${j}u);
//% if norm == "yes"
            squares += dot(x${r}, x${r});
            x${r} *= load_gain(image_row, chunk * ${words}u + ${j}u);
//% endif
//% for b in range(blocks)
            a${r}_${b} = mad(a${r}_${b}, x${r}, w${b});
//% endfor
//% endfor
        }
//% endfor
//% if scaled == "sums"
//% for b in range(blocks)
//% for r in range(rows)
        a${r}_${b} = fma(a${r}_${b}, factor${b}, before${r}_${b});
//% endfor
//% endfor
//% endif
    }

//% if norm == "yes"
    if packed_row == 0u {
        squares_of[slice] = squares;
    }
//% endif
//% if rows == 1
//% for b in range(blocks)
    partial[(slice * BLOCKS + ${b}u) * 16u + packed_row] = a0_${b};
//% endfor
    workgroupBarrier();
    if slice < BLOCKS / 2u {
        var first = total(2u * slice, packed_row);
        var second = total(2u * slice + 1u, packed_row);
//% if norm == "yes"
        var sum = 0.0;
//% for s in range(threads // 16)
        sum += squares_of[${s}];
//% endfor
        let factor = inverseSqrt(sum / f32(params.k) + params.eps);
        first *= factor;
        second *= factor;
//% endif
        finish_pair(row0, modality, (group.y * BLOCKS + 2u * slice) * 16u + packed_row, first, second);
    }
//% else
    // One row after the other: the code of what follows the sums is there once.
    //~ trips: ${rows + 1}
    for (var r = 0u; r < min(ROWS, tile.end - tile.first); r++) {
//% for b in range(blocks)
        var a_${b} = a0_${b};
//% endfor
        switch r {
//% for r in range(1, rows)
            case ${r}u: {
//% for b in range(blocks)
                a_${b} = a${r}_${b};
//% endfor
            }
//% endfor
            default: {}
        }
        workgroupBarrier();
//% for b in range(blocks)
        partial[(slice * BLOCKS + ${b}u) * 16u + packed_row] = a_${b};
//% endfor
        workgroupBarrier();
        if slice < BLOCKS / 2u {
            let p = (group.y * BLOCKS + 2u * slice) * 16u + packed_row;
            let first = total(2u * slice, packed_row);
            finish_pair(routing[tile.first + r], modality, p, first, total(2u * slice + 1u, packed_row));
        }
    }
//% endif
}

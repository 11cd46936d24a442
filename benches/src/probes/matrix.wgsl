// Products of cooperative matrices: four chains a subgroup.
${enable}
enable wgpu_cooperative_matrix;
override WG: u32 = 32u;
override GROUPS: u32 = 256u;
const SIZE = ${size}u;
const TURNS = 256u;
alias Left = coop_mat${size}x${size}<${number}, A>;
alias Right = coop_mat${size}x${size}<${number}, B>;
alias Sums = coop_mat${size}x${size}<f32, C>;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> tile: array<${number}, 256>;
var<workgroup> sums: array<f32, 1024>;

@compute @workgroup_size(WG)
fn matrix(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < SIZE * SIZE; i += WG) {
        tile[i] = ${number}(x[i]);
    }
    workgroupBarrier();
    let left = coopLoad<Left>(&tile[0], SIZE);
    let right = coopLoad<Right>(&tile[0], SIZE);
    var a = coopLoad<Sums>(&sums[0], SIZE);
    var b = a;
    var c = a;
    var d = a;
    for (var turn = 0u; turn < TURNS; turn++) {
        a = coopMultiplyAdd(left, right, a);
        b = coopMultiplyAdd(left, right, b);
        c = coopMultiplyAdd(left, right, c);
        d = coopMultiplyAdd(left, right, d);
    }
    coopStore(a, &sums[0], SIZE);
    coopStore(b, &sums[256], SIZE);
    coopStore(c, &sums[512], SIZE);
    coopStore(d, &sums[768], SIZE);
    workgroupBarrier();
    for (var i = lane; i < SIZE * SIZE; i += WG) {
        y[group.x * 256u + i] = sums[i] + sums[256u + i] + sums[512u + i] + sums[768u + i];
    }
}

// counts[b] = how many x are b, of 256. A workgroup counts by atomics of its own and then adds to those of all.

const BINS = 256u;
override PER: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;

var<workgroup> own: array<atomic<u32>, BINS>;

@compute @workgroup_size(BINS)
fn histogram(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * BINS * PER + lane;
    for (var i = 0u; i < PER; i++) {
        atomicAdd(&own[x[start + i * BINS]], 1u);
    }
    workgroupBarrier();
    atomicAdd(&counts[lane], atomicLoad(&own[lane]));
}

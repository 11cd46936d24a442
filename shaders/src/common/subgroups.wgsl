// What the lanes of a subgroup do together. The importing kernel declares the variant `lanes`.

//% if lanes != "plain"
/// The largest x of the subgroup.
fn largest(x: f32) -> f32 {
//% if lanes <= 16
    // lavapipe takes one lane after the other in a reduction, and broadcasts for nothing.
//% for i in range(lanes // 4)
    let m${i} = max(max(subgroupBroadcast(x, ${4 * i}u), subgroupBroadcast(x, ${4 * i + 1}u)),
                    max(subgroupBroadcast(x, ${4 * i + 2}u), subgroupBroadcast(x, ${4 * i + 3}u)));
//% endfor
    return max(max(m0, m1)${", max(m2, m3)" if lanes == 16 else ", m0"});
//% else
    return subgroupMax(x);
//% endif
}
//% endif

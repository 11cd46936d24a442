// What the lanes of a subgroup do together. The importing kernel declares the variant `lanes`.

/// The larger of two numbers; `b` where one is none. lavapipe's `max` takes seven instructions of 16 lanes, for the sake
/// of NaN, where this takes two.
fn larger(a: f32, b: f32) -> f32 {
    return select(b, a, a > b);
}

/// The largest x of the subgroup.
fn largest(x: f32) -> f32 {
//% if lanes <= 16
    // lavapipe takes one lane after the other in a reduction, and broadcasts for nothing.
//% for i in range(lanes // 4)
    let m${i} = larger(larger(subgroupBroadcast(x, ${4 * i}u), subgroupBroadcast(x, ${4 * i + 1}u)),
                       larger(subgroupBroadcast(x, ${4 * i + 2}u), subgroupBroadcast(x, ${4 * i + 3}u)));
//% endfor
//% if lanes == 16
    return larger(larger(m0, m1), larger(m2, m3));
//% else
    return larger(m0, m1);
//% endif
//% else
    return subgroupMax(x);
//% endif
}

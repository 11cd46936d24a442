// What teams of lanes found over different keys, put together. The importing kernel declares the variant `dims`, sets
// `num_teams`, and also imports `decode`.

//% if num_teams > 1
var<workgroup> tops: array<f32, ${num_teams}>;
var<workgroup> sums: array<f32, ${num_teams}>;
var<workgroup> parts: array<vec4<f32>, ${num_teams * dims // 4}>;    // [teams, dims / 4]

/// What the teams found together: `y` is still to be divided by `sum`.
struct Joined {
    top: f32,
    sum: f32,
    y: vec4<f32>,
}

/// vec4 number n of it. A team that had no key adds zeros.
fn joined_parts(n: u32) -> Joined {
    var top = LOWEST;
//% for t in range(num_teams)
    top = max(top, tops[${t}u]);
//% endfor
    var all = 0.0;
    var result = vec4(0.0);
//% for t in range(num_teams)
    let weight_${t} = exp(tops[${t}u] - top);
    all = fma(weight_${t}, sums[${t}u], all);
    result = fma(vec4(weight_${t}), parts[${t * dims // 4}u + n], result);
//% endfor
    return Joined(top, all, result);
}

/// vec4 number n of the result.
fn joined(n: u32) -> vec4<f32> {
    let all = joined_parts(n);
    return all.y / all.sum;
}
//% endif

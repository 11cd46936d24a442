// A Wide is what one load moves: four floats of a row whose length is a multiple of 4, else one, or two where
// f16 come in pairs. The importing kernel declares or sets `width`; its arrays of Wide are indexed in units of
// WIDTH floats.

const WIDTH = ${width}u;

//% if width == 4
alias Wide = vec4<f32>;

fn wide_sum(v: Wide) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
//% elif width == 2
alias Wide = vec2<f32>;

fn wide_sum(v: Wide) -> f32 {
    return v.x + v.y;
}
//% else
alias Wide = f32;

fn wide_sum(v: Wide) -> f32 {
    return v;
}
//% endif

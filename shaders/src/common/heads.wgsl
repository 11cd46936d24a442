// Heads as vec4s of dimensions. The importing kernel declares the variant `heads`: vec4 where every head begins at a
// multiple of 4 elements and is as long, f16 where moreover k and v are f16, two to a word; else scalar.

//% if heads == "scalar"
alias Element = f32;
//% else
alias Element = vec4<f32>;
//% endif
//% if heads == "f16"
alias KvElement = vec2<u32>;
//% else
alias KvElement = Element;
//% endif

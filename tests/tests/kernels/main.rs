//! Every kernel against its plain CPU reference, with subgroups and without: at the model's own sizes, at
//! sizes that fill no workgroup, and at one.

mod attention;
mod attention_probs;
mod decode_attention;
mod gemm;
mod rms_norm;

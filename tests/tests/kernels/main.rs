//! Every kernel against its plain CPU reference, with subgroups and without: at the model's own sizes, at
//! sizes that fill no workgroup, and at one.

mod add;
mod attention;
mod attention_probs;
mod class_token;
mod decode_attention;
mod embedding;
mod gemm;
mod gemm_coop;
mod gemm_dot;
mod layer_norm;
mod parts;
mod patches;
mod quantise_rows;
mod resize;
mod rms_norm;
mod rope_append;
mod sequences;
mod subgroups;
mod take_rows;
mod top_k;

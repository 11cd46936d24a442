//! Every kernel against its plain CPU reference, with subgroups and without: at the model's own sizes, at
//! sizes that fill no workgroup, and at one.

mod add;
mod class_token;
mod embedding;
mod layer_norm;
mod patches;
mod rms_norm;
mod rope_append;
mod take_rows;
mod top_k;

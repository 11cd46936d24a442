//! Checks of a config's sizes, before anything is computed from them.

use strix_shaders::top_k;

use super::fields::{Fields, refuse};
use super::rope::RopeScaling;
use super::sizes::Config;

/// Elements of the widest head the attention kernels take.
const MAX_HEAD_DIM: usize = 256;

/// More layers than any model has. An absurd count must not become a list of that length.
const MAX_LAYERS: usize = 256;

/// Widest row. 16 rows of f32 are a block of packed weights, and must fit the smallest binding that devices have.
const MAX_WIDTH: usize = 1 << 20;

/// Workgroups a side of a grid: one each for a row, or for a head, in some kernels.
const MAX_GRID: usize = 65_535;

/// Most elements that the kernel which adds positions takes: 1024 each workgroup.
const MAX_ADDED: usize = MAX_GRID * 1024;

/// Longest side of a picture, in pixels.
const MAX_IMAGE: usize = 65_535;

/// Most positions. Sizes of the KV cache then fit 64 bits, and a position fits a kernel's u32.
const MAX_POSITIONS: usize = i32::MAX as usize;

/// Checks a config against itself and what the kernels take.
///
/// # Errors
///
/// The first thing that is wrong, with the keys and the numbers.
pub(super) fn sizes(c: &Config) -> Result<(), String> {
    let (t, v, a) = (&c.text, &c.vision, &c.abstractor);
    let most_vocab = top_k::MAX_VOCAB as usize;
    for (name, size, most) in [
        ("vocab_size", t.vocab_size, most_vocab),
        ("hidden_size", t.hidden_size, MAX_WIDTH),
        ("intermediate_size", t.intermediate_size, MAX_WIDTH),
        ("num_hidden_layers", t.num_hidden_layers, MAX_LAYERS),
        ("num_attention_heads", t.num_attention_heads, MAX_GRID),
        ("num_key_value_heads", t.num_key_value_heads, MAX_GRID),
        ("max_position_embeddings", t.max_position_embeddings, MAX_POSITIONS),
        ("visual_model.hidden_size", v.hidden_size, MAX_WIDTH),
        ("visual_model.intermediate_size", v.intermediate_size, MAX_WIDTH),
        ("visual_model.num_hidden_layers", v.num_hidden_layers, MAX_LAYERS),
        ("visual_model.num_attention_heads", v.num_attention_heads, MAX_GRID),
        ("visual_model.image_size", v.image_size, MAX_IMAGE),
        ("visual_model.patch_size", v.patch_size, MAX_IMAGE),
        ("visual_abstractor.num_learnable_queries", a.num_learnable_queries, MAX_GRID),
        ("visual_abstractor.hidden_size", a.hidden_size, MAX_WIDTH),
        ("visual_abstractor.intermediate_size", a.intermediate_size, MAX_WIDTH),
        ("visual_abstractor.num_hidden_layers", a.num_hidden_layers, MAX_LAYERS),
        ("visual_abstractor.num_attention_heads", a.num_attention_heads, MAX_GRID),
        ("visual_abstractor.grid_size", a.grid_size, MAX_IMAGE),
    ] {
        refuse(size == 0, || format!("{name} is 0"))?;
        refuse(size > most, || format!("{name} is {size}, above {most}"))?;
    }
    for (name, value) in [
        ("rms_norm_eps", t.rms_norm_eps),
        ("visual_model.layer_norm_eps", v.layer_norm_eps),
        ("visual_abstractor.layer_norm_eps", a.layer_norm_eps),
    ] {
        refuse(!(0.0..1.0).contains(&value), || format!("{name} is {value}, expected 0 to 1"))?;
    }
    for (at, hidden_size, heads) in [
        ("", t.hidden_size, t.num_attention_heads),
        ("visual_model.", v.hidden_size, v.num_attention_heads),
        ("visual_abstractor.", a.hidden_size, a.num_attention_heads),
    ] {
        refuse(!hidden_size.is_multiple_of(heads), || {
            format!("{at}hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}")
        })?;
        let head_dim = hidden_size / heads;
        refuse(head_dim > MAX_HEAD_DIM, || {
            format!(
                "{at}hidden_size {hidden_size} / num_attention_heads {heads} gives head_dim {head_dim}, \
                 above {MAX_HEAD_DIM}"
            )
        })?;
    }
    text(c)?;
    vision(c)?;
    grids(c)?;
    // Kernels index a tensor with u32.
    for spec in c.tensors() {
        let elements = spec.shape.iter().try_fold(1u32, |n, &size| n.checked_mul(u32::try_from(size).ok()?));
        refuse(elements.is_none(), || {
            format!("{} would be {} = {:?}, more than 2^32 elements", spec.name, spec.axes, spec.shape)
        })?;
    }
    Ok(())
}

/// Checks the tokens that begin and end an answer.
pub(super) fn tokens(bos: u32, eos: &[u32], vocab_size: usize) -> Result<(), String> {
    refuse(eos.is_empty(), || "eos_token_id is an empty list: nothing would end an answer".into())?;
    for (name, id) in [("bos_token_id", bos)].into_iter().chain(eos.iter().map(|&id| ("eos_token_id", id))) {
        refuse(id as usize >= vocab_size, || format!("{name} {id} is not below vocab_size {vocab_size}"))?;
    }
    Ok(())
}

/// Checks the widths of heads in a file: they follow from its other sizes.
pub(super) fn head_dims(c: &Config, sections: [&Fields; 3]) -> Result<(), String> {
    let dims = [c.text.head_dim(), c.vision.head_dim(), c.abstractor.head_dim()];
    for (f, head_dim) in sections.into_iter().zip(dims) {
        let said = f.get("head_dim", head_dim)?;
        refuse(said != head_dim, || {
            format!(
                "{} is {said}; only hidden_size / num_attention_heads, which is {head_dim}, is supported",
                f.path("head_dim")
            )
        })?;
    }
    Ok(())
}

fn text(c: &Config) -> Result<(), String> {
    let t = &c.text;
    let (heads, kv_heads) = (t.num_attention_heads, t.num_key_value_heads);
    refuse(!heads.is_multiple_of(kv_heads), || {
        format!("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    })?;
    let head_dim = t.head_dim();
    refuse(!head_dim.is_multiple_of(2), || {
        format!(
            "hidden_size {} / num_attention_heads {heads} gives an odd head_dim {head_dim}",
            t.hidden_size
        )
    })?;
    refuse(!(t.rope_theta >= 1.0 && t.rope_theta.is_finite()), || {
        format!("rope_theta is {}, expected at least 1", t.rope_theta)
    })?;
    // The exponent of the dynamic base is head_dim / (head_dim - 2).
    refuse(matches!(t.rope_scaling, Some(RopeScaling::Dynamic { .. })) && head_dim == 2, || {
        "rope_scaling of type dynamic is not defined for head_dim 2".into()
    })?;
    tokens(t.bos_token_id, &t.eos_token_id, t.vocab_size)
}

fn vision(c: &Config) -> Result<(), String> {
    let (v, a) = (&c.vision, &c.abstractor);
    refuse(v.num_channels != 3, || {
        format!("visual_model.num_channels is {}; only 3 is supported", v.num_channels)
    })?;
    refuse(!v.image_size.is_multiple_of(v.patch_size), || {
        format!("visual_model.image_size {} is not a multiple of patch_size {}", v.image_size, v.patch_size)
    })?;
    refuse(a.grid_size != v.grid_size(), || {
        format!(
            "visual_abstractor.grid_size {} contradicts image_size {} / patch_size {} = {}",
            a.grid_size,
            v.image_size,
            v.patch_size,
            v.grid_size()
        )
    })?;
    refuse(a.encoder_hidden_size != a.hidden_size, || {
        format!(
            "visual_abstractor.encoder_hidden_size {} must equal its hidden_size {}",
            a.encoder_hidden_size, a.hidden_size
        )
    })?;
    refuse(a.encoder_hidden_size != v.hidden_size, || {
        format!(
            "visual_abstractor.encoder_hidden_size {} contradicts visual_model.hidden_size {}",
            a.encoder_hidden_size, v.hidden_size
        )
    })?;
    // Sine and cosine, of column and row.
    refuse(!a.hidden_size.is_multiple_of(4), || {
        format!("visual_abstractor.hidden_size {} is not a multiple of 4", a.hidden_size)
    })
}

/// Checks the rows of a picture against the grids of the kernels that take one workgroup a row.
fn grids(c: &Config) -> Result<(), String> {
    let (v, a) = (&c.vision, &c.abstractor);
    // image_size is bounded, and so are patches: at most its square.
    let (side, tokens, queries) = (v.grid_size(), v.num_tokens(), a.num_learnable_queries);
    refuse(tokens > MAX_GRID, || {
        format!(
            "visual_model.image_size {} / patch_size {} gives {side} x {side} patches and a class token, {tokens} rows; \
             at most {MAX_GRID} are supported",
            v.image_size, v.patch_size
        )
    })?;
    let added = (queries + tokens) * a.hidden_size;
    refuse(added > MAX_ADDED, || {
        format!(
            "visual_abstractor.num_learnable_queries {queries} and {tokens} rows of a picture of hidden_size {} are \
             {added} values; at most {MAX_ADDED} are supported",
            a.hidden_size
        )
    })?;
    refuse(v.patch_dim() > MAX_WIDTH, || {
        format!(
            "visual_model.patch_size {} gives patches of {} values, above {MAX_WIDTH}",
            v.patch_size,
            v.patch_dim()
        )
    })
}

//! Rotary positions: `rope_theta`, `rope_scaling` and, in files of transformers 5, `rope_parameters`.

use super::fields::{Fields, refuse};
use super::keys::{Notes, Section};
use crate::json::brief;

/// How `rope_scaling` stretches positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by `factor`.
    Linear {
        /// Above 1.
        factor: f32,
    },
    /// Past `max_position_embeddings`, the base grows with the sequence.
    Dynamic {
        /// Above 1.
        factor: f32,
    },
}

const DEFAULT_THETA: f32 = 10000.0;

/// Base and stretching, from every key that can hold them. Keys that repeat a value must agree.
pub(super) fn read(
    f: &Fields,
    max_position_embeddings: usize,
    notes: &mut Notes,
) -> Result<(f32, Option<RopeScaling>), String> {
    let mut said: Vec<(&str, f32)> = vec![];
    if f.value("rope_theta").is_some() {
        said.push(("rope_theta", f.get("rope_theta", DEFAULT_THETA)?));
    }
    let mut scalings = vec![];
    for (at, theta) in
        [("rope_scaling", "rope_scaling.rope_theta"), ("rope_parameters", "rope_parameters.rope_theta")]
    {
        let section = f.section(at, at)?;
        let Some(map) = section.map.filter(|map| !map.is_empty()) else { continue };
        // Models of several kinds of layers have an object for each.
        if let Some((key, value)) = map.iter().find(|(_, value)| value.is_object()) {
            return Err(format!(
                "{at}.{key} is {}; only one set of rotary parameters, for all layers, is supported",
                brief(value)
            ));
        }
        notes.judge(Section::Rope, at, map)?;
        if let Some((key, value)) =
            map.iter().find(|(key, value)| !value.is_null() && Section::Rope.key(key).is_none())
        {
            return Err(format!("{at}.{key} is {}, which is not supported", brief(value)));
        }
        let trained = section.get("original_max_position_embeddings", max_position_embeddings)?;
        refuse(trained != max_position_embeddings, || {
            format!(
                "{at}.original_max_position_embeddings {trained} contradicts max_position_embeddings \
                 {max_position_embeddings}"
            )
        })?;
        if section.value("rope_theta").is_some() {
            said.push((theta, section.get("rope_theta", DEFAULT_THETA)?));
        }
        scalings.push((at, scaling(&section)?));
    }
    if let [(first, a), .., (last, b)] = said[..]
        && said.iter().any(|(_, theta)| *theta != a)
    {
        return Err(format!("{first} {a} contradicts {last} {b}: keep the one the model was trained with"));
    }
    if let [(first, a), (second, b)] = scalings[..]
        && a != b
    {
        return Err(format!(
            "{first} contradicts {second}, {a:?} against {b:?}: keep the one the model was trained with"
        ));
    }
    let theta = said.first().map_or(DEFAULT_THETA, |(_, theta)| *theta);
    Ok((theta, scalings.first().and_then(|(_, scaling)| *scaling)))
}

fn scaling(f: &Fields) -> Result<Option<RopeScaling>, String> {
    let kind = |key: &str| f.get::<Option<String>>(key, None);
    let (new, old) = (kind("rope_type")?, kind("type")?);
    if let (Some(new), Some(old)) = (&new, &old)
        && new != old
    {
        return Err(format!("{} {new:?} contradicts {} {old:?}", f.path("rope_type"), f.path("type")));
    }
    let factor: Option<f32> = f.get("factor", None)?;
    let needed = |factor: Option<f32>| match factor {
        None => Err(format!("{} is missing", f.path("factor"))),
        Some(factor) if !(factor >= 1.0 && factor.is_finite()) => {
            Err(format!("{} is {factor}, expected at least 1", f.path("factor")))
        }
        Some(factor) => Ok(factor),
    };
    let said = if new.is_some() { "rope_type" } else { "type" };
    let scaling = match new.or(old).as_deref() {
        None | Some("default") => {
            refuse(factor.is_some_and(|factor| factor != 1.0), || {
                let kind = f.path("rope_type");
                format!("{} is {}, and {kind} says no scaling", f.path("factor"), factor.unwrap_or(0.0))
            })?;
            None
        }
        Some("linear") => Some(RopeScaling::Linear { factor: needed(factor)? }),
        Some("dynamic") => Some(RopeScaling::Dynamic { factor: needed(factor)? }),
        Some(other) => {
            let path = f.path(said);
            return Err(format!("{path} is {other:?}; only default, linear and dynamic are supported"));
        }
    };
    // Nothing is stretched by 1.
    Ok(scaling.filter(|scaling| *scaling != RopeScaling::Linear { factor: 1.0 }))
}

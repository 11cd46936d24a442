//! The packed format: what a converted file names its tensors, and what its metadata say. `model/FORMAT.md` describes it,
//! and [`strix_shaders::packing`] is the layout within a tensor.

use std::collections::BTreeMap;
use std::fmt;

/// Version of the packed layout that this program writes and reads.
pub const LAYOUT_VERSION: u32 = 3;

/// Key of metadata that tells whose format a file has.
pub(crate) const FORMAT: &str = "format";
/// Value of [`FORMAT`] in a file of packed tensors.
const STRIX: &str = "strix";
/// Beginning of the other keys of such a file.
pub(crate) const OURS: &str = "strix.";

const LAYOUT: &str = "strix.layout";
const DTYPE: &str = "strix.dtype";
const GROUP: &str = "strix.group";
const VISION: &str = "strix.vision";
const VERSION: &str = "strix.version";

const PACKED: &str = ".packed";
const SCALE: &str = ".scale";

/// The dtype of matrices on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtype {
    /// As in the file; F16 becomes f32, which holds its values exactly.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// Every matrix rounded to bf16.
    Bf16,
    /// The decoder's matrices and `lm_head` rounded to int8; the rest as in the file.
    Int8 {
        /// Columns that share a scale: 32, 64 or 128; `None`: one scale an output channel.
        group: Option<u32>,
    },
}

impl Dtype {
    /// Its word in metadata and manifests, which have the group apart.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 { .. } => "int8",
        }
    }

    /// Columns that share a scale, where they do.
    pub(crate) fn group(self) -> Option<u32> {
        if let Self::Int8 { group } = self { group } else { None }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group() {
            Some(group) => write!(f, "{} group {group}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// How the matrices of a checkpoint are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounding {
    /// Their dtype.
    pub dtype: Dtype,
    /// With int8: the vision tower's and the abstractor's as well.
    pub vision: bool,
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, if self.vision { ", the vision tower too" } else { "" })
    }
}

/// Name of the packed weights of the projection with that label.
pub(crate) fn weight_name(label: &str) -> String {
    format!("{label}{PACKED}")
}

/// Name of their scales.
pub(crate) fn scale_name(label: &str) -> String {
    format!("{label}{SCALE}")
}

/// Whether a tensor is packed weights.
pub(crate) fn is_weight(name: &str) -> bool {
    name.ends_with(PACKED)
}

/// Whether a tensor is scales of packed weights.
pub(crate) fn is_scale(name: &str) -> bool {
    name.ends_with(SCALE)
}

/// The metadata of a file of tensors that are packed in layout `version`, `dtype` by its [word](Dtype::word), written by
/// version `program` of Strix.
pub(crate) fn metadata(
    version: u32,
    dtype: &str,
    group: Option<u32>,
    vision: bool,
    program: Option<&str>,
) -> BTreeMap<String, String> {
    let all = [
        (FORMAT, Some(STRIX.to_owned())),
        (LAYOUT, Some(version.to_string())),
        (DTYPE, Some(dtype.to_owned())),
        (GROUP, group.map(|group| group.to_string())),
        (VISION, Some(vision.to_string())),
        (VERSION, program.map(str::to_owned)),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// What the metadata of a file of packed tensors say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing<'a>(&'a BTreeMap<String, String>);

impl<'a> Packing<'a> {
    /// That of a file with these metadata; `None` if its tensors are not packed.
    pub(crate) fn of(metadata: &'a BTreeMap<String, String>) -> Option<Self> {
        metadata.get(FORMAT).is_some_and(|format| format == STRIX).then_some(Self(metadata))
    }

    /// Refuses another layout than the one this program streams.
    pub(crate) fn check(self) -> Result<(), String> {
        match self.0.get(LAYOUT) {
            Some(version) if *version == LAYOUT_VERSION.to_string() => Ok(()),
            Some(version) => Err(format!(
                "its packed layout has version {version}, this program knows {LAYOUT_VERSION}: use a newer strix, or \
                 convert the checkpoint again"
            )),
            None => Err(format!("its packed layout has no version ({LAYOUT}): convert the checkpoint again")),
        }
    }

    /// What its matrices were converted to.
    pub(crate) fn rounding(self) -> Result<Rounding, String> {
        let group = self.group()?;
        let all = [Dtype::Auto, Dtype::F32, Dtype::Bf16, Dtype::Int8 { group }];
        let said = self.0.get(DTYPE).map_or("", String::as_str);
        let dtype = all.into_iter().find(|dtype| dtype.word() == said).ok_or_else(|| {
            let words = all.map(Dtype::word).join(", ");
            format!(
                "the file's metadata says {DTYPE} = {said:?}, none of {words}: convert the checkpoint again"
            )
        })?;
        Ok(Rounding { dtype, vision: self.0.get(VISION).is_some_and(|vision| vision == "true") })
    }

    /// Columns that share a scale, where they do. The shape of scales alone does not tell a group as long as a row,
    /// which is another kernel, from none.
    pub(crate) fn group(self) -> Result<Option<u32>, String> {
        let number = |group: &String| {
            group.parse().map_err(|_| {
                format!(
                    "the file's metadata says {GROUP} = {group:?}, which is no number: convert the checkpoint again"
                )
            })
        };
        self.0.get(GROUP).map(number).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rounding: Rounding) -> BTreeMap<String, String> {
        let Rounding { dtype, vision } = rounding;
        metadata(LAYOUT_VERSION, dtype.word(), dtype.group(), vision, Some("0.1.0"))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let groups = [None, Some(32), Some(128)].map(|group| Dtype::Int8 { group });
        for dtype in [Dtype::Auto, Dtype::F32, Dtype::Bf16].into_iter().chain(groups) {
            for vision in [false, true] {
                let rounding = Rounding { dtype, vision };
                let metadata = written(rounding);
                let packing = Packing::of(&metadata).expect("it is packed");
                assert_eq!(packing.check(), Ok(()));
                assert_eq!(packing.rounding(), Ok(rounding));
                assert_eq!(packing.group(), Ok(dtype.group()));
            }
        }
        assert!(Packing::of(&BTreeMap::from([(FORMAT.to_owned(), "pt".to_owned())])).is_none());
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_words() {
        let error = |key: &str, value: Option<&str>| {
            let mut metadata = written(Rounding::default());
            metadata.remove(key);
            metadata.extend(value.map(|value| (key.to_owned(), value.to_owned())));
            let packing = Packing::of(&metadata).expect("it is packed");
            packing.check().and_then(|()| packing.rounding().map(|_| ())).unwrap_err()
        };
        for (key, value, words) in [
            (LAYOUT, Some("2"), "version 2, this program knows 3"),
            (LAYOUT, None, "no version (strix.layout)"),
            (DTYPE, Some("int\u{1b}9"), r#"strix.dtype = "int\u{1b}9", none of auto, f32, bf16, int8"#),
            (DTYPE, None, r#"strix.dtype = """#),
            (GROUP, Some("many"), r#"strix.group = "many", which is no number"#),
        ] {
            let error = error(key, value);
            assert!(error.contains(words) && error.contains("convert the checkpoint again"), "{error}");
        }
    }

    #[test]
    fn a_name_tells_what_a_tensor_is() {
        let (weight, scale) = (weight_name("decoder.0.o_proj"), scale_name("decoder.0.o_proj"));
        assert_eq!([weight.as_str(), &scale], ["decoder.0.o_proj.packed", "decoder.0.o_proj.scale"]);
        assert!(is_weight(&weight) && !is_weight(&scale) && is_scale(&scale) && !is_scale(&weight));
    }
}

//! The GPUs that Mesa's drivers can be told to be, and the architectures of GPUs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a GPU executes: which listing its driver prints, and what an instruction costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// AMD's GCN: subgroups of 64 on vector units of 16 lanes.
    Gcn,
    /// AMD's RDNA 1 and 2: vector units of 32 lanes.
    Rdna,
    /// AMD's RDNA 3: the same, which may do two FMAs at once, and matrices.
    Rdna3,
    /// AMD's RDNA 4: the same with matrix units twice as fast.
    Rdna4,
    /// NVIDIA's Turing: 16 lanes of f32 a scheduler.
    Turing,
    /// NVIDIA's Ampere, Ada and later: 32 lanes of f32 a scheduler.
    Ampere,
    /// Qualcomm's Adreno.
    Adreno,
    /// Apple's M series.
    Agx,
    /// A software driver.
    Software,
    /// One that this tool knows nothing of.
    Unknown,
}

impl Architecture {
    /// The architecture of a real device, by the names that its driver gives; drivers put the chip's into parentheses.
    pub fn of_device(name: &str, driver: &str) -> Self {
        let (name, driver) = (name.to_uppercase(), driver.to_lowercase());
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["LLVMPIPE", "SWIFTSHADER"]) {
            Self::Software
        } else if has(&["GFX12"]) {
            Self::Rdna4
        } else if has(&["NAVI3", "GFX11", "PHOENIX", "STRIX", "HAWK"]) {
            Self::Rdna3
        } else if has(&["NAVI1", "NAVI2", "GFX10", "REMBRANDT", "VANGOGH", "RAPHAEL", "MENDOCINO"]) {
            Self::Rdna
        } else if has(&["POLARIS", "VEGA", "RENOIR", "RAVEN", "TONGA", "FIJI", "TAHITI", "HAWAII"]) {
            Self::Gcn
        } else if has(&["NVK TU"]) {
            Self::Turing
        } else if has(&["NVK GA", "NVK AD", "NVK GB"]) {
            Self::Ampere
        } else if has(&["ADRENO"]) || driver.contains("turnip") {
            Self::Adreno
        } else if has(&["APPLE M"]) {
            Self::Agx
        } else {
            Self::Unknown
        }
    }
}

/// Where a driver comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The backports of the machine's own Debian: what its users have.
    Backports,
    /// Debian unstable: the newest.
    Unstable,
}

impl Suite {
    /// Name of its folder below the drivers' folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Backports => "backports",
            Self::Unstable => "unstable",
        }
    }
}

/// A GPU that a driver can be told to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Fake {
    /// Its name on the command line and in tables.
    pub key: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What it is.
    pub title: &'static str,
    /// How it executes.
    pub architecture: Architecture,
    /// Where its driver is looked for first; one from [`Suite::Unstable`] does where that is not there.
    pub suite: Suite,
    /// Library that answers in place of the kernel: `lib{shim}_noop_drm_shim.so`.
    pub shim: Option<&'static str>,
    /// The driver: `libvulkan_{driver}.so`.
    pub driver: &'static str,
    /// The variable that says which GPU it is, with its value.
    pub variable: Option<(&'static str, &'static str)>,
}

impl Fake {
    /// Whether it computes: a software driver.
    pub fn computes(&self) -> bool {
        self.shim.is_none()
    }
}

impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key)
    }
}

const fn amd(key: &'static str, title: &'static str, architecture: Architecture, suite: Suite) -> Fake {
    Fake {
        key,
        aliases: &[],
        title,
        architecture,
        suite,
        shim: Some("amdgpu"),
        driver: "radeon",
        variable: Some(("AMDGPU_GPU_ID", key)),
    }
}

const fn nvidia(
    key: &'static str,
    aliases: &'static [&'static str],
    title: &'static str,
    architecture: Architecture,
    chip: &'static str,
) -> Fake {
    Fake {
        key,
        aliases,
        title,
        architecture,
        suite: Suite::Unstable,
        shim: Some("nouveau"),
        driver: "nouveau",
        variable: Some(("NOUVEAU_CHIPSET", chip)),
    }
}

const fn adreno(key: &'static str, title: &'static str, chip: &'static str) -> Fake {
    Fake {
        key,
        aliases: &[],
        title,
        architecture: Architecture::Adreno,
        suite: Suite::Unstable,
        shim: Some("freedreno"),
        driver: "freedreno",
        variable: Some(("FD_GPU_ID", chip)),
    }
}

const fn lavapipe(key: &'static str, title: &'static str, suite: Suite) -> Fake {
    Fake {
        key,
        aliases: &[],
        title,
        architecture: Architecture::Software,
        suite,
        shim: None,
        driver: "lvp",
        variable: None,
    }
}

/// All of them.
pub const FAKES: &[Fake] = &[
    amd("polaris10", "AMD Radeon RX 580, GCN 4", Architecture::Gcn, Suite::Backports),
    amd("renoir", "AMD Ryzen 4000 graphics, GCN 5", Architecture::Gcn, Suite::Backports),
    amd("navi10", "AMD Radeon RX 5700 XT, RDNA 1", Architecture::Rdna, Suite::Backports),
    amd("navi21", "AMD Radeon RX 6800, RDNA 2", Architecture::Rdna, Suite::Backports),
    amd("navi31", "AMD Radeon RX 7900 XTX, RDNA 3", Architecture::Rdna3, Suite::Backports),
    amd("gfx1201", "AMD Radeon RX 9070 XT, RDNA 4", Architecture::Rdna4, Suite::Unstable),
    nvidia("turing", &["nv164"], "NVIDIA TU104 (RTX 2080)", Architecture::Turing, "164"),
    nvidia("ampere", &["nv172"], "NVIDIA GA102 (RTX 3090)", Architecture::Ampere, "172"),
    nvidia("ada", &["nv194"], "NVIDIA AD104 (RTX 4070 Ti)", Architecture::Ampere, "194"),
    adreno("adreno-660", "Qualcomm Adreno 660 (Snapdragon 888)", "660"),
    adreno("adreno-740", "Qualcomm Adreno 740 (Snapdragon 8 Gen 2)", "740"),
    adreno("adreno-830", "Qualcomm Adreno 830 (Snapdragon 8 Elite)", "830"),
    Fake {
        key: "m1",
        aliases: &["apple"],
        title: "Apple M1",
        architecture: Architecture::Agx,
        suite: Suite::Unstable,
        shim: Some("asahi"),
        driver: "asahi",
        variable: None,
    },
    lavapipe("lavapipe-25", "lavapipe of Mesa 25, which computes", Suite::Backports),
    lavapipe("lavapipe-26", "lavapipe of Mesa 26, which computes", Suite::Unstable),
];

/// The GPUs of a list: keys, other names, `all`, or a vendor's: `amd`, `nvidia`, `adreno`.
///
/// # Errors
///
/// If a name is none of them: the names there are.
pub fn find(names: &[impl AsRef<str>]) -> anyhow::Result<Vec<&'static Fake>> {
    let mut found: Vec<&'static Fake> = vec![];
    for name in names {
        let name = name.as_ref();
        let drivers = match name {
            "amd" => Some("radeon"),
            "nvidia" => Some("nouveau"),
            "adreno" => Some("freedreno"),
            _ => None,
        };
        let is = |fake: &&Fake| {
            name == "all" || fake.key == name || fake.aliases.contains(&name) || drivers == Some(fake.driver)
        };
        let known: Vec<_> = FAKES.iter().filter(is).collect();
        anyhow::ensure!(
            !known.is_empty(),
            "no GPU is named {name:?}; there are {}, amd, nvidia, adreno and all",
            keys()
        );
        for fake in known {
            if !found.contains(&fake) {
                found.push(fake);
            }
        }
    }
    Ok(found)
}

fn keys() -> String {
    FAKES.iter().map(|fake| fake.key).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_found_by_key_alias_vendor_and_all_each_once() {
        let keys = |names: &[&str]| find(names).unwrap().iter().map(|fake| fake.key).collect::<Vec<_>>();
        assert_eq!(keys(&["navi31", "nv172", "apple"]), ["navi31", "ampere", "m1"]);
        assert_eq!(keys(&["ada", "nvidia", "ada"]), ["ada", "turing", "ampere"]);
        assert_eq!(keys(&["all"]).len(), FAKES.len());
        let error = find(&["navi31", "navi33"]).unwrap_err().to_string();
        assert!(
            error.contains("\"navi33\"") && error.contains("gfx1201") && error.contains("adreno-740"),
            "{error}"
        );
    }

    #[test]
    fn an_architecture_is_read_off_the_names_of_a_real_device() {
        let of = |name| Architecture::of_device(name, "");
        assert_eq!(of("AMD Radeon RX 7900 XTX (RADV NAVI31)"), Architecture::Rdna3);
        assert_eq!(of("AMD Radeon RX 6800 (RADV NAVI21)"), Architecture::Rdna);
        assert_eq!(of("AMD Radeon RX 9070 XT (RADV GFX1201)"), Architecture::Rdna4);
        assert_eq!(of("AMD Radeon RX 580 Series (RADV POLARIS10)"), Architecture::Gcn);
        assert_eq!(of("NVIDIA GeForce RTX 2070 (NVK TU106)"), Architecture::Turing);
        assert_eq!(of("NVIDIA GeForce RTX 3060 (NVK GA106)"), Architecture::Ampere);
        assert_eq!(of("Apple M1 (G13G A0)"), Architecture::Agx);
        assert_eq!(of("llvmpipe (LLVM 15.0.6, 256 bits)"), Architecture::Software);
        assert_eq!(of("Intel(R) Arc(tm) A770 Graphics (DG2)"), Architecture::Unknown);
    }
}

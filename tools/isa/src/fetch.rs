//! Gets the drivers: packages of Debian, unpacked into a folder. Nothing is installed, and nothing needs root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::gpus::{Fake, Suite};

/// Packages with the drivers; what these need comes with them.
const DRIVERS: [&str; 3] = ["mesa-vulkan-drivers", "mesa-drm-shim", "libvulkan1"];
/// Packages that check SPIR-V and calls of Vulkan, as new as the newest drivers.
const CHECKERS: [&str; 2] = ["spirv-tools", "vulkan-validationlayers"];
/// Debian's keys, on Debian and where its package is installed.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A system, as `/etc/os-release` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// `debian`, `ubuntu`.
    pub id: String,
    /// What it is like.
    pub like: Vec<String>,
    /// Name of its release: `bookworm`.
    pub codename: Option<String>,
    /// Its full name.
    pub pretty: String,
}

impl System {
    /// Reads the text of `/etc/os-release`.
    pub fn parse(text: &str) -> Self {
        let pairs: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches(['"', '\''])))
            .collect();
        let get = |name: &str| pairs.get(name).map(|value| (*value).to_owned());
        Self {
            id: get("ID").unwrap_or_default(),
            like: get("ID_LIKE").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            codename: get("VERSION_CODENAME"),
            pretty: get("PRETTY_NAME").unwrap_or_else(|| "this system".into()),
        }
    }

    fn is(&self, name: &str) -> bool {
        self.id == name || self.like.iter().any(|like| like == name)
    }
}

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where to.
    pub drivers: PathBuf,
    /// The mirror of Debian.
    pub mirror: String,
    /// Suites, each with its name on the mirror.
    pub suites: Vec<(Suite, String)>,
    /// Whether Debian's keys have to be fetched first, from the machine's own mirror.
    pub keys: bool,
}

impl Plan {
    /// What is missing for some GPUs, on a system whose sources of packages are given as text; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// If the system has no packages of Debian's: what is needed instead.
    pub fn new(system: &System, sources: &str, drivers: &Path, gpus: &[&Fake]) -> Result<Option<Self>> {
        let missing: Vec<&&Fake> =
            gpus.iter().filter(|fake| !crate::environment::is_there(drivers, fake)).collect();
        if missing.is_empty() {
            return Ok(None);
        }
        let is_debian = system.id == "debian";
        if !is_debian && !system.is("debian") && !system.is("ubuntu") {
            bail!(
                "drivers are fetched on Debian and Ubuntu, and this is {}. What is needed are Debian unstable's packages {} \
                 with all that they depend on, unpacked (`dpkg-deb -x`) into {}; in a container of Debian all of this \
                 works as it is",
                system.pretty,
                DRIVERS.join(", "),
                drivers.join("unstable/root").display(),
            );
        }
        let backports =
            system.codename.as_ref().filter(|_| is_debian).map(|name| format!("{name}-backports"));
        let mut suites = vec![];
        let wanted = |suite: Suite| missing.iter().any(|fake| fake.suite == suite);
        match backports {
            Some(name) if wanted(Suite::Backports) => suites.push((Suite::Backports, name)),
            _ => {}
        }
        // Without backports AMD's driver is unstable's; lavapipe 25 is then left out.
        if wanted(Suite::Unstable) || suites.is_empty() {
            suites.push((Suite::Unstable, "sid".to_owned()));
        }
        Ok(Some(Self {
            drivers: drivers.to_owned(),
            mirror: mirror(sources).unwrap_or_else(|| "http://deb.debian.org/debian".into()),
            suites,
            keys: !is_debian,
        }))
    }

    /// What it would do, to ask about it.
    pub fn question(&self) -> String {
        let of = |(suite, name): &(Suite, String)| match suite {
            Suite::Backports => format!("{name} (AMD, lavapipe; 75 MB)"),
            Suite::Unstable => format!("{name} (AMD, NVIDIA, Qualcomm, Apple, lavapipe; 80 MB)"),
        };
        let suites: Vec<_> = self.suites.iter().map(of).collect();
        format!(
            "Mesa's drivers are needed, which compile for GPUs that are not here. They are fetched from Debian, {}, suites {}, and \
             unpacked into {}; nothing is installed, and the folder can be deleted at any time.",
            self.mirror,
            suites.join(" and "),
            self.drivers.display(),
        )
    }

    /// Does it. `say` is told each step.
    ///
    /// # Errors
    ///
    /// If apt or dpkg fail: what they said.
    pub fn run(&self, say: &mut dyn FnMut(&str)) -> Result<()> {
        fs::create_dir_all(&self.drivers).with_context(|| self.drivers.display().to_string())?;
        let keys = if self.keys && !Path::new(KEYS).exists() {
            say("Debian's keys");
            self.fetch_keys()?
        } else {
            PathBuf::from(KEYS)
        };
        for (suite, name) in &self.suites {
            say(&format!("drivers of {name}"));
            self.fetch(*suite, name, &keys)?;
        }
        Ok(())
    }

    /// From the machine's own mirror, whose keys it trusts.
    fn fetch_keys(&self) -> Result<PathBuf> {
        let dir = self.drivers.join("keys");
        fs::create_dir_all(&dir)?;
        run(Command::new("apt-get").current_dir(&dir).args(["-q", "download", "debian-archive-keyring"]))?;
        unpack(&dir, &dir.join("root"))?;
        let keys = dir.join("root").join(KEYS.trim_start_matches('/'));
        ensure!(keys.exists(), "{}: the package has no keys", keys.display());
        Ok(keys)
    }

    fn fetch(&self, suite: Suite, name: &str, keys: &Path) -> Result<()> {
        let dir = self.drivers.join(suite.folder());
        let root = dir.join("root");
        // Unpacked beside it, so that half of it is never taken for all.
        let part = dir.join("root.part");
        for old in [&root, &part] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        // Of a release what is newer in its backports is taken from there, and the rest from itself.
        let release = name.strip_suffix("-backports").filter(|_| suite == Suite::Backports);
        let suites: Vec<&str> = release.into_iter().chain([name]).collect();
        let apt = Apt::new(&dir.join("apt"), &self.mirror, &suites, keys)?;
        run(apt.command().arg("update"))?;
        let archives = dir.join("apt/cache/archives");
        let checkers = if suite == Suite::Unstable { &CHECKERS[..] } else { &[] };
        let mut install = apt.command();
        install.args(["-y", "--no-install-recommends", "--download-only", "-t", name, "install"]);
        run(install.args(DRIVERS).args(checkers))?;
        unpack(&archives, &part)?;
        fs::rename(&part, &root)?;
        fs::remove_dir_all(dir.join("apt"))?;
        Ok(())
    }
}

/// apt with folders of its own, as if nothing were installed: all that a package needs comes with it.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(dir: &Path, mirror: &str, suites: &[&str], keys: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(part))?;
        }
        fs::write(dir.join("status"), "")?;
        let line = |suite: &&str| format!("deb [signed-by={}] {mirror} {suite} main\n", keys.display());
        fs::write(dir.join("sources.list"), suites.iter().map(line).collect::<String>())?;
        let at = |name: &str| dir.join(name).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=-".into(),
            format!("Dir::State={}", dir.display()),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Check-Valid-Until=false".into(),
            "APT::Get::List-Cleanup=0".into(),
            // A mirror that is not reached is an error, and soon.
            "APT::Update::Error-Mode=any".into(),
            "Acquire::Retries=2".into(),
            "Acquire::http::Timeout=20".into(),
            "Acquire::https::Timeout=20".into(),
            // Its user for downloads may not write here.
            "APT::Sandbox::User=root".into(),
        ];
        Ok(Self { options: options.into() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").args(self.options.iter().flat_map(|option| ["-o", option])).env("LC_ALL", "C");
        command
    }
}

/// Unpacks every package of a folder.
fn unpack(dir: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let packages: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .collect();
    ensure!(!packages.is_empty(), "{}: no package was fetched", dir.display());
    for package in packages {
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
    }
    Ok(())
}

/// Runs a program to its end.
///
/// # Errors
///
/// If it cannot be started, or fails: what it said.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.output().with_context(|| format!("{program} is needed for this"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("{program} failed ({}): {}", out.status, said.trim());
    }
    Ok(())
}

/// The first mirror of Debian in sources of packages, of either form.
fn mirror(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace);
    let found = words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))?;
    Some(found.trim_end_matches('/').to_owned())
}

/// The text of all sources of packages of this machine.
pub fn sources() -> String {
    let dir =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let files = dir.chain([PathBuf::from("/etc/apt/sources.list")]);
    files.filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

/// This system.
pub fn system() -> System {
    System::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpus;

    const DEBIAN: &str =
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n";
    const UBUNTU: &str =
        "PRETTY_NAME=\"Ubuntu 24.04 LTS\"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n";
    const FEDORA: &str = "NAME=\"Fedora Linux\"\nID=fedora\nPRETTY_NAME=\"Fedora Linux 43\"\n";

    fn plan(os: &str, sources: &str, gpus: &[&str]) -> Result<Option<Plan>> {
        let gpus = gpus::find(gpus).unwrap();
        Plan::new(&System::parse(os), sources, Path::new("/no/such/folder"), &gpus)
    }

    #[test]
    fn debian_has_amd_from_its_backports_and_the_rest_from_unstable() {
        let amd =
            plan(DEBIAN, "deb https://mirror.example/debian/ bookworm main\n", &["navi31"]).unwrap().unwrap();
        assert_eq!(amd.suites, [(Suite::Backports, "bookworm-backports".to_owned())]);
        assert_eq!(amd.mirror, "https://mirror.example/debian");
        let all = plan(DEBIAN, "", &["all"]).unwrap().unwrap();
        assert_eq!(all.suites.len(), 2);
        let nvidia = plan(DEBIAN, "", &["ampere"]).unwrap().unwrap();
        assert_eq!(nvidia.suites, [(Suite::Unstable, "sid".to_owned())]);
        assert!(nvidia.question().contains("NVIDIA") && nvidia.question().contains("/no/such/folder"));
    }

    #[test]
    fn ubuntu_has_everything_from_debian_unstable_and_needs_its_keys() {
        let sources = "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble\n";
        let plan = plan(UBUNTU, sources, &["navi31", "m1"]).unwrap().unwrap();
        assert_eq!(plan.suites, [(Suite::Unstable, "sid".to_owned())]);
        assert_eq!((plan.mirror.as_str(), plan.keys), ("http://deb.debian.org/debian", true));
    }

    #[test]
    fn elsewhere_it_says_what_is_needed() {
        let error = plan(FEDORA, "", &["navi31"]).unwrap_err().to_string();
        assert!(
            error.contains("Fedora Linux 43")
                && error.contains("mesa-drm-shim")
                && error.contains("unstable/root")
        );
    }

    #[test]
    fn mirrors_are_found_in_both_forms_of_sources() {
        assert_eq!(
            mirror("URIs: http://deb.debian.org/debian\n").as_deref(),
            Some("http://deb.debian.org/debian")
        );
        assert_eq!(mirror("deb [arch=amd64] http://a/debian b main").as_deref(), Some("http://a/debian"));
        assert_eq!(mirror("# deb http://a/debian b main\ndeb http://s/debian-security x main"), None);
    }
}

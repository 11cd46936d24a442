//! The engines: what they run, how they are installed, how they are started.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::figures::{Figures, Job};
use crate::gguf::{self, Size, Stored};
use crate::process;

/// Time to download or build an engine.
const INSTALLING: Duration = Duration::from_secs(3600);

/// Weights that are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// 8 bits.
    Int8,
    /// 16 bits.
    Bf16,
}

impl Class {
    /// As `strix --dtype` has it.
    pub(crate) fn dtype(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Bf16 => "bf16",
        }
    }
}

/// How an engine is brought here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Npm,
    Pip,
    Cargo,
}

/// An engine with one kind of weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Engine {
    pub name: &'static str,
    pub dtype: &'static str,
    /// `vulkan` or `cpu`.
    pub backend: &'static str,
    /// What Strix runs beside it.
    pub class: Class,
    /// Whether norms, attention and the rest are left out.
    pub products_only: bool,
    /// The GGUF file that it runs.
    stored: Option<Stored>,
    /// Its folder in benches/peers.
    folder: &'static str,
    from: From,
}

/// Name of what ratios are of.
pub(crate) const VULKAN: &str = "llama.cpp-vulkan";
/// Name of what shares are of.
pub(crate) const NATIVE: &str = "llama.cpp-cpu";

const fn llama_cpp(name: &'static str, backend: &'static str, class: Class, stored: Stored) -> Engine {
    let dtype = stored.name();
    let (folder, from) = ("llama_cpp", From::Npm);
    Engine { name, dtype, backend, class, products_only: false, stored: Some(stored), folder, from }
}

const fn web_rwkv(dtype: &'static str, class: Class) -> Engine {
    let (folder, from) = ("web_rwkv", From::Cargo);
    Engine {
        name: "web-rwkv",
        dtype,
        backend: "vulkan",
        class,
        products_only: true,
        stored: None,
        folder,
        from,
    }
}

/// All that there are.
pub(crate) const ENGINES: [Engine; 8] = [
    llama_cpp(VULKAN, "vulkan", Class::Int8, Stored::Q8_0),
    llama_cpp(VULKAN, "vulkan", Class::Bf16, Stored::Bf16),
    llama_cpp(NATIVE, "cpu", Class::Int8, Stored::Q8_0),
    llama_cpp(NATIVE, "cpu", Class::Bf16, Stored::Bf16),
    Engine {
        name: "onnxruntime",
        dtype: "int8",
        backend: "cpu",
        class: Class::Int8,
        products_only: false,
        stored: None,
        folder: "onnxruntime",
        from: From::Pip,
    },
    Engine {
        name: "candle",
        dtype: "q8_0",
        backend: "cpu",
        class: Class::Int8,
        products_only: false,
        stored: Some(Stored::Q8_0),
        folder: "candle",
        from: From::Cargo,
    },
    web_rwkv("int8", Class::Int8),
    web_rwkv("f16", Class::Bf16),
];

/// Those whose `name/dtype` holds one of `words`; all if there are none.
///
/// # Errors
///
/// If a word is in none.
pub(crate) fn choose(words: &[String]) -> Result<Vec<Engine>> {
    let holds = |engine: &Engine, word: &str| engine.key().contains(word);
    if let Some(word) = words.iter().find(|word| !ENGINES.iter().any(|engine| holds(engine, word))) {
        let keys: Vec<_> = ENGINES.iter().map(Engine::key).collect();
        bail!("no engine is called {word:?}; there are {}", keys.join(", "));
    }
    let wanted = |engine: &Engine| words.is_empty() || words.iter().any(|word| holds(engine, word));
    Ok(ENGINES.into_iter().filter(wanted).collect())
}

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// benches/peers of the repository.
    pub sources: PathBuf,
    /// What is installed and made.
    pub dir: PathBuf,
}

impl Engine {
    /// Its name and its weights.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.name, self.dtype)
    }

    fn home(&self, places: &Places) -> PathBuf {
        places.dir.join(self.folder)
    }

    /// Installs it and makes its model, unless both are there. What is locked for it is installed again when it
    /// changes.
    pub(crate) fn prepare(&self, places: &Places, layers: u32) -> Result<()> {
        let (source, home) = (places.sources.join(self.folder), self.home(places));
        fs::create_dir_all(&home).with_context(|| format!("{}: making the folder", home.display()))?;
        let read = |path: &Path| fs::read(path).with_context(|| format!("{}: reading", path.display()));
        match self.from {
            From::Npm => {
                for name in ["package.json", "package-lock.json", "bench.mjs"] {
                    copy(&source.join(name), &home.join(name))?;
                }
                // Not `npm ci`: it wants packages for all platforms in the lock, and some registries lack some.
                let arguments = ["install", "--ignore-scripts", "--no-audit", "--no-fund"];
                let lock = read(&source.join("package-lock.json"))?;
                once(&home, &lock, || {
                    install(&mut [Command::new("npm").args(arguments).current_dir(&home)])
                })?;
            }
            From::Pip => {
                let requirements = source.join("requirements.txt");
                let (python, venv) = (if cfg!(windows) { "python" } else { "python3" }, home.join("venv"));
                once(&home, &read(&requirements)?, || {
                    install(&mut [
                        Command::new(python).args(["-m", "venv"]).arg(&venv),
                        Command::new(self.program(places))
                            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
                            .arg(&requirements),
                    ])
                })?;
            }
            From::Cargo => {
                let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo.args(["build", "--release", "--locked", "--manifest-path"]);
                cargo.arg(source.join("Cargo.toml")).arg("--target-dir").arg(home.join("target"));
                if self.backend == "cpu" {
                    // As its authors say; others look at the processor when they run.
                    cargo.env("RUSTFLAGS", "-C target-cpu=native");
                }
                install(&mut [&mut cargo])?;
            }
        }
        match self.stored {
            Some(stored) => gguf::make(&self.model(places, stored, layers), stored, Size::full(layers)),
            None => Ok(()),
        }
    }

    fn model(&self, places: &Places, stored: Stored, layers: u32) -> PathBuf {
        places.dir.join(format!("decoder-{layers}-{}.gguf", stored.name()))
    }

    fn program(&self, places: &Places) -> PathBuf {
        let home = self.home(places);
        match self.from {
            From::Npm => "node".into(),
            From::Pip if cfg!(windows) => home.join("venv/Scripts/python.exe"),
            From::Pip => home.join("venv/bin/python"),
            From::Cargo => home.join("target/release").join(format!(
                "strix-peer-{}{}",
                self.name,
                env::consts::EXE_SUFFIX
            )),
        }
    }

    /// Runs it once. The figures are what it had until it ended, well or with the failure beside them.
    pub(crate) fn measure(
        &self,
        places: &Places,
        job: &Job,
        limit: Duration,
    ) -> Result<(Figures, Option<String>)> {
        let model = self.stored.map(|stored| self.model(places, stored, job.layers));
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (backend, dtype) = (self.backend, self.dtype);
        let scratch = text(self.home(places));
        let job = Job { model: model.map(text), backend, dtype, scratch, ..job.clone() };
        let mut command = Command::new(self.program(places));
        match self.from {
            From::Npm => drop(command.arg("bench.mjs")),
            From::Pip => drop(command.arg(places.sources.join(self.folder).join("bench.py"))),
            From::Cargo => {}
        }
        command.arg(serde_json::to_string(&job)?).current_dir(self.home(places));
        let ended = process::run(same_device(&mut command), limit)?;
        let figures = Figures::parse(&ended.stdout)?;
        let failure =
            ended.failure.or_else(|| figures.missing(&job).map(|what| format!("it left out {what}")));
        Ok((figures, failure))
    }
}

/// Mesa's shader cache does not tell widths of vectors apart: with this variable, programs read each other's
/// wrong pipelines from it.
pub(crate) fn same_device(command: &mut Command) -> &mut Command {
    command.env_remove("LP_NATIVE_VECTOR_WIDTH")
}

/// Runs `install` if it has not been run for this `lock`.
fn once(home: &Path, lock: &[u8], install: impl FnOnce() -> Result<()>) -> Result<()> {
    let installed = home.join("installed");
    if fs::read(&installed).is_ok_and(|was| was == lock) {
        return Ok(());
    }
    install()?;
    fs::write(&installed, lock).with_context(|| format!("{}: writing", installed.display()))
}

fn install(commands: &mut [&mut Command]) -> Result<()> {
    for command in commands {
        let name = command.get_program().to_string_lossy().into_owned();
        let ended = process::run(command, INSTALLING)?;
        if let Some(failure) = ended.failure {
            bail!("installing with {name}: {failure}");
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("{}: copying to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        choose(&words).unwrap().iter().map(Engine::key).collect()
    }

    #[test]
    fn engines_are_chosen_by_parts_of_their_names() {
        assert_eq!(keys(&[]).len(), ENGINES.len());
        assert_eq!(keys(&["candle", "vulkan/q8_0"]), ["llama.cpp-vulkan/q8_0", "candle/q8_0"]);
        assert_eq!(keys(&["llama.cpp"]).len(), 4);
        let error = choose(&["vllm".into()]).unwrap_err().to_string();
        assert!(error.contains("\"vllm\"") && error.contains("onnxruntime/int8"), "{error}");
    }

    #[test]
    fn an_engine_is_installed_again_only_when_its_lock_changes() {
        let home = tempfile::tempdir().unwrap();
        let mut times = 0;
        for lock in ["one", "one", "two"] {
            once(home.path(), lock.as_bytes(), || {
                times += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(times, 2);
        // What failed is tried again.
        once(home.path(), b"three", || bail!("no network")).unwrap_err();
        once(home.path(), b"three", || {
            times += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(times, 3);
    }
}

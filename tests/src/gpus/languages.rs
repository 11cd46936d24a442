//! Every specialisation of every kernel through the compilers of other platforms: SPIR-V's validator, Microsoft's DXC
//! (Windows), Dawn's Tint (Chrome).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use naga::back::hlsl;
use rayon::prelude::*;
use strix_engine::Shader;
use strix_isa::compile::{Abilities, Source};
use strix_isa::environment;
use strix_isa::fetch::run;
use strix_isa::gpus::Fake;
use tempfile::TempDir;

use super::Findings;

/// The package of Python that has Microsoft's compiler for Linux in its source.
const DXC: &str = "compushady==0.17.5";
/// The package of Node that is Dawn.
const DAWN: &str = "webgpu@0.6.2";

/// What naga 30 cannot say in HLSL, and Chrome has no word for.
const MATRICES: &str = "gemm_coop";

/// naga writes `dot4add_i8packed(a, b, 0)`, of which DXC before the middle of 2025 makes one of 64 bits that it then refuses
/// (microsoft/DirectXShaderCompiler, issue 7400), and the one that is fetched is older. Seen as an int it is taken, so
/// that it is only this which is passed over here: such a DXC on Windows still refuses the kernels with `dot4I8Packed`.
const DOT4: &str = "#define dot4add_i8packed(a, b, c) dot4add_i8packed(a, b, int(c))\n";

/// A device that has everything.
const ALL: Abilities = Abilities {
    minor: 3,
    robust_buffers: true,
    robust_images: true,
    zeroes_workgroup_memory: true,
    dot_products: true,
    int8: true,
    f16: true,
    subgroups: true,
    matrices: true,
    qualcomm: false,
};

/// Kernels, and the folder that their texts are written to.
pub struct Texts {
    dir: TempDir,
    kernels: Vec<Arc<Shader>>,
}

impl Texts {
    /// Writes all specialisations there are, as WGSL.
    ///
    /// # Errors
    ///
    /// If there is no room.
    pub fn new(kernels: Vec<Arc<Shader>>) -> Result<Self> {
        let texts = Self { dir: tempfile::tempdir()?, kernels };
        (0..texts.kernels.len()).into_par_iter().try_for_each(|at| {
            fs::write(texts.file(at, "wgsl"), texts.kernels[at].wgsl.as_bytes()).map_err(anyhow::Error::from)
        })?;
        Ok(texts)
    }

    /// Number of kernels.
    pub fn len(&self) -> usize {
        self.kernels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kernels.is_empty()
    }

    fn file(&self, at: usize, extension: &str) -> PathBuf {
        self.dir.path().join(format!("{at}.{extension}"))
    }

    /// The label of a file's kernel.
    fn label<'a>(&'a self, file: &'a str) -> &'a str {
        let at = Path::new(file).file_stem().and_then(|stem| stem.to_str()?.parse::<usize>().ok());
        at.and_then(|at| self.kernels.get(at)).map_or(file, |shader| &shader.label)
    }

    /// The kernels that are of no matrices, by their places.
    fn plain(&self) -> Vec<usize> {
        (0..self.kernels.len()).filter(|&at| self.kernels[at].name != MATRICES).collect()
    }

    /// SPIR-V as wgpu writes it, through the newest `spirv-val`.
    ///
    /// # Errors
    ///
    /// If that is not in the folder of drivers.
    pub fn spirv_val(&self, drivers: &Path) -> Result<Findings> {
        let validate = |file: &Path, environment: &str| -> Result<Option<String>> {
            let mut command = environment::tool(drivers, "spirv-val")?;
            let out = command.args(["--target-env", environment]).arg(file).output()?;
            let said = [out.stdout, out.stderr].concat();
            Ok((!out.status.success()).then(|| String::from_utf8_lossy(&said).trim().replace('\n', " ")))
        };
        let one = |at: usize| -> Result<Option<(bool, String)>> {
            let shader = &self.kernels[at];
            let compiled = match Source::parse(&shader.wgsl)
                .and_then(|s| s.compile(shader.name, &BTreeMap::new(), &ALL))
            {
                Ok(compiled) => compiled,
                Err(error) => return Ok(Some((false, format!("{}: naga: {error:#}", shader.label)))),
            };
            let bytes: Vec<u8> = compiled.words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let file = self.file(at, "spv");
            fs::write(&file, bytes)?;
            let mut error = validate(&file, "vulkan1.3")?;
            // naga's, and newer than it: `validation.rs` says why. Behind it there may be others.
            let explained = error.as_ref().is_some_and(|e| e.contains("StandaloneSpirv-None-10684"));
            if explained {
                error = validate(&file, "spv1.6")?;
            }
            Ok(match error {
                Some(error) => Some((false, format!("{}: {error}", shader.label))),
                None => explained.then(|| (true, String::new())),
            })
        };
        let results = (0..self.len()).into_par_iter().map(one).collect::<Result<Vec<_>>>()?;
        let explained = results.iter().flatten().filter(|(explained, _)| *explained).count();
        println!("{} modules; {explained} x VUID-StandaloneSpirv-None-10684, explained", self.len());
        Ok(results.into_iter().flatten().filter(|(explained, _)| !explained).map(|(_, what)| what).collect())
    }

    /// HLSL as wgpu writes it, through Microsoft's DXC, which is fetched from PyPI and driven by a program that is built.
    ///
    /// # Errors
    ///
    /// If Python or a C++ compiler is missing.
    pub fn dxc(&self, tools: &Path) -> Result<Findings> {
        let (program, library) = build_dxc(&tools.join("dxc"))?;
        let written: Vec<(usize, Result<()>)> = self
            .plain()
            .into_par_iter()
            .map(|at| (at, write_hlsl(&self.kernels[at], &self.file(at, "hlsl"))))
            .collect();
        let mut findings: Findings = vec![];
        let mut files = vec![];
        for (at, result) in written {
            match result {
                Ok(()) => {
                    files.push(format!("{} {}", self.file(at, "hlsl").display(), self.kernels[at].name))
                }
                Err(error) => findings.push(format!("{}: naga: {error:#}", self.kernels[at].label)),
            }
        }
        findings.extend(self.judged(&files, &|| {
            let mut command = Command::new(&program);
            command.arg(&library);
            Ok((command, None))
        })?);
        Ok(findings)
    }

    /// The WGSL itself, through Dawn's Tint, which is fetched from npm. It wants a Vulkan driver: lavapipe will do.
    ///
    /// # Errors
    ///
    /// If Node is missing, or Dawn finds no adapter.
    pub fn tint(&self, tools: &Path, drivers: &Path, lavapipe: &Fake) -> Result<Findings> {
        let dir = tools.join("dawn");
        fs::create_dir_all(&dir)?;
        if !dir.join("node_modules/webgpu").exists() {
            fs::write(dir.join("package.json"), "{}")?;
            run(Command::new("npm").args(["install", "--silent", DAWN]).current_dir(&dir))?;
        }
        let script = dir.join("tint.mjs");
        fs::write(&script, include_str!("tint.mjs"))?;
        let node = which("node")?;
        let files: Vec<String> =
            self.plain().into_iter().map(|at| self.file(at, "wgsl").display().to_string()).collect();
        self.judged(&files, &|| {
            let (mut command, own) = environment::command(drivers, lavapipe, &node)?;
            command.arg(&script);
            Ok((command, Some(own)))
        })
    }

    /// Gives files to two processes of a compiler, in turns since some kernels take longer than others, and gathers what
    /// they refuse.
    fn judged(
        &self,
        files: &[String],
        compiler: &(dyn Fn() -> Result<(Command, Option<TempDir>)> + Sync),
    ) -> Result<Findings> {
        let answers: Vec<Result<String>> = (0..2.min(files.len()))
            .into_par_iter()
            .map(|part| {
                let list = self.dir.path().join(format!("list-{part}"));
                let own: Vec<&str> = files.iter().skip(part).step_by(2).map(String::as_str).collect();
                fs::write(&list, own.join("\n"))?;
                let (mut command, _own) = compiler()?;
                let out = command.stdin(fs::File::open(&list)?).stderr(Stdio::piped()).output();
                let out = out.with_context(|| command.get_program().to_string_lossy().into_owned())?;
                let said = String::from_utf8_lossy(&out.stderr);
                ensure!(out.status.success(), "{}: {}", out.status, said.lines().last().unwrap_or_default());
                Ok(String::from_utf8_lossy(&out.stdout).into_owned())
            })
            .collect();
        let (mut accepted, mut findings) = (0, vec![]);
        for answer in answers {
            for (file, refused) in verdicts(&answer?) {
                match refused {
                    None => accepted += 1,
                    Some(why) => findings.push(format!("{}: {why}", self.label(&file))),
                }
            }
        }
        println!("{accepted} of {} accepted", files.len());
        if accepted + findings.len() != files.len() {
            bail!(
                "{} of {} files were not answered for",
                files.len() - accepted - findings.len(),
                files.len()
            );
        }
        Ok(findings)
    }
}

/// Each file of an answer, and why it was refused.
fn verdicts(answer: &str) -> Vec<(String, Option<String>)> {
    let verdict = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let (file, verdict, said) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
        match verdict {
            "ok" => Some((file.to_owned(), None)),
            "refused" => Some((file.to_owned(), Some(said.trim().to_owned()))),
            _ => None,
        }
    };
    answer.lines().filter_map(verdict).collect()
}

/// As wgpu 30 writes it for Direct3D 12.
fn write_hlsl(shader: &Shader, file: &Path) -> Result<()> {
    let source = Source::parse(&shader.wgsl)?;
    let (module, info) = source.parsed();
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_6,
        fake_missing_bindings: true,
        restrict_indexing: true,
        force_loop_bounding: true,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: None };
    let mut text = String::from(DOT4);
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    Ok(fs::write(file, text)?)
}

/// The program that drives DXC, and its library.
fn build_dxc(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    fs::create_dir_all(dir)?;
    let sources = dir.join("compushady-0.17.5/compushady/backends");
    let library = sources.join(format!("libdxcompiler_{}.so.3.7", std::env::consts::ARCH));
    if !library.exists() {
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", DXC])
            .current_dir(dir))?;
        run(Command::new("tar").args(["xzf", "compushady-0.17.5.tar.gz"]).current_dir(dir))?;
    }
    let (source, program) = (dir.join("minidxc.cpp"), dir.join("minidxc"));
    let text = include_str!("minidxc.cpp");
    if !program.exists() || fs::read_to_string(&source).ok().as_deref() != Some(text) {
        fs::write(&source, text)?;
        run(Command::new("g++")
            .arg("-O1")
            .arg("-I")
            .arg(&sources)
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .arg("-ldl"))?;
    }
    Ok((program, library))
}

/// The place of a program.
fn which(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.exists());
    found.with_context(|| format!("{name} is needed for this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_and_noise_is_not() {
        let read = verdicts("/t/0.hlsl\tok\t\nnoise\n/t/1.hlsl\trefused\terror: X3000 \n");
        assert_eq!(read, [("/t/0.hlsl".into(), None), ("/t/1.hlsl".into(), Some("error: X3000".into()))]);
    }
}

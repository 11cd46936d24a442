//! `cargo xtask gpus`: Strix with the drivers and compilers of GPUs that are not here. Fails where a driver refuses a kernel or
//! dies of it, a kernel that a class of devices uses by default spills, a figure is worse than the committed one, a
//! program fails, a compiler of another platform refuses a text, or the validation layer finds what is ours.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return strix_tests::command::exit_code(linux::run());
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("error: Mesa's drivers for GPUs that are not here are for Linux");
        ExitCode::from(2)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result, ensure};
    use clap::{Parser, ValueEnum};
    use strix_isa::fetch::{self, Plan};
    use strix_isa::gpus::{self, Fake};
    use strix_isa::run::{self, Place};
    use strix_isa::select;
    use strix_isa::worker::{self, Kernels, Request, Which};
    use strix_tests::gpus::languages::Texts;
    use strix_tests::gpus::{Parts, programs, speed, tables, validation};

    /// GPUs of the quick part: each of the four drivers that say anything, and one that computes.
    const QUICK: [&str; 5] = ["navi31", "ampere", "adreno-740", "m1", "lavapipe-26"];

    /// A part of the checks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
    enum Part {
        /// `strix devices` and `strix ask` on each GPU.
        Programs,
        /// What the drivers say of the kernels, against benches/gpus.
        Statistics,
        /// Time of a cold start, and bounds of the speed: benches/GPUS.md.
        Speed,
        /// SPIR-V's validator.
        Spirv,
        /// Microsoft's compiler.
        Dxc,
        /// Chrome's.
        Tint,
        /// The validation layer.
        Validation,
    }

    #[derive(Parser)]
    #[command(about = "Strix with the drivers and compilers of GPUs that are not here")]
    struct Args {
        /// Four GPUs and lavapipe, the kernels that they use by default, and no other compilers: three minutes.
        #[arg(long)]
        quick: bool,
        /// GPUs, as `strix isa` names them.
        #[arg(long, value_delimiter = ',', value_name = "GPU,..")]
        only: Vec<String>,
        /// Parts [default: all; with --quick those up to statistics, and validation].
        #[arg(long, value_delimiter = ',', value_enum)]
        part: Vec<Part>,
        /// Folder of the drivers, and of the compilers [default: gpus in the target folder].
        #[arg(long, value_name = "DIR")]
        drivers: Option<PathBuf>,
        /// Fetch what is missing without being asked again.
        #[arg(long)]
        yes: bool,
        /// Where drivers are missing and are not fetched, say so and end well.
        #[arg(long)]
        or_skip: bool,
        /// Of all specialisations only every Nth through the other compilers: a first look.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        every: u16,
        /// Write the tables anew.
        #[arg(long)]
        write: bool,
    }

    impl Args {
        fn has(&self, part: Part) -> bool {
            match (self.part.is_empty(), self.quick) {
                (false, _) => self.part.contains(&part),
                (true, false) => true,
                (true, true) => [Part::Programs, Part::Statistics, Part::Validation].contains(&part),
            }
        }

        fn gpus(&self) -> Result<Vec<&'static Fake>> {
            match (self.only.is_empty(), self.quick) {
                (false, _) => gpus::find(&self.only),
                (true, true) => gpus::find(&QUICK),
                (true, false) => gpus::find(&["all"]),
            }
        }
    }

    /// Kernels on each GPU.
    fn compiled(
        gpus: &[&'static Fake],
        drivers: &Path,
        strix: &Path,
        which: Which,
        listings: bool,
    ) -> run::Run {
        let kernels = Kernels::Own { which, kernel: None, values: vec![] };
        let request = Request { kernels, skip: 0, listings };
        let places: Vec<_> = gpus.iter().map(|fake| Place::Fake(fake, drivers.to_owned())).collect();
        run::all(&places, strix, &worker::WORDS, &request, &|what| {
            // Of each GPU the first is enough of a sign of life.
            if what.contains(": 1 of ") {
                println!("{what}");
            }
        })
    }

    /// Fetches what is missing, once it was agreed to.
    fn fetch(drivers: &Path, needed: &[&Fake], yes: bool) -> Result<()> {
        let Some(plan) = Plan::new(&fetch::system(), &fetch::sources(), drivers, needed)? else {
            return Ok(());
        };
        ensure!(yes, "{} Say --yes", plan.question());
        plan.run(&mut |step| println!("fetching {step}"))
    }

    pub(super) fn run() -> Result<bool> {
        let args = Args::parse();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let own = std::env::current_exe()?;
        let profile = own.parent().context("the folder of this program")?;
        let drivers = args.drivers.clone().unwrap_or_else(|| profile.with_file_name("gpus"));
        let (strix, schedules) = (profile.join("strix"), profile.join("schedules"));
        let chosen = args.gpus()?;
        // The checkers come with the newest drivers.
        let lavapipe = gpus::find(&["lavapipe-26"])?[0];
        let needed: Vec<&Fake> = chosen.iter().copied().chain([lavapipe]).collect();
        match fetch(&drivers, &needed, args.yes) {
            Err(error) if args.or_skip => {
                println!("warning: drivers of GPUs that are not here are NOT CHECKED: {error:#}");
                return Ok(true);
            }
            done => done?,
        }
        ensure!(strix.exists(), "{}: `cargo xtask gpus` builds it", strix.display());

        let tables = root.join("benches/gpus");
        let mut parts = Parts::default();
        if args.has(Part::Programs) {
            parts.run("devices and ask", || {
                let each = chosen.iter().map(|fake| programs::check(fake, &drivers, &strix, &root));
                Ok(each.collect::<Result<Vec<_>>>()?.concat())
            });
        }
        if args.has(Part::Statistics) {
            parts.run("statistics", || {
                let which = if args.quick { Which::Defaults } else { Which::Choosable };
                let found = compiled(&chosen, &drivers, &strix, which, true);
                let each = found.gpus.iter().map(|gpu| tables::check(gpu, &tables, args.write));
                Ok(each.collect::<Result<Vec<_>>>()?.concat())
            });
        }
        if args.has(Part::Speed) {
            parts.run("cold start and speed", || {
                let real: Vec<_> = chosen.iter().copied().filter(|fake| !fake.computes()).collect();
                let found = compiled(&real, &drivers, &strix, Which::Start, false);
                speed::check(&found, &tables, args.write.then(|| root.join("benches/GPUS.md")).as_deref())
            });
        }
        if [Part::Spirv, Part::Dxc, Part::Tint].into_iter().any(|part| args.has(part)) {
            let texts = Texts::new(select::every().into_iter().step_by(args.every.into()).collect())?;
            println!("\n{} specialisations", texts.len());
            if args.has(Part::Spirv) {
                parts.run("spirv-val", || texts.spirv_val(&drivers));
            }
            if args.has(Part::Dxc) {
                parts.run("DXC", || texts.dxc(&drivers));
            }
            if args.has(Part::Tint) {
                parts.run("Tint", || texts.tint(&drivers, &drivers, lavapipe));
            }
        }
        if args.has(Part::Validation) {
            parts
                .run("validation layer", || validation::check(lavapipe, &drivers, &strix, &schedules, &root));
        }
        Ok(parts.summary())
    }
}

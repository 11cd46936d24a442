//! `strix-viewer`: a window in which pictures are asked about. The device that draws it is the one that answers.

mod app;
mod aside;
mod attention;
mod conversation;
mod device;
mod drive;
mod frames;
mod log;
mod messages;
mod picture;
mod plan;
mod problem;
mod reporter;
mod screen;
mod settings;
mod state;
mod store;
mod theme;
mod view;
mod watch;
mod worker;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use eframe::egui::ViewportBuilder;
use eframe::egui_wgpu::WgpuConfiguration;

use crate::app::{App, Kept, Opening};
use crate::device::Wanted;
use crate::drive::Drive;
use crate::log::Log;
use crate::problem::Problem;
use crate::settings::{Choice, Look, Settings, Slice};
use crate::store::Store;

/// Least width and height of the window, in points.
const LEAST: [f32; 2] = [360.0, 480.0];

/// A window in which pictures are asked about
#[derive(Debug, Parser)]
#[command(version, name = "strix-viewer")]
struct Args {
    /// Pictures for the first question
    pictures: Vec<PathBuf>,
    /// Folder of a model, or nano, the built-in one [default: the one that was loaded last]
    #[arg(short, long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Part of the name or backend of the adapter to use, e.g. nvidia or gl; see `strix devices`
    #[arg(long, value_name = "NAME", env = "STRIX_ADAPTER", hide_env = true)]
    adapter: Option<String>,
    /// Milliseconds for which the model may keep the device from the next frame; 0: as long as it takes
    #[arg(long, value_name = "MS")]
    slice: Option<u32>,
    /// Positions of a conversation
    #[arg(long, value_name = "POSITIONS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    ctx: Option<u32>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// File of the settings; options given here are not kept in it [default: strix/viewer.json among the user's settings]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Colours of the window
    #[arg(long, value_enum)]
    look: Option<LookArg>,
    /// Width and height of the window, in points
    #[arg(long, value_name = "WxH", value_parser = size, default_value = "1080x760")]
    size: [f32; 2],
    /// Ask this by itself, with the pictures given, write the times of the frames, and close
    #[arg(long, value_name = "QUESTION", requires = "frames")]
    ask: Option<String>,
    /// File for the times of the frames, as JSON
    #[arg(long, value_name = "FILE", requires = "ask")]
    frames: Option<PathBuf>,
    /// Number of times that --ask asks
    #[arg(long, value_name = "N", default_value = "1", requires = "ask")]
    times: u32,
    /// File for the window's state, a line of JSON for each change
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Give the model's work to the device after each frame, or as soon as there is some [default: true on a GPU]
    #[arg(long, value_name = "BOOL")]
    paced: Option<bool>,
    /// Wait so long at each tensor of a model that is loaded, to see it being loaded
    #[arg(long, value_name = "MS", hide = true)]
    slow_loading: Option<u64>,
    /// Destroy the device when an answer has so many tokens, to see what happens
    #[arg(long, value_name = "TOKENS", hide = true)]
    lose_device_after: Option<u32>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LookArg {
    System,
    Light,
    Dark,
}

fn size(text: &str) -> Result<[f32; 2], String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some([w.parse().ok()?, h.parse().ok()?]));
    let size: [f32; 2] = sides.ok_or("it is no size such as 1080x760")?;
    let [width, height] = LEAST;
    if !size.iter().zip(LEAST).all(|(side, least)| *side >= least) {
        return Err(format!("the least size is {width}x{height}"));
    }
    if size.iter().any(|&side| side > 16_384.0) {
        return Err("the largest size is 16384x16384".into());
    }
    Ok(size)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let has_colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(has_colours);
    log.with_env_filter(filter()).init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {}", problem.text());
            ExitCode::from(problem.exit_code())
        }
    }
}

/// What `RUST_LOG` asks for, or Strix's warnings and the errors of others. Not those of X11, which calls each request an error
/// that a window made before it closed, nor those of GL where it has no driver.
fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        "error,winit::platform_impl::linux=off,wgpu_hal::gles=off,strix_engine=warn,strix_model=warn".into()
    })
}

/// Opens the window, and again each time that its device is lost.
fn run(args: &Args) -> Result<(), Problem> {
    if cfg!(target_os = "linux") && !has_display(|name| std::env::var_os(name)) {
        return Err(no_display());
    }
    let kept = Rc::new(RefCell::new(Kept::default()));
    if let Some(path) = &args.log {
        let log =
            Log::create(path).map_err(|error| Problem::input(format!("{}: {error}", path.display()), ""))?;
        kept.borrow_mut().log = Some(log);
    }
    if let (Some(question), Some(out)) = (&args.ask, &args.frames) {
        let drive = Drive::new(question.clone(), args.times, out.clone(), args.pictures.len());
        kept.borrow_mut().drive = Some(drive);
    }
    let (mut opening, store) = opening(args);
    kept.borrow_mut().store = store;
    let mut wanted = Wanted { name: args.adapter.clone().filter(|name| !name.is_empty()), passed_over: 0 };
    loop {
        let setup = device::setup(&wanted).map_err(|what| Problem::input(what, ""))?;
        let opened = catch_unwind(AssertUnwindSafe(|| open(args, setup, &kept, &opening)));
        // A lost device is destroyed on purpose once at most.
        opening.lose_device_after = None;
        let has_lost = is_lost(&kept.borrow());
        match opened {
            Ok(Err(eframe::Error::Wgpu(error))) if kept.borrow().device.is_none() => {
                // What cannot draw on this display is passed over.
                eprintln!("note: passed over an adapter: {error}");
                wanted.passed_over += 1;
            }
            Ok(Err(eframe::Error::WinitEventLoop(_))) if cfg!(target_os = "linux") => {
                return Err(no_display());
            }
            Ok(Err(error)) if !has_lost => return Err(Problem::new(error.to_string(), "")),
            Ok(Ok(())) if !has_lost => return kept.take().drive.map_or(Ok(()), Drive::outcome),
            // wgpu panics in places when a device is lost.
            Err(panic) if !has_lost => std::panic::resume_unwind(panic),
            _ => {}
        }
    }
}

/// Whether the environment names a display of X11 or Wayland.
fn has_display(var: impl Fn(&str) -> Option<OsString>) -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"]
        .into_iter()
        .any(|name| var(name).is_some_and(|value| !value.is_empty()))
}

fn no_display() -> Problem {
    Problem::input("no display: set DISPLAY or WAYLAND_DISPLAY, or run it in a desktop session", "")
}

/// Whether the device of the window that was open is lost. wgpu may have panicked of that before it said so.
fn is_lost(kept: &Kept) -> bool {
    if let Some(device) = &kept.device {
        _ = catch_unwind(AssertUnwindSafe(|| device.poll(wgpu::PollType::Poll)));
    }
    kept.lost.is_set()
}

/// What is opened: the settings with the options over them.
fn opening(args: &Args) -> (Opening, Store) {
    let (mut store, trouble) = Store::open(args.settings.clone().or_else(Settings::default_path));
    let mut settings = store.kept().clone();
    match &args.model {
        Some(path) if path.as_os_str() == "nano" => settings.model = Choice::Nano,
        Some(path) => settings.model = Choice::Folder(path.clone()),
        None => {}
    }
    if let Some(ms) = args.slice {
        settings.loading.slice = if ms > 0 { Slice::Ms(ms) } else { Slice::Whole };
    }
    settings.loading.ctx = args.ctx.or(settings.loading.ctx);
    settings.answering.max_tokens = args.max_tokens.unwrap_or(settings.answering.max_tokens);
    if let Some(look) = args.look {
        settings.look = match look {
            LookArg::System => Look::System,
            LookArg::Light => Look::Light,
            LookArg::Dark => Look::Dark,
        };
    }
    store.begin(&settings);
    let opening = Opening {
        settings,
        pictures: args.pictures.clone(),
        paced: args.paced,
        trouble,
        slow_loading: args.slow_loading.map(Duration::from_millis),
        lose_device_after: args.lose_device_after,
    };
    (opening, store)
}

fn open(
    args: &Args,
    wgpu_setup: eframe::egui_wgpu::WgpuSetup,
    kept: &Rc<RefCell<Kept>>,
    opening: &Opening,
) -> eframe::Result {
    let viewport = ViewportBuilder::default()
        .with_title("Strix")
        .with_app_id("strix-viewer")
        .with_inner_size(args.size)
        .with_min_inner_size(LEAST)
        .with_drag_and_drop(true);
    let options = eframe::NativeOptions {
        viewport,
        renderer: eframe::Renderer::Wgpu,
        wgpu_options: WgpuConfiguration { wgpu_setup, ..WgpuConfiguration::default() },
        ..eframe::NativeOptions::default()
    };
    let (kept, opening) = (kept.clone(), opening.clone());
    let create = move |cc: &eframe::CreationContext<'_>| {
        Ok(Box::new(App::new(cc, kept, opening)) as Box<dyn eframe::App>)
    };
    eframe::run_native("strix-viewer", options, Box::new(create))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_not_kept_with_what_the_window_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("viewer.json");
        std::fs::write(&path, r#"{"model": {"folder": "/models/owl"}}"#).unwrap();
        let file = path.to_str().unwrap();
        let args = ["strix-viewer", "--model", "nano", "--look", "dark", "--slice", "3", "--ctx", "512"];
        let args = Args::parse_from(args.into_iter().chain(["--max-tokens", "7", "--settings", file]));
        let (opening, mut store) = opening(&args);
        let mut settings = opening.settings;
        assert_eq!((&settings.model, settings.loading.slice), (&Choice::Nano, Slice::Ms(3)));
        settings.answering.seed = 5;
        store.save(&settings).unwrap();
        let mut wanted = Settings { model: Choice::Folder("/models/owl".into()), ..Settings::default() };
        wanted.answering.seed = 5;
        assert_eq!(Settings::read(&path), Ok(wanted));
    }

    #[test]
    fn a_size_that_is_too_small_is_told_the_least() {
        assert_eq!(size("1080x760"), Ok([1080.0, 760.0]));
        assert!(size("200x100").unwrap_err().contains("360x480"));
        assert!(size("1e9x760").unwrap_err().contains("16384"));
        for wrong in ["1080", "x", "NaNxNaN"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_display_is_named_by_the_environment() {
        assert!(has_display(|name| (name == "WAYLAND_DISPLAY").then(|| "wayland-0".into())));
        assert!(!has_display(|name| (name == "DISPLAY").then(OsString::new)));
    }
}

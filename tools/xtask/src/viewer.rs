//! The window: used by a program, on a display of its own.

use std::env;
use std::path::Path;

use crate::{Result, VULKAN, cargo, driver, programs, run};

/// Programs that the tests of the window use, and their packages on Debian and Ubuntu.
const DISPLAY: [(&str, &str); 3] = [("Xvfb", "xvfb"), ("xdotool", "xdotool"), ("xclip", "xclip")];

/// Runs the tests of the window and keeps its screenshots; with `--frames`, measures its frames instead.
pub(crate) fn viewer(args: &[String]) -> Result {
    driver(&VULKAN)?;
    display()?;
    let mut tests = cargo();
    tests.args(["test", "-p", "strix-viewer"]);
    match args {
        [] => {
            let target = env::current_exe().unwrap_or_default();
            let shots = target.ancestors().nth(2).unwrap_or(Path::new("target")).join("viewer");
            // A window that is used by a program needs the processor to itself.
            run(tests.env("STRIX_VIEWER_SHOTS", &shots).args(["--", "--test-threads=1"]))?;
            println!("screenshots are in {}", shots.display());
            Ok(())
        }
        [frames, models @ ..] if frames == "--frames" => {
            tests.args(["--test", "window", "frame_times", "--", "--ignored", "--nocapture"]);
            run(tests.env("STRIX_VIEWER_MODELS", models.join(":")))
        }
        _ => {
            eprintln!(
                "error: viewer takes nothing, or --frames and folders of models, not {:?}",
                args.join(" ")
            );
            Err(2)
        }
    }
}

/// Sees to it that there is what a window can be tested with. Where it cannot be installed, the tests say so and pass.
pub(crate) fn display() -> Result {
    programs(&DISPLAY)
}

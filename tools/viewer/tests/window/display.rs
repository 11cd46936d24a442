//! A display of its own, and a pointer, a keyboard and a clipboard on it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use image::RgbImage;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt, ImageFormat};
use x11rb::rust_connection::RustConnection;

/// An Xvfb, ended when it is dropped.
pub(crate) struct Display {
    server: Child,
    /// `:99`.
    pub(crate) name: String,
    pub(crate) x: Arc<RustConnection>,
}

impl Display {
    /// Starts one. `None`, with a message, where Xvfb or xdotool is not there.
    pub(crate) fn start(width: u32, height: u32) -> Option<Self> {
        let has = |program: &str| Command::new(program).arg("-version").output().is_ok();
        if let Some(missing) = ["Xvfb", "xdotool", "xclip"].into_iter().find(|program| !has(program)) {
            eprintln!("skipped: {missing} is not there: apt-get install xvfb xdotool xclip");
            return None;
        }
        let screen = format!("{width}x{height}x24");
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", &screen, "-nolisten", "tcp", "-noreset"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("Xvfb says its number");
        let name = format!(":{}", line.trim());
        let (x, _) = RustConnection::connect(Some(&name)).expect("Xvfb takes connections");
        Some(Self { server, name, x: x.into() })
    }

    /// Moves, clicks and types.
    pub(crate) fn xdotool(&self, args: &[&str]) {
        let done =
            Command::new("xdotool").args(args).env("DISPLAY", &self.name).output().expect("xdotool runs");
        assert!(done.status.success(), "xdotool {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Clicks in the middle of a control.
    pub(crate) fn click(&self, [left, top, width, height]: [i32; 4]) {
        let at = [left + width / 2, top + height / 2].map(|at| at.to_string());
        self.xdotool(&["mousemove", &at[0], &at[1]]);
        // The window draws once with the pointer there before the button goes down.
        thread::sleep(Duration::from_millis(60));
        self.xdotool(&["click", "1"]);
    }

    /// Gives the window the keyboard: without a window manager nobody else does.
    pub(crate) fn focus(&self) {
        self.xdotool(&["search", "--sync", "--onlyvisible", "--name", "^Strix$", "windowfocus"]);
    }

    /// Types into what has the keyboard.
    pub(crate) fn type_text(&self, text: &str) {
        self.xdotool(&["type", "--delay", "6", text]);
    }

    /// Presses keys, e.g. `ctrl+v`.
    pub(crate) fn key(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    /// Puts something on the clipboard.
    pub(crate) fn copy(&self, kind: &str, content: &[u8]) {
        let mut xclip = Command::new("xclip")
            .args(["-selection", "clipboard", "-t", kind])
            .env("DISPLAY", &self.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("xclip starts");
        xclip.stdin.take().expect("piped").write_all(content).expect("xclip reads");
        // It goes on in the background, for as long as the display is there.
        assert!(xclip.wait().expect("xclip ends").success());
    }

    /// What is on the screen.
    pub(crate) fn picture(&self) -> RgbImage {
        let root = &self.x.setup().roots[0];
        let (width, height) = (root.width_in_pixels, root.height_in_pixels);
        let image = self.x.get_image(ImageFormat::Z_PIXMAP, root.root, 0, 0, width, height, !0).unwrap();
        let bytes = image.reply().expect("the screen can be read").data;
        let rgb = bytes.chunks_exact(4).flat_map(|bgrx| [bgrx[2], bgrx[1], bgrx[0]]).collect();
        RgbImage::from_raw(u32::from(width), u32::from(height), rgb).expect("four bytes a pixel")
    }

    /// Keeps what is on the screen in the folder that `STRIX_VIEWER_SHOTS` names, if it names one.
    pub(crate) fn shoot(&self, name: &str) {
        let Some(dir) = env::var_os("STRIX_VIEWER_SHOTS") else { return };
        std::fs::create_dir_all(&dir).expect("the folder of the screenshots");
        // What was drawn comes to the screen some frames later, and a text cursor blinks.
        let mut picture = self.picture();
        for _ in 0..8 {
            thread::sleep(Duration::from_millis(400));
            let last = std::mem::replace(&mut picture, self.picture());
            if last == picture {
                break;
            }
        }
        picture.save(Path::new(&dir).join(format!("{name}.png"))).expect("a screenshot is written");
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
    }
}

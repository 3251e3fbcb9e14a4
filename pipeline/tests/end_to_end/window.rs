//! The window, on an X server without a screen, used as a person would.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::picture::Picture;
use crate::programs::{PATIENCE, built, run, runner, succeeded, tool};

pub struct Display {
    server: Child,
    pub name: String,
}

impl Display {
    pub fn start() -> Display {
        // -displayfd has the server choose a free display and say which.
        let mut server = tool("Xvfb", "xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1400x900x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.trim().is_empty(), "the X server did not start");
        Display { server, name: format!(":{}", number.trim()) }
    }

    pub fn xdotool(&self, args: &[&str]) -> String {
        let output = run(tool("xdotool", "xdotool").env("DISPLAY", &self.name).args(args));
        succeeded(&output);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The id of the guest's window, once it is there.
    pub fn window(&self) -> String {
        wait_for("the window", || {
            let mut search = tool("xdotool", "xdotool");
            let output = run(search.env("DISPLAY", &self.name).args(["search", "--name", "^hello "]));
            String::from_utf8(output.stdout).unwrap().lines().next().map(str::to_owned)
        })
    }

    pub fn picture(&self, path: &Path) -> Picture {
        let mut import = tool("import", "imagemagick");
        succeeded(&run(import.env("DISPLAY", &self.name).args(["-window", "root", "-depth", "8"]).arg(path)));
        Picture::read(path)
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A child that is not left behind.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Where the guest's picture is on the display, if all of it is there.
fn find(display: &Picture, guest: &Picture) -> Option<(usize, usize)> {
    let (right, down) = (display.width.checked_sub(guest.width)?, display.height.checked_sub(guest.height)?);
    // A window without a manager is where the program put it; a pixel in the guest's page tells.
    (0..=down).flat_map(|y| (0..=right).map(move |x| (x, y))).find(|&(x, y)| {
        let same = |gx: usize, gy: usize| display.pixel(x + gx, y + gy) == guest.pixel(gx, gy);
        (0..guest.height).step_by(37).all(|gy| (0..guest.width).step_by(29).all(|gx| same(gx, gy)))
            && (0..guest.height).all(|gy| (0..guest.width).all(|gx| same(gx, gy)))
    })
}

#[test]
fn a_window_shows_takes_keys_resets_and_closes() {
    let display = Display::start();
    let dir = tempfile::tempdir().unwrap();
    let shot: PathBuf = dir.path().join("display.png");
    let warm = Picture::read(&built().join("screen.png"));
    let console = dir.path().join("console");
    let mut command: Command = runner();
    command.arg("restore").arg(built()).arg("--console").arg(&console).env("DISPLAY", &display.name);
    let mut session = Running(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());

    let place = wait_for("the warm page in the window", || find(&display.picture(&shot), &warm));
    let window = display.window();
    let title = display.xdotool(&["getwindowname", &window]);
    assert!(title.contains("hello") && title.contains("Ctrl+Alt+R"), "{title:?}");

    display.xdotool(&["windowfocus", &window]);
    display.xdotool(&["type", "--delay", "60", "black tea"]);
    display.xdotool(&["key", "Return"]);
    wait_for("the typed line at the guest", || {
        std::fs::read_to_string(&console).ok().filter(|text| text.contains("hello: black tea"))
    });
    wait_for("the typed line in the window", || {
        let now = display.picture(&shot);
        let changed = (0..warm.height)
            .filter(|&y| (0..warm.width).any(|x| now.pixel(place.0 + x, place.1 + y) != warm.pixel(x, y)))
            .count();
        (16..=3 * 16).contains(&changed).then_some(())
    });

    display.xdotool(&["key", "ctrl+alt+r"]);
    wait_for("the warm page after a reset", || {
        (find(&display.picture(&shot), &warm) == Some(place)).then_some(())
    });

    display.xdotool(&["key", "ctrl+alt+x"]);
    let status = wait_for("the end of the session", || session.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn without_a_display_the_runner_says_what_to_do() {
    let output =
        run(runner().arg("restore").arg(built()).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(
        stderr.contains("error: ") && stderr.contains("hint: ") && stderr.contains("--headless"),
        "{stderr}"
    );
}

//! An X server without a screen, and what a person does at one: looks, types, points.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::picture::Picture;
use crate::programs::{PATIENCE, run, succeeded, tool};

pub struct Display {
    server: Child,
    pub name: String,
}

impl Display {
    /// A display of `screen`, such as `1400x900`.
    pub fn start(screen: &str) -> Display {
        // -displayfd has the server choose a free display and say which.
        // Without `-noreset` the server begins anew, the pointer in the middle, when the last program leaves it.
        let mut server = tool("Xvfb", "xvfb")
            .args([
                "-displayfd",
                "1",
                "-noreset",
                "-screen",
                "0",
                &format!("{screen}x24"),
                "-nolisten",
                "tcp",
            ])
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

    /// The ids of `count` windows of the guest `name`, once they are there.
    pub fn windows(&self, name: &str, count: usize) -> Vec<String> {
        wait_for("the window", || {
            let mut search = tool("xdotool", "xdotool");
            search.env("DISPLAY", &self.name).args(["search", "--name", &format!("^{name} ")]);
            let output = String::from_utf8(run(&mut search).stdout).unwrap();
            let windows: Vec<_> = output.lines().map(str::to_owned).collect();
            (windows.len() == count).then_some(windows)
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
pub fn find(display: &Picture, guest: &Picture) -> Option<(usize, usize)> {
    let (right, down) = (display.width.checked_sub(guest.width)?, display.height.checked_sub(guest.height)?);
    // A window without a manager is where the program put it; a pixel in the guest's page tells.
    (0..=down).flat_map(|y| (0..=right).map(move |x| (x, y))).find(|&(x, y)| {
        let same = |gx: usize, gy: usize| display.pixel(x + gx, y + gy) == guest.pixel(gx, gy);
        (0..guest.height).step_by(37).all(|gy| (0..guest.width).step_by(29).all(|gx| same(gx, gy)))
            && (0..guest.height).all(|gy| (0..guest.width).all(|gx| same(gx, gy)))
    })
}

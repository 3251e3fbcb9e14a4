//! Firefox in its window, used by hand.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::display::{Display, Running, find, wait_for};
use crate::picture::Picture;
use crate::{HOME, TOUR, built, runner, size};

/// Red, green and blue of `colour`, as the pages' styles have it.
fn rgb(colour: &str) -> [u8; 3] {
    let [_, r, g, b] = u32::from_str_radix(colour, 16).unwrap().to_be_bytes();
    [r, g, b]
}

/// A display, and where its picture is put.
struct Eyes<'a> {
    display: &'a Display,
    shot: &'a Path,
}

impl Eyes<'_> {
    /// Waits until the display has `colour` at (x, y).
    fn wait_for_pixel(&self, what: &str, (x, y): (usize, usize), colour: [u8; 3]) {
        wait_for(what, || (self.display.picture(self.shot).pixel(x, y) == colour).then_some(()));
    }
}

/// Gives a person's time between two things that a slow browser must see one after the other.
fn pause() {
    std::thread::sleep(Duration::from_secs(2));
}

/// Types an address, clicks into a field, types, presses the button, turns the wheel, makes the window smaller, resets,
/// closes: with the keyboard and the mouse of an X server.
#[test]
fn a_person_uses_the_browser_in_its_window() {
    let display = Display::start("1400x900");
    let dir = tempfile::tempdir().unwrap();
    let shot = dir.path().join("display.png");
    let eyes = Eyes { display: &display, shot: &shot };
    let warm = Picture::read(&built().join("screen.png"));
    let mut command: Command = runner();
    command.current_dir(dir.path()).arg("restore").arg(built()).args(["--report", "report.json"]);
    command.env("DISPLAY", &display.name).stdin(Stdio::null());
    let mut session = Running(command.spawn().unwrap());

    let (left, top) = wait_for("the homepage in the window", || find(&display.picture(&shot), &warm));
    let at = |x: usize, y: usize| (left + x, top + y);
    let window = display.windows("firefox", 1).remove(0);
    display.xdotool(&["windowfocus", "--sync", &window]);
    let point = |x: usize, y: usize| {
        display.xdotool(&["mousemove", "--window", &window, &x.to_string(), &y.to_string()]);
    };

    display.xdotool(&["key", "ctrl+l"]);
    pause();
    display.xdotool(&["type", "--delay", "60", "file:///usr/share/samovar/tour.html"]);
    pause();
    display.xdotool(&["key", "Return"]);
    eyes.wait_for_pixel("the page that was typed", at(10, 400), rgb(TOUR));

    point(190, 265);
    display.xdotool(&["click", "1"]);
    pause();
    display.xdotool(&["type", "--delay", "60", "green tea"]);
    pause();
    point(352, 265);
    display.xdotool(&["click", "1"]);
    point(600, 500);
    eyes.wait_for_pixel("the button that was pressed", at(352, 248), rgb(crate::PRESSED));

    display.xdotool(&["click", "--repeat", "20", "--delay", "40", "5"]);
    eyes.wait_for_pixel("the second part of the page, by the wheel", at(900, 400), rgb(crate::SECOND_PART));

    // The window's size becomes the guest's: the page reaches a corner that the old one would have been scaled to.
    display.xdotool(&["windowsize", &window, "900", "620"]);
    display.xdotool(&["click", "--repeat", "60", "--delay", "20", "4"]);
    eyes.wait_for_pixel("the page in a smaller window", at(5, 610), rgb(TOUR));
    display.xdotool(&["windowsize", &window, "1280", "800"]);

    display.xdotool(&["key", "ctrl+alt+r"]);
    wait_for("the homepage after a reset", || {
        (find(&display.picture(&shot), &warm) == Some((left, top))).then_some(())
    });

    display.xdotool(&["key", "ctrl+alt+x"]);
    let status = wait_for("the end of the session", || session.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    assert!(report["first_frame_us"].as_u64().is_some_and(|us| us > 0), "{report}");
    eprintln!("{report:#}");
}

/// Several windows of one base, side by side: what is typed in one is in no other.
#[test]
fn several_windows_are_several_browsers() {
    let count = size(2, 4);
    let display = Display::start("2600x1640");
    let dir = tempfile::tempdir().unwrap();
    let shot = dir.path().join("display.png");
    let eyes = Eyes { display: &display, shot: &shot };
    let mut command: Command = runner();
    command.current_dir(dir.path()).arg("restore").arg(built());
    command.args(["-n", &count.to_string(), "--report", "report-{n}.json"]);
    command.env("DISPLAY", &display.name).stdin(Stdio::null());
    let mut sessions = Running(command.spawn().unwrap());

    let windows = display.windows("firefox", count);
    let places: Vec<_> = (0..count).map(|index| (1300 * (index % 2), 820 * (index / 2))).collect();
    for (window, (x, y)) in windows.iter().zip(&places) {
        display.xdotool(&["windowmove", window, &x.to_string(), &y.to_string()]);
    }
    for &(x, y) in &places {
        eyes.wait_for_pixel("the homepage in each window", (x + 3, y + 790), HOME);
    }
    let warm = Picture::read(&built().join("screen.png"));

    // The first goes elsewhere.
    display.xdotool(&["windowfocus", "--sync", &windows[0]]);
    display.xdotool(&["key", "ctrl+l"]);
    pause();
    display.xdotool(&["type", "--delay", "60", "file:///usr/share/samovar/tour.html"]);
    pause();
    display.xdotool(&["key", "Return"]);
    let (x, y) = places[0];
    eyes.wait_for_pixel("the page that was typed", (x + 10, y + 400), rgb(TOUR));
    let all = display.picture(&shot);
    for &(x, y) in &places[1..] {
        let same = |gx: usize, gy: usize| all.pixel(x + gx, y + gy) == warm.pixel(gx, gy);
        assert!((0..warm.height).all(|gy| (0..warm.width).all(|gx| same(gx, gy))), "the window at {x} {y}");
    }

    for window in &windows {
        display.xdotool(&["windowfocus", "--sync", window]);
        display.xdotool(&["key", "ctrl+alt+x"]);
    }
    let status = wait_for("the end of the sessions", || sessions.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    for number in 1..=count {
        let report = fs::read(dir.path().join(format!("report-{number}.json"))).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let owned = report["memory"]["private_dirty"].as_u64().unwrap();
        eprintln!("session {number} owns {} MiB", owned >> 20);
        assert!(owned > 0 && owned < 1 << 30, "session {number} owns {owned} bytes of the base's 2 GiB");
    }
}

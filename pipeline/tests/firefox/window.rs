//! Firefox in its window, used by hand.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::display::{Display, Running, find, wait_for};
use crate::picture::Picture;
use crate::{HOME, TOUR, built, runner, size};

/// Red, green and blue of `colour`, as the pages' styles have it.
fn rgb(colour: &str) -> [u8; 3] {
    let [_, r, g, b] = u32::from_str_radix(colour, 16).unwrap().to_be_bytes();
    [r, g, b]
}

/// How long a part of the display must hold still to be what its browser makes of the last input.
const STILL: Duration = Duration::from_millis(1500);

/// How long something may take before a person thinks that it was not heard, on a machine that does much else.
const AGAIN: Duration = Duration::from_secs(40);

/// A part of the display: left, top, width and height.
type Part = (usize, usize, usize, usize);

/// The part's pixels.
fn cut(picture: &Picture, (left, top, width, height): Part) -> Vec<[u8; 3]> {
    (top..top + height).flat_map(|y| (left..left + width).map(move |x| picture.pixel(x, y))).collect()
}

/// A display, and where its picture is put.
struct Eyes<'a> {
    display: &'a Display,
    shot: &'a Path,
}

impl Eyes<'_> {
    fn look(&self) -> Picture {
        self.display.picture(self.shot)
    }

    /// Waits until the display has `colour` at (x, y).
    fn wait_for_pixel(&self, what: &str, (x, y): (usize, usize), colour: [u8; 3]) {
        wait_for(what, || (self.look().pixel(x, y) == colour).then_some(()));
    }

    /// Waits until `part` of the display has held still for a while, and gives what it shows then.
    fn settle(&self, part: Part) -> Vec<[u8; 3]> {
        let mut last = (cut(&self.look(), part), Instant::now());
        wait_for("a display that holds still", || {
            let now = cut(&self.look(), part);
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() >= STILL).then(|| last.0.clone())
        })
    }

    /// Does `act` until `part` of the display is another and holds still: a slow browser takes what comes next amiss
    /// before that, and it loses what it was not ready for, which a person does again.
    fn change(&self, what: &str, part: Part, act: impl Fn()) {
        let before = cut(&self.look(), part);
        wait_for(what, || {
            act();
            let begun = Instant::now();
            while begun.elapsed() < AGAIN {
                if self.settle(part) != before {
                    return Some(());
                }
            }
            None
        });
    }

    /// Types `address` into the address bar of the focused window, whose corner is at (left, top), until the page has
    /// `colour` near its left edge.
    fn go_to(&self, (left, top): (usize, usize), address: &str, colour: [u8; 3]) {
        let bar = (left + 330, top + 46, 700, 26);
        wait_for("the page that was typed", || {
            self.display.xdotool(&["key", "ctrl+l"]);
            self.settle(bar);
            self.display.xdotool(&["type", "--delay", "60", address]);
            self.display.xdotool(&["key", "Return"]);
            let begun = Instant::now();
            while begun.elapsed() < AGAIN {
                if self.look().pixel(left + 10, top + 400) == colour {
                    return Some(());
                }
            }
            None
        });
    }
}

/// Presses the left button for as long as a finger does: xdotool's own click is over before a window on a slow machine
/// looks at the mouse.
fn click(display: &Display) {
    display.xdotool(&["mousedown", "1", "sleep", "0.15", "mouseup", "1"]);
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

    eyes.go_to((left, top), "file:///usr/share/samovar/tour.html", rgb(TOUR));

    let field = (left + 34, top + 230, 310, 60);
    point(190, 265);
    eyes.change("the field that was clicked", field, || click(&display));
    eyes.change("what was typed into it", field, || {
        display.xdotool(&["type", "--delay", "60", "green tea"]);
    });
    let button = (left + 345, top + 240, 20, 20);
    eyes.change("the button that was pressed", button, || {
        point(390, 265);
        click(&display);
        point(600, 500);
    });
    eyes.wait_for_pixel("the button's colour", at(352, 248), rgb(crate::PRESSED));

    let (x, y) = at(900, 400);
    wait_for("the second part of the page, by the wheel", || {
        let there = eyes.look().pixel(x, y) == rgb(crate::SECOND_PART);
        if !there {
            display.xdotool(&["click", "5"]);
        }
        there.then_some(())
    });

    // The window's size becomes the guest's. Were the old picture shown smaller, there would be a bar below it.
    display.xdotool(&["windowsize", &window, "900", "620"]);
    eyes.wait_for_pixel("the root window beside the smaller one", at(1000, 400), [0; 3]);
    eyes.wait_for_pixel("the page down to the edge of the smaller window", at(5, 612), rgb(TOUR));
    display.xdotool(&["windowsize", &window, "1280", "800"]);

    // Off the window, where it does not move the guest's pointer.
    display.xdotool(&["mousemove", "5", "5"]);
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

/// Several windows of one base, side by side: what is typed in one is in no other, and each says what it owns.
#[test]
fn several_windows_are_several_browsers() {
    let count = size(2, 4);
    let display = Display::start("2600x1640");
    // It begins in the middle, where a window's corner will be, and its guest's pointer would follow.
    display.xdotool(&["mousemove", "2599", "1639"]);
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
    eyes.go_to(places[0], "file:///usr/share/samovar/tour.html", rgb(TOUR));
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

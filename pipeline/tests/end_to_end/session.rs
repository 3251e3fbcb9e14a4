//! A restored guest without a window, driven by scripts.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::picture::Picture;
use crate::programs::{built, run, runner, succeeded};

/// What a script in a restored guest came to.
pub struct Played {
    pub output: Output,
    pub console: String,
    dir: tempfile::TempDir,
}

impl Played {
    pub fn picture(&self, name: &str) -> Picture {
        Picture::read(&self.dir.path().join(name))
    }

    /// What the guest's console says after `hello: WORD` was typed: the line that starts with `mark`.
    fn said(&self, mark: &str) -> String {
        let line = self.console.lines().find_map(|line| line.trim().strip_prefix(mark));
        line.unwrap_or_else(|| panic!("no {mark:?} on the console:\n{}", self.console)).trim().to_owned()
    }
}

pub fn play(script: &str) -> Played {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    fs::write(path("script"), format!("timeout 3m\n{script}")).unwrap();
    let mut command = runner();
    command.current_dir(dir.path()).arg("restore").arg(built()).arg("--headless");
    command.args(["--script", "script", "--console", "console", "--report", "report.json"]);
    let output = run(&mut command);
    let console = fs::read_to_string(path("console")).unwrap_or_default();
    Played { output, console, dir }
}

#[test]
fn typing_shows_and_reset_brings_the_very_pixels_back() {
    let mut script = String::from("screenshot before.png\n");
    for round in 0..3 {
        script +=
            &format!("type tea {round}\nkey enter\nwait-console hello: tea {round}\nwait-frame 300ms\n");
        script += &format!("screenshot typed{round}.png\nreset\nscreenshot reset{round}.png\n");
    }
    let played = play(&script);
    succeeded(&played.output);

    let before = played.picture("before.png");
    assert_eq!((before.width, before.height), (1280, 800));
    assert!(before.colours() > 7, "the page is painted in colours");
    assert!(before == Picture::read(&built().join("screen.png")), "the first picture is the captured one");
    for round in 0..3 {
        let changed = before.rows_that_differ(&played.picture(&format!("typed{round}.png")));
        // What is typed and its answer: two lines of text and the cursor, all below the page.
        assert!(!changed.is_empty() && changed.len() <= 3 * 16, "{} rows changed", changed.len());
        assert!(changed[0] > 200, "row {} changed", changed[0]);
        assert!(before == played.picture(&format!("reset{round}.png")), "reset {round} brings the page back");
    }
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(played.dir.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["resets_us"].as_array().map(Vec::len), Some(3), "{report}");
    for phase in ["mapped_us", "devices_us", "state_us", "first_instruction_us", "first_frame_us"] {
        assert!(report[phase].as_u64().is_some_and(|us| us > 0), "{phase} in {report}");
    }
}

#[test]
fn the_guest_has_two_processors_and_the_right_time() {
    let played = play(
        "type cpus\nkey enter\nwait-console hello: cpus = \nwait 2s\ntype date\nkey enter\nwait-console hello: date = \nwait 200ms",
    );
    succeeded(&played.output);
    assert_eq!(played.said("hello: cpus = "), "2");
    let guest: u64 = played.said("hello: date = ").parse().unwrap();
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(host.abs_diff(guest) < 300, "the guest says {guest}, the host {host}");
}

/// The private line: the guest hears the request as it was made, and its answer lets the script go on.
#[test]
fn pages_are_asked_for_on_a_line_of_their_own() {
    let address = "http://example.org/a?b=\u{442}\u{435}&c";
    let played = play(&format!(
        "open {address}\nwait-console hello: open {address}\nreset\nopen about:blank\nwait 200ms"
    ));
    succeeded(&played.output);
    assert!(played.console.contains("hello: open about:blank"), "{}", played.console);
}

#[test]
fn siblings_draw_different_random_numbers() {
    let draw = || {
        let played = play("type random\nkey enter\nwait-console hello: random = \nwait 200ms");
        succeeded(&played.output);
        played.said("hello: random = ")
    };
    let (one, other) = (draw(), draw());
    assert_eq!(one.split_whitespace().count(), 8, "{one:?}");
    assert_ne!(one, other);
}

#[test]
fn poweroff_ends_well_and_a_panic_does_not() {
    // The script waits for more than the guest gives: that it breaks off shows that the guest ended by itself.
    let off = play("type poweroff\nkey enter\nwait-console reboot: Power down\nwait 2m");
    let stderr = String::from_utf8_lossy(&off.output.stderr);
    assert_eq!(off.output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("error: the script failed: line 5: the session had ended"), "{stderr}");

    let panicked = play("type panic\nkey enter\nwait 2m");
    let stderr = String::from_utf8_lossy(&panicked.output.stderr);
    assert_eq!(panicked.output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("error: the guest's kernel panicked\nhint: "), "{stderr}");
    assert!(stderr.contains("Kernel panic - not syncing: sysrq triggered crash"), "{stderr}");
}

//! The window, used as a person would.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::display::{Display, Running, find, wait_for};
use crate::picture::Picture;
use crate::programs::{built, run, runner, samovar, succeeded, workspace};

#[test]
fn a_window_shows_takes_keys_resets_and_closes() {
    let display = Display::start("1400x900");
    let dir = tempfile::tempdir().unwrap();
    let shot: PathBuf = dir.path().join("display.png");
    let warm = Picture::read(&built().join("screen.png"));
    let console = dir.path().join("console");
    let mut command: Command = runner();
    command.arg("restore").arg(built()).arg("--console").arg(&console).env("DISPLAY", &display.name);
    let mut session = Running(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());

    let place = wait_for("the warm page in the window", || find(&display.picture(&shot), &warm));
    let window = display.windows("hello", 1).remove(0);
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

/// One command builds what is not built yet and shows it.
#[test]
fn run_shows_what_a_recipe_makes() {
    let base = built();
    let run_it = || {
        let mut command = samovar();
        command
            .current_dir(workspace())
            .args(["run", "recipes/hello.toml", "--store"])
            .arg(base.parent().unwrap());
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").stdin(Stdio::null());
        command
    };
    let output = run(&mut run_it());
    succeeded(&output);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), base.join("screen.png").to_str().unwrap());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no display"));

    let display = Display::start("1400x900");
    let mut session = Running(run_it().env("DISPLAY", &display.name).spawn().unwrap());
    let window = display.windows("hello", 1).remove(0);
    display.xdotool(&["windowfocus", "--sync", &window]);
    display.xdotool(&["key", "ctrl+alt+x"]);
    let status = wait_for("the end of the session", || session.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

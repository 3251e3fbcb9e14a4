//! The disposable browser: `recipes/firefox.toml` built from the host's Debian mirror, then restored and used as a person
//! would use it. What is on the screen is told by the colours that the guest's own pages have
//! (`guest-rootfs/browser/usr/share/samovar`).
//!
//! Needs the mirror, and minutes. With `SAMOVAR_FIREFOX=full` it resets a hundred times and opens four windows at once;
//! `SAMOVAR_FIREFOX_BASE=artifacts/<sha256>` names a warm base that is there already.

#[path = "../end_to_end/display.rs"]
mod display;
#[path = "../end_to_end/picture.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod picture;
#[path = "../end_to_end/programs.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod programs;
#[path = "../end_to_end/registry.rs"]
mod registry;
mod resets;
#[path = "../../share/tests/transfers/server.rs"]
#[allow(dead_code, reason = "the tests of the crate use all of it")]
mod server;
mod sharing;
mod window;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::Duration;

use picture::Picture;
use programs::{run_within, runner, samovar, succeeded, usable_lock, workspace};

/// Longer than the start of Firefox takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Colours of the pages: the homepage's ground, and of the other page its ground, its button once it was pressed, and
/// its second part. However far the wheel turns at once, Firefox scrolls by one page.
const HOME: [u8; 3] = [0xf6, 0xef, 0xe4];
const TOUR: &str = "fdfaf4";
const PRESSED: &str = "2f7d4f";
const SECOND_PART: &str = "dfeee3";

/// `full` where minutes more are no matter, else `quick`.
fn size<T>(quick: T, full: T) -> T {
    match env::var("SAMOVAR_FIREFOX").as_deref() {
        Ok("full") => full,
        Ok(other) => panic!("SAMOVAR_FIREFOX={other}: only `full` is known"),
        Err(_) => quick,
    }
}

/// The warm base, built once.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(base) = env::var_os("SAMOVAR_FIREFOX_BASE") {
            return workspace().join(base);
        }
        let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firefox");
        // What an earlier run left may be of another build of the engine, but for the packages.
        for entry in fs::read_dir(&store).into_iter().flatten().map(Result::unwrap) {
            let path = entry.path();
            match (path.is_dir(), path.ends_with("cache")) {
                (_, true) => {}
                (true, _) => fs::remove_dir_all(path).unwrap(),
                (false, _) => fs::remove_file(path).unwrap(),
            }
        }
        let lock = usable_lock("recipes/firefox.toml", &store, PATIENCE);
        let mut command = samovar();
        command.current_dir(workspace()).args(["build", "recipes/firefox.toml", "--locked", "--lock-file"]);
        command.arg(lock).arg("--store").arg(store);
        let output = run_within(&mut command, PATIENCE);
        succeeded(&output);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 1, "{stdout:?}");
        stdout.trim().into()
    })
}

/// Restores the base without a window, in `dir`.
fn restore(dir: &Path, options: &[&str]) -> Output {
    let mut command = runner();
    command.current_dir(dir).arg("restore").arg(built()).arg("--headless").args(options);
    run_within(&mut command, PATIENCE)
}

#[test]
fn the_warm_base_shows_firefox_and_the_homepage() {
    let screen = Picture::read(&built().join("screen.png"));
    assert_eq!((screen.width, screen.height), (1280, 800));
    // The page from edge to edge, below it nothing; above it the tabs and the address bar, which are grey and white.
    for (x, y) in [(3, 100), (1276, 100), (3, 796), (1276, 796)] {
        assert_eq!(screen.pixel(x, y), HOME, "at {x} {y}");
    }
    let is_grey = |[r, g, b]: [u8; 3]| r.abs_diff(g) < 8 && g.abs_diff(b) < 8;
    assert!((0..1280).all(|x| is_grey(screen.pixel(x, 2))), "the tabs");
    let dark =
        (0..80).flat_map(|y| (0..1280).map(move |x| (x, y))).filter(|&(x, y)| screen.pixel(x, y)[0] < 100);
    assert!(dark.count() > 500, "there is text in the toolbar");
    assert!(screen.colours() > 100, "the page is drawn with smooth edges");
}

/// Types an address, fills in a form, presses its button; a reset brings the warm page back, pixel by pixel, while the page
/// moves; then another page is opened over the private line, and the wheel turned.
#[test]
fn pages_are_visited_by_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "timeout 5m\nscreenshot before.png\nkey ctrl+l\nwait-frame 1s\n\
         type file:///usr/share/samovar/tour.html#moving\nwait-frame 1s\nkey enter\nwait-pixel 10 400 {TOUR}\n\
         click 190 265\ntype green tea\nkey enter\nwait-pixel 352 248 {PRESSED}\nreset\nscreenshot reset.png\n\
         open file:///usr/share/samovar/tour.html\nwait-pixel 10 400 {TOUR}\n\
         move 600 500\nwheel -20\nwait-pixel 900 400 {SECOND_PART}\n"
    );
    fs::write(dir.path().join("script"), script).unwrap();
    let output = restore(dir.path(), &["--script", "script"]);
    succeeded(&output);
    let warm = Picture::read(&built().join("screen.png"));
    for name in ["before.png", "reset.png"] {
        assert!(Picture::read(&dir.path().join(name)) == warm, "{name} is not the captured one");
    }
}

#[test]
fn a_layout_that_the_guest_has_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = restore(dir.path(), &["--layout", "dvorak"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("hint: it has us, de, fr, ru"), "{stderr}");
}

//! The ways in which a window's session ends, and the picture that it leaves.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ClientMessageEvent, ConnectionExt, EventMask, Window};
use x11rb::rust_connection::RustConnection;

use crate::display::{Display, Running, wait_for};
use crate::picture::Picture;
use crate::programs::{built, runner, succeeded};

/// A restored guest in a window, with a script to play, in a directory of its own.
fn shown(display: &Display, dir: &Path, script: &str) -> Running {
    fs::write(dir.join("script"), format!("timeout 3m\n{script}")).unwrap();
    let mut command = runner();
    command.current_dir(dir).arg("restore").arg(built()).args(["--script", "script", "--console", "console"]);
    command.env("DISPLAY", &display.name).stdin(Stdio::null());
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// How it ended; the little that it says fits into the pipes.
fn ended(mut session: Running) -> Output {
    use std::io::Read;
    let status = wait_for("the end of the session", || session.0.try_wait().unwrap());
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    session.0.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    session.0.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
    output
}

/// Asks for a window's end as a window manager's button does (ICCCM, 4.1.2.7 and 4.2.8.1).
fn ask_to_close(display: &Display, window: Window) {
    let (connection, _) = RustConnection::connect(Some(&display.name)).unwrap();
    let atom = |name: &str| connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
    let (protocols, delete) = (atom("WM_PROTOCOLS"), atom("WM_DELETE_WINDOW"));
    let event = ClientMessageEvent::new(32, window, protocols, [delete, 0, 0, 0, 0]);
    connection.send_event(false, window, EventMask::NO_EVENT, event).unwrap().check().unwrap();
    connection.flush().unwrap();
}

#[test]
fn a_guest_that_ends_takes_its_window_with_it() {
    let display = Display::start("1400x900");
    for (word, said) in [("poweroff", ""), ("reboot", "asked for a restart")] {
        let dir = tempfile::tempdir().unwrap();
        let output = ended(shown(&display, dir.path(), &format!("type {word}\nkey enter")));
        succeeded(&output);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said) && stderr.is_empty() == said.is_empty(), "{stderr}");
        let console = fs::read_to_string(dir.path().join("console")).unwrap();
        assert!(console.contains(&format!("hello: {word}")), "{console}");
    }
    let dir = tempfile::tempdir().unwrap();
    let output = ended(shown(&display, dir.path(), "type panic\nkey enter"));
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_picture_is_saved_and_the_windows_own_button_closes_it() {
    let display = Display::start("1400x900");
    let dir = tempfile::tempdir().unwrap();
    let session = shown(&display, dir.path(), "type green tea\nkey enter\nwait-frame 1s\nscreenshot now.png");
    let window = display.windows("hello", 1).remove(0);
    wait_for("the script's picture", || dir.path().join("now.png").is_file().then_some(()));
    let now = wait_for("all of the picture", || {
        fs::read(dir.path().join("now.png")).ok().filter(|bytes| whole(bytes))
    });
    display.xdotool(&["windowfocus", &window]);
    display.xdotool(&["key", "ctrl+alt+s"]);
    let saved = wait_for("the saved picture", || {
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        let mut pictures = names.filter(|entry| entry.file_name().to_str().unwrap().starts_with("samovar-"));
        fs::read(pictures.next()?.path()).ok().filter(|bytes| whole(bytes))
    });
    assert!(saved == now, "both show the same screen");
    assert!(Picture::read(&dir.path().join("now.png")) != Picture::read(&built().join("screen.png")));

    ask_to_close(&display, window.parse().unwrap());
    let output = ended(session);
    succeeded(&output);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("saved samovar-"));
}

/// Whether a PNG file has been written to its end (PNG, 11.2.5: the chunk IEND).
fn whole(bytes: &[u8]) -> bool {
    bytes.ends_with(b"IEND\xae\x42\x60\x82")
}

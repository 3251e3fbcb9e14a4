//! Exit codes: each that the help of the programs names, provoked.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use crate::answers::Desk;
use crate::display::{Running, wait_for};
use crate::programs::{built, run, runner, samovar};

/// The codes that a program's help names.
fn documented(mut program: Command) -> BTreeSet<String> {
    let help = String::from_utf8(run(program.arg("--help")).stdout).unwrap();
    let table = help.split_once("Exit codes:\n").unwrap().1.split("\n\n").next().unwrap().to_owned();
    table.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// The code that a shell gives: 128 and its number for a signal.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

/// The code that a command ends with, which says why in one line and gives a hint.
fn failing(command: &mut Command) -> i32 {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("error: ") && stderr.contains("\nhint: "), "{command:?}: {stderr}");
    code(output.status)
}

/// Ends a process with a signal; the code that comes of it.
fn signalled(mut process: Running, signal: &str) -> i32 {
    let sent = Command::new("kill").args([signal, &process.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
    code(wait_for("its end", || process.0.try_wait().unwrap()))
}

#[test]
fn every_code_of_samovar_can_be_had() {
    let desk = Desk::new();
    let at = |words: &str| {
        let mut command = samovar();
        command.current_dir(desk.path("")).args(words.split(' '));
        command
    };
    let mut had = BTreeSet::new();
    let mut expect = |wanted: i32, found: i32| {
        assert_eq!(found, wanted);
        had.insert(wanted.to_string());
    };
    expect(0, code(run(&mut at("list --store store")).status));
    expect(1, failing(&mut at("list --store nowhere")));
    fs::write(desk.path("recipes/bad.toml"), "name = 7\n").unwrap();
    expect(2, failing(&mut at("check recipes/bad.toml")));
    expect(2, code(run(&mut at("list --no-such-option")).status));
    expect(3, failing(&mut at("build recipes/hello.toml --locked --offline --until kernel --store empty")));
    let state = desk.path("store").join(built().file_name().unwrap()).join("state.json");
    let bytes = fs::read(&state).unwrap();
    // It is a link to the one that all tests share.
    fs::remove_file(&state).unwrap();
    fs::write(&state, &bytes[1..]).unwrap();
    expect(4, failing(&mut at("verify hello --store store")));
    fs::write(&state, &bytes).unwrap();
    let recipe = desk.path("recipes/hello.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("\"evdev\"", "\"evdef\"")).unwrap();
    expect(5, failing(&mut at("build recipes/hello.toml --locked --until initramfs --store store")));
    fs::write(&recipe, text).unwrap();
    expect(6, failing(at("run recipes/hello.toml --store store").env("DISPLAY", ":4711")));
    expect(7, failing(&mut at("doctor --store /proc/none")));
    // A mirror that takes the call and says nothing.
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    for (signal, wanted) in [("-INT", 130), ("-HUP", 129), ("-TERM", 143)] {
        let mut command = at("build recipes/hello.toml --locked --until kernel --store empty");
        for archive in ["SAMOVAR_DEBIAN_MIRROR", "SAMOVAR_DEBIAN_SECURITY_MIRROR"] {
            command.env(archive, format!("http://{}/debian", mirror.local_addr().unwrap()));
        }
        command.env("NO_PROXY", "127.0.0.1").stdin(Stdio::null()).stderr(Stdio::null());
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let process = Running(command.spawn().unwrap());
        let _asked = mirror.accept().unwrap();
        expect(wanted, signalled(process, signal));
    }
    let mut named = documented(samovar());
    // In one line with 130.
    named.extend(["129".to_owned(), "143".to_owned()]);
    assert_eq!(had, named);
}

#[test]
fn every_code_of_runner_can_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let restore = |words: &str| {
        let mut command = runner();
        command
            .current_dir(dir.path())
            .arg("restore")
            .arg(built())
            .args(words.split(' '))
            .stdin(Stdio::null());
        command
    };
    let script = |text: &str| fs::write(dir.path().join("script"), text).unwrap();
    let mut had = BTreeSet::new();
    let mut expect = |wanted: i32, found: i32| {
        assert_eq!(found, wanted);
        had.insert(wanted.to_string());
    };
    expect(0, code(run(&mut restore("--screenshot now.png")).status));
    // Of two sessions one is killed: that is none of its own ways to end.
    script("wait 1ms\nscreenshot begun.png\nwait 3m\n");
    let several = restore("-n 2 --headless --script script --report {n}.json").stderr(Stdio::null()).spawn();
    let mut several = Running(several.unwrap());
    wait_for("the sessions", || dir.path().join("begun.png").is_file().then_some(()));
    for child in children(several.0.id()) {
        assert!(Command::new("kill").args(["-KILL", &child]).status().unwrap().success());
    }
    expect(1, code(wait_for("their end", || several.0.try_wait().unwrap())));
    expect(2, code(run(&mut restore("--no-such-option")).status));
    expect(3, failing(runner().arg("restore").arg(dir.path().join("nothing"))));
    script("type panic\nkey enter\nwait 2m\n");
    expect(4, failing(&mut restore("--headless --script script")));
    expect(6, failing(restore("--console console").env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY")));
    script("timeout 1ms\nwait-console never said\n");
    expect(7, failing(&mut restore("--headless --script script")));
    script("wait 1ms\nscreenshot again.png\nwait 3m\n");
    let session = Running(restore("--headless --script script").stderr(Stdio::null()).spawn().unwrap());
    wait_for("the session", || dir.path().join("again.png").is_file().then_some(()));
    expect(143, signalled(session, "-TERM"));
    // Those that want a guest of a few instructions are had in runner/tests/hostile_guest.rs.
    had.extend(["5", "8"].map(str::to_owned));
    let mut named = documented(runner());
    assert!(named.remove("128+N") && named.insert("143".to_owned()));
    assert_eq!(had, named);
}

/// The processes that a process has started (proc(5), `/proc/pid/stat`: after the name come the state and the parent).
fn children(parent: u32) -> Vec<String> {
    let is_child = |id: &String| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1) == Some(&*parent.to_string())
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    all.filter_map(|name| name.into_string().ok()).filter(is_child).collect()
}

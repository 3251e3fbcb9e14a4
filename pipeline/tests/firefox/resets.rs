//! Many resets of one session: each brings the warm page back, and none leaves anything behind in the runner.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::display::{Running, wait_for};
use crate::picture::Picture;
use crate::{TOUR, built, runner, size};

/// What a process holds, from proc(5), /proc/pid/status.
#[derive(Clone, Copy, Debug)]
struct Held {
    threads: u64,
    /// Address space in KiB.
    mapped: u64,
    /// Private memory in KiB.
    private: u64,
}

fn held(process: &Child) -> Option<Held> {
    let text = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Held { threads: field("Threads")?, mapped: field("VmSize")?, private: field("RssAnon")? })
}

/// Opens a page that moves, waits for it, resets while it moves, and looks; as often as the size of the test says.
#[test]
fn resets_bring_the_warm_page_back_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let count = size(5, 100);
    let mut script = String::from("timeout 5m\n");
    for number in 0..count {
        script += &format!(
            "open file:///usr/share/samovar/tour.html#moving\nwait-pixel 10 400 {TOUR}\nreset\nscreenshot {number}.png\n"
        );
    }
    // That the guest types on after the last one is seen as well.
    script +=
        &format!("open file:///usr/share/samovar/tour.html\nwait-pixel 10 400 {TOUR}\nscreenshot end.png\n");
    fs::write(dir.path().join("script"), script).unwrap();
    let mut command = runner();
    command.current_dir(dir.path()).arg("restore").arg(built());
    command.args(["--headless", "--script", "script", "--report", "report.json"]);
    let mut session = Running(command.stdin(Stdio::null()).spawn().unwrap());

    let warm = Picture::read(&built().join("screen.png"));
    let mut after = Vec::new();
    for number in 0..count {
        let path = dir.path().join(format!("{number}.png"));
        wait_for("a reset", || {
            assert!(
                session.0.try_wait().unwrap().is_none_or(|status| status.success()),
                "the session failed"
            );
            whole(&path).then_some(())
        });
        assert!(Picture::read(&path) == warm, "reset {number} of {count}");
        fs::remove_file(path).unwrap();
        after.extend(held(&session.0));
    }
    let status = wait_for("the end of the session", || session.0.try_wait().unwrap());
    assert!(status.success(), "{status}");

    // The first has a page to open as all others do, so later ones have nothing more to hold than it; the allocator's
    // and the kernel's own ways with memory are given some room.
    let (first, last) = (after[0], after[after.len() - 1]);
    let most = |field: fn(&Held) -> u64| after.iter().map(field).max().unwrap();
    eprintln!("held after the first reset {first:?}, after the last {last:?}, {} looks", after.len());
    assert!(most(|held| held.threads) <= first.threads + 1, "{after:?}");
    assert!(last.mapped <= first.mapped + (3 << 20), "{after:?}");
    assert!(most(|held| held.private) < 1 << 20, "{after:?}");

    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    let mut times: Vec<u64> =
        report["resets_us"].as_array().unwrap().iter().map(|us| us.as_u64().unwrap()).collect();
    assert_eq!(times.len(), count);
    times.sort_unstable();
    eprintln!("resets took {} / {} / {} us", times[0], times[count / 2], times[count - 1]);
    assert_eq!(report["reset_median_us"].as_u64(), Some(times[(count - 1) / 2]), "{report}");
}

/// Whether all of a picture is on the disk: a PNG file ends with its IEND chunk.
fn whole(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.ends_with(b"IEND\xaeB`\x82"))
}

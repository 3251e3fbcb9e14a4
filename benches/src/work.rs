//! Work inside the guest of `recipes/selftest.toml`: its `bench` script, timed from outside on both machines.

use std::{fmt::Write, path::Path, time::Instant};

use runner::error::{Failure, Status};

use crate::{
    guest::Guest,
    ours::Runner,
    process::Process,
    qemu::Qemu,
    table::{Head, Pair, row},
};

/// The word of the kernel's command line that says what the guest runs.
const TESTS: &str = "samovar.tests=";

/// What the work was and how it went.
#[derive(Debug)]
pub struct Work {
    items: Vec<(Item, Pair)>,
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    name: String,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Seconds,
    /// Millions of bytes a second of the guest's time.
    Rate,
}

/// What one line of the guest means.
#[derive(Debug, PartialEq)]
enum Mark<'a> {
    Begin(&'a str),
    End(&'a str),
    /// Bytes a second.
    Rate(&'a str, f64),
    Failed,
    Done,
}

impl Mark<'_> {
    fn of(line: &str) -> Option<Mark<'_>> {
        let mut words = line.split_whitespace();
        Some(match (words.next()?, words.next()?, words.next(), words.next()) {
            ("bench:", "begin", Some(name), None) => Mark::Begin(name),
            ("bench:", "end", Some(name), None) => Mark::End(name),
            ("bench:", "rate", Some(name), Some(rate)) => Mark::Rate(name, rate.parse().ok()?),
            ("selftest:", "failed", ..) => Mark::Failed,
            ("selftest:", "done", None, None) => Mark::Done,
            _ => return None,
        })
    }
}

/// The guest, told to do the work and nothing else.
///
/// # Errors
/// If it is not the selftest guest.
fn worker(guest: &Guest) -> Result<Guest, Failure> {
    let mut words: Vec<&str> = guest.command_line.split_whitespace().collect();
    let Some(tests) = words.iter_mut().find(|word| word.starts_with(TESTS)) else {
        let what = "this guest has no work to measure: its command line has no samovar.tests=";
        return Err(
            Failure::new(Status::Refused, what).hint("build recipes/selftest.toml and name its warm base")
        );
    };
    let asked = format!("{TESTS}bench");
    *tests = &asked;
    let command_line = words.join(" ");
    let mut guest = guest.clone();
    guest.command_line = command_line;
    Ok(guest)
}

/// Measures everything `runs` times, ours and QEMU's in turn.
///
/// # Errors
/// If a machine does not do the work.
pub fn measure(
    guest: &Guest,
    runner: &Runner,
    qemu: &Qemu,
    runs: u32,
    work: &Path,
    say: fn(&str),
) -> Result<Work, Failure> {
    let guest = worker(guest)?;
    let mut result = Work { items: Vec::new() };
    for run in 1..=runs {
        say(&format!("work {run} of {runs}"));
        for (item, value) in once(runner.start_boot(&guest)?)? {
            result.pair(item).ours.push(value);
        }
        say(&format!("work {run} of {runs}, QEMU"));
        let theirs = once(qemu.start_boot(&guest, work)?).map_err(|failure| Qemu::explain(failure, work))?;
        for (item, value) in theirs {
            result.pair(item).peer.push(value);
        }
    }
    Ok(result)
}

/// Follows one machine through the work.
fn once(mut process: Process) -> Result<Vec<(Item, f64)>, Failure> {
    let mut items = Vec::new();
    let mut begun: Option<(String, Instant)> = None;
    let mut failed = false;
    process.follow(|at, since_start, line| {
        let seconds = |name: &str, value| (Item { name: name.to_owned(), unit: Unit::Seconds }, value);
        match Mark::of(line) {
            Some(Mark::Begin(name)) => {
                if items.is_empty() && begun.is_none() {
                    items.push(seconds("boot", since_start));
                }
                begun = Some((name.to_owned(), at));
            }
            Some(Mark::End(name)) => {
                if let Some((_, from)) = begun.take_if(|(begun, _)| begun == name) {
                    items.push(seconds(name, at.saturating_duration_since(from).as_secs_f64()));
                }
            }
            Some(Mark::Rate(name, rate)) => {
                items.push((Item { name: name.to_owned(), unit: Unit::Rate }, rate / 1e6));
            }
            Some(Mark::Failed) => failed = true,
            Some(Mark::Done) => return true,
            None => {}
        }
        failed
    })?;
    if failed {
        return Err(Failure::new(Status::Other, "the guest failed at its work"));
    }
    Ok(items)
}

impl Work {
    fn pair(&mut self, item: Item) -> &mut Pair {
        let index = self.items.iter().position(|(known, _)| *known == item).unwrap_or_else(|| {
            self.items.push((item, Pair::default()));
            self.items.len() - 1
        });
        &mut self.items[index].1
    }

    /// Writes the page.
    pub(crate) fn write(&self, head: &Head, page: &mut String) -> std::fmt::Result {
        head.write(page)?;
        writeln!(
            page,
            "Least / median / greatest; the ratio is that of the medians, ours to QEMU's. Rates are better the"
        )?;
        writeln!(page, "greater they are, seconds the less.\n")?;
        writeln!(page, "| what | ours | QEMU | ratio |\n|---|---|---|---|")?;
        for (item, pair) in &self.items {
            let (unit, digits) = match item.unit {
                Unit::Seconds => ("s", 2),
                Unit::Rate => ("MB/s", 0),
            };
            row(page, &format!("{}, {unit}", item.name), &pair.ours, Some(&pair.peer), digits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn follow(script: &str) -> Result<Vec<(Item, f64)>, Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        once(Process::start_read(command, "sh").unwrap())
    }

    #[test]
    fn marks() {
        assert_eq!(Mark::of("bench: begin gcc\r"), Some(Mark::Begin("gcc")));
        assert_eq!(Mark::of("bench: rate sha256 64462848"), Some(Mark::Rate("sha256", 64_462_848.0)));
        assert_eq!(Mark::of("selftest: failed bench with status 1"), Some(Mark::Failed));
        for other in ["", "bench:", "bench: rate x y", "selftest: begin bench", "bench: begin"] {
            assert_eq!(Mark::of(other), None, "{other}");
        }
    }

    #[test]
    fn every_pair_of_marks_and_every_rate_is_a_figure() {
        let items = follow(
            "echo bench: begin a; echo bench: end a; echo bench: rate b 2000000; echo selftest: done; \
             sleep 60",
        );
        let items = items.unwrap();
        let names: Vec<&str> = items.iter().map(|(item, _)| item.name.as_str()).collect();
        assert_eq!(names, ["boot", "a", "b"]);
        assert_eq!(items[2], (Item { name: "b".into(), unit: Unit::Rate }, 2.0));
    }

    #[test]
    fn work_that_fails_is_no_figure() {
        assert!(follow("echo bench: begin a; echo selftest: failed bench with status 1; sleep 60").is_err());
        assert!(follow("echo bench: begin a").is_err());
    }
}

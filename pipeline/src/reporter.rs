//! What the program says while it works: bars where there is a terminal to draw them on, plain lines elsewhere.
//! All of it goes to standard error.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// How long before `now` it was `then`, in one unit.
pub fn age(now: SystemTime, then: SystemTime) -> String {
    match now.duration_since(then) {
        Ok(age) => indicatif::HumanDuration(age).to_string(),
        // Another host's clock.
        Err(_) => "now".to_owned(),
    }
}

/// Says what is going on.
#[derive(Debug, Clone, Copy)]
pub struct Reporter {
    bars: bool,
    silent: bool,
}

impl Reporter {
    /// For standard error as it is.
    pub fn new() -> Reporter {
        Reporter { bars: io::stderr().is_terminal(), silent: false }
    }

    /// Says nothing.
    pub fn silent() -> Reporter {
        Reporter { bars: false, silent: true }
    }

    /// Whether there is a terminal to draw on.
    pub fn has_bars(&self) -> bool {
        self.bars
    }

    /// Says one thing.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.silent {
            // Nobody left to read it is no reason to stop.
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// Shows how far the fetching of some files is, until the display is dropped: on a terminal a bar of the totals,
    /// elsewhere one line.
    pub fn fetching(&self, what: &str, files: usize, bytes: u64) -> Fetching {
        if !self.bars {
            let noun = if files == 1 { "file" } else { "files" };
            self.line(format!("fetching {what}: {files} {noun}, {}", HumanBytes(bytes)));
        }
        let bar = if self.bars { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
        let template = "{msg:24!} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        let fetching = Fetching { bar: Bar(bar), what: what.to_owned(), files };
        fetching.files(0);
        fetching
    }

    /// Shows how far something is that is counted in bytes: on a terminal a bar, elsewhere one line.
    pub fn working(&self, what: &str) -> Bar {
        if !self.bars {
            self.line(what);
        }
        let bar = if self.bars { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{msg:24!} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        Bar(bar)
    }

    /// Shows that something is going on, until the bar is dropped.
    pub fn spinner(&self, what: &str) -> Bar {
        let bar = if self.bars { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_message(what.to_owned());
        if self.bars {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Bar(bar)
    }
}

impl Default for Reporter {
    fn default() -> Reporter {
        Reporter::new()
    }
}

/// Files being fetched, by several threads.
#[derive(Debug)]
pub struct Fetching {
    bar: Bar,
    what: String,
    files: usize,
}

impl Fetching {
    /// How many bytes of all are there.
    pub fn set(&self, bytes: u64) {
        self.bar.set(bytes);
    }

    /// How many files are done.
    pub fn files(&self, done: u64) {
        self.bar.say(format!("{} {done}/{}", self.what, self.files));
    }
}

/// Something under way.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// How many bytes are done.
    pub fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// How many bytes are done, and how many there are.
    pub fn progress(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// What is going on now.
    pub fn say(&self, text: String) {
        self.0.set_message(text);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

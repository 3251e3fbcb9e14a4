//! The results as a page of Markdown.

use std::fmt::Write;

use crate::{
    ours::{Engine, Phases, Report},
    stats::{Samples, ratio},
};

/// What was measured, and on what.
#[derive(Debug)]
pub struct Head {
    /// The host's processor.
    pub host: String,
    /// The guest's kernel.
    pub kernel: String,
    /// QEMU's version line.
    pub qemu: String,
    /// The kernel's command line.
    pub command_line: String,
    /// The guest's vCPUs.
    pub cpus: usize,
    /// Measurements of each thing.
    pub runs: u32,
    /// The host's load average before and after.
    pub load: [Option<f64>; 2],
}

impl Head {
    /// Writes it as a table.
    pub(crate) fn write(&self, page: &mut String) -> std::fmt::Result {
        let guest = format!("{}, {} vCPUs, `{}`", self.kernel, self.cpus, self.command_line);
        let beside = format!("{}, TCG with a thread for each vCPU", self.qemu);
        let rows = [("host", &*self.host), ("guest", &guest), ("beside", &beside)];
        conditions(page, &rows, self.load, self.runs)
    }
}

/// Under what conditions something was measured: `rows`, the host's load average before and after, and the runs of each.
pub(crate) fn conditions(
    page: &mut String,
    rows: &[(&str, &str)],
    load: [Option<f64>; 2],
    runs: u32,
) -> std::fmt::Result {
    writeln!(page, "| | |\n|---|---|")?;
    for (what, how) in rows {
        writeln!(page, "| {what} | {how} |")?;
    }
    let [before, after] = load.map(|load| load.map_or("unknown".into(), |load| format!("{load:.2}")));
    writeln!(page, "| host's load average (1 min) | {before} before, {after} after |")?;
    writeln!(page, "| runs of each | {runs} |\n")
}

/// The head of a table of [`row`]s beside `peer`, and how to read it.
pub(crate) fn columns(page: &mut String, peer: &str) -> std::fmt::Result {
    writeln!(page, "Least / median / greatest; the ratio is that of the medians, ours to {peer}'s.\n")?;
    writeln!(page, "| what | ours | {peer} | ratio |\n|---|---|---|---|")
}

/// Starts, restores and resets.
#[derive(Debug)]
pub struct Results {
    /// Cold boots: what the guest wrote on its way, the last being that it is ready, and the seconds until then.
    pub boot: Vec<(String, Pair)>,
    /// Boots on the engine alone.
    pub engine: Engine,
    /// Start of the runner, in seconds.
    pub start: Samples,
    /// Restores, one for each size of RAM.
    pub restores: Vec<Restores>,
    /// Resets in place, in milliseconds.
    pub resets: Samples,
}

/// The same thing on both.
#[derive(Debug, Default)]
pub struct Pair {
    /// On the runner.
    pub ours: Samples,
    /// On what it is compared with.
    pub peer: Samples,
}

/// Restores of one guest.
#[derive(Debug)]
pub struct Restores {
    memory: u64,
    /// Each phase of ours, in milliseconds from the start of `main`.
    phases: [Samples; PHASES.len()],
    /// QEMU's, in milliseconds.
    qemu: Samples,
}

/// What had happened at the end of a phase, and its time in microseconds.
type Phase = (&'static str, fn(&Phases) -> f64);

/// The phases of a restore, in order.
const PHASES: [Phase; 6] = [
    ("artifact and state read and checked", |phases| phases.opened_us),
    ("memory mapped", |phases| phases.mapped_us),
    ("devices and vCPUs built", |phases| phases.devices_us),
    ("state loaded", |phases| phases.state_us),
    ("first frame at hand", |phases| phases.first_frame_us),
    ("first instruction", |phases| phases.first_instruction_us),
];

const FIRST_FRAME: usize = 4;
const FIRST_INSTRUCTION: usize = 5;

impl Restores {
    /// None yet.
    pub fn new(memory: u64) -> Self {
        Restores { memory, phases: Default::default(), qemu: Samples::default() }
    }

    /// Adds one of ours and one of QEMU's, the latter in seconds.
    pub fn push(&mut self, ours: &Report, qemu: f64) {
        for (samples, (_, phase)) in self.phases.iter_mut().zip(PHASES) {
            samples.push(phase(&ours.phases) / 1e3);
        }
        self.qemu.push(qemu * 1e3);
    }

    fn mib(&self) -> u64 {
        self.memory >> 20
    }
}

impl Results {
    /// Writes the page.
    pub(crate) fn write(&self, head: &Head, page: &mut String) -> std::fmt::Result {
        head.write(page)?;
        columns(page, "QEMU")?;
        for (milestone, pair) in &self.boot {
            row(page, &format!("cold boot to `{milestone}`, s"), &pair.ours, Some(&pair.peer), 2)?;
        }
        let note = "the same on the engine alone, idle time skipped, s";
        row(page, note, &self.engine.seconds, None, 2)?;
        row(page, "its instructions, millions", &self.engine.instructions, None, 1)?;
        row(page, "its speed, million instructions a second", &self.engine.mips, None, 0)?;
        for restores in &self.restores {
            let what = format!("restore of {} MiB to the first instruction, ms", restores.mib());
            row(page, &what, &restores.phases[FIRST_INSTRUCTION], Some(&restores.qemu), 1)?;
            let what = format!("restore of {} MiB to the first frame, ms", restores.mib());
            row(page, &what, &restores.phases[FIRST_FRAME], None, 1)?;
        }
        let start: Samples = [self.start.min(), self.start.median(), self.start.max()]
            .into_iter()
            .flatten()
            .map(|seconds| seconds * 1e3)
            .collect();
        row(page, "to add to ours: start and end of the program, ms", &start, None, 1)?;
        row(page, "reset in place, ms", &self.resets, None, 1)?;

        if let [small, large] = self.restores.as_slice() {
            let flat = |of: fn(&Restores) -> &Samples| {
                let times = ratio(of(large).median(), of(small).median());
                times.map_or("?".into(), |times| format!("{times:.2}"))
            };
            writeln!(
                page,
                "\nA restore of {} MiB takes {} times as long as one of {} MiB; with QEMU {} times.",
                large.mib(),
                flat(|restores| &restores.phases[FIRST_INSTRUCTION]),
                small.mib(),
                flat(|restores| &restores.qemu)
            )?;
        }
        self.write_phases(page)
    }

    fn write_phases(&self, page: &mut String) -> std::fmt::Result {
        writeln!(
            page,
            "\nWhere a restore of ours spends its time: medians of the time from the start of `main`.\n"
        )?;
        write!(page, "| after |")?;
        for restores in &self.restores {
            write!(page, " {} MiB, ms |", restores.mib())?;
        }
        writeln!(page, "\n|---|{}", "---|".repeat(self.restores.len()))?;
        for (index, (name, _)) in PHASES.iter().enumerate() {
            write!(page, "| {name} |")?;
            for restores in &self.restores {
                match restores.phases[index].median() {
                    Some(median) => write!(page, " {median:.2} |")?,
                    None => write!(page, " |")?,
                }
            }
            writeln!(page)?;
        }
        Ok(())
    }
}

/// One line of a table: ours, the peer's and the ratio of the medians.
pub(crate) fn row(
    page: &mut String,
    what: &str,
    ours: &Samples,
    peer: Option<&Samples>,
    digits: usize,
) -> std::fmt::Result {
    let cell = |samples: &Samples| match (samples.min(), samples.median(), samples.max()) {
        (Some(min), Some(median), Some(max)) => {
            format!("{min:.digits$} / **{median:.digits$}** / {max:.digits$}")
        }
        _ => String::new(),
    };
    let theirs = peer.map(cell).unwrap_or_default();
    let times = ratio(ours.median(), peer.and_then(Samples::median));
    let times = times.map(|times| format!("{times:.2}")).unwrap_or_default();
    writeln!(page, "| {what} | {} | {theirs} | {times} |", cell(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    #[test]
    fn rows() {
        let mut page = String::new();
        row(&mut page, "boot, s", &samples(&[9.0, 8.0, 10.0]), Some(&samples(&[3.0, 4.0])), 1).unwrap();
        row(&mut page, "reset, ms", &samples(&[2.0]), None, 2).unwrap();
        assert_eq!(
            page,
            "| boot, s | 8.0 / **9.0** / 10.0 | 3.0 / **3.5** / 4.0 | 2.57 |\n\
             | reset, ms | 2.00 / **2.00** / 2.00 |  |  |\n"
        );
    }

    #[test]
    fn every_row_of_a_table_has_its_columns() {
        let report = |us: f64| {
            let text = format!(
                r#"{{"opened_us": 1, "mapped_us": 2, "devices_us": 3, "state_us": 4,
                     "first_frame_us": 5, "first_instruction_us": {us}, "resets_us": []}}"#
            );
            serde_json::from_str::<Report>(&text).unwrap()
        };
        let restores = [256_u64, 2048].map(|mib| {
            let mut restores = Restores::new(mib << 20);
            restores.push(&report(mib as f64), 0.5);
            restores
        });
        let head = Head {
            host: "a host".into(),
            kernel: "a kernel".into(),
            qemu: "QEMU".into(),
            command_line: "quiet".into(),
            cpus: 2,
            runs: 1,
            load: [Some(0.5), None],
        };
        let results = Results {
            boot: vec![("ready".into(), Pair { ours: samples(&[2.0]), peer: samples(&[1.0]) })],
            engine: Engine::default(),
            start: samples(&[0.002]),
            restores: restores.into(),
            resets: samples(&[2.0]),
        };
        let mut page = String::new();
        results.write(&head, &mut page).unwrap();
        assert!(page.contains("2048 MiB takes 8.00 times as long as one of 256 MiB; with QEMU 1.00 times"));
        assert!(page.contains("program, ms | 2.0 / **2.0** / 2.0 |"));
        for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(columns.iter().all(|&count| count == columns[0]), "{table}");
        }
    }
}

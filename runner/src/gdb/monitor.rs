//! gdb's `monitor` commands: what gdb itself has no words for.

use machine::psci::Power;

use super::{Debuggee, memory};

/// What a command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Help,
    Info,
    Physical { gpa: u64, len: usize },
    Translate { va: u64 },
    Quit,
}

/// Bytes that `phys` shows at most.
const MOST: usize = 4096;
/// Bytes that `phys` shows if nothing is said.
const SOME: usize = 64;
/// Bytes on a line.
const LINE: usize = 16;

const HELP: &str = "\
info              guest time, and what each vCPU does
phys ADDR [LEN]   guest physical memory
translate ADDR    the guest physical address behind a virtual one, for the vCPU that stopped last
quit              ends the session
";

fn parse(line: &str) -> Result<Request, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [] | ["help"] => Ok(Request::Help),
        ["info"] => Ok(Request::Info),
        ["quit"] => Ok(Request::Quit),
        ["phys", gpa] => Ok(Request::Physical { gpa: number(gpa)?, len: SOME }),
        ["phys", gpa, len] => {
            let len = usize::try_from(number(len)?).unwrap_or(MOST).min(MOST);
            Ok(Request::Physical { gpa: number(gpa)?, len })
        }
        ["translate", va] => Ok(Request::Translate { va: number(va)? }),
        _ => Err(format!("no command `{}`; `monitor help` lists them", line.trim())),
    }
}

/// Numbers as gdb writes them.
fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no number"))
}

impl Debuggee {
    /// Does what a `monitor` command asks for and says what gdb shows.
    pub fn monitor(&mut self, line: &str) -> String {
        match parse(line) {
            Ok(Request::Help) => HELP.to_owned(),
            Ok(Request::Info) => self.info(),
            Ok(Request::Physical { gpa, len }) => self.physical(gpa, len),
            Ok(Request::Translate { va }) => self.behind(va),
            Ok(Request::Quit) => {
                self.quit();
                String::new()
            }
            Err(what) => what + "\n",
        }
    }

    fn info(&self) -> String {
        let vm = self.vm_ref();
        let mut text = format!("guest time {}.{:09} s\n", vm.now() / 1_000_000_000, vm.now() % 1_000_000_000);
        text += &format!("{} instructions retired\n", vm.retired());
        for cpu in 0..vm.cpus() {
            text += &format!("vCPU {cpu}: {}\n", self.activity(cpu));
        }
        text
    }

    /// What vCPU `cpu` does, in a few words.
    pub fn activity(&self, cpu: usize) -> &'static str {
        match self.vm_ref().cpu(cpu) {
            None => "not there",
            Some(cpu) if cpu.power != Power::On && cpu.power != Power::OnPending => "off",
            Some(cpu) if cpu.waiting => "waits for an interrupt",
            Some(cpu) if cpu.state.pstate & 0b1100 == 0 => "runs at EL0",
            Some(_) => "runs at EL1",
        }
    }

    fn physical(&self, gpa: u64, len: usize) -> String {
        let mut text = String::new();
        for offset in (0..len).step_by(LINE) {
            let mut line = [0; LINE];
            let part = &mut line[..LINE.min(len - offset)];
            let Some(at) = gpa.checked_add(offset as u64) else { break };
            if self.vm_ref().machine.memory().read(at, part).is_err() {
                text += &format!("{at:#x}: no memory\n");
                break;
            }
            let bytes: Vec<String> = part.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("{at:#x}: {}\n", bytes.join(" "));
        }
        text
    }

    fn behind(&self, va: u64) -> String {
        let vm = self.vm_ref();
        let gpa =
            vm.cpu(self.current()).and_then(|cpu| memory::translate(vm.machine.memory(), &cpu.state.sys, va));
        match gpa {
            Some(gpa) => format!("{gpa:#x}\n"),
            None => "not mapped\n".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_gdb_sends_them() {
        assert_eq!(parse(""), Ok(Request::Help));
        assert_eq!(parse(" info "), Ok(Request::Info));
        assert_eq!(parse("phys 0x40000000"), Ok(Request::Physical { gpa: 0x4000_0000, len: SOME }));
        assert_eq!(parse("phys 16 8"), Ok(Request::Physical { gpa: 16, len: 8 }));
        let all = format!("phys 0 {}", u64::MAX);
        assert_eq!(parse(&all), Ok(Request::Physical { gpa: 0, len: MOST }));
        assert_eq!(
            parse("translate 0xffff800080000000"),
            Ok(Request::Translate { va: 0xffff_8000_8000_0000 })
        );
        for bad in ["reset", "phys", "phys x", "phys 1 2 3", "translate", "translate 0x1ffffffffffffffff"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

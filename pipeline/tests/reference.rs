//! The reference of the command lines, `pipeline/reference.md` and `runner/reference.md`, is what the programs say of
//! themselves, so no option appears, changes or goes without being seen in review. `SAMOVAR_UPDATE=1` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};

/// The help of a command and of all below it.
fn describe(command: &mut Command, name: &str, out: &mut String) {
    let level = if name.contains(' ') { "##" } else { "#" };
    let help = command.render_long_help().to_string();
    writeln!(out, "{level} {name}\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
    for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
        let name = format!("{name} {}", below.get_name());
        describe(below, &name, out);
    }
}

fn check(mut command: Command, file: &str) {
    command.build();
    let mut text = String::new();
    let name = command.get_name().to_owned();
    describe(&mut command, &name, &mut text);
    let text = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(file);
    if std::env::var_os("SAMOVAR_UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    for (number, (said, kept)) in text.lines().zip(kept.lines()).enumerate() {
        assert_eq!(said, kept, "{file}, line {}; SAMOVAR_UPDATE=1 writes it anew", number + 1);
    }
    assert_eq!(text.lines().count(), kept.lines().count(), "{file}; SAMOVAR_UPDATE=1 writes it anew");
}

#[test]
fn samovar_is_as_its_reference_says() {
    check(samovar::commands::Cli::command(), "pipeline/reference.md");
}

#[test]
fn runner_is_as_its_reference_says() {
    check(runner::commands::Cli::command(), "runner/reference.md");
}

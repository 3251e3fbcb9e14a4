//! Programs written in assembly, through LLVM's assembler.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Assembles the file `source`, Armv8.0-A with the given further features by LLVM's names, to the bytes of its text.
pub fn assemble(source: &Path, features: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (object, binary) = (directory.path().join("program.o"), directory.path().join("program"));
    let attributes: Vec<String> = features.iter().map(|feature| format!("+{feature}")).collect();
    let mut assembler = Command::new("llvm-mc");
    assembler.args(["-arch=aarch64", "-filetype=obj", "-o"]).arg(&object);
    run(assembler.arg(format!("-mattr=+v8a,{}", attributes.join(","))).arg(source));
    run(Command::new("llvm-objcopy").args(["-O", "binary"]).arg(&object).arg(&binary));
    fs::read(&binary).expect("the program was written")
}

fn run(command: &mut Command) {
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{command:?}: not there; install the Debian package llvm")
        }
        output => {
            let output = output.expect("the assembler starts");
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

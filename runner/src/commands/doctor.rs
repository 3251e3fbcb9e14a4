//! `runner doctor`: what stands between a guest and full speed.

use crate::{
    doctor,
    error::{Failure, Status},
};

/// Says how everything was found.
///
/// # Errors
/// If something is not well; what to do about it has been said.
pub fn run() -> Result<(), Failure> {
    let findings = doctor::examine();
    for finding in &findings {
        match finding.remedy {
            None => println!("well: {}", finding.what),
            Some(remedy) => println!("ill: {}\n  hint: {remedy}", finding.what),
        }
    }
    match findings.iter().filter(|finding| finding.remedy.is_some()).count() {
        0 => Ok(()),
        ill => Err(Failure::new(Status::Host, format!("{ill} of {} are not well", findings.len()))
            .hint("each has its own above; until then guests run with --engine soft")),
    }
}

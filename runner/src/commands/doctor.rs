//! `runner doctor`: what stands between a guest and full speed.

use serde_json::{Value, json};

use crate::{
    doctor,
    error::{Failure, Status},
};

/// What `runner doctor` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As JSON
    ///
    /// An object: whether all is well (`ok`), and the `findings`, each with its `state` ("ok" or "missing"), its `detail`, and a
    /// `remedy` if there is one.
    #[arg(long)]
    json: bool,
}

/// Says how everything was found.
///
/// # Errors
/// If something is not well; what to do about it has been said.
pub fn run(args: &Args) -> Result<(), Failure> {
    let findings = doctor::examine();
    let ill = findings.iter().filter(|finding| finding.remedy.is_some()).count();
    if args.json {
        println!(
            "{:#}",
            json!({ "ok": ill == 0, "findings": Value::from_iter(findings.iter().map(as_json)) })
        );
    } else {
        for finding in &findings {
            match finding.remedy {
                None => println!("well: {}", finding.what),
                Some(remedy) => println!("ill: {}\n  hint: {remedy}", finding.what),
            }
        }
    }
    match ill {
        0 => Ok(()),
        ill => Err(Failure::new(Status::Host, format!("{ill} of {} are not well", findings.len()))
            .hint("each has its own above; until then guests run with --engine soft")),
    }
}

fn as_json(finding: &doctor::Finding) -> Value {
    match finding.remedy {
        None => json!({ "state": "ok", "detail": finding.what }),
        Some(remedy) => json!({ "state": "missing", "detail": finding.what, "remedy": remedy }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_wants_no_remedy() {
        let finding = |remedy| doctor::Finding { what: "tea".into(), remedy };
        assert_eq!(as_json(&finding(None)), json!({ "state": "ok", "detail": "tea" }));
        let ill = json!({ "state": "missing", "detail": "tea", "remedy": "boil" });
        assert_eq!(as_json(&finding(Some("boil"))), ill);
    }
}

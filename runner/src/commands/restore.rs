//! `runner restore`: a warm base on the screen.

use std::{fs::File, path::PathBuf};

use bundle::TrustedKey;

use super::{
    several,
    show::{Errands, ShowArgs, show},
};
use crate::{
    bundled,
    error::{Failure, Status},
    keys::{Code, LAYOUT_KEYS},
    line,
    report::Stopwatch,
    restore::{self, RestoreError},
    session::ConsoleSink,
};

/// Options of `runner restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The warm base: its directory in a store, such as artifacts/<sha256>; its name there, or its hash or the beginning of
    /// that; or a bundle that `samovar pack` made, which is unpacked into the store first if it is not there yet. A bundle that
    /// is only shown gets no name there, so that it takes nobody's, and `samovar cleanup` removes it again: `samovar unpack`
    /// is what gives it one
    #[arg(value_name = "ARTIFACT")]
    pub artifact: PathBuf,

    /// The store that names are looked for in and bundles are unpacked into [default: `artifacts` of the workspace; for
    /// bundles, where there is none, the user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Refuse a bundle unless one of these keys signed it: a public key's file, or the key itself
    #[arg(long, value_name = "PUBKEY", value_parser = trusted_key)]
    pub trust: Vec<TrustedKey>,

    #[command(flatten)]
    pub show: ShowArgs,

    /// Open a page in the guest's browser
    #[arg(long, value_name = "URL", value_parser = line::parse_url)]
    pub url: Option<String>,

    /// The keyboard's layout, one of those that the recipe names
    #[arg(long, value_name = "LAYOUT")]
    pub layout: Option<String>,

    /// Restore this many at once, each in a process of its own; `{n}` in the name of a file stands for
    /// the number of each, from 1
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub copies: u16,

    /// Write what each phase of the restore cost, as JSON, when the session ends
    ///
    /// An object with the microseconds from the start of the program to the end of each phase, null for one that was not come
    /// to (`opened_us`, `mapped_us`, `devices_us`, `state_us`, `first_instruction_us`, `first_frame_us`), those of each reset
    /// (`resets_us`) and their median (`reset_median_us`), and the `memory` in bytes that the process has at its end:
    /// `resident`, and `private_dirty`, which is its alone.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write the guest's serial console to a file
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
}

/// Restores a warm base and shows it.
///
/// # Errors
/// If it is refused, or the session ends badly.
pub fn run(mut args: Args, clock: Stopwatch) -> Result<(), Failure> {
    args.artifact = bundled::find(&args.artifact, args.store.as_deref(), &args.trust).map_err(failure)?;
    if args.copies > 1 {
        return several::run(&args);
    }
    let script = args.show.read_script()?;
    let console = args.console.as_ref().map(console_file).transpose()?;
    let restored = restore::restore(&args.artifact, args.show.scheduler, args.show.engine, console, clock)
        .map_err(failure)?;
    let mut report = restored.report;
    let _hold = restored.hold;
    let layout = args.layout.as_deref().map(|layout| layout_key(layout, &restored.layouts)).transpose()?;
    let errands = Errands { layout, url: args.url, script };
    let result =
        show(&restored.name, &restored.session, restored.running, &args.show, errands, &mut report, clock);
    let reported = match &args.report {
        Some(path) => report
            .save(path)
            .map_err(|error| Failure::new(Status::Host, format!("can't write {}: {error}", path.display()))),
        None => Ok(()),
    };
    result.and(reported)
}

/// A key as the command line has it.
fn trusted_key(text: &str) -> Result<TrustedKey, String> {
    TrustedKey::find(text).map_err(|error| error.to_string())
}

/// Opens the file for a console's output.
///
/// # Errors
/// If the host refuses.
pub fn console_file(path: &PathBuf) -> Result<ConsoleSink, Failure> {
    let file = File::create(path)
        .map_err(|error| Failure::new(Status::Host, format!("can't write {}: {error}", path.display())))?;
    Ok(Box::new(file))
}

/// The key that chooses `layout` in a guest that has `layouts`.
fn layout_key(layout: &str, layouts: &[String]) -> Result<Code, Failure> {
    let known = layouts.iter().zip(LAYOUT_KEYS).find(|(name, _)| *name == layout);
    known.map(|(_, key)| key).ok_or_else(|| {
        let failure = Failure::new(Status::Usage, format!("the guest has no keyboard layout {layout:?}"));
        match layouts {
            [] => failure.hint("its recipe names none: add `[keyboard]` with `layouts` and build it again"),
            layouts => failure
                .hint(format!("it has {}; a recipe's `keyboard.layouts` names others", layouts.join(", "))),
        }
    })
}

fn failure(error: RestoreError) -> Failure {
    let status = match &error {
        RestoreError::Engine(error) if error.is_usage() => Status::Usage,
        error if error.is_refusal() => Status::Refused,
        _ => Status::Host,
    };
    let failure = Failure::new(status, &error);
    failure.hint(error.hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_their_keys_in_order() {
        let layouts = ["us", "de"].map(str::to_owned);
        assert_eq!(layout_key("us", &layouts), Ok(183));
        assert_eq!(layout_key("de", &layouts), Ok(184));
        let failure = layout_key("fr", &layouts).unwrap_err();
        assert!(failure.hint.unwrap().contains("us, de"));
        assert!(layout_key("us", &[]).unwrap_err().hint.unwrap().contains("[keyboard]"));
    }
}

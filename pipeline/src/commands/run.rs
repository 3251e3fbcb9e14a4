//! `samovar run`

use std::env;
use std::path::PathBuf;

use clap::Parser;
use runner::report::Stopwatch;

use super::build;
use super::store_option::StoreOption;
use crate::error::Result;

/// Build a recipe if that is still to be done, and show its guest in a window
///
/// Closing the window throws the guest away. Where there is no display, the path of a picture of its screen is printed
/// instead. `runner restore` shows what was built before, and has more options.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, such as recipes/firefox.toml
    recipe: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    /// Fetch nothing: build from what was fetched before
    #[arg(long)]
    offline: bool,
    /// Open a page in the guest's browser
    #[arg(long, value_name = "URL", value_parser = runner::line::parse_url)]
    url: Option<String>,
    /// The keyboard's layout, one of those that the recipe names
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = build::Args::warm_base(self.recipe, self.store, self.offline).build()?;
        if !has_display() {
            eprintln!("there is no display here, so no window: this is a picture of the guest's screen");
            println!("{}", artifact.join("screen.png").display());
            return Ok(());
        }
        let mut line = vec!["runner".into(), "restore".into()];
        for (option, value) in [("--url", self.url), ("--layout", self.layout)] {
            line.extend(value.map(|value| format!("{option}={value}").into()));
        }
        line.extend(["--".into(), artifact.into_os_string()]);
        let cli = runner::commands::Cli::parse_from(line);
        runner::commands::run(cli, Stopwatch::start())?;
        Ok(())
    }
}

/// Whether a window can be opened, as far as the environment tells. On macOS one always can.
fn has_display() -> bool {
    let named = |variable| env::var_os(variable).is_some_and(|value| !value.is_empty());
    cfg!(target_os = "macos") || named("DISPLAY") || named("WAYLAND_DISPLAY")
}

//! `samovar keygen`

use std::path::PathBuf;

use bundle::KeyPair;
use serde_json::json;

use crate::error::{IoContext, Result};

/// Make a pair of keys to sign bundles with, and print the public one
///
/// NAME.key is the secret key, without a password, for `samovar pack --sign`; NAME.pub is what others give to `samovar
/// unpack --trust`. Both are of minisign's format.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files' name without its ending; neither may be there yet
    #[arg(short, long, value_name = "NAME", default_value = "samovar")]
    output: PathBuf,
    /// As JSON
    ///
    /// An object with the path of the `secret_key`, the path of the `public_key`, and the `public` key itself.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let with = |ending: &str| {
            let mut path = self.output.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        let (secret, public) = (with(".key"), with(".pub"));
        let pair = KeyPair::generate().at(&secret)?;
        pair.write(&secret, &public)?;
        if self.json {
            let text = json!({ "secret_key": secret, "public_key": public, "public": pair.public() });
            println!("{text:#}");
        } else {
            println!("{}", pair.public());
        }
        Ok(())
    }
}

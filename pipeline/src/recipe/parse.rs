//! From TOML to a recipe, with errors that say where and what was meant.

use std::io;
use std::path::{Path, PathBuf};

use super::Recipe;

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The recipe.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// It says something that cannot be.
    #[error("{}:{line}:{column}: {message}", path.display())]
    At {
        /// The recipe.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// What was probably meant.
        hint: Option<String>,
    },
}

impl RecipeError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RecipeError::Read { .. } => Some("give the path of a recipe, such as recipes/hello.toml".into()),
            RecipeError::At { hint, .. } => hint.clone(),
        }
    }

    /// An error at a byte of the text.
    pub(super) fn at(path: &Path, text: &str, offset: usize, message: String, hint: Option<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        RecipeError::At { path: path.into(), line, column, message, hint }
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Recipe, RecipeError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().trim_end();
        match unknown_field(message) {
            Some((field, known)) => {
                let hint = nearest(field, &known).map_or_else(
                    || format!("known here: {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                RecipeError::at(path, text, offset, format!("unknown field `{field}`"), Some(hint))
            }
            None => RecipeError::at(path, text, offset, message.to_owned(), None),
        }
    })
}

/// Takes apart serde's words for an unknown field: the field, and those it could have been. They are all
/// that reaches us of it, whatever the format.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The known word nearest to what was written, if it is near enough to have been meant.
fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (strsim::jaro_winkler(written, word), *word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

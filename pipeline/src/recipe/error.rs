//! What can be wrong with a recipe.

use std::io;
use std::path::PathBuf;

use crate::excerpt::Place;

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
    #[error("{place}: {message}")]
    At {
        /// Where: in the recipe's file, or in one that it builds on.
        place: Box<Place>,
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

    /// The line of the file, with carets under what is wrong.
    pub fn excerpt(&self) -> Option<&str> {
        match self {
            RecipeError::Read { .. } => None,
            RecipeError::At { place, .. } => Some(place.excerpt()),
        }
    }
}

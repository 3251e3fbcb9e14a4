//! The files that a recipe is made of: its own, and those that it builds on.
//!
//! All their texts lie in one space of positions, one behind the other, so that a tree merged of several files still
//! knows of each of its parts which file it is from.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::RecipeError;
use crate::excerpt::Place;

/// A recipe is a page of text; anything longer is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// One file's text.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The position of its first byte.
    start: usize,
}

/// The files of one recipe.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file, whose number is returned.
    pub(super) fn add(&mut self, path: &Path, text: String) -> usize {
        // One byte lies between two files, so that the end of one is not the start of the next.
        let start = self.0.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.0.push(Source { path: path.into(), text, start });
        self.0.len() - 1
    }

    /// The files and their texts.
    pub(super) fn into_texts(self) -> Vec<(PathBuf, String)> {
        self.0.into_iter().map(|source| (source.path, source.text)).collect()
    }

    pub(super) fn get(&self, number: usize) -> &Source {
        &self.0[number]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The error that something at these positions is wrong.
    pub(super) fn error(
        &self,
        at: Range<usize>,
        message: impl ToString,
        hint: Option<String>,
    ) -> RecipeError {
        let (message, place) = (message.to_string(), self.place(at));
        RecipeError::At { place: Box::new(place), message, hint }
    }

    fn place(&self, at: Range<usize>) -> Place {
        let source = self.0.iter().rev().find(|source| source.start <= at.start);
        match source.or_else(|| self.0.first()) {
            Some(Source { path, text, start }) => {
                Place::of(path, text, at.start.saturating_sub(*start)..at.end.saturating_sub(*start))
            }
            None => Place::of(Path::new(""), "", 0..0),
        }
    }

    /// The tree of one file's text, with positions in the space of all.
    pub(super) fn tree(&self, number: usize) -> Result<Spanned<DeTable<'_>>, RecipeError> {
        let source = self.get(number);
        let tree = DeTable::parse(&source.text).map_err(|error| {
            let Range { start, end } = error.span().unwrap_or_default();
            self.error(source.start + start..source.start + end, error.message().trim_end(), None)
        })?;
        Ok(Spanned::new(moved(&tree.span(), source.start), moved_table(tree.into_inner(), source.start)))
    }
}

impl Source {
    /// The directory that the file's relative paths start from.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Reads the text of a file.
    pub(super) fn read(path: &Path) -> std::io::Result<String> {
        if fs::metadata(path)?.len() > MAX_BYTES {
            return Err(std::io::Error::other(format!("longer than {MAX_BYTES} bytes")));
        }
        fs::read_to_string(path)
    }
}

fn moved(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter().map(|(key, value)| {
        let key = Spanned::new(moved(&key.span(), by), key.into_inner());
        (key, moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved(&value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(mut items) => {
            for item in items.iter_mut() {
                let taken = std::mem::replace(item, Spanned::new(0..0, DeValue::Boolean(false)));
                *item = moved_value(taken, by);
            }
            DeValue::Array(items)
        }
        plain => plain,
    };
    Spanned::new(span, value)
}

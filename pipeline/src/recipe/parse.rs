//! From the tree of a recipe's files to a recipe, with errors that say where and what was meant.

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::DeTable;

use super::source::Sources;
use super::{Recipe, RecipeError, schema};

pub(super) fn parse(sources: &Sources, tree: Spanned<DeTable>) -> Result<Recipe, RecipeError> {
    let whole = tree.span();
    Recipe::deserialize(toml::Deserializer::from(tree)).map_err(|error| {
        let message = error.message().trim_end();
        let (message, hint) = match unknown_field(message) {
            Some((field, known)) => (format!("unknown field `{field}`"), Some(meant(field, &known))),
            None => (plain(message), missing_field(message)),
        };
        let span = error.span().unwrap_or_default();
        // What is missing from the file as a whole is nowhere in it.
        let span = if span == whole { span.start..span.start } else { span };
        sources.error(span, message, hint)
    })
}

/// Takes apart serde's words for an unknown field: the field, and those it could have been. They are all
/// that reaches us of it, whatever the format.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// What to do about a field that is not there.
fn missing_field(message: &str) -> Option<String> {
    let field = message.strip_prefix("missing field `")?.strip_suffix('`')?;
    Some(match field {
        "name" => "give the recipe a name; it takes none over from a recipe that it builds on".into(),
        field => format!("add `{field}`; `samovar new` writes a recipe with all that there must be"),
    })
}

/// What was probably meant by an unknown field.
fn meant(field: &str, known: &[&str]) -> String {
    let near = nearest(field, known);
    let elsewhere = tables_with(field);
    match (near, elsewhere.as_slice()) {
        (Some(near), []) => format!("did you mean `{near}`?"),
        // Well spelt, and in the wrong table.
        (_, [table]) => format!("`{field}` belongs in [{table}]"),
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, _) => format!("known here: {}", known.join(", ")),
    }
}

/// The tables of a recipe that have a field of this name.
fn tables_with(field: &str) -> Vec<String> {
    fn walk(schema: &Value, path: &str, field: &str, found: &mut Vec<String>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        if !path.is_empty() && properties.contains_key(field) {
            found.push(path.to_owned());
        }
        for (key, value) in properties {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            walk(value, &path, field, found);
        }
    }
    let mut found = Vec::new();
    walk(&schema::schema(), "", field, &mut found);
    found
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

/// An error in TOML's words instead of Rust's.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number",
        "a sequence" => "a list",
        "a map" => "a table",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    let found = found.replace("sequence", "list").replace("map", "table");
    format!("{found}, expected {expected}")
}

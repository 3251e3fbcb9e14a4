//! The JSON Schema of recipes, for editors: names, kinds and descriptions of all fields, from the types themselves.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Recipe;

/// The schema, in the draft that editors' TOML extensions know.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Recipe>().to_value();
    let complete = loosen(&mut schema);
    if let Some(whole) = schema.as_object_mut() {
        whole.insert("title".into(), json!("A samovar recipe"));
        // A recipe that builds on another leaves out what that one says; only its name is its own.
        whole.insert("required".into(), json!(["name"]));
        whole.insert("if".into(), json!({ "required": ["extends"] }));
        whole.insert("else".into(), complete.unwrap_or_else(|| json!({})));
        if let Some(properties) = whole.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("extends".into(), extends());
        }
    }
    schema
}

fn extends() -> Value {
    json!({
        "description": "Another recipe that this one builds on, as a path from this file's directory. Tables are merged \
            key by key, and a value here replaces the other's. A \
            kernel from another place replaces the other's kernel and its modules. The lists of [rootfs] and initramfs.modules add to the \
            other's; a package under exclude is taken out of the other's packages, and the other way round. \
            debian.components and keyboard.layouts replace the other's. Relative paths start from the directory of the \
            file they are written in.",
        "type": "string",
    })
}

/// Takes `required` out of a schema and of all the tables in it, and returns it as a schema of its own.
fn loosen(schema: &mut Value) -> Option<Value> {
    let fields = schema.as_object_mut()?;
    let mut complete = Map::new();
    if let Some(required) = fields.remove("required") {
        complete.insert("required".into(), required);
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    let nested: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), loosen(value)?)))
        .collect();
    if !nested.is_empty() {
        complete.insert("properties".into(), Value::Object(nested));
    }
    (!complete.is_empty()).then_some(Value::Object(complete))
}

#[cfg(test)]
mod tests {
    use super::super::{check, extends};
    use super::*;

    /// All fields by their paths.
    fn fields() -> Vec<(String, Value)> {
        fn walk(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
            for (key, value) in schema["properties"].as_object().into_iter().flatten() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.push((path.clone(), value.clone()));
                walk(value, &path, found);
            }
            if let Some(items) = schema.get("items") {
                walk(items, path, found);
            }
        }
        let mut found = Vec::new();
        walk(&schema(), "", &mut found);
        found
    }

    #[test]
    fn every_field_is_described() {
        let fields = fields();
        assert!(fields.len() > 30, "{}", fields.len());
        for (path, schema) in fields {
            assert!(schema["description"].as_str().is_some_and(|text| text.len() > 10), "{path}");
        }
    }

    #[test]
    fn of_every_list_it_is_known_how_it_is_merged() {
        let is_list = |schema: &Value| schema["type"] == "array";
        let lists: Vec<String> =
            fields().into_iter().filter(|(_, schema)| is_list(schema)).map(|(path, _)| path).collect();
        let mut known: Vec<&str> = extends::COLLECTED.into_iter().chain(extends::REPLACED).collect();
        let mut lists: Vec<&str> = lists.iter().map(String::as_str).collect();
        known.sort_unstable();
        lists.sort_unstable();
        assert_eq!(lists, known);
    }

    #[test]
    fn bounds_are_those_of_the_checks() {
        let bounds = |path: &str| {
            let (_, schema) = fields().into_iter().find(|(found, _)| found == path).unwrap();
            (schema["minimum"].as_u64().unwrap(), schema["maximum"].as_u64().unwrap())
        };
        assert_eq!(bounds("machine.cpus"), (*check::CPUS.start() as u64, *check::CPUS.end() as u64));
        let pixels = (u64::from(*check::PIXELS.start()), u64::from(*check::PIXELS.end()));
        assert_eq!(bounds("machine.display.width"), pixels);
        assert_eq!(bounds("machine.display.height"), pixels);
        let limit = (*check::LIMIT_SECONDS.start(), *check::LIMIT_SECONDS.end());
        assert_eq!(bounds("warm-base.limit-seconds"), limit);
        assert_eq!(bounds("rootfs.spare-inodes"), (0, u64::from(check::MAX_SPARE_INODES)));
    }

    #[test]
    fn a_hash_is_a_text() {
        let (_, schema) = fields().into_iter().find(|(path, _)| path == "kernel.sha256").unwrap();
        assert_eq!(
            (&schema["type"], &schema["pattern"]),
            (&json!(["string", "null"]), &json!("^[0-9a-f]{64}$"))
        );
    }

    #[test]
    fn only_a_recipe_of_its_own_must_be_complete() {
        let schema = schema();
        assert_eq!(schema["required"], json!(["name"]));
        let whole = &schema["else"];
        assert!(whole["required"].as_array().unwrap().contains(&json!("machine")));
        assert!(whole["properties"]["machine"]["required"].as_array().unwrap().contains(&json!("cpus")));
        assert_eq!(schema["properties"]["machine"].get("required"), None);
        // A permission is in a list: it is never merged with another.
        assert_eq!(
            schema["properties"]["rootfs"]["properties"]["permissions"]["items"]["required"],
            json!(["path"])
        );
    }
}

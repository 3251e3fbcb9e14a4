//! JSON compared field by field.

use serde_json::Value;

use super::{Found, GONE, NEW, union};

/// How many fields of one value are told of; a machine's state has thousands, and the first ones say where to look.
const MOST: usize = 40;

/// How long a value may be to be shown.
const SHOWN: usize = 80;

pub fn compare(one: &Value, other: &Value, found: &mut Found) {
    let mut all = Vec::new();
    collect(one, other, "", &mut all);
    let more = all.len().saturating_sub(MOST);
    for (place, change) in all.into_iter().take(MOST) {
        found.add(place, change);
    }
    if more > 0 {
        found.add("...", format!("and {more} more fields"));
    }
}

fn collect(one: &Value, other: &Value, place: &str, all: &mut Vec<(String, String)>) {
    let at = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (one, other) {
        _ if one == other => {}
        (Value::Object(one), Value::Object(other)) => {
            for key in union(one.keys(), other.keys()) {
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => collect(one, other, &at(key), all),
                    (Some(_), None) => all.push((at(key), GONE.into())),
                    _ => all.push((at(key), NEW.into())),
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if is_list(one) && is_list(other) => {
            list(one, other, place, all)
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (number, (one, other)) in one.iter().zip(other).enumerate() {
                collect(one, other, &at(&number.to_string()), all);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            all.push((place.into(), format!("{} items -> {}", one.len(), other.len())));
        }
        _ => all.push((place.into(), format!("{} -> {}", short(one), short(other)))),
    }
}

/// Whether it is a list of names, such as packages, and no table of numbers.
fn is_list(items: &[Value]) -> bool {
    items.iter().all(Value::is_string)
}

fn list(one: &[Value], other: &[Value], place: &str, all: &mut Vec<(String, String)>) {
    let before = all.len();
    let text = |item: &Value| item.as_str().unwrap_or_default().to_owned();
    let lone = |from: &[Value], at: &[Value], change: &str| -> Vec<(String, String)> {
        let lone = from.iter().filter(|item| !at.contains(item));
        lone.map(|item| (format!("{place}: {}", text(item)), change.to_owned())).collect()
    };
    all.extend(lone(one, other, GONE));
    all.extend(lone(other, one, NEW));
    if all.len() == before {
        all.push((place.into(), "in another order".into()));
    }
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

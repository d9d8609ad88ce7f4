//! A small and strict JSON Schema checker for the tests.
//!
//! It knows the keywords that `docs/schema` uses and refuses any other, so that no rule of a schema goes unchecked. A whole
//! validator is a dependency that takes minutes to build, and it would not report the second thing that matters here: a
//! key in the output that the schema does not describe.

use serde_json::Value;

/// What is wrong with `value` by `schema`; a key that the schema does not describe is wrong too.
pub(crate) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, value, "", &mut faults);
    faults
}

fn check(schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        faults.push(format!("{path}: the schema is not an object"));
        return;
    };
    for (keyword, rule) in schema {
        let ok = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" => true,
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|allowed| allowed.contains(value)),
            "type" => match rule {
                Value::String(one) => has_type(value, one),
                Value::Array(several) => several.iter().filter_map(Value::as_str).any(|one| has_type(value, one)),
                _ => false,
            },
            "minimum" => value
                .as_f64()
                .is_none_or(|number| rule.as_f64().is_some_and(|least| number >= least)),
            "pattern" => value
                .as_str()
                .is_none_or(|text| matches_pattern(rule.as_str().unwrap_or(""), text)),
            // JSON Schema: says nothing of what is no object.
            "required" => !value.is_object() || keys(rule).all(|key| value.get(key).is_some()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{path}/{index}"), faults);
                }
                true
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    match rule.get(key).or(schema.get("additionalProperties")) {
                        Some(rule) => check(rule, value, &format!("{path}/{key}"), faults),
                        None => faults.push(format!("{path}/{key} is not described")),
                    }
                }
                true
            }
            "additionalProperties" => {
                if !schema.contains_key("properties") {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        check(rule, value, &format!("{path}/{key}"), faults);
                    }
                }
                true
            }
            _ => {
                faults.push(format!("{path}: keyword {keyword} is unknown to this checker"));
                true
            }
        };
        if !ok {
            faults.push(format!("{path}: {value} is not as {keyword} {rule} wants it"));
        }
    }
}

fn keys(rule: &Value) -> impl Iterator<Item = &str> {
    rule.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// The patterns of our schemas, by hand.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[a-z0-9]+(-[a-z0-9]+)*$" => text.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        }),
        "^([0-9.]+|\\[[0-9a-f:.]+\\]):[0-9]+$" => {
            text.parse::<std::net::SocketAddr>().is_ok() && text.contains('[') == (text.matches(':').count() > 1)
        }
        _ => false,
    }
}

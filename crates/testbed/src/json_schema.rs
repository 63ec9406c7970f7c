//! As much of JSON Schema as docs/show.schema.json uses. A crate for all of it has fifty others in tow.
//!
//! A keyword that is not known here is an error, so that no part of a schema goes unchecked. A member that the schema does
//! not describe is one, too: readers may meet new members, but the schema of this release has all of them.

use serde_json::{Map, Value};

/// Keywords that constrain nothing.
const ANNOTATIONS: [&str; 4] = ["$schema", "$defs", "title", "description"];

/// The ways in which `value` does not conform to `schema`, each with its place.
#[must_use]
pub fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut checker = Checker {
        root: schema,
        problems: Vec::new(),
    };
    checker.check(schema, value, "$");
    checker.problems
}

struct Checker<'a> {
    root: &'a Value,
    problems: Vec<String>,
}

impl<'a> Checker<'a> {
    fn check(&mut self, schema: &'a Value, value: &Value, place: &str) {
        let Some(schema) = schema.as_object() else {
            return self.report(place, "the schema is no object");
        };
        for (keyword, wanted) in schema {
            match keyword.as_str() {
                "$ref" => match self.find(wanted) {
                    Some(found) => self.check(found, value, place),
                    None => self.report(place, &format!("the schema has no {wanted}")),
                },
                "type" => {
                    let names = match wanted.as_array() {
                        Some(names) => names.as_slice(),
                        None => std::slice::from_ref(wanted),
                    };
                    if !names.iter().any(|name| is_type(name, value)) {
                        self.report(place, &format!("{value} is no {wanted}"));
                    }
                }
                "const" if wanted != value => {
                    self.report(place, &format!("{value} is not {wanted}"))
                }
                "enum" if !wanted.as_array().is_some_and(|it| it.contains(value)) => {
                    self.report(place, &format!("{value} is not among {wanted}"));
                }
                "minimum" if value.as_f64() < wanted.as_f64() => {
                    self.report(place, &format!("{value} is below {wanted}"));
                }
                "maximum" if value.as_f64() > wanted.as_f64() => {
                    self.report(place, &format!("{value} is above {wanted}"));
                }
                "anyOf" => self.check_any(wanted, value, place),
                "items" => {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{place}[{at}]"));
                    }
                }
                "required" => {
                    let names = wanted.as_array().into_iter().flatten();
                    for name in names.filter_map(Value::as_str) {
                        if value.as_object().is_some_and(|it| !it.contains_key(name)) {
                            self.report(place, &format!("{name} is missing"));
                        }
                    }
                }
                // Both at once, in `check_members`.
                "properties" | "additionalProperties" => {}
                "const" | "enum" | "minimum" | "maximum" => {}
                annotation if ANNOTATIONS.contains(&annotation) => {}
                unknown => self.report(place, &format!("the schema has a keyword {unknown}")),
            }
        }
        self.check_members(schema, value, place);
    }

    fn check_members(&mut self, schema: &'a Map<String, Value>, value: &Value, place: &str) {
        let (known, others) = (schema.get("properties"), schema.get("additionalProperties"));
        if known.is_none() && others.is_none() {
            return;
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            match known.and_then(|it| it.get(name)).or(others) {
                Some(schema) => self.check(schema, member, &place),
                None => self.report(&place, "the schema does not describe it"),
            }
        }
    }

    fn check_any(&mut self, schemas: &'a Value, value: &Value, place: &str) {
        let mut all = Vec::new();
        for schema in schemas.as_array().into_iter().flatten() {
            let before = self.problems.len();
            self.check(schema, value, place);
            match self.problems.split_off(before) {
                fits if fits.is_empty() => return,
                problems => all.extend(problems),
            }
        }
        self.report(place, &format!("no alternative fits: {}", all.join("; ")));
    }

    fn find(&self, reference: &Value) -> Option<&'a Value> {
        self.root.pointer(reference.as_str()?.strip_prefix('#')?)
    }

    fn report(&mut self, place: &str, problem: &str) {
        self.problems.push(format!("{place}: {problem}"));
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "count": { "type": "integer", "minimum": 0, "maximum": 7 },
                "name": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/name" }] },
                "sums": { "type": "object", "additionalProperties": { "type": "number" } },
                "list": { "type": "array", "items": { "const": 1 } },
            },
            "required": ["count"],
            "$defs": { "name": { "enum": ["tun0", "tun1"] } },
        })
    }

    #[test]
    fn what_conforms_has_no_problem() {
        for value in [
            json!({ "count": 7 }),
            json!({ "count": 0, "name": null, "sums": { "a": 1.5 }, "list": [1, 1] }),
            json!({ "count": 0, "name": "tun1", "sums": {}, "list": [] }),
        ] {
            assert_eq!(problems(&schema(), &value), Vec::<String>::new());
        }
    }

    #[test]
    fn each_violation_is_named_with_its_place() {
        for (value, words) in [
            (json!([]), "$: [] is no"),
            (json!({}), "$: count is missing"),
            (json!({ "count": 8 }), "$.count: 8 is above 7"),
            (json!({ "count": -1 }), "$.count: -1 is below 0"),
            (json!({ "count": 1.5 }), "$.count: 1.5 is no"),
            (
                json!({ "count": 1, "name": "eth0" }),
                "$.name: no alternative fits",
            ),
            (
                json!({ "count": 1, "sums": { "a": "b" } }),
                "$.sums.a: \"b\" is no",
            ),
            (
                json!({ "count": 1, "list": [1, 2] }),
                "$.list[1]: 2 is not 1",
            ),
            (
                json!({ "count": 1, "more": 1 }),
                "$.more: the schema does not describe it",
            ),
        ] {
            let found = problems(&schema(), &value);
            assert!(found.len() == 1 && found[0].starts_with(words), "{found:?}");
        }
        let unknown = json!({ "pattern": "x" });
        assert_eq!(
            problems(&unknown, &json!(1)),
            ["$: the schema has a keyword pattern"]
        );
        let dangling = json!({ "$ref": "#/$defs/none" });
        assert_eq!(problems(&dangling, &json!(1)).len(), 1);
    }
}

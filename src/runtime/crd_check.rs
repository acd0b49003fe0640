//! Are the installed custom resource definitions new enough for this program?
//!
//! A field that the installed schema does not have is dropped silently from a patch: the program would write down
//! what it is about to do, and it would not be there. So before anything is changed, every field that the program
//! knows must be installed with the same type. More is allowed: a newer definition with an older program is how a
//! rollback and a rolling upgrade look.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// One way in which an installed definition falls short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The definition, such as `workers.stevedore.dev`.
    pub definition: String,
    /// The field, such as `status.operation`; empty if it is about the whole.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{} {}", self.definition, self.what),
            field => write!(f, "{}: {field} {}", self.definition, self.what),
        }
    }
}

/// One text for the readiness gate and a condition: the first few problems, how many more there are, and the remedy.
pub fn summary(problems: &[Problem]) -> String {
    const SHOWN: usize = 5;
    let mut lines: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    if problems.len() > SHOWN {
        lines.push(format!("and {} more", problems.len() - SHOWN));
    }
    format!("CrdOutdated: {}; install the custom resource definitions that belong to this version", lines.join("; "))
}

/// Reads the installed definitions and compares each with the one wanted.
///
/// # Errors
///
/// A definition could not be read (that it is absent is a problem, not an error).
pub async fn check(client: &Client, wanted: &[CustomResourceDefinition]) -> Result<Vec<Problem>, kube::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut problems = Vec::new();
    for definition in wanted {
        let installed = definitions.get_opt(&definition.name_any()).await?;
        problems.extend(compare(definition, installed.as_ref()));
    }
    Ok(problems)
}

/// What the installed definition lacks.
pub fn compare(wanted: &CustomResourceDefinition, installed: Option<&CustomResourceDefinition>) -> Vec<Problem> {
    let mut found = Findings { definition: wanted.name_any(), problems: Vec::new() };
    let Some(installed) = installed else {
        found.add("", "is not installed");
        return found.problems;
    };
    for version in wanted.spec.versions.iter().filter(|version| version.served) {
        let Some(have) = installed.spec.versions.iter().find(|have| have.served && have.name == version.name) else {
            found.add("", format!("does not serve {}", version.name));
            continue;
        };
        let status = |version: &_| json_of(version).pointer("/subresources/status").is_some();
        if status(version) && !status(have) {
            found.add("status", "is no subresource");
        }
        let schema = |version: &_| json_of(version).pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
        found.compare(&schema(version), &schema(have), "");
    }
    found.problems
}

fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

struct Findings {
    definition: String,
    problems: Vec<Problem>,
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// What makes up the type of a field; the lists' kinds decide how server-side apply merges them.
const TYPE: [(&str, &str); 4] = [
    ("type", "type"),
    ("x-kubernetes-int-or-string", "int-or-string"),
    ("x-kubernetes-list-type", "list type"),
    ("x-kubernetes-list-map-keys", "list keys"),
];

impl Findings {
    fn add(&mut self, field: &str, what: impl Into<String>) {
        let problem = Problem { definition: self.definition.clone(), field: field.to_owned(), what: what.into() };
        self.problems.push(problem);
    }

    fn compare(&mut self, wanted: &Value, have: &Value, path: &str) {
        for (key, name) in TYPE {
            if wanted.get(key) != have.get(key) {
                self.add(path, format!("has {name} {}, not {}", shown(have.get(key)), shown(wanted.get(key))));
                return;
            }
        }
        if wanted[PRESERVE] == true && have[PRESERVE] != true {
            self.add(path, "does not keep fields of its own making");
        }
        for (name, field) in wanted["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match have["properties"].get(name) {
                Some(installed) => self.compare(field, installed, &path),
                None if have[PRESERVE] == true => {}
                None => self.add(&path, "is missing"),
            }
        }
        self.compare_inner(wanted, have, "items", &format!("{path}[]"));
        self.compare_inner(wanted, have, "additionalProperties", &format!("{path}.*"));
    }

    fn compare_inner(&mut self, wanted: &Value, have: &Value, key: &str, path: &str) {
        match (wanted.get(key), have.get(key)) {
            (Some(wanted), Some(have)) if wanted.is_object() => self.compare(wanted, have, path),
            (Some(wanted), None) if *wanted != Value::Bool(false) => self.add(path, "is missing"),
            _ => {}
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string().replace('"', ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(spec: &Value, status: &Value) -> CustomResourceDefinition {
        serde_json::from_value(json!({
            "metadata": {"name": "workers.stevedore.dev"},
            "spec": {
                "group": "stevedore.dev", "scope": "Namespaced", "names": {"plural": "workers", "kind": "Worker"},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": spec},
                        "status": {"type": "object", "properties": status},
                    }}},
                }],
            },
        }))
        .unwrap()
    }

    /// What an installed definition lacks; each is given by the fields of its spec and of its status.
    fn problems(wanted: [&Value; 2], have: [&Value; 2]) -> Vec<String> {
        let (wanted, have) = (definition(wanted[0], wanted[1]), definition(have[0], have[1]));
        compare(&wanted, Some(&have)).iter().map(|problem| format!("{} {}", problem.field, problem.what)).collect()
    }

    #[test]
    fn the_same_and_more_is_enough() {
        let spec = json!({"size": {"type": "integer"}});
        let more = json!({"size": {"type": "integer", "maximum": 3}, "later": {"type": "string"}});
        assert!(problems([&spec, &json!({})], [&spec, &json!({})]).is_empty());
        assert!(problems([&spec, &json!({})], [&more, &json!({"new": {"type": "string"}})]).is_empty());
    }

    #[test]
    fn missing_fields_and_other_types_are_named_with_their_path() {
        let condition = |more: &Value| {
            json!({"conditions": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"], "items": {"type": "object", "properties": more}}})
        };
        let wanted = condition(&json!({"type": {"type": "string"}, "reason": {"type": "string"}}));
        let have = condition(&json!({"type": {"type": "integer"}}));
        assert_eq!(
            problems([&json!({}), &wanted], [&json!({}), &have]),
            ["status.conditions[].reason is missing", "status.conditions[].type has type integer, not string",]
        );
        let atomic = json!({"conditions": {"type": "array", "items": {"type": "object"}}});
        assert_eq!(
            problems([&json!({}), &wanted], [&json!({}), &atomic]),
            ["status.conditions has list type none, not map"]
        );
        let map = |of: &Value| json!({"labels": {"type": "object", "additionalProperties": of}});
        let (wanted, have) = (map(&json!({"type": "string"})), map(&json!({"type": "integer"})));
        assert_eq!(
            problems([&wanted, &json!({})], [&have, &json!({})]),
            ["spec.labels.* has type integer, not string"]
        );
    }

    #[test]
    fn a_record_that_keeps_unknown_fields_must_keep_them() {
        let open = json!({"operation": {"type": "object", PRESERVE: true}});
        let shut = json!({"operation": {"type": "object", "properties": {"id": {"type": "string"}}}});
        assert_eq!(
            problems([&json!({}), &open], [&json!({}), &shut]),
            ["status.operation does not keep fields of its own making"]
        );
        assert!(problems([&json!({}), &shut], [&json!({}), &open]).is_empty());
    }

    #[test]
    fn absent_definitions_versions_and_subresources() {
        let wanted = definition(&json!({}), &json!({}));
        assert_eq!(compare(&wanted, None)[0].to_string(), "workers.stevedore.dev is not installed");
        let mut other = wanted.clone();
        other.spec.versions[0].name = "v1".into();
        assert_eq!(compare(&wanted, Some(&other))[0].what, "does not serve v1alpha1");
        let mut without_status = wanted.clone();
        without_status.spec.versions[0].subresources = None;
        let found = compare(&wanted, Some(&without_status));
        assert_eq!(found[0].to_string(), "workers.stevedore.dev: status is no subresource");
        assert!(summary(&found).starts_with("CrdOutdated: workers.stevedore.dev: status is no subresource; install"));
    }

    #[test]
    fn our_own_definitions_are_enough_for_themselves() {
        for definition in crate::api::crdgen::all() {
            assert_eq!(compare(&definition, Some(&definition)), []);
        }
    }
}

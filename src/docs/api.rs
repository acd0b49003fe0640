//! The reference of the kinds: every field of their schemas, in tables.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use super::bounds::{self, Rules};
use crate::api::crdgen;

const HEADER: &str = "\
# The API

Every field of the kinds of `stevedore.dev/v1alpha1`. `kubectl explain worker.spec` tells the same of what is installed.

* A field below another is written `parent.field`, one of each entry of a list `list[].field`.
* *needed* stands where a field must be given, or must be given within a parent that is.
* The bounds of a spec are checked when an object is applied. In quotation marks is what the API server says when it
  refuses one. The bounds of a status say what a reader has to be ready for.
* The annotations are in [operations.md](operations.md), the reasons of the conditions in [reasons.md](reasons.md), the
  phases in [lifecycle.md](lifecycle.md).

This file is written by `make docs`.
";

/// The whole reference.
// Writing into a String does not fail.
pub(super) fn reference() -> String {
    let mut text = HEADER.to_owned();
    for crd in crdgen::all() {
        for version in &crd.spec.versions {
            kind(&mut text, &crd, version);
        }
    }
    text
}

fn kind(text: &mut String, crd: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) {
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let Some(root) = schema else { return };
    let names = &crd.spec.names;
    let _ = writeln!(text, "\n## {}\n\n{}\n", names.kind, root.description.as_deref().unwrap_or_default());
    let rules = Rules::of(root);
    shown(text, crd, version);
    for message in rules.at("") {
        let _ = writeln!(text, "* Checked of every object: {message}.");
    }
    for (part, heading) in [("spec", "spec of a"), ("status", "status of a")] {
        let Some(schema) = root.properties.as_ref().and_then(|fields| fields.get(part)) else { continue };
        let _ = writeln!(text, "\n### The {heading} {}\n", names.kind);
        let _ = writeln!(text, "{}\n", schema.description.as_deref().unwrap_or_default());
        let path = format!(".{part}");
        let mut table = Table { text, rules: &rules, part: path.clone(), has_defaults: part == "spec" };
        table.head();
        table.fields(&path, schema);
        of_the_whole(text, rules.at(&path));
    }
}

/// How the kind is called, and what `kubectl get` shows of it.
fn shown(text: &mut String, crd: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) {
    let names = &crd.spec.names;
    let short = names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let _ = writeln!(text, "* In short {}; among others `kubectl get stevedore` lists it.", short.join(", "));
    let columns = |wide: bool| {
        let all = version.additional_printer_columns.iter().flatten();
        let these = all.filter(|column| (column.priority.unwrap_or(0) > 0) == wide);
        these.map(|column| column.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(text, "* `kubectl get` shows {}; with `-o wide` also {}.", columns(false), columns(true));
    let selectable = version.selectable_fields.iter().flatten();
    let fields: Vec<String> =
        selectable.map(|field| format!("`{}`", field.json_path.trim_start_matches('.'))).collect();
    if !fields.is_empty() {
        let _ = writeln!(text, "* `--field-selector` takes {}.", fields.join(" and "));
    }
}

/// What is said of no field in particular.
fn of_the_whole(text: &mut String, messages: &[String]) {
    if !messages.is_empty() {
        text.push('\n');
    }
    for message in messages {
        let _ = writeln!(text, "* Checked of the whole: {message}.");
    }
}

/// The table of one part of a kind.
struct Table<'a> {
    text: &'a mut String,
    rules: &'a Rules,
    /// The path that the fields' names leave out.
    part: String,
    has_defaults: bool,
}

impl Table<'_> {
    fn head(&mut self) {
        self.text.push_str(if self.has_defaults {
            "| Field | Type | Default | Bounds | Meaning |\n|---|---|---|---|---|\n"
        } else {
            "| Field | Type | Bounds | Meaning |\n|---|---|---|---|\n"
        });
    }

    /// One row for each field of an object, each followed by what is below it.
    fn fields(&mut self, path: &str, schema: &JSONSchemaProps) {
        for (name, field) in schema.properties.iter().flatten() {
            let is_needed = schema.required.iter().flatten().any(|needed| needed == name);
            let path = format!("{path}.{name}");
            self.row(&path, field, is_needed);
            self.fields(&path, field);
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
                self.fields(&format!("{path}[]"), items);
            }
        }
    }

    fn row(&mut self, path: &str, field: &JSONSchemaProps, is_needed: bool) {
        let name = path.strip_prefix(&self.part).unwrap_or(path).trim_start_matches('.');
        let mut cells = vec![format!("`{name}`"), type_of(field)];
        if self.has_defaults {
            cells.push(default_of(field, is_needed));
        }
        cells.push(bounds::of(path, field, self.rules));
        cells.push(field.description.clone().unwrap_or_default());
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace("\n\n", " ")).collect();
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }
}

fn type_of(field: &JSONSchemaProps) -> String {
    let name = field.type_.as_deref().unwrap_or("anything");
    match (name, &field.items) {
        ("array", Some(JSONSchemaPropsOrArray::Schema(items))) => {
            let keys: Vec<String> =
                field.x_kubernetes_list_map_keys.iter().flatten().map(|key| format!("`{key}`")).collect();
            match field.x_kubernetes_list_type.as_deref() {
                Some("set") => format!("set of {}", type_of(items)),
                Some("map") => format!("list of {} by {}", type_of(items), keys.join(", ")),
                _ => format!("list of {}", type_of(items)),
            }
        }
        ("string", _) if field.format.as_deref() == Some("date-time") => "time".to_owned(),
        ("object", _) if field.additional_properties.is_some() => "map of string".to_owned(),
        _ => name.to_owned(),
    }
}

/// The default of an object with fields is told with its fields.
fn default_of(field: &JSONSchemaProps, is_needed: bool) -> String {
    match &field.default {
        _ if is_needed => "*needed*".to_owned(),
        Some(default) if field.properties.is_none() => match &default.0 {
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(text: &'a str, kind: &str, part: &str, field: &str) -> &'a str {
        let section = text.split(&format!("### The {part} of a {kind}\n")).nth(1).unwrap();
        let section = section.split("\n##").next().unwrap();
        section.lines().find(|line| line.starts_with(&format!("| `{field}` |"))).unwrap()
    }

    #[test]
    fn rows_say_type_default_and_bounds() {
        let text = reference();
        let tasks = row(&text, "Worker", "spec", "maxConcurrentTasks");
        assert!(tasks.contains("| integer | `4` | 1 to 64 |"), "{tasks}");
        let method = row(&text, "Worker", "spec", "networks[].ipv4.method");
        assert!(method.contains("| string | `DHCP` | `DHCP`, `Static` or `None` |"), "{method}");
        let networks = row(&text, "Worker", "spec", "networks");
        assert!(networks.contains("| *needed* | 1 to 8 entries; "), "{networks}");
        let keys = row(&text, "Worker", "spec", "access.authorizedKeys");
        assert!(
            keys.contains("| list of string |") && keys.contains("each: “must be one OpenSSH public key"),
            "{keys}"
        );
        assert!(row(&text, "Worker", "status", "lastTest.finishedAt").contains("| time |"));
    }

    #[test]
    fn what_cannot_be_changed_is_told_where_it_stands() {
        let text = reference();
        for (kind, field) in [("Hypervisor", "provider"), ("Worker", "hypervisorRef")] {
            let row = row(&text, kind, "spec", field);
            assert!(row.contains("**immutable**"), "{row}");
        }
        assert!(row(&text, "Worker", "spec", "resources.disk").contains("can grow but not shrink"));
        assert!(text.contains("\n* Checked of the whole: **immutable**: “the provider block cannot be changed"));
    }
}

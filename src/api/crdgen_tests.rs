use std::path::Path;

use super::*;

/// Calls `visit` with the path and the schema of every field below `schema`.
fn walk(path: &str, schema: &JSONSchemaProps, visit: &mut dyn FnMut(&str, &JSONSchemaProps)) {
    visit(path, schema);
    for (name, property) in schema.properties.iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(&format!("{path}{{}}"), values, visit);
    }
}

/// What is wrong with the schemas of all CRDs, found by `fault`, which sees each path and schema.
fn faults(fault: impl Fn(&str, &JSONSchemaProps) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for crd in all() {
        for version in &crd.spec.versions {
            let root = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
            walk(&crd.spec.names.kind, root, &mut |path, schema| {
                found.extend(fault(path, schema).map(|fault| format!("{path}: {fault}")));
            });
        }
    }
    found
}

fn is_bounded_text(schema: &JSONSchemaProps) -> bool {
    schema.max_length.is_some() || schema.enum_.is_some() || schema.format.as_deref() == Some("date-time")
}

fn is_kind_of_object(path: &str) -> bool {
    path.split_once('.').is_some_and(|(_, field)| field == "kind")
}

#[test]
fn every_schema_is_structural() {
    let found = faults(|path, schema| {
        let combined = [&schema.any_of, &schema.one_of, &schema.all_of].iter().any(|all| all.is_some());
        if schema.ref_path.is_some() || combined || schema.not.is_some() {
            return Some("uses $ref, anyOf, oneOf, allOf or not".to_owned());
        }
        let open = schema.x_kubernetes_preserve_unknown_fields == Some(true);
        if open != (path == "Worker.status.operation") {
            return Some("only the operation may keep unknown fields".to_owned());
        }
        if schema.nullable.is_some() || schema.unique_items.is_some() {
            return Some("uses nullable or uniqueItems".to_owned());
        }
        schema.type_.is_none().then(|| "has no type".to_owned())
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_field_is_bounded() {
    let found = faults(|path, schema| match schema.type_.as_deref() {
        Some("string") if path.ends_with(".apiVersion") || is_kind_of_object(path) => None,
        Some("string") => (!is_bounded_text(schema)).then(|| "has no maxLength".to_owned()),
        Some("array") if schema.max_items.is_none() => Some("has no maxItems".to_owned()),
        Some("array") => schema.x_kubernetes_list_type.is_none().then(|| "has no list type".to_owned()),
        Some("integer") => schema.minimum.is_none().then(|| "has no minimum".to_owned()),
        Some("object") if schema.additional_properties.is_some() => {
            schema.max_properties.is_none().then(|| "has no maxProperties".to_owned())
        }
        Some("object" | "boolean") => None,
        other => Some(format!("has type {other:?}")),
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_number_has_a_format_that_the_api_server_knows() {
    let found = faults(|_, schema| {
        let known: &[&str] = match schema.type_.as_deref() {
            Some("integer") => &["int32", "int64"],
            Some("string") => &["", "date-time"],
            _ => &[""],
        };
        let format = schema.format.as_deref().unwrap_or_default();
        (!known.contains(&format)).then(|| format!("has format {format:?}"))
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_field_is_described_in_sentences() {
    let found = faults(|path, schema| {
        if ["[]", "{}", ".metadata"].iter().any(|end| path.ends_with(end)) {
            return None;
        }
        let text = schema.description.as_deref().unwrap_or_default();
        let reads_well = text.len() > 10 && text.ends_with('.') && !text.contains('\n') && !text.contains("  ");
        (!reads_well).then(|| format!("is described by {text:?}"))
    });
    assert!(found.is_empty(), "{found:#?}");
}

/// `kubectl explain` does not show defaults.
#[test]
fn every_default_is_told_in_the_description() {
    let found = faults(|_, schema| {
        let default = match &schema.default.as_ref()?.0 {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let told = schema.description.as_deref().unwrap_or_default().contains(&default);
        (!told).then(|| format!("does not tell its default, {default}"))
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_rule_has_a_message_and_stands_where_it_cannot_lock_an_object() {
    let found = faults(|path, schema| {
        let is_root = !path.contains('.');
        schema.x_kubernetes_validations.iter().flatten().find_map(|rule| {
            let speaks_of_change = rule.rule.contains("oldSelf");
            if rule.message.as_ref().is_none_or(|message| message.is_empty() || message.contains('^')) {
                return Some(format!("this rule has no message for people: {}", rule.rule));
            }
            if path.contains(".status") {
                return Some(format!("a rule on a status could stop the operator: {}", rule.rule));
            }
            // A root rule runs on every write. One that compares passes when nothing changed; others need optionalOldSelf.
            if is_root && !speaks_of_change {
                return Some(format!("a rule at the root must pass for what did not change: {}", rule.rule));
            }
            if !is_root && rule.optional_old_self.is_some() {
                return Some(format!("optionalOldSelf belongs on root rules only: {}", rule.rule));
            }
            // On an optional field itself, a rule about change would not see the field being taken away.
            let may_speak_of_change = is_root || path.matches('.').count() == 1;
            (speaks_of_change && !may_speak_of_change).then(|| format!("this rule belongs on spec: {}", rule.rule))
        })
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn statuses_have_no_defaults_and_no_closed_lists_of_words() {
    let found = faults(|path, schema| {
        let is_condition = path.ends_with(".conditions[].status");
        let closed = schema.default.is_some() || (schema.enum_.is_some() && !is_condition);
        (path.contains(".status") && closed).then(|| "has a default or an enum".to_owned())
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_committed_files_are_those_that_the_types_give() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for crd in all() {
        let path = folder.join(file_name(&crd));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let stale = committed != to_yaml(&crd).unwrap();
        assert!(!stale, "{} is stale: run `cargo run -- crds --dir crds`", path.display());
    }
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, all().len(), "crds/ holds a file that no type gives");
}

#[test]
fn bounds_are_whole_numbers_in_the_files() {
    for crd in all() {
        let yaml = to_yaml(&crd).unwrap();
        let fraction = yaml.lines().find(|line| line.trim_end().ends_with(".0"));
        assert_eq!(fraction, None);
    }
}

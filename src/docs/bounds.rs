//! What bounds a field, in words: those of its schema, and the messages of the rules that speak of it.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool, ValidationRule,
};
use serde_json::Value;

/// What the rules of a kind say, by the path of the field that each speaks of: the root's is empty.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<String, Vec<String>>);

impl Rules {
    /// The rules of a schema and of all below it.
    pub(super) fn of(root: &JSONSchemaProps) -> Self {
        let mut rules = Self::default();
        rules.collect("", root);
        rules
    }

    fn collect(&mut self, path: &str, schema: &JSONSchemaProps) {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let at = format!("{path}{}", rule.field_path.as_deref().unwrap_or_default());
            let (messages, message) = (self.0.entry(at).or_default(), message(rule));
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
        for (name, field) in schema.properties.iter().flatten() {
            self.collect(&format!("{path}.{name}"), field);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            self.collect(&format!("{path}[]"), items);
        }
    }

    /// What is said of the field at `path`.
    pub(super) fn at(&self, path: &str) -> &[String] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }
}

/// A rule that does nothing but compare fields with what they were before makes them immutable.
fn message(rule: &ValidationRule) -> String {
    let text = format!("“{}”", rule.message.as_deref().unwrap_or(&rule.rule));
    let is_immutable = rule.rule.split(" && ").all(compares_with_before);
    if is_immutable { format!("**immutable**: {text}") } else { text }
}

/// Of an optional field two things are compared: whether it is there, and if it is, its value.
fn compares_with_before(part: &str) -> bool {
    let if_there = part.strip_prefix("(!has(").and_then(|rest| rest.split_once(" || "));
    let compared = if_there.map_or(part, |(_, comparison)| comparison.trim_end_matches(')'));
    compared.split_once(" == ").is_some_and(|(now, before)| now.replace("self.", "oldSelf.") == before)
}

/// The bounds of the field at `path`, in one line.
pub(super) fn of(path: &str, field: &JSONSchemaProps, rules: &Rules) -> String {
    let mut all = of_schema(field);
    all.extend(rules.at(path).iter().cloned());
    all.extend(length(field, &all));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
        let each = of(&format!("{path}[]"), items, rules);
        all.extend((!each.is_empty()).then(|| format!("each: {each}")));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &field.additional_properties {
        all.extend(length(values, &[]).map(|length| format!("each: {length}")));
    }
    all.join("; ")
}

fn of_schema(field: &JSONSchemaProps) -> Vec<String> {
    let values: Vec<String> = field.enum_.iter().flatten().map(|value| value_of(&value.0)).collect();
    let numbers = range(field.minimum, field.maximum);
    let entries = |least: Option<i64>, most: Option<i64>| match (least.filter(|least| *least > 0), most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most} entries")),
        (None, Some(most)) => Some(format!("at most {most} entries")),
        (Some(least), None) => Some(format!("at least {least} entries")),
        (None, None) => None,
    };
    let values = (!values.is_empty()).then(|| either(&values));
    let open = field.x_kubernetes_preserve_unknown_fields == Some(true);
    let entries =
        entries(field.min_items, field.max_items).or_else(|| entries(field.min_properties, field.max_properties));
    let open = open.then(|| "its fields are not part of the API".to_owned());
    [values, numbers, entries, open].into_iter().flatten().collect()
}

/// Bounds are whole numbers, which the schema holds as floating-point ones.
fn range(least: Option<f64>, most: Option<f64>) -> Option<String> {
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least:.0} to {most:.0}")),
        (Some(least), None) => Some(format!("{least:.0} or more")),
        (None, Some(most)) => Some(format!("{most:.0} or less")),
        (None, None) => None,
    }
}

/// The longest text, unless a rule's message says it already.
fn length(field: &JSONSchemaProps, said: &[String]) -> Option<String> {
    let most = field.max_length?.to_string();
    let is_said = said.iter().any(|text| text.split(|letter: char| !letter.is_ascii_digit()).any(|word| word == most));
    (!is_said).then(|| format!("at most {most} characters"))
}

fn value_of(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn either(values: &[String]) -> String {
    match values {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => values.concat(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(schema: &Value) -> JSONSchemaProps {
        serde_json::from_value(schema.clone()).unwrap()
    }

    fn bounds(schema: &Value) -> String {
        let root = field(&json!({"properties": {"a": schema}}));
        of(".a", &root.properties.as_ref().unwrap()["a"], &Rules::of(&root))
    }

    #[test]
    fn bounds_are_told_in_words() {
        assert_eq!(bounds(&json!({"type": "integer", "minimum": 1, "maximum": 64})), "1 to 64");
        assert_eq!(bounds(&json!({"type": "string", "enum": ["A", "B", "C"]})), "`A`, `B` or `C`");
        assert_eq!(
            bounds(&json!({"type": "array", "maxItems": 3, "items": {"maxLength": 9}})),
            "at most 3 entries; each: at most 9 characters"
        );
        let rule = json!([{"rule": "self.x", "message": "has at most 40 of a-z"}]);
        let text = json!({"type": "string", "maxLength": 40, "x-kubernetes-validations": rule});
        assert_eq!(bounds(&text), "“has at most 40 of a-z”");
    }

    #[test]
    fn a_rule_speaks_of_the_field_that_it_names() {
        let rules = json!([
            {"rule": "self.a == oldSelf.a", "message": "a cannot be changed", "fieldPath": ".a"},
            {"rule": "has(self.b) == has(oldSelf.b)", "message": "b stays"},
            {"rule": "self.a == self.c", "message": "a is c", "fieldPath": ".a"},
            {
                "rule": "has(self.c) == has(oldSelf.c) && (!has(self.c) || self.c == oldSelf.c)",
                "message": "c stays",
                "fieldPath": ".c",
            },
            {"rule": "self.d == oldSelf.d || oldSelf.d == 'x'", "message": "d goes on", "fieldPath": ".d"},
        ]);
        let root = field(&json!({"properties": {"a": {"type": "string"}}, "x-kubernetes-validations": rules}));
        let rules = Rules::of(&root);
        assert_eq!(rules.at(".a"), ["**immutable**: “a cannot be changed”", "“a is c”"]);
        assert_eq!(rules.at(""), ["**immutable**: “b stays”"]);
        assert_eq!(rules.at(".c"), ["**immutable**: “c stays”"]);
        assert_eq!(rules.at(".d"), ["“d goes on”"]);
    }
}

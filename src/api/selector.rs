//! Which Workers a session may use: a selector over their labels, as Kubernetes has it everywhere.

#![allow(unreachable_pub, reason = "the derive of KubeSchema puts a copy of each public struct inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{session_rules as rules, session_shapes as shapes};

/// Selects by labels. All that is given must fit; with nothing given everything does.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSelector {
    /// Labels that the Worker must have, each with this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shapes::match_labels")]
    pub match_labels: BTreeMap<String, String>,

    /// What else must be true of the Worker's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "match_expressions")]
    pub match_expressions: Vec<MatchExpression>,
}

/// What must be true of one label.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new(rules::VALUES).message(rules::VALUES_MESSAGE))]
pub struct MatchExpression {
    /// The label that is looked at.
    #[schemars(schema_with = "shapes::label")]
    pub key: String,

    /// `In`: the Worker has the label, with one of the values. `NotIn`: it has it with another value, or has it not.
    /// `Exists`: it has it. `DoesNotExist`: it does not.
    pub operator: MatchOperator,

    /// The values of `In` and `NotIn`, at least one; the other operators take none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::label_values")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOperator {
    /// It is there, with one of the values.
    In,
    /// It is not there, or with another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

fn match_expressions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<MatchExpression>(),
    })
}

impl WorkerSelector {
    /// Whether a Worker with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(label, value)| labels.get(label) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.matches(labels))
    }
}

impl MatchExpression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            MatchOperator::In => value.is_some_and(|value| self.values.contains(value)),
            MatchOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            MatchOperator::Exists => value.is_some(),
            MatchOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Which of the Workers a (blue pool), b (green pool, old) and c (no label) are selected.
    fn selected(selector: &Value) -> String {
        let selector: WorkerSelector = serde_json::from_value(selector.clone()).unwrap();
        let workers = json!({"a": {"pool": "blue"}, "b": {"pool": "green", "old": ""}, "c": {}});
        let workers: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_value(workers).unwrap();
        workers.into_iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name).collect()
    }

    fn by_expression(expression: &Value) -> String {
        selected(&json!({"matchExpressions": [expression]}))
    }

    #[test]
    fn an_empty_selector_selects_all() {
        assert_eq!(selected(&json!({})), "abc");
        assert_eq!(selected(&json!({"matchLabels": {}, "matchExpressions": []})), "abc");
    }

    #[test]
    fn all_labels_must_be_there_with_their_values() {
        assert_eq!(selected(&json!({"matchLabels": {"pool": "green"}})), "b");
        assert_eq!(selected(&json!({"matchLabels": {"pool": "green", "old": ""}})), "b");
        assert_eq!(selected(&json!({"matchLabels": {"pool": "blue", "old": ""}})), "");
        assert_eq!(selected(&json!({"matchLabels": {"pool": ""}})), "");
    }

    #[test]
    fn expressions_have_the_meaning_that_kubernetes_gives_them() {
        let cases = [
            (json!({"key": "pool", "operator": "In", "values": ["blue", "red"]}), "a"),
            (json!({"key": "pool", "operator": "In", "values": ["blue", "green"]}), "ab"),
            (json!({"key": "pool", "operator": "NotIn", "values": ["blue"]}), "bc"),
            (json!({"key": "old", "operator": "NotIn", "values": [""]}), "ac"),
            (json!({"key": "pool", "operator": "Exists"}), "ab"),
            (json!({"key": "old", "operator": "Exists"}), "b"),
            (json!({"key": "pool", "operator": "DoesNotExist"}), "c"),
        ];
        for (expression, wanted) in cases {
            assert_eq!(by_expression(&expression), wanted, "{expression}");
        }
    }

    #[test]
    fn labels_and_expressions_must_all_fit() {
        let not_old = json!({"key": "old", "operator": "DoesNotExist"});
        assert_eq!(selected(&json!({"matchLabels": {"pool": "green"}, "matchExpressions": [not_old]})), "");
        let has_pool = json!({"key": "pool", "operator": "Exists"});
        assert_eq!(selected(&json!({"matchExpressions": [not_old, has_pool]})), "a");
    }
}

//! The table of manifests and edits with their verdicts, `tests/fixtures/crds/verdicts.yaml`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// One manifest, or one edit of an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    #[serde(rename = "case")]
    title: String,
    #[serde(default)]
    kind: String,
    name: Option<String>,
    /// For an edit: what the object has in its spec before.
    #[serde(default)]
    before: Value,
    /// For an edit: the status that the object has before.
    pub(super) status: Option<Value>,
    #[serde(default)]
    pub(super) spec: Value,
    #[serde(default)]
    accepted: bool,
    refused: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    bases: BTreeMap<String, Value>,
    #[serde(rename = "Worker")]
    workers: Vec<Case>,
    #[serde(rename = "Hypervisor")]
    hypervisors: Vec<Case>,
    #[serde(rename = "WorkerSession")]
    sessions: Vec<Case>,
    #[serde(rename = "WorkerTask")]
    tasks: Vec<Case>,
    edits: Vec<Case>,
}

fn table() -> Table {
    let mut table: serde_yaml::Value = serde_yaml::from_str(include_str!("../../fixtures/crds/verdicts.yaml")).unwrap();
    table.apply_merge().unwrap();
    serde_yaml::from_value(table).unwrap()
}

/// The smallest valid manifest of a kind.
pub(super) fn base(kind: &str) -> Value {
    table().bases.remove(kind).unwrap()
}

/// All manifests, complete.
pub(super) fn manifests() -> Vec<(Case, Value)> {
    let table = table();
    let cases = [
        ("Worker", table.workers),
        ("Hypervisor", table.hypervisors),
        ("WorkerSession", table.sessions),
        ("WorkerTask", table.tasks),
    ];
    let cases = cases.into_iter().flat_map(|(kind, cases)| cases.into_iter().map(move |case| (case, kind)));
    cases
        .map(|(mut case, kind)| {
            kind.clone_into(&mut case.kind);
            let manifest = merged(&table.bases[kind], case.name.as_deref(), &case.spec);
            (case, manifest)
        })
        .collect()
}

/// All edits, each with the object as it is before.
pub(super) fn edits() -> Vec<(Case, Value)> {
    let table = table();
    let edits = table.edits.into_iter().enumerate();
    edits
        .map(|(number, case)| {
            let name = case.name.clone().unwrap_or_else(|| format!("edit-{number}"));
            let before = merged(&table.bases[&case.kind], Some(&name), &case.before);
            (case, before)
        })
        .collect()
}

fn merged(base: &Value, name: Option<&str>, spec: &Value) -> Value {
    let mut manifest = base.clone();
    if !spec.is_null() {
        json_patch::merge(&mut manifest, &json!({"spec": spec}));
    }
    if let Some(name) = name {
        manifest["metadata"]["name"] = json!(name);
    }
    manifest
}

impl Case {
    pub(super) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// What is wrong with a verdict, if it is not the one meant.
    pub(super) fn judge(&self, verdict: &Result<Value, String>) -> Option<String> {
        let meant = match (&self.refused, verdict) {
            (None, Ok(_)) => self.accepted,
            (Some(part), Err(message)) => message.contains(part.as_str()),
            _ => false,
        };
        let got = verdict.as_ref().map_or_else(String::as_str, |_| "accepted");
        let wanted = self.refused.as_deref().unwrap_or("accepted");
        (!meant).then(|| format!("{}, {}: wanted {wanted:?}, got {got:?}", self.kind, self.title))
    }
}

//! The Rust types read what people write without losing any of it. (No API server is needed for this.)

use kube::core::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stevedore::api::{Hypervisor, Worker, WorkerSession, WorkerTask};

use super::cases;

#[test]
fn nothing_of_an_accepted_manifest_is_lost() {
    for (case, manifest) in cases::manifests() {
        if case.is_accepted() {
            let kept = match manifest["kind"].as_str() {
                Some("Worker") => read_and_written::<Worker>(&manifest),
                Some("WorkerSession") => read_and_written::<WorkerSession>(&manifest),
                Some("WorkerTask") => read_and_written::<WorkerTask>(&manifest),
                _ => read_and_written::<Hypervisor>(&manifest),
            };
            assert_eq!(missing("", &manifest, &kept), Vec::<String>::new(), "{case:?}");
        }
    }
}

fn read_and_written<K: Resource + DeserializeOwned + Serialize>(manifest: &Value) -> Value {
    let object: K = serde_json::from_value(manifest.clone()).unwrap();
    serde_json::to_value(object).unwrap()
}

/// The fields of `wanted` that `kept` does not have, or has with another value; `kept` may have more, the defaults.
fn missing(path: &str, wanted: &Value, kept: &Value) -> Vec<String> {
    match (wanted, kept) {
        (Value::Object(fields), Value::Object(_)) => {
            let below = fields.iter().flat_map(|(name, value)| missing(&format!("{path}.{name}"), value, &kept[name]));
            below.collect()
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let below = items.iter().zip(others).flat_map(|(item, other)| missing(&format!("{path}[]"), item, other));
            below.collect()
        }
        _ if wanted == kept => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

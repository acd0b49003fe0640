//! Every example that people are told to apply is accepted.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::server::Server;
use crate::support::{cluster, crds};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn every_example_is_accepted() {
    let (client, namespace) = cluster::client_and_namespace("examples").await;
    crds::installed(&client).await;
    let server = Server { client, namespace };
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"));
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let mut manifest = Value::deserialize(document).unwrap();
            if manifest["kind"] != "Namespace" {
                // The namespace of the example is not there in a dry run; that of this test is.
                assert_eq!(manifest["metadata"]["namespace"], "backup", "{}", path.display());
                manifest["metadata"]["namespace"] = json!(server.namespace);
            }
            let answer = server.create(&manifest, true).await;
            assert!(answer.warnings.is_empty(), "{}: {:?}", path.display(), answer.warnings);
            let verdict = answer.verdict();
            assert!(verdict.is_ok(), "{}: {verdict:?}", path.display());
        }
    }
}

//! Plain requests to the API server, whose warnings and refusals are what is looked at.

use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) warnings: Vec<String>,
    pub(super) body: Value,
}

impl Answer {
    /// The object, or the message of the refusal.
    pub(super) fn verdict(self) -> Result<Value, String> {
        if (200..300).contains(&self.code) {
            return Ok(self.body);
        }
        Err(self.body["message"].as_str().map_or_else(|| self.body.to_string(), str::to_owned))
    }
}

/// How a patch is written.
#[derive(Clone, Copy)]
pub(super) enum Patch {
    Merge,
    Json,
}

/// An API server and the namespace of one test.
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Server {
    pub(super) async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Answer {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(Body::from(serde_json::to_vec(body).unwrap()))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|text| text.to_str().unwrap_or("?").to_owned()).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { code, warnings, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// Creates an object; fields that the schema does not have are an error. With `dry_run` nothing is kept.
    pub(super) async fn create(&self, manifest: &Value, dry_run: bool) -> Answer {
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let path = format!("{}?fieldValidation=Strict{dry_run}", self.collection(manifest));
        self.send("POST", &path, "application/json", manifest).await
    }

    /// Patches an object that was created; `subresource` is empty or `/status`.
    pub(super) async fn patch(&self, object: &Value, subresource: &str, kind: Patch, body: &Value) -> Answer {
        let content_type = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Json => "application/json-patch+json",
        };
        let path = format!("{}{subresource}?fieldValidation=Strict", self.item(object));
        self.send("PATCH", &path, content_type, body).await
    }

    pub(super) async fn delete(&self, object: &Value) -> Answer {
        self.send("DELETE", &self.item(object), "application/json", &Value::Null).await
    }

    pub(super) async fn get(&self, object: &Value) -> Answer {
        self.send("GET", &self.item(object), "application/json", &Value::Null).await
    }

    fn item(&self, object: &Value) -> String {
        format!("{}/{}", self.collection(object), object["metadata"]["name"].as_str().unwrap())
    }

    /// The path of an object's kind in the namespace of this test.
    pub(super) fn collection(&self, object: &Value) -> String {
        let version = object["apiVersion"].as_str().unwrap();
        let root = if version.contains('/') { "/apis" } else { "/api" };
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        if plural == "namespaces" {
            return format!("{root}/{version}/{plural}");
        }
        format!("{root}/{version}/namespaces/{}/{plural}", self.namespace)
    }
}

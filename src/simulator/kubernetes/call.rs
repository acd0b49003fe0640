//! What a request asks for: verb, target, parameters, body.

use http::Method;
use serde_json::Value;

use super::error::{Answer, Refusal};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many objects.
    List,
    /// Follows changes.
    Watch,
    /// Makes an object (POST).
    Create,
    /// Writes a whole object (PUT).
    Replace,
    /// JSON patch (RFC 6902).
    JsonPatch,
    /// Merge patch (RFC 7396).
    MergePatch,
    /// Server-side apply.
    Apply,
    /// Deletes one object.
    Delete,
    /// Deletes what a list would show.
    DeleteAll,
}

impl Verb {
    /// True if the request may change something.
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// The object or the collection that a request is about. `namespace` is `None` for cluster-scoped objects and for
/// collections over all namespaces; `name` is `None` for collections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Plural name of the resource, such as `workers`.
    pub resource: String,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: Option<String>,
    /// Subresource, such as `status`.
    pub subresource: Option<String>,
}

impl Target {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).map(decode);
        let (group, version) = match parts.next()?.as_str() {
            "api" => (String::new(), parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut rest: Vec<String> = parts.collect();
        let of_namespace = rest.len() == 3 && group.is_empty() && matches!(rest[2].as_str(), "status" | "finalize");
        let namespaced = rest.first().is_some_and(|first| first == "namespaces") && rest.len() >= 3 && !of_namespace;
        let namespace = namespaced.then(|| rest.drain(..2).nth(1)).flatten();
        let mut rest = rest.into_iter();
        let resource = rest.next()?;
        let target = Self { group, version, resource, namespace, name: rest.next(), subresource: rest.next() };
        rest.next().is_none().then_some(target)
    }

    pub(super) fn is_status(&self) -> bool {
        self.subresource.as_deref() == Some("status")
    }

    /// `workers.stevedore.dev`, or `secrets` in the core group.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

fn decode(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its number, counted over all requests from 1.
    pub number: u64,
    /// What it does.
    pub verb: Verb,
    /// What it is about.
    pub target: Target,
    /// Who asks: the `User-Agent` header, or the name the client was made with.
    pub user_agent: String,
    /// The body: JSON, or null.
    pub body: Value,
    pub(super) query: Vec<(String, String)>,
    /// Whether only the metadata of objects are asked for.
    pub metadata_only: bool,
}

impl Call {
    /// Reads a request's head and body; the number is set by the server.
    pub(super) fn parse(head: &http::request::Parts, body: &[u8], agent: &str) -> Answer<Self> {
        let target = Target::parse(head.uri.path()).ok_or_else(Refusal::no_such_path)?;
        let query: Vec<(String, String)> =
            form_urlencoded::parse(head.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
        let header = |name: http::HeaderName| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let content_type = header(http::header::CONTENT_TYPE);
        let watch = query.iter().any(|(key, value)| key == "watch" && matches!(value.as_str(), "true" | "1"));
        let verb = verb(&head.method, &target, watch, &content_type)?;
        let agent = match header(http::header::USER_AGENT) {
            own if own.is_empty() => agent.to_owned(),
            own => own,
        };
        let metadata_only = header(http::header::ACCEPT).contains("as=PartialObjectMetadata");
        Ok(Self { number: 0, verb, target, user_agent: agent, body: parse_body(body)?, query, metadata_only })
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1"))
    }

    pub(super) fn dry_run(&self) -> bool {
        self.parameter("dryRun") == Some("All") || self.body["dryRun"] == serde_json::json!(["All"])
    }

    /// The field manager: as named, else the first word of the user agent.
    pub(super) fn field_manager(&self) -> String {
        match self.parameter("fieldManager") {
            Some(manager) if !manager.is_empty() => manager.to_owned(),
            _ => self.user_agent.split('/').next().unwrap_or_default().to_owned(),
        }
    }
}

fn verb(method: &Method, target: &Target, watch: bool, content_type: &str) -> Answer<Verb> {
    let named = target.name.is_some();
    match *method {
        Method::GET if watch => Ok(Verb::Watch),
        Method::GET if named => Ok(Verb::Get),
        Method::GET => Ok(Verb::List),
        Method::POST if !named || target.subresource.is_some() => Ok(Verb::Create),
        Method::PUT if named => Ok(Verb::Replace),
        Method::DELETE if named => Ok(Verb::Delete),
        Method::DELETE => Ok(Verb::DeleteAll),
        Method::PATCH if named => match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Verb::JsonPatch),
            "application/merge-patch+json" => Ok(Verb::MergePatch),
            "application/apply-patch+yaml" => Ok(Verb::Apply),
            other => Err(Refusal::unsupported_patch(other)),
        },
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// JSON, or YAML as server-side apply may send it.
fn parse_body(body: &[u8]) -> Answer<Value> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body)
        .or_else(|json| serde_yaml::from_slice(body).map_err(|_| json))
        .map_err(|error| Refusal::bad_request(format!("the body is neither JSON nor YAML: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let status = Target::parse("/apis/stevedore.dev/v1alpha1/namespaces/a/workers/w1/status").unwrap();
        assert_eq!((status.group.as_str(), status.resource.as_str()), ("stevedore.dev", "workers"));
        assert_eq!((status.namespace.as_deref(), status.name.as_deref()), (Some("a"), Some("w1")));
        assert!(status.is_status());
        let all = Target::parse("/api/v1/secrets").unwrap();
        assert_eq!((all.namespace, all.name), (None, None));
        let namespace = Target::parse("/api/v1/namespaces/a/status").unwrap();
        assert_eq!((namespace.resource.as_str(), namespace.name.as_deref()), ("namespaces", Some("a")));
        assert!(Target::parse("/healthz").is_none());
    }

    #[test]
    fn the_content_type_tells_the_patches_apart() {
        let target = Target::parse("/api/v1/namespaces/a/secrets/s").unwrap();
        let patch = |kind| verb(&Method::PATCH, &target, false, kind);
        assert_eq!(patch("application/json-patch+json; charset=utf-8"), Ok(Verb::JsonPatch));
        assert_eq!(patch("application/apply-patch+yaml"), Ok(Verb::Apply));
        assert_eq!(patch("application/strategic-merge-patch+json").unwrap_err().code, 415);
    }
}

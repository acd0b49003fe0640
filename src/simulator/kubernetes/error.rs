//! Refusals of the API server, as `metav1.Status`.

use http::StatusCode;
use serde_json::{Value, json};

use super::call::Target;

/// A refusal: the HTTP status code, the machine-readable reason, and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    details: Value,
}

pub(super) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(mut self, target: &Target) -> Self {
        let name = target.name.clone().unwrap_or_default();
        self.details = json!({"name": name, "group": target.group, "kind": target.resource});
        self
    }

    pub(super) fn not_found(target: &Target) -> Self {
        let message = format!("{} \"{}\" not found", target.qualified(), target.name.as_deref().unwrap_or(""));
        Self::new(404, "NotFound", message).about(target)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn no_such_namespace(name: &str) -> Self {
        let mut refusal = Self::new(404, "NotFound", format!("namespaces \"{name}\" not found"));
        refusal.details = json!({"name": name, "kind": "namespaces"});
        refusal
    }

    pub(super) fn already_exists(target: &Target, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", target.qualified())).about(target)
    }

    /// The object has changed since the resourceVersion that the write names.
    pub(super) fn stale(target: &Target) -> Self {
        let text = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(target, text)
    }

    pub(super) fn conflict(target: &Target, why: &str) -> Self {
        let name = target.name.as_deref().unwrap_or("");
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", target.qualified());
        Self::new(409, "Conflict", message).about(target)
    }

    /// Server-side apply met fields of other managers.
    pub(super) fn apply_conflict(conflicts: &[String]) -> Self {
        let (count, plural) = (conflicts.len(), if conflicts.len() == 1 { "" } else { "s" });
        let message = format!("Apply failed with {count} conflict{plural}: {}", conflicts.join(", "));
        Self::new(409, "Conflict", message)
    }

    pub(super) fn invalid(target: &Target, why: &str) -> Self {
        let name = target.name.as_deref().unwrap_or("");
        let message = format!("{} \"{name}\" is invalid: {why}", target.qualified());
        Self::new(422, "Invalid", message).about(target)
    }

    /// A JSON patch that does not fit the object: a failed `test`, or a path that is not there.
    pub(super) fn patch_does_not_fit(why: &str) -> Self {
        Self::new(422, "Invalid", format!("the server rejected our request due to an error in our request: {why}"))
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }

    pub(super) fn terminating(target: &Target, namespace: &str) -> Self {
        let name = target.name.as_deref().unwrap_or("");
        let kind = target.qualified();
        let message = format!(
            "{kind} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut refusal = Self::new(403, "Forbidden", message).about(target);
        refusal.details["causes"] = json!([{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]);
        refusal
    }

    pub(super) fn unsupported_patch(content_type: &str) -> Self {
        let message = format!("the body of the request was in an unknown format: {content_type}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// Server-side apply of a field that the installed schema does not have.
    pub(super) fn not_in_schema(paths: &[String]) -> Self {
        let list: Vec<String> = paths.iter().map(|path| format!(".{path}: field not declared in schema")).collect();
        let message = format!("failed to create typed patch object: errors:\n  {}", list.join("\n  "));
        Self::new(500, "InternalError", message)
    }

    pub(super) fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version: the history before it is gone; list again")
    }

    /// An answer that a test asked for.
    pub(super) fn injected(code: StatusCode) -> Self {
        let reason = match code.as_u16() {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            410 => "Expired",
            422 => "Invalid",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "Unknown",
        };
        Self::new(code.as_u16(), reason, format!("injected fault: {code}"))
    }

    /// The wire form.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

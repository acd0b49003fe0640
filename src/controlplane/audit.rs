//! The audit log: who asked what of the API server, and what it answered.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::process::flag;
use super::{ControlPlane, Error, files};

/// Every request, without bodies but those of Leases. A watch is logged when it begins and when it ends, all else when
/// it is answered.
const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: Metadata
";

/// Where the API server says which token was presented.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// One request to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Line")]
pub struct AuditEvent {
    /// The number that the API server gave to the request.
    pub id: String,
    /// `ResponseComplete`, or `ResponseStarted` for a watch that goes on.
    pub stage: String,
    /// As in RBAC rules: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Who asked: `admin`, or `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// The token that was presented, such as `JTI=4ee5082f-…`; empty for the administrator's. It tells two processes of
    /// one ServiceAccount apart.
    pub credential: String,
    /// When the request came, by the API server's clock.
    pub received: Timestamp,
    /// When it reached its stage: for most requests, when it was answered.
    pub reached: Timestamp,
    /// What the client calls itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// The API group; empty for the core group, and for a request that is not about a resource.
    pub group: String,
    /// The plural, such as `workers`; empty for a request that is not about a resource.
    pub resource: String,
    /// Such as `status`; mostly empty.
    pub subresource: String,
    /// The namespace; empty for all of them and for resources that have none.
    pub namespace: String,
    /// The object; empty for lists.
    pub name: String,
    /// The HTTP status that was answered.
    pub code: Option<u16>,
    /// The object that was sent; of Leases only.
    pub sent: Option<Value>,
}

impl AuditEvent {
    /// Does it ask for a change?
    pub fn is_change(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }
}

impl ControlPlane {
    /// The requests so far, in the order in which they were answered, each once.
    ///
    /// # Errors
    ///
    /// [`Error::NoAudit`] if the control plane was started without [`super::Options::audit`].
    pub fn audit_events(&self) -> Result<Vec<AuditEvent>, Error> {
        let path = self.audit_log.as_deref().ok_or(Error::NoAudit)?;
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        parse(&text)
    }
}

/// Has the API server write its audit log, and tells where.
pub(super) fn configure(command: &mut Command, folder: &Path) -> Result<PathBuf, Error> {
    let log = files::write(folder, "audit.log", "")?;
    command
        .arg(flag("audit-policy-file", files::write(folder, "audit-policy.yaml", POLICY)?))
        .arg(flag("audit-log-path", &log))
        // In MB; left alone it starts a new file at 100.
        .arg("--audit-log-maxsize=100000");
    Ok(log)
}

fn parse(text: &str) -> Result<Vec<AuditEvent>, Error> {
    let mut events: Vec<AuditEvent> = Vec::new();
    let mut places = HashMap::new();
    // The last line may be half written.
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for (index, line) in complete.lines().enumerate() {
        let event: AuditEvent =
            serde_json::from_str(line).map_err(|source| Error::Audit { line: index + 1, source })?;
        let place = *places.entry(event.id.clone()).or_insert(events.len());
        if place == events.len() {
            events.push(event);
        } else {
            events[place] = event;
        }
    }
    Ok(events)
}

/// A line of the log as the API server writes it (`audit.k8s.io/v1`, Event).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "auditID")]
    id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
    request_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: HashMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl From<Line> for AuditEvent {
    fn from(line: Line) -> Self {
        let ObjectRef { api_group, resource, subresource, namespace, name } = line.object_ref;
        let credential = line.user.extra.get(CREDENTIAL).and_then(|all| all.first()).cloned();
        Self {
            id: line.id,
            stage: line.stage,
            verb: line.verb,
            user: line.user.username,
            credential: credential.unwrap_or_default(),
            received: line.request_received_timestamp,
            reached: line.stage_timestamp,
            user_agent: line.user_agent,
            uri: line.uri,
            group: api_group,
            resource,
            subresource,
            namespace,
            name,
            code: line.response_status.and_then(|status| status.code),
            sent: line.request_object,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, stage: &str, verb: &str) -> String {
        format!(
            r#"{{"kind":"Event","auditID":"{id}","stage":"{stage}","requestURI":"/apis/stevedore.dev/v1alpha1/workers","verb":"{verb}","user":{{"username":"admin","extra":{{"authentication.kubernetes.io/credential-id":["JTI=1"]}}}},"requestReceivedTimestamp":"2026-11-01T00:00:00.000001Z","stageTimestamp":"2026-11-01T00:00:00.25Z","objectRef":{{"resource":"workers","apiGroup":"stevedore.dev"}},"responseStatus":{{"metadata":{{}},"code":200}}}}"#
        )
    }

    #[test]
    fn a_watch_that_ended_is_one_event_and_a_half_written_line_is_none() {
        let lines = [
            line("a", "ResponseStarted", "watch"),
            line("b", "ResponseComplete", "patch"),
            line("a", "ResponseComplete", "watch"),
        ];
        let text = format!("{}\n{}\n{}\n{{\"kind\":", lines[0], lines[1], lines[2]);
        let events = parse(&text).unwrap();
        let seen: Vec<_> = events.iter().map(|event| (event.verb.as_str(), event.stage.as_str())).collect();
        assert_eq!(seen, [("watch", "ResponseComplete"), ("patch", "ResponseComplete")]);
        assert_eq!((events[1].group.as_str(), events[1].resource.as_str()), ("stevedore.dev", "workers"));
        assert!(events[1].is_change() && !events[0].is_change());
        assert_eq!(events[1].code, Some(200));
        assert_eq!(events[1].credential, "JTI=1");
        assert!(events[1].received < events[1].reached);
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = parse("{}\n").unwrap_err().to_string();
        assert!(error.starts_with("line 1 of the audit log"), "{error}");
    }
}

//! One call as it goes out, and what its answer means.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use serde_json::Value;

use super::lenient::scalars;
use super::params::{Params, percent_encoded};
use super::routes::Route;
use super::texts::{forbidden, joined, kind_of_text, one_line};
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::window::Window;

/// A call: a route, its variable path segments in order, its parameters.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) route: &'static Route,
    pub(super) params: Params,
    /// Within which it may leave, if it changes something.
    pub(super) window: Option<Window>,
    path: String,
    node: Option<String>,
}

impl Call {
    /// A call without parameters.
    pub(super) fn new(route: &'static Route, segments: &[&str]) -> Self {
        let mut left = segments.iter();
        let mut node = None;
        let mut path = String::new();
        for segment in route.path.split('/').skip(1) {
            path.push('/');
            if segment.starts_with('{') {
                let value = left.next().copied().unwrap_or_default();
                if segment == "{node}" {
                    node = Some(value.to_owned());
                }
                path.push_str(&percent_encoded(value));
            } else {
                path.push_str(segment);
            }
        }
        Self { route, params: Params::default(), window: None, path, node }
    }

    /// The same call with parameters.
    #[must_use]
    pub(super) fn with(mut self, params: Params) -> Self {
        self.params = params;
        self
    }

    /// The same call, to leave while `window` is open or not at all.
    #[must_use]
    pub(super) fn within(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// The node that it is forwarded to, if it names one.
    pub(super) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// What people read: method and path, without parameters.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.route.method, self.path)
    }

    /// A fault of this call.
    pub(super) fn fault(&self, kind: FaultKind, text: &str) -> Fault {
        Fault::new(kind, format!("{}: {text}", self.name()))
    }

    /// The kind of a fault whose request was sent and not answered.
    pub(super) fn unanswered(&self) -> FaultKind {
        if self.route.changes { FaultKind::UnknownOutcome } else { FaultKind::Unreachable }
    }

    /// The kind of a fault whose request was not sent, because too much else was under way.
    pub(super) fn unsent(&self) -> FaultKind {
        if self.route.changes { FaultKind::NotSent } else { FaultKind::Busy }
    }

    /// The request to `endpoint` (`https://host:port`), with the credential's `headers`.
    pub(super) fn request(&self, endpoint: &str, headers: &HeaderMap) -> Result<Request<Bytes>, Fault> {
        let encoded = self.params.encoded();
        let in_body = matches!(self.route.method, Method::POST | Method::PUT);
        let query = if in_body || encoded.is_empty() { String::new() } else { format!("?{encoded}") };
        let mut request = Request::builder()
            .method(self.route.method.clone())
            .uri(format!("{endpoint}/api2/json{}{query}", self.path))
            .header(USER_AGENT, concat!("stevedore/", env!("CARGO_PKG_VERSION")));
        let body = if in_body { Bytes::from(encoded) } else { Bytes::new() };
        if in_body {
            request = request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                // Without it the body would be chunked, which is refused (501).
                .header(CONTENT_LENGTH, body.len());
        }
        let mut request = request
            .body(body)
            .map_err(|e| self.fault(FaultKind::Refused, &format!("no request can be made of it: {e}")))?;
        request.headers_mut().extend(headers.clone());
        Ok(request)
    }

    /// What an answer means: its data, or a fault.
    pub(super) fn judge(&self, answer: &Answer) -> Result<Value, Fault> {
        if (200..300).contains(&answer.status) {
            let kind = if self.route.changes { FaultKind::UnknownOutcome } else { FaultKind::Other };
            let text = "the answer is not that of a Proxmox VE API; does the endpoint name one?";
            let data = answer.body.as_ref().map(|body| body.get("data").cloned().unwrap_or(Value::Null));
            return data.ok_or_else(|| self.fault(kind, text));
        }
        Err(self.fault(self.kind(answer), &format!("{} {}", answer.status, answer.text())))
    }

    fn kind(&self, answer: &Answer) -> FaultKind {
        let by_text = || answer.texts().find_map(kind_of_text);
        match answer.status {
            401 => FaultKind::Unauthorized,
            403 => forbidden(&answer.message),
            // The node, or a proxy's back end, could not be connected to: nothing was sent there.
            503 | 595 => FaultKind::Unreachable,
            // Sent to the node, or to a proxy's back end, and not answered: it may go on there.
            502 | 504 | 596..=599 => self.unanswered(),
            500 => by_text().unwrap_or(FaultKind::Other),
            _ => by_text().unwrap_or(FaultKind::Refused),
        }
    }
}

/// An answer, its error texts taken apart.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body, if it is JSON.
    pub(super) body: Option<Value>,
    /// The body's `message`, else the reason phrase. Some errors have no body at all, and before 8.4 none had the
    /// message in it.
    pub(super) message: String,
    /// What is wrong, by parameter.
    pub(super) errors: BTreeMap<String, String>,
}

impl Answer {
    pub(super) fn new(response: &Response<Bytes>) -> Self {
        let body: Option<Value> = serde_json::from_slice(response.body()).ok().filter(Value::is_object);
        let field = |name: &str| body.as_ref().and_then(|body| body.get(name));
        let message = field("message").and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let message = message.map_or_else(|| reason(response), ToOwned::to_owned);
        let errors = field("errors").map(scalars).unwrap_or_default();
        Self { status: response.status().as_u16(), body, message, errors }
    }

    /// What it says, on one line.
    pub(super) fn text(&self) -> String {
        joined(&self.message, &self.errors)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.message.as_str()).chain(self.errors.values().map(String::as_str))
    }
}

/// The reason phrase: what the server wrote, else the standard one.
fn reason(response: &Response<Bytes>) -> String {
    let written = response.extensions().get::<hyper::ext::ReasonPhrase>();
    let text = match written {
        Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        None => response.status().canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    one_line(&text)
}

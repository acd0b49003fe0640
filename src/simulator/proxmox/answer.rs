//! Building an answer: envelope, status line with the text in it, headers.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use serde_json::{Map, Value, json};

use super::request::Form;
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::vmm::Work;

/// A successful reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) data: Value,
    pub(crate) total: Option<usize>,
    /// The answer comes this much later.
    pub(crate) after: std::time::Duration,
    /// What is still to be done before the answer.
    pub(crate) later: Option<Later>,
}

/// What a call still has to do when the world is done with it.
#[derive(Clone, Debug)]
pub(crate) enum Later {
    /// A program to run in a simulated guest; its number is the reply's `pid`.
    Program(Box<super::agent::ExecStart>),
    /// A command to a real agent, whose answer becomes the reply.
    Agent(super::agent_channel::AgentCall),
    /// Work on disks; its failure is the call's.
    Disks(Vec<Work>),
}

impl Later {
    /// Waits for `work`, if there is any.
    pub(crate) fn of_work(work: Vec<Work>) -> Option<Self> {
        Some(Self::Disks(work)).filter(|later| !matches!(later, Self::Disks(work) if work.is_empty()))
    }
}

impl From<Value> for Reply {
    fn from(data: Value) -> Self {
        Self { data, ..Self::default() }
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Value::String(text).into()
    }
}

pub(crate) fn success(form: Form, reply: Reply) -> Response<Bytes> {
    let mut body = Map::new();
    body.insert("data".into(), reply.data);
    // A total of nothing is left out (recorded 030).
    if let Some(total) = reply.total.filter(|total| *total > 0) {
        body.insert("total".into(), json!(total));
    }
    if form == Form::ExtJs {
        body.insert("success".into(), json!(1));
    }
    build(StatusCode::OK, "OK", JSON, Value::Object(body).to_string().into())
}

pub(crate) fn refusal(form: Form, refusal: &Refusal) -> Response<Bytes> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let first_line = refusal.message.lines().next().unwrap_or("");
    if refusal.text_body {
        return build(status, first_line, "text/plain", refusal.message.clone().into());
    }
    if refusal.bare {
        return build(status, first_line, "", Bytes::new());
    }
    // Texts that the dispatcher itself makes have no line end (recorded 040), those of the calls have one.
    let end = if refusal.status == 501 { "" } else { "\n" };
    let mut body = Map::new();
    body.insert("data".into(), Value::Null);
    body.insert("message".into(), json!(format!("{}{end}", refusal.message)));
    if !refusal.errors.is_empty() {
        body.insert("errors".into(), json!(refusal.errors));
    }
    if form == Form::ExtJs {
        body.insert("success".into(), json!(0));
        body.insert("status".into(), json!(refusal.status));
        return build(StatusCode::OK, "OK", JSON, Value::Object(body).to_string().into());
    }
    build(status, first_line, JSON, Value::Object(body).to_string().into())
}

const JSON: &str = "application/json;charset=UTF-8";

fn build(status: StatusCode, reason: &str, kind: &str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in
        [(header::CACHE_CONTROL, "max-age=0"), (header::PRAGMA, "no-cache"), (header::SERVER, "pve-api-daemon/3.0")]
    {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    if let (Ok(value), false) = (header::HeaderValue::from_str(kind), kind.is_empty()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    if status.as_u16() >= 400 {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    if let Ok(reason) = ReasonPhrase::try_from(latin1(reason)) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// The status line takes bytes; characters above U+00FF cannot stand there.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_in_the_body_and_in_the_status_line() {
        let response = refusal(Form::Json, &Refusal::error("VM is locked (clone)"));
        let reason = response.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(reason.as_bytes(), b"VM is locked (clone)");
        assert_eq!(response.body(), r#"{"data":null,"message":"VM is locked (clone)\n"}"#);
    }

    #[test]
    fn refusals_of_the_proxy_have_no_body() {
        let response = refusal(Form::Json, &Refusal::bare(401, "No ticket"));
        assert!(response.body().is_empty());
        assert_eq!(response.status(), 401);
    }
}

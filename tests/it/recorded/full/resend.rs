//! Sending a recorded request again, with what the simulator named in place of what the recorded server named.

use bytes::Bytes;
use http::Request;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::setups;
use super::callers;
use super::exchange::Recorded;
use super::replay::Replay;
use super::stage::{Names, plain};
use crate::simulator::probe::{Probe, Read};

/// What a path segment cannot hold.
const SEGMENT: &AsciiSet = &CONTROLS.add(b':').add(b'!').add(b'@').add(b'/');

impl Replay<'_> {
    pub(super) async fn resend(&self, probe: &Probe, names: &Names, recorded: &Recorded) -> Read {
        let params = self.params(probe, names, recorded).await;
        let (mut uri, mut body, form) = (path(names, recorded), String::new(), setups::form(&params));
        if let Some(text) = self.script.body(recorded.number) {
            text.clone_into(&mut body);
        } else if recorded.content_type.as_deref() == Some("application/json") {
            body = setups::json_body(&params);
        } else if matches!(recorded.method.as_str(), "GET" | "DELETE") && !form.is_empty() {
            uri = format!("{uri}?{form}");
        } else {
            body = form;
        }
        let mut request = Request::builder().method(recorded.method.as_str()).uri(uri);
        for (name, value) in &recorded.headers {
            let value = if value == "<REDACTED>" { cookie(probe).await } else { value.clone() };
            request = request.header(name, value);
        }
        if let Some(kind) = &recorded.content_type {
            request = request.header("Content-Type", kind);
        }
        let caller = match self.script.caller(recorded.number).unwrap_or(&recorded.caller) {
            "Authorization: PVEAuthCookie=<ticket>" => cookie(probe).await,
            caller => callers::authorization(caller),
        };
        probe.with_authorization(&caller).send_raw(request, Bytes::from(body)).await
    }

    async fn params(&self, probe: &Probe, names: &Names, recorded: &Recorded) -> Vec<(String, Value)> {
        let mut params = recorded.params.clone();
        self.script.complete(recorded.number, &mut params);
        for (key, value) in &mut params {
            if matches!(key.as_str(), "digest" | "pid") {
                *value = json!(names.of(&plain(value)));
            } else if value == "<ticket>" {
                *value = json!(ticket(probe).await);
            }
        }
        params
    }
}

/// The path with the simulator's task in it, written as the recorded one was.
fn path(names: &Names, recorded: &Recorded) -> String {
    let Some(upid) = recorded.upid_in_path() else { return recorded.path.clone() };
    let is = names.of(&upid);
    let segments = recorded.path.split('/').map(|segment| {
        if segment.starts_with("UPID%3A") {
            utf8_percent_encode(is, SEGMENT).to_string()
        } else if segment.starts_with("UPID:") {
            is.to_owned()
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Value of a cookie that the administrator's user logged in with.
async fn cookie(probe: &Probe) -> String {
    format!("PVEAuthCookie={}", ticket(probe).await)
}

/// A ticket of the administrator's user.
async fn ticket(probe: &Probe) -> String {
    let params = [("username", "dev@pve"), ("password", "<REDACTED>")];
    let login = probe.with_authorization("").send("POST", "/access/ticket", &params).await.ok();
    plain(&login["ticket"])
}

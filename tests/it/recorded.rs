//! Exchanges recorded from genuine Proxmox VE 8.4 and 9.2 servers, restated in `tests/fixtures/proxmox` and replayed
//! against the simulator: status, status line, message, names and texts of errors, keys and types of the data, and how
//! the task ends.

mod compare;
mod full;
mod setups;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use serde::Deserialize;
use serde_json::Value;
use stevedore::simulator::scenario::Release;

use crate::simulator::probe::{Probe, Read};

/// One exchange, as a line of the file has it.
#[derive(Debug, Deserialize)]
struct Exchange {
    /// Name of the recording.
    #[serde(rename = "n")]
    name: String,
    /// Releases that answered so.
    #[serde(rename = "v")]
    releases: String,
    /// State of the world before the call.
    #[serde(rename = "s")]
    setup: String,
    /// Method and path; `!` before a path that is not below `/api2/json`.
    #[serde(rename = "c")]
    call: String,
    /// Parameters in order.
    #[serde(rename = "q", default)]
    params: Vec<(String, Value)>,
    /// The body itself, in place of parameters.
    #[serde(rename = "b", default)]
    body: Option<String>,
    /// Content type of the body, unless it is a form.
    #[serde(rename = "type", default)]
    content_type: Option<String>,
    /// Who calls, unless it is the administrator's token.
    #[serde(rename = "as", default)]
    caller: Option<String>,
    #[serde(rename = "a")]
    status: u16,
    /// Text of the status line, unless it is `OK`.
    #[serde(rename = "r", default)]
    reason: Option<String>,
    /// Message, where it is not the status line and a line end; null for an empty body.
    #[serde(rename = "m", default = "implied")]
    message: Value,
    #[serde(rename = "e", default)]
    errors: BTreeMap<String, String>,
    /// Shape of the data.
    #[serde(rename = "d", default)]
    data: Option<Value>,
    /// Whether a total stands beside the data.
    #[serde(rename = "t", default)]
    total: u8,
    /// How the task ends.
    #[serde(rename = "x", default)]
    ends: Option<String>,
}

/// Stands for a message that the status line implies.
fn implied() -> Value {
    Value::Bool(true)
}

impl Exchange {
    async fn send(&self, probe: &Probe) -> Read {
        let (method, path) = self.call.split_once(' ').unwrap();
        let path = path.replace("<UPID>", &setups::some_upid(probe).await);
        let mut uri = path.strip_prefix('!').map_or_else(|| format!("/api2/json{path}"), str::to_owned);
        let mut body = self.body.clone().unwrap_or_default();
        if body.is_empty() && self.content_type.as_deref() == Some("application/json") {
            body = setups::json_body(&self.params);
        } else if body.is_empty() {
            let form = setups::form(&self.params);
            if matches!(method, "GET" | "DELETE") && !form.is_empty() {
                uri = format!("{uri}?{form}");
            } else {
                body = form;
            }
        }
        let mut request = Request::builder().method(method).uri(uri);
        if self.caller.as_deref() == Some("bad-csrf") {
            request = request.header("CSRFPreventionToken", "garbage");
        }
        if let Some(kind) = &self.content_type {
            request = request.header("Content-Type", kind);
        }
        probe.send_raw(request, Bytes::from(body)).await
    }

    /// What differs, in words.
    async fn differences(&self, release: Release) -> Vec<String> {
        let probe = setups::prepare(&self.setup, release).await;
        let probe = setups::caller(&probe, &self.setup, self.caller.as_deref()).await;
        let read = self.send(&probe).await;
        let mut found = Vec::new();
        let mut differ = |what: &str, is: String, was: String| {
            if is != was {
                found.push(format!("{what}: {is} instead of {was}"));
            }
        };
        let reason = self.reason.clone().unwrap_or_else(|| "OK".to_owned());
        differ("status", read.status.to_string(), self.status.to_string());
        differ("status line", setups::masked(&read.reason), setups::masked(&reason));
        let message = match &self.message {
            Value::Bool(_) if self.status == 200 => None,
            Value::Bool(_) => Some(format!("{reason}\n")),
            message => message.as_str().map(str::to_owned),
        };
        let is = read.body["message"].as_str().map(setups::masked);
        differ("message", format!("{is:?}"), format!("{:?}", message.map(|text| setups::masked(&text))));
        let errors: BTreeMap<String, String> = serde_json::from_value(read.body["errors"].clone()).unwrap_or_default();
        differ("errors", format!("{errors:#?}"), format!("{:#?}", self.errors));
        differ("total", (!read.body["total"].is_null()).to_string(), (self.total == 1).to_string());
        if let Some(shape) = &self.data {
            compare::compare("data", shape, &read.body["data"], &mut found);
        }
        if let (Some(ends), true) = (&self.ends, read.status == 200) {
            let end = setups::administrator(&probe).wait(&read.body["data"]).await;
            if setups::masked(&end) != setups::masked(ends) {
                found.push(format!("the task ends with {end:?} instead of {ends:?}"));
            }
        }
        found
    }
}

fn exchanges() -> Vec<Exchange> {
    let text = include_str!("../fixtures/proxmox/exchanges.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn the_simulator_answers_as_the_recorded_servers_did() {
    let (mut agree, mut reports) = (0, Vec::new());
    for exchange in exchanges() {
        for release in exchange.releases.split(' ') {
            let release = if release == "8.4" { Release::V8 } else { Release::V9 };
            let differences = exchange.differences(release).await;
            if differences.is_empty() {
                agree += 1;
            } else {
                let differences = differences.join("\n    ");
                reports.push(format!("{} ({release:?}): {}\n    {differences}", exchange.name, exchange.call));
            }
        }
    }
    println!("{agree} recorded exchanges agree, {} differ", reports.len());
    assert!(reports.is_empty(), "{} exchanges differ:\n{}", reports.len(), reports.join("\n"));
    assert!(agree >= 150, "only {agree} exchanges are left");
}

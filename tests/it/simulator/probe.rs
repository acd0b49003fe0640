//! A small client for tests that speaks to a simulator without a socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::ext::ReasonPhrase;
use jiff::Timestamp;
use serde_json::Value;
use stevedore::clock::TimerClock;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, Scenario};

/// An answer, read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// HTTP status; 0 for a connection that was closed.
    pub(crate) status: u16,
    /// Text of the status line.
    pub(crate) reason: String,
    /// The body; null if it is empty or no JSON.
    pub(crate) body: Value,
}

impl Read {
    /// The content of an answer that must be a success.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body["data"].clone()
    }
}

/// Speaks to a simulator as the demo world's operator, unless told otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The simulator.
    pub(crate) simulator: Simulator,
    /// Value of the `Authorization` header; empty for none.
    pub(crate) authorization: String,
}

impl Probe {
    /// A probe of `scenario` in virtual time.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let clock = TimerClock::starting_at(Timestamp::from_second(1_795_314_953).unwrap());
        let simulator = Simulator::new(scenario, Arc::new(clock));
        Self { simulator, authorization: format!("PVEAPIToken={DEMO_TOKEN}={DEMO_SECRET}") }
    }

    /// A probe of the demo world.
    pub(crate) fn demo() -> Self {
        Self::new(Scenario::default_demo())
    }

    /// The same simulator with another caller.
    #[must_use]
    pub(crate) fn with_authorization(&self, authorization: &str) -> Self {
        Self { authorization: authorization.to_owned(), ..self.clone() }
    }

    /// Sends one request; parameters go into the query of a GET or DELETE, else into the form.
    pub(crate) async fn send(&self, method: &str, path: &str, params: &[(&str, &str)]) -> Read {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let query = matches!(method, "GET" | "DELETE") && !form.is_empty();
        let uri = if query { format!("/api2/json{path}?{form}") } else { format!("/api2/json{path}") };
        let body = if query { String::new() } else { form };
        self.send_raw(Request::builder().method(method).uri(uri), body).await
    }

    /// Sends a request that the caller builds.
    pub(crate) async fn send_raw(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Read {
        let request = match self.authorization.as_str() {
            "" => request,
            value => request.header("Authorization", value),
        };
        let Some(answer) = self.simulator.call(request.body(body.into()).unwrap()).await.answer() else {
            return Read { status: 0, reason: String::new(), body: Value::Null };
        };
        let reason = answer.extensions().get::<ReasonPhrase>();
        let reason = reason.map(|text| text.as_bytes().iter().map(|byte| char::from(*byte)).collect());
        Read {
            status: answer.status().as_u16(),
            reason: reason.unwrap_or_default(),
            body: serde_json::from_slice(answer.body()).unwrap_or(Value::Null),
        }
    }

    /// A GET without parameters that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send("GET", path, &[]).await.ok()
    }

    /// Waits for a task and gives back how it ended.
    pub(crate) async fn wait(&self, upid: &Value) -> String {
        let upid = upid.as_str().expect("an identifier of a task");
        let node = upid.split(':').nth(1).unwrap();
        for _ in 0..10_000 {
            let status = self.get(&format!("/nodes/{node}/tasks/{upid}/status")).await;
            if status["status"] == "stopped" {
                return status["exitstatus"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("the task does not end: {upid}");
    }

    /// Sends a request whose answer names a task, and waits for it.
    pub(crate) async fn run(&self, method: &str, path: &str, params: &[(&str, &str)]) -> String {
        let upid = self.send(method, path, params).await.ok();
        self.wait(&upid).await
    }

    /// Lines of a task's log.
    pub(crate) async fn log(&self, upid: &Value) -> Vec<String> {
        let upid = upid.as_str().unwrap();
        let node = upid.split(':').nth(1).unwrap();
        let lines = self.get(&format!("/nodes/{node}/tasks/{upid}/log")).await;
        lines.as_array().unwrap().iter().map(|line| line["t"].as_str().unwrap().to_owned()).collect()
    }

    /// Creates a worker by importing the demo world's image.
    pub(crate) async fn create_worker(&self, vmid: &str, name: &str) {
        let params = [
            ("vmid", vmid),
            ("name", name),
            ("scsi0", "local-lvm:0,import-from=local:import/debian-12-worker.qcow2"),
            ("ide2", "local-lvm:cloudinit"),
            ("net0", "virtio,bridge=vmbr0"),
            ("ipconfig0", "ip=dhcp"),
            ("agent", "1"),
            ("memory", "1024"),
            ("tags", "stevedore"),
            ("boot", "order=scsi0"),
        ];
        assert_eq!(self.run("POST", "/nodes/pve1/qemu", &params).await, "OK");
    }
}

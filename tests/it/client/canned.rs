//! Answers from a table, and a log of what was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::ext::ReasonPhrase;
use serde_json::Value;
use stevedore::clock::{BootTime, SystemClock, TimerClock};
use stevedore::domain::fault::CALL_DEADLINE;
use stevedore::domain::identity::Mark;
use stevedore::hypervisor::proxmox::{Credential, Proxmox, ProxmoxSettings};
use stevedore::hypervisor::registry::ConnectionLimits;
use stevedore::hypervisor::transport::{Exchange, ExchangeError, Unobserved};
use stevedore::hypervisor::vm::image::{Checksum, ImageFile, ImageFormat, ImageWanted};
use stevedore::hypervisor::vm::making::{MadeFrom, Making};
use stevedore::hypervisor::vm::{AddressWanted, CreateOrder, NetworkWanted, VmRef, VmWanted};
use stevedore::hypervisor::window::Window;
use stevedore::secret::Secret;

/// A recorded answer: what a real server said.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) request: String,
    pub(super) status: u16,
    reason: String,
    body: Option<Value>,
}

/// All recorded answers, by name: the recording's number and title, `@9.2` where it is not from 8.4.
pub(super) fn recorded(name: &str) -> Recorded {
    let all: Vec<Value> = serde_json::from_str(include_str!("../../fixtures/proxmox-client/answers.json")).unwrap();
    let entry = all.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no recording {name}"));
    Recorded {
        request: entry["request"].as_str().unwrap().to_owned(),
        status: u16::try_from(entry["status"].as_u64().unwrap()).unwrap(),
        reason: entry["reason"].as_str().unwrap().to_owned(),
        body: entry.get("body").cloned(),
    }
}

impl Recorded {
    pub(super) fn saying(status: u16, reason: &str, body: Option<Value>) -> Self {
        Self { request: String::new(), status, reason: reason.to_owned(), body }
    }

    pub(super) fn data(data: impl Into<Value>) -> Self {
        Self::saying(200, "OK", Some(serde_json::json!({ "data": data.into() })))
    }

    fn response(&self) -> Response<Bytes> {
        let body = self.body.as_ref().map(|body| match body {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        });
        let mut response = Response::new(Bytes::from(body.unwrap_or_default()));
        *response.status_mut() = http::StatusCode::from_u16(self.status).unwrap();
        if response.status().canonical_reason() != Some(self.reason.as_str()) {
            // As hyper does it: only if it is not the standard one.
            response.extensions_mut().insert(ReasonPhrase::try_from(self.reason.as_bytes()).unwrap());
        }
        response
    }
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Such as `GET /nodes/pve1/qemu/100/config`, percent-encoded as it was.
    pub(super) line: String,
    pub(super) endpoint: String,
    pub(super) params: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
}

impl Sent {
    fn of(request: &Request<Bytes>) -> Self {
        let uri = request.uri();
        let path = uri.path().strip_prefix("/api2/json").unwrap();
        let encoded =
            if request.body().is_empty() { uri.query().unwrap_or_default().as_bytes() } else { request.body() };
        Self {
            line: format!("{} {path}", request.method()),
            endpoint: uri.authority().unwrap().to_string(),
            params: form_urlencoded::parse(encoded).into_owned().collect(),
            headers: request.headers().clone(),
        }
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

type Said = Result<Recorded, ExchangeError>;

/// Answers requests from a table. Several answers to one request come in turn, the last one again and again.
#[derive(Debug, Default)]
pub(super) struct Canned {
    answers: Mutex<BTreeMap<String, VecDeque<Said>>>,
    otherwise: Mutex<Option<Said>>,
    log: Mutex<Vec<Sent>>,
}

impl Canned {
    /// A table of recorded answers, each to its own request.
    pub(super) fn recorded(names: &[&str]) -> Arc<Self> {
        let canned = Arc::new(Self::default());
        for name in names {
            let answer = recorded(name);
            canned.say(&answer.request.clone(), Ok(answer));
        }
        canned
    }

    /// The recorded answer `name` to whatever is asked.
    pub(super) fn always(name: &str) -> Arc<Self> {
        let canned = Arc::new(Self::default());
        *canned.otherwise.lock().unwrap() = Some(Ok(recorded(name)));
        canned
    }

    /// Adds an answer to `line`, which may begin with an endpoint: `pve2:8006 GET /version`.
    pub(super) fn say(&self, line: &str, answer: Said) {
        self.answers
            .lock()
            .unwrap()
            .entry(line.replace("%3A", ":").replace("%40", "@").replace("%21", "!"))
            .or_default()
            .push_back(answer);
    }

    pub(super) fn log(&self) -> Vec<Sent> {
        self.log.lock().unwrap().clone()
    }

    /// The requests so far, without their parameters.
    pub(super) fn lines(&self) -> Vec<String> {
        self.log().into_iter().map(|sent| sent.line).collect()
    }

    /// The last request to `line`.
    pub(super) fn last(&self, line: &str) -> Sent {
        self.log().into_iter().rfind(|sent| sent.line == line).unwrap_or_else(|| panic!("{line} was not sent"))
    }
}

#[async_trait]
impl Exchange for Canned {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let sent = Sent::of(&request);
        let line = sent.line.replace("%3A", ":").replace("%40", "@").replace("%21", "!");
        let by_endpoint = format!("{} {line}", sent.endpoint);
        self.log.lock().unwrap().push(sent);
        let said = {
            let mut answers = self.answers.lock().unwrap();
            let key = if answers.contains_key(&by_endpoint) { by_endpoint } else { line.clone() };
            match answers.get_mut(&key) {
                Some(queue) if queue.len() > 1 => queue.pop_front(),
                Some(queue) => queue.front().cloned(),
                None => self.otherwise.lock().unwrap().clone(),
            }
        };
        said.unwrap_or_else(|| panic!("nothing to say to {line}")).map(|answer| answer.response())
    }
}

/// The credential of every test.
pub(super) fn token() -> Credential {
    Credential::Token { id: "dev@pve!t1".to_owned(), secret: Secret::new("5ec4e7".to_owned()) }
}

pub(super) fn settings(endpoints: &[&str], credential: Credential) -> ProxmoxSettings {
    ProxmoxSettings {
        endpoints: endpoints.iter().map(|url| (*url).to_owned()).collect(),
        credential,
        pool: None,
        limits: ConnectionLimits::new(8),
        deadline: CALL_DEADLINE,
        clock: Arc::new(TimerClock::starting_at("2026-11-22T02:00:00Z".parse().unwrap())),
        observer: Arc::new(Unobserved),
    }
}

/// A window that never closes.
pub(super) fn any_time() -> Window {
    Window::until(BootTime::from_start(Duration::MAX), Arc::new(SystemClock))
}

/// A client of one endpoint.
pub(super) fn client(exchange: Arc<dyn Exchange>) -> Proxmox {
    Proxmox::new(settings(&["https://pve1:8006"], token()), exchange).unwrap()
}

pub(super) fn at(id: &str) -> VmRef {
    VmRef { host: "pve1".to_owned(), id: id.to_owned() }
}

/// A worker's VM on the recorded cluster.
pub(super) fn wanted() -> VmWanted {
    VmWanted {
        host: "pve1".into(),
        storage: "store2".into(),
        image: ImageWanted::Template("tiny-template".into()),
        name: "w1".into(),
        description: "für die Nacht".into(),
        mark: Mark {
            installation: "inst".into(),
            worker_uid: "uid".into(),
            worker: "backup/w1".into(),
            operation: "op".into(),
            vm_id: "200".into(),
        },
        cpus: 4,
        memory_mib: 4096,
        disk_gib: 32,
        networks: vec![NetworkWanted {
            name: "lan".into(),
            bridge: "vmbr0".into(),
            vlan: None,
            mtu: None,
            ipv4: AddressWanted::Dhcp,
            ipv6: AddressWanted::None,
        }],
        dns_servers: Vec::new(),
        search_domains: Vec::new(),
        user: "stevedore".into(),
        authorized_keys: vec!["ssh-ed25519 AAAA+/ me".into()],
    }
}

/// What is asked about the VM that such an order makes.
pub(super) fn making(order: &CreateOrder) -> Making {
    let from = match &order.wanted.image {
        ImageWanted::Template(name) => MadeFrom::Template(name.clone()),
        ImageWanted::File(_) => MadeFrom::Image,
    };
    Making { at: order.at.clone(), from, since: order.since }
}

/// A worker's image on the recorded cluster.
pub(super) fn image() -> ImageFile {
    ImageFile {
        url: "https://images.example.org/worker.img?build=7&arch=amd64".into(),
        checksum: Checksum::parse(&format!("sha256:{}", "0123456789abcdef".repeat(4))).unwrap(),
        format: ImageFormat::Qcow2,
        storage: "local".into(),
    }
}

/// Longer than any test's script may take; virtual time.
pub(super) const LONG: Duration = Duration::from_secs(60);

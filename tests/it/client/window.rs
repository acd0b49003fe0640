//! A change leaves while its window is open or not at all, whatever it had to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use stevedore::clock::SharedClock;
use stevedore::domain::fault::{Fault, FaultKind};
use stevedore::hypervisor::Hypervisor;
use stevedore::hypervisor::proxmox::{Credential, Proxmox, ProxmoxSettings};
use stevedore::hypervisor::registry::{CallCost, ConnectionLimits};
use stevedore::hypervisor::transport::{Exchange, ExchangeError};
use stevedore::hypervisor::vm::{CreateOrder, Started};
use stevedore::hypervisor::window::Window;
use stevedore::secret::Secret;

use super::canned::{Canned, Recorded, at, recorded, settings, token, wanted};

const OPEN: Duration = Duration::from_secs(5);
const START: &str = "POST /nodes/pve1/qemu/100/status/start";

/// Some answers take longer than a window is open.
#[derive(Debug)]
struct Slow {
    canned: Arc<Canned>,
    /// Those of requests whose endpoint or path has this in it.
    what: &'static str,
}

#[async_trait]
impl Exchange for Slow {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let is_slow = request.uri().to_string().contains(self.what);
        let answer = self.canned.send(request).await;
        if is_slow {
            tokio::time::sleep(OPEN + Duration::from_secs(1)).await;
        }
        answer
    }
}

struct Lab {
    canned: Arc<Canned>,
    client: Proxmox,
    clock: SharedClock,
    limits: Arc<ConnectionLimits>,
}

impl Lab {
    /// `slow`: what takes long.
    fn of(slow: &'static str, credential: Credential) -> Self {
        let canned = Canned::recorded(&["840-ha-status"]);
        canned.say(START, Ok(recorded("240-start")));
        let limits = ConnectionLimits::new(1);
        let settings = ProxmoxSettings {
            limits: Arc::clone(&limits),
            ..settings(&["https://pve1:8006", "https://pve2:8006"], credential)
        };
        let clock = Arc::clone(&settings.clock);
        let client = Proxmox::new(settings, Arc::new(Slow { canned: canned.clone(), what: slow })).unwrap();
        Self { canned, client, clock, limits }
    }

    fn window(&self) -> Window {
        Window::until(self.clock.boot().plus(OPEN), Arc::clone(&self.clock))
    }

    async fn start(&self) -> Result<Started, Fault> {
        self.client.within(self.window()).start(&at("100")).await
    }

    /// Requests that change a VM.
    fn changes(&self) -> Vec<String> {
        self.canned.lines().into_iter().filter(|line| !line.starts_with("GET") && !line.contains("/access/")).collect()
    }
}

fn was_not_sent<T: std::fmt::Debug>(outcome: Result<T, Fault>) {
    let fault = outcome.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotSent, "{fault}");
    assert!(fault.message.contains("not sent"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_too_late() {
    let lab = Lab::of("nothing", token());
    let other = lab.limits.admit(None, CallCost::Plain).await;
    was_not_sent(lab.start().await);
    assert!(lab.canned.log().is_empty());
    drop(other);
    assert!(lab.start().await.is_ok());
    assert_eq!(lab.changes(), [START]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_busy() {
    let lab = Lab::of("nothing", token());
    lab.limits.allow("test", 8);
    let _two = [
        lab.limits.admit(Some("pve1"), CallCost::Protected).await,
        lab.limits.admit(Some("pve1"), CallCost::Agent).await,
    ];
    was_not_sent(lab.start().await);
    assert!(lab.canned.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_login_that_takes_long() {
    let password = Credential::Password { username: "dev@pve".to_owned(), password: Secret::new("hunter2".to_owned()) };
    let lab = Lab::of("ticket", password);
    let ticket = json!({"ticket": "PVE:one=", "CSRFPreventionToken": "csrf-1", "username": "dev@pve"});
    lab.canned.say("POST /access/ticket", Ok(Recorded::data(ticket)));
    was_not_sent(lab.start().await);
    assert_eq!(lab.canned.lines(), ["POST /access/ticket"]);
    assert!(lab.start().await.is_ok(), "the ticket was not in vain");
    assert_eq!(lab.canned.lines(), ["POST /access/ticket", START]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_takes_long_to_fail() {
    let lab = Lab::of("pve1:8006", token());
    lab.canned.say(&format!("pve1:8006 {START}"), Err(ExchangeError::NotSent("no route to host".to_owned())));
    was_not_sent(lab.start().await);
    let asked: Vec<String> = lab.canned.log().into_iter().map(|sent| sent.endpoint).collect();
    assert_eq!(asked, ["pve1:8006"], "the other one was not tried any more");
}

#[tokio::test(start_paused = true)]
async fn questions_before_that_take_long() {
    let lab = Lab::of("/cluster/", token());
    lab.canned.say(
        "GET /cluster/resources",
        Ok(Recorded::data(json!([
            {"type": "node", "node": "pve1", "status": "online"},
            {"type": "qemu", "vmid": 200, "node": "pve1", "name": "tiny-template", "template": 1},
            {"type": "storage", "storage": "store2", "node": "pve1", "plugintype": "dir"}
        ]))),
    );
    let order = CreateOrder { wanted: wanted(), at: at("5000"), since: jiff::Timestamp::UNIX_EPOCH };
    was_not_sent(lab.client.within(lab.window()).create(&order).await);
    was_not_sent(lab.client.within(lab.window()).destroy(&at("100")).await);
    assert_eq!(lab.changes(), Vec::<String>::new());
    assert_eq!(lab.canned.log().len(), 2, "both were asked");
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_ends() {
    let lab = Lab::of("nothing", token());
    let leads = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&leads);
    let window = lab.window().while_true(move || asked.load(Ordering::Relaxed));
    let changes = lab.client.within(window);
    was_not_sent(changes.start(&at("100")).await);
    assert!(lab.canned.log().is_empty());
    leads.store(true, Ordering::Relaxed);
    assert!(changes.start(&at("100")).await.is_ok());
}

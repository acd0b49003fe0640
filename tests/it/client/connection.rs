//! Fail-over, retries, sessions and deadlines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use stevedore::domain::fault::FaultKind;
use stevedore::hypervisor::Hypervisor;
use stevedore::hypervisor::proxmox::{Credential, Proxmox, ProxmoxSettings};
use stevedore::hypervisor::registry::ConnectionLimits;
use stevedore::hypervisor::transport::{CallObserver, Exchange, ExchangeError};
use stevedore::secret::Secret;

use super::canned::{Canned, Recorded, any_time, at, client, recorded, settings, token};

const TWO: [&str; 2] = ["https://pve1:8006", "https://pve2:8006/"];

fn lost() -> Result<Recorded, ExchangeError> {
    Err(ExchangeError::Lost("connection reset by peer".to_owned()))
}

fn down() -> Result<Recorded, ExchangeError> {
    Err(ExchangeError::NotSent("connection refused".to_owned()))
}

fn started() -> Recorded {
    recorded("240-start")
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_goes_to_the_next_endpoint_and_stays_there() {
    let canned = Arc::new(Canned::default());
    canned.say("pve1:8006 POST /nodes/pve1/qemu/100/status/start", down());
    canned.say("pve2:8006 POST /nodes/pve1/qemu/100/status/start", Ok(started()));
    let client = Proxmox::new(settings(&TWO, token()), canned.clone()).unwrap();
    client.within(any_time()).start(&at("100")).await.unwrap();
    client.within(any_time()).start(&at("100")).await.unwrap();
    let asked: Vec<String> = canned.log().into_iter().map(|sent| sent.endpoint).collect();
    assert_eq!(asked, ["pve1:8006", "pve2:8006", "pve2:8006"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_sent_is_never_sent_again() {
    let canned = Arc::new(Canned::default());
    canned.say("POST /nodes/pve1/qemu/100/status/start", lost());
    let client = Proxmox::new(settings(&TWO, token()), canned.clone()).unwrap();
    let fault = client.within(any_time()).start(&at("100")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::UnknownOutcome);
    assert_eq!(canned.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_asked_again_once() {
    let canned = Canned::recorded(&["840-ha-status"]);
    canned.say("GET /cluster/resources", lost());
    canned.say("GET /cluster/resources", Ok(recorded("732-offline-node-resources")));
    assert!(client(canned).inventory().await.is_ok());
    let dead = Canned::recorded(&["840-ha-status"]);
    dead.say("GET /cluster/resources", lost());
    let fault = client(dead.clone()).inventory().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert_eq!(dead.lines().iter().filter(|line| line.contains("resources")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_begin_is_passed_over() {
    // Its cluster file system is down, so that nothing was done, not even for a change.
    let canned = Arc::new(Canned::default());
    canned.say("pve1:8006 POST /nodes/pve2/qemu/100/status/start", Ok(recorded("674-pmxcfs-down-start")));
    canned.say("pve2:8006 POST /nodes/pve2/qemu/100/status/start", Ok(started()));
    let client = Proxmox::new(settings(&TWO, token()), canned.clone()).unwrap();
    let on_pve2 = stevedore::hypervisor::vm::VmRef { host: "pve2".into(), id: "100".into() };
    assert!(client.within(any_time()).start(&on_pve2).await.is_ok());
    assert_eq!(canned.log().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_is_told_with_every_endpoint_tried() {
    let canned = Arc::new(Canned::default());
    canned.say("pve1:8006 GET /cluster/resources", Err(ExchangeError::Certificate("not accepted".into())));
    canned.say("pve2:8006 GET /cluster/resources", down());
    canned.say("GET /cluster/ha/status/current", down());
    let client = Proxmox::new(settings(&TWO, token()), canned).unwrap();
    let fault = client.obstacles(&super::canned::wanted()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Certificate);
    assert!(fault.message.contains("not accepted") && fault.message.contains("https://pve2:8006"), "{fault}");
}

#[test]
fn an_endpoint_must_be_one() {
    for bad in ["", "pve1:8006", "http://pve1:8006", "https://pve1:8006/api2", "https://"] {
        let canned = Arc::new(Canned::default());
        let limits = ConnectionLimits::new(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let settings = ProxmoxSettings { limits, ..settings(&[bad], token()) };
        assert_eq!(Proxmox::new(settings, canned).unwrap_err().kind, FaultKind::Refused, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_in_a_header() {
    let canned = Canned::recorded(&["732-offline-node-resources", "840-ha-status"]);
    client(canned.clone()).inventory().await.unwrap();
    let sent = canned.last("GET /cluster/resources");
    assert_eq!(sent.headers["authorization"], "PVEAPIToken=dev@pve!t1=5ec4e7");
    assert!(!sent.headers.contains_key("cookie") && !sent.headers.contains_key("csrfpreventiontoken"));
}

fn password() -> Credential {
    Credential::Password { username: "dev@pve".to_owned(), password: Secret::new("hunter2".to_owned()) }
}

fn ticket(text: &str) -> Recorded {
    Recorded::data(json!({"ticket": text, "CSRFPreventionToken": "csrf-1", "username": "dev@pve"}))
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_fetched_once_renewed_in_time_and_replaced_when_refused() {
    let canned = Arc::new(Canned::default());
    for text in ["PVE:one=", "PVE:two=", "PVE:three="] {
        canned.say("POST /access/ticket", Ok(ticket(text)));
    }
    canned.say("POST /nodes/pve1/qemu/100/status/start", Ok(started()));
    canned.say("POST /nodes/pve1/qemu/100/status/start", Ok(started()));
    canned.say("POST /nodes/pve1/qemu/100/status/start", Ok(started()));
    canned.say("POST /nodes/pve1/qemu/100/status/start", Ok(recorded("010-token-wrong-secret")));
    canned.say("POST /nodes/pve1/qemu/100/status/start", Ok(started()));
    let client = Proxmox::new(settings(&TWO[..1], password()), canned.clone()).unwrap();
    let cookie =
        || canned.last("POST /nodes/pve1/qemu/100/status/start").headers["cookie"].to_str().unwrap().to_owned();
    let logins = || canned.lines().iter().filter(|line| line.contains("ticket")).count();

    client.within(any_time()).start(&at("100")).await.unwrap();
    client.within(any_time()).start(&at("100")).await.unwrap();
    assert_eq!((cookie().as_str(), logins()), ("PVEAuthCookie=PVE%3Aone%3D", 1));
    assert_eq!(canned.last("POST /nodes/pve1/qemu/100/status/start").headers["csrfpreventiontoken"], "csrf-1");

    tokio::time::sleep(Duration::from_secs(91 * 60)).await;
    client.within(any_time()).start(&at("100")).await.unwrap();
    assert_eq!((cookie().as_str(), logins()), ("PVEAuthCookie=PVE%3Atwo%3D", 2));

    client.within(any_time()).start(&at("100")).await.unwrap();
    assert_eq!((cookie().as_str(), logins()), ("PVEAuthCookie=PVE%3Athree%3D", 3));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_refused_without_showing_it() {
    let canned = Canned::always("004-login-wrong-password");
    let client = Proxmox::new(settings(&TWO[..1], password()), canned.clone()).unwrap();
    let fault = client.within(any_time()).start(&at("100")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert!(fault.message.contains("authentication failure") && !fault.message.contains("hunter2"), "{fault}");
    assert_eq!(canned.lines(), ["POST /access/ticket"]);
}

/// Never answers.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Exchange for Silent {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        std::future::pending().await
    }
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl CallObserver for Heard {
    fn observed(&self, method: &str, route: &'static str, code: &str, _took: Duration) {
        self.0.lock().unwrap().push(format!("{method} {route} {code}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let heard = Arc::new(Heard::default());
    let settings = ProxmoxSettings { observer: heard.clone(), ..settings(&TWO, token()) };
    let client = Proxmox::new(settings, Arc::new(Silent)).unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(client.within(any_time()).start(&at("100")).await.unwrap_err().kind, FaultKind::UnknownOutcome);
    assert_eq!(client.vm(&at("100")).await.unwrap_err().kind, FaultKind::Unreachable);
    assert_eq!(began.elapsed().as_secs(), 70);
    let heard = heard.0.lock().unwrap();
    assert_eq!(heard[0], "POST /nodes/{node}/qemu/{vmid}/status/start deadline");
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_something_else_is_not_taken_for_done() {
    let canned = Arc::new(Canned::default());
    let page = || Ok(Recorded::saying(200, "OK", Some(json!("<html>welcome</html>"))));
    canned.say("POST /nodes/pve1/qemu/100/status/start", page());
    canned.say("GET /nodes/pve1/qemu/100/config", page());
    let client = client(canned);
    assert_eq!(client.within(any_time()).start(&at("100")).await.unwrap_err().kind, FaultKind::UnknownOutcome);
    assert_eq!(client.vm(&at("100")).await.unwrap_err().kind, FaultKind::Other);
}

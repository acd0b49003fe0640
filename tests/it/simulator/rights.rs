//! Who may do what, and what is refused before anyone is asked.

use http::Request;
use stevedore::simulator::scenario::{DEMO_SECRET, Release, Scenario, UserSpec};

use super::probe::Probe;

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_refused_late_and_without_a_body() {
    let probe = Probe::demo().with_authorization("PVEAPIToken=stevedore@pve!operator=wrong");
    let begun = tokio::time::Instant::now();
    let read = probe.send("GET", "/version", &[]).await;
    assert_eq!((read.status, read.reason.as_str(), read.body.is_null()), (401, "Authentication failed!", true));
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(probe.with_authorization("").send("GET", "/version", &[]).await.reason, "No ticket");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_needs_its_csrf_token_for_changes() {
    let user = UserSpec { id: "dev@pve".into(), password: Some("secret".into()), ..UserSpec::default() };
    let mut scenario = Scenario::default_demo();
    scenario.users.push(user);
    scenario.acls.push(stevedore::simulator::scenario::AclSpec {
        path: "/".into(),
        to: "dev@pve".into(),
        role: "Administrator".into(),
        propagate: true,
    });
    let probe = Probe::new(scenario).with_authorization("");
    let login = probe.send("POST", "/access/ticket", &[("username", "dev@pve"), ("password", "secret")]).await.ok();
    let cookie = format!("PVEAuthCookie={}", login["ticket"].as_str().unwrap());
    let request = |method: &str| {
        Request::builder().method(method).uri("/api2/json/nodes/pve1/qemu").header("Cookie", cookie.as_str())
    };
    assert_eq!(probe.send_raw(request("GET"), "").await.status, 200);
    let read = probe.send_raw(request("POST"), "vmid=600").await;
    assert_eq!((read.status, read.reason.as_str()), (401, "Permission denied - invalid csrf token"));
    let request = request("POST").header("CSRFPreventionToken", login["CSRFPreventionToken"].as_str().unwrap());
    assert_eq!(probe.send_raw(request, "vmid=600").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn rights_are_an_intersection_and_lists_are_filtered_silently() {
    let probe = Probe::demo();
    probe.simulator.world(|world| world.withdraw("/", "stevedore@pve!operator"));
    let read = probe.send("GET", "/nodes/pve1/qemu/101/config", &[]).await;
    assert_eq!((read.status, read.reason.as_str()), (403, "Permission check failed (/vms/101, VM.Audit)"));
    assert_eq!(probe.send("GET", "/cluster/resources", &[("type", "vm")]).await.ok(), serde_json::json!([]));
    assert_eq!(probe.get("/access/permissions").await, serde_json::json!({}));
}

#[tokio::test(start_paused = true)]
async fn the_releases_differ_in_the_names_of_rights() {
    let probe = Probe::new(Scenario::demo_of(Release::V8));
    let rights = probe.get("/access/permissions").await;
    assert_eq!(rights["/vms"]["VM.Monitor"], 1);
    assert!(rights["/vms"]["VM.GuestAgent.Audit"].is_null());
}

#[tokio::test(start_paused = true)]
async fn strict_requests_are_refused_as_the_real_server_refuses_them() {
    let probe = Probe::demo();
    let request = Request::builder().method("DELETE").uri("/api2/json/nodes/pve1/qemu/101");
    assert_eq!(probe.send_raw(request, "purge=1").await.status, 501);
    let request =
        Request::builder().method("POST").uri("/api2/json/nodes/pve1/qemu").header("Transfer-Encoding", "chunked");
    assert_eq!(probe.send_raw(request, "vmid=1").await.status, 501);
    let request =
        Request::builder().method("POST").uri("/api2/json/nodes/pve1/qemu").header("Content-Type", "application/json");
    assert_eq!(probe.send_raw(request, "").await.status, 500);
    let read = probe.send("GET", "/version", &[("foo", "1")]).await;
    assert!(read.body["errors"]["foo"].as_str().unwrap().starts_with("property is not defined"));
    let read = probe.send("GET", "/nodes/nowhere/qemu", &[]).await;
    assert!(read.reason.starts_with("hostname lookup 'nowhere' failed"));
    assert_eq!(probe.send("GET", "/nonsense", &[]).await.status, 501);
}

#[tokio::test(start_paused = true)]
async fn an_expired_secret_is_worth_nothing() {
    let mut scenario = Scenario::default_demo();
    scenario.users[0].tokens[0].expire = Some(1);
    let probe = Probe::new(scenario);
    assert!(probe.authorization.ends_with(DEMO_SECRET));
    assert_eq!(probe.send("GET", "/version", &[]).await.status, 401);
}

//! What goes wrong by script.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stevedore::simulator::fault::{CallKind, Effect, Failure, Moment, Rule};
use stevedore::simulator::scenario::Scenario;

use super::probe::Probe;

#[tokio::test(start_paused = true)]
async fn an_answer_is_lost_after_the_effect() {
    let probe = Probe::demo();
    probe.simulator.faults().add(Rule::nth("POST", "/nodes/*/qemu", 1, Effect::DropAfter));
    assert_eq!(probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "700")]).await.status, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(probe.send("GET", "/nodes/pve1/qemu/700/config", &[]).await.status, 200);
    let log = probe.simulator.faults().changes();
    assert_eq!((log[0].number, log[0].status), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_lost_before_the_effect_or_doubled() {
    let probe = Probe::demo();
    let faults = probe.simulator.faults();
    faults.add(Rule::nth("POST", "/nodes/*/qemu", 1, Effect::DropBefore));
    faults.add(Rule::nth("POST", "/nodes/*/qemu", 1, Effect::Duplicate));
    assert_eq!(probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "701")]).await.status, 0);
    assert_eq!(probe.send("GET", "/nodes/pve1/qemu/701/config", &[]).await.status, 500);
    let doubled = probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "701")]).await;
    assert_eq!(doubled.reason, "unable to create VM 701 - VM 701 already exists on node 'pve1'");
}

#[tokio::test(start_paused = true)]
async fn failures_and_delays_are_told_by_rule() {
    let probe = Probe::demo();
    let faults = probe.simulator.faults();
    let lost = Failure { status: 596, reason: "Connection timed out".into() };
    faults.add(Rule::nth("GET", "/version", 1, Effect::Fail(lost)));
    faults.add(Rule::nth("GET", "/nodes", 1, Effect::Delay(40.0)));
    let read = probe.send("GET", "/version", &[]).await;
    assert_eq!((read.status, read.reason.as_str()), (596, "Connection timed out"));
    assert_eq!(probe.send("GET", "/version", &[]).await.status, 200);
    let begun = tokio::time::Instant::now();
    probe.get("/nodes").await;
    assert_eq!(begun.elapsed().as_secs(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_hook_sees_each_change_before_and_after() {
    let probe = Probe::demo();
    let (before, after) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (seen_before, seen_after, simulator) = (before.clone(), after.clone(), probe.simulator.clone());
    probe.simulator.faults().set_hook(Arc::new(move |moment, call| {
        let exists = simulator.world(|world| world.option(702, "lock").is_some());
        match moment {
            Moment::Before => {
                assert!(!exists, "{call:?}");
                seen_before.store(call.number, Ordering::SeqCst);
            }
            Moment::After => {
                assert!(exists, "{call:?}");
                seen_after.store(call.number, Ordering::SeqCst);
            }
        }
        None
    }));
    probe.get("/version").await;
    probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "702"), ("cipassword", "hush")]).await.ok();
    assert_eq!((before.load(Ordering::SeqCst), after.load(Ordering::SeqCst)), (1, 1));
    let log = probe.simulator.faults().log();
    assert_eq!(log[0].kind, CallKind::Read);
    assert!(!format!("{log:?}").contains("hush"));
}

#[tokio::test(start_paused = true)]
async fn a_late_call_has_its_effect_although_the_client_gave_up() {
    let probe = Probe::demo();
    probe.simulator.faults().add(Rule::nth("POST", "/nodes/*/qemu", 1, Effect::Delay(40.0)));
    let call = probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "703")]);
    assert!(tokio::time::timeout(Duration::from_secs(35), call).await.is_err());
    assert_eq!(probe.send("GET", "/nodes/pve1/qemu/703/config", &[]).await.status, 500);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(probe.send("GET", "/nodes/pve1/qemu/703/config", &[]).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn silent_agents_take_up_the_daemons_workers() {
    let probe = Probe::demo();
    probe.simulator.world(|world| world.silence_agent(101));
    let begun = tokio::time::Instant::now();
    let ping = || probe.send("POST", "/nodes/pve1/qemu/101/agent/ping", &[]);
    let ((_, _, _), current) = tokio::join!(
        async { tokio::join!(ping(), ping(), ping()) },
        probe.send("GET", "/nodes/pve1/qemu/101/status/current", &[]),
    );
    assert_eq!(current.status, 200);
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_scenario_may_tell_what_goes_wrong() {
    let text =
        "faults: [{method: GET, path: /version, times: 1, then: {fail: {status: 595, reason: No route to host}}}]";
    let faults = Scenario::parse("test", text).unwrap().faults;
    let probe = Probe::new(Scenario { faults, ..Scenario::default_demo() });
    assert_eq!(probe.send("GET", "/version", &[]).await.status, 595);
    assert_eq!(probe.send("GET", "/version", &[]).await.status, 200);
}

//! What a simulated guest's systemd knows: the units of the world, and no others.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stevedore::clock::TimerClock;
use stevedore::guest::scripts;
use stevedore::simulator::guest::CannedGuest;
use stevedore::simulator::guest_exec::UnitState;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{GuestBehaviour, GuestRule, Scenario};
use tokio::time::sleep;

use super::probe::Probe;

/// What the script that asks about a unit prints in the demo's machine `files`.
async fn asked(probe: &Probe, unit: &str) -> String {
    let agent = "/nodes/pve1/qemu/101/agent";
    let script = scripts::UNIT;
    let words = ["/bin/sh", "-c", script.text, script.name, unit, "0"].map(|word| ("command", word));
    let pid = probe.send("POST", &format!("{agent}/exec"), &words).await.ok()["pid"].to_string();
    sleep(Duration::from_secs(1)).await;
    let status = probe.send("GET", &format!("{agent}/exec-status"), &[("pid", &pid)]).await.ok();
    status["out-data"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_guest_has_the_units_of_its_world_and_no_others() {
    let units = [("a.service".to_owned(), UnitState::Failed)].into();
    let rule = GuestRule { name: "files".into(), behaviour: GuestBehaviour { units, ..GuestBehaviour::default() } };
    let scenario = Scenario { guests: vec![rule], ..Scenario::default_demo() };
    let clock = TimerClock::starting_at(Timestamp::from_second(1_795_314_953).unwrap());
    let simulator = Simulator::with_guests(scenario, Arc::new(clock), Arc::new(CannedGuest::default()));
    let probe = Probe { simulator, ..Probe::demo() };
    for (unit, load, active) in [
        ("backup-agent.service", "loaded", "active"),
        ("a.service", "loaded", "failed"),
        ("backup-agnet.service", "not-found", "inactive"),
    ] {
        let told = asked(&probe, unit).await;
        let has = |name: &str, value: &str| told.contains(&format!("property\t{name}\t{value}\n"));
        assert!(has("LoadState", load) && has("ActiveState", active), "{unit}: {told}");
    }
}

//! The controller of Hypervisors against a hypervisor that answers what the test says, in virtual time.

mod deletion;
mod rig;
mod world;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;
use stevedore::api::{Hypervisor, Worker};
use stevedore::clock::BootTime;
use stevedore::controller::view::{Seeker, View};
use stevedore::domain::fault::FaultKind;
use stevedore::domain::observation::{HypervisorState, Presence};
use stevedore::hypervisor::vm::{MissingPrivilege, Power};
use stevedore::simulator::kubernetes::Fault;
use tokio::sync::Notify;

use self::rig::Rig;
use self::world::{INSTALLATION, cluster};

const IDLE: Duration = Duration::from_secs(30);

fn presence(rig: &Rig, uid: &str) -> Presence {
    let seeker = Seeker {
        installation: INSTALLATION,
        uid,
        name: "backup/w1",
        since: BootTime::default(),
        deleting: false,
        known: None,
    };
    rig.connection().view(|view| view.presence(seeker))
}

/// What workers are told of their hypervisor.
fn verdict(rig: &Rig) -> String {
    match rig.state().verdict {
        HypervisorState::Ready => "Ready".to_owned(),
        HypervisorState::Away(problem) | HypervisorState::Missing(problem) => problem.reason.to_string(),
    }
}

fn asked(rig: &Rig) -> [usize; 3] {
    let answers = rig.world.answers();
    [answers.polls, answers.probes, answers.reads]
}

#[tokio::test(start_paused = true)]
async fn the_first_poll_makes_it_ready() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::On);
    assert_eq!(rig.reconcile().await.requeue, Some(IDLE));
    let types = ["Ready", "Reachable", "Authorized", "CertificateValid", "DeletionsHeld", "SharedConnection"];
    let expected = [
        "True/Connected",
        "True/Reachable",
        "True/Authorized",
        "True/Trusted",
        "False/WithinBudget",
        "False/OwnCluster",
    ];
    assert_eq!(types.map(|type_| rig.condition(type_)), expected);
    let status = rig.status();
    assert_eq!(status.identity.unwrap().cluster_name.as_deref(), Some("prod"));
    assert_eq!((status.product.as_deref(), status.version.as_deref()), (Some("Proxmox VE"), Some("9.0.3")));
    assert_eq!(status.hosts_online.as_deref(), Some("1/1"));
    assert_eq!((status.workers, status.running_workers), (Some(1), Some(1)));
    assert_eq!((status.hosts[0].name.as_str(), status.hosts[0].cpus), ("pve1", Some(8)));
    assert_eq!(status.hosts[0].memory.as_ref().unwrap().0, "16Gi");
    assert_eq!(status.limits.unwrap().parallel_launches, 4);
    assert_eq!(status.observed_generation, Some(1));
    let state = rig.state();
    assert_eq!((state.verdict, state.vm_ids, state.parallel_launches), (HypervisorState::Ready, (5000, 5999), 4));
    assert_eq!(state.endpoints, [("pve1.example.org".to_owned(), 8006)]);
    assert!(state.client.is_some());
    assert!(matches!(presence(&rig, &uid), Presence::Present { .. }));
    assert_eq!(rig.woken(), ["w1"]);
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_written_and_little_is_asked() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.run_for(Duration::from_secs(1)).await;
    rig.woken();
    rig.api.forget_writes();
    let before = asked(&rig);
    tokio::time::sleep(Duration::from_secs(29)).await;
    let times = rig.run_for(IDLE * 19 + Duration::from_secs(1)).await;
    assert_eq!(times, 20);
    assert!(rig.api.writes().is_empty(), "{:?}", rig.api.writes());
    assert!(rig.woken().is_empty());
    let after = asked(&rig);
    assert_eq!(after[0] - before[0], 20);
    assert_eq!(after[1] - before[1], 1, "the certificate is looked at every ten minutes");
    assert_eq!(after[2], before[2], "a VM that is known is not read again");
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_read_now_and_then_and_when_it_looks_different() {
    let mut rig = Rig::new().await;
    rig.world.add_vm("5000", "w1", "u", Power::Off);
    let copy = {
        let answers = rig.world.answers();
        (answers.inventory.vms["5000"].clone(), answers.marks["5000"].clone())
    };
    rig.world.answers().inventory.vms.insert("5001".into(), copy.0);
    rig.world.answers().marks.insert("5001".into(), copy.1);
    rig.run_for(Duration::from_secs(1)).await;
    let reads = rig.world.answers().reads;
    rig.run_for(IDLE * 19).await;
    assert_eq!(rig.world.answers().reads, reads, "it contradicts itself as before");
    rig.run_for(IDLE * 3).await;
    assert_eq!(rig.world.answers().reads, reads + 1, "it may have been put right");
    rig.world.answers().inventory.vms.get_mut("5001").unwrap().name = Some("other".into());
    rig.run_for(IDLE * 2).await;
    assert_eq!(rig.world.answers().reads, reads + 2, "somebody is at work on it");
}

#[tokio::test(start_paused = true)]
async fn looking_early_asks_nothing_and_busy_polls_come_often() {
    let mut rig = Rig::new().await;
    rig.reconcile().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(rig.reconcile().await.requeue, Some(Duration::from_secs(20)));
    assert_eq!(rig.world.answers().polls, 1);
    rig.connection().hurry(rig.context.clock.boot());
    assert_eq!(rig.reconcile().await.requeue, Some(Duration::from_secs(2)));
    assert_eq!(rig.world.answers().polls, 2);
    rig.edit::<Hypervisor>("pve", json!({"spec": {"paused": true}})).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "True/Paused");
    assert!(rig.state().paused);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_credential_is_refused_and_a_new_one_taken_up() {
    let mut rig = Rig::new().await;
    rig.world.answers().token = "an0ther".into();
    rig.reconcile().await;
    let types = ["Ready", "Authorized", "Reachable"];
    let expected = ["False/CredentialsRejected", "False/CredentialsRejected", "True/Reachable"];
    assert_eq!(types.map(|type_| rig.condition(type_)), expected);
    assert_eq!(verdict(&rig), "HypervisorNotReady");
    rig.edit::<Secret>("pve", json!({"data": {"tokenSecret": "YW4wdGhlcg=="}})).await;
    rig.run_for(Duration::from_secs(20)).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
    let all = serde_json::to_string(&rig.hypervisor("pve")).unwrap();
    assert!(!all.contains("s3cret") && !all.contains("an0ther"));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_changes_during_a_look_is_read_again_at_once() {
    let mut rig = Rig::new().await;
    rig.sync();
    rig.world.answers().token = "an0ther".into();
    let bells = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    rig.world.answers().bells = Some(bells.clone());
    let [asked, answer] = bells;
    let rotate = async {
        asked.notified().await;
        rig.edit::<Secret>("pve", json!({"data": {"tokenSecret": "YW4wdGhlcg=="}})).await;
        answer.notify_one();
    };
    tokio::join!(rig.reconcile_cached("pve"), rotate);
    assert_eq!(rig.condition("Ready"), "True/Connected");
    assert_eq!(rig.world.answers().probes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_secret_may_come_later_and_go() {
    let mut rig = Rig::empty();
    rig.add_hypervisor("pve", json!({})).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/CredentialsMissing");
    assert_eq!(rig.condition("Reachable"), "Unknown/CredentialsMissing");
    assert_eq!(verdict(&rig), "CredentialsMissing");
    rig.add_secret("pve", "s3cret").await;
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
    rig.delete::<Secret>("pve").await;
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.condition("Ready"), "False/CredentialsMissing");
    assert_eq!(verdict(&rig), "Ready", "the credential that was read works on");
    rig.add_secret("pve", "s3cret").await;
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
}

#[tokio::test(start_paused = true)]
async fn the_authority_comes_from_a_config_map() {
    let mut rig = Rig::empty();
    rig.add_secret("pve", "s3cret").await;
    rig.add_hypervisor("pve", json!({"tls": {"caRef": {"kind": "ConfigMap", "name": "ca", "key": "pem"}}})).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/CaMissing");
    rig.add_map("ca", "other", "x").await;
    rig.run_for(Duration::from_secs(60)).await;
    assert!(rig.message("Ready").contains("under the key pem"), "{}", rig.message("Ready"));
    rig.edit::<ConfigMap>("ca", json!({"data": {"pem": "-----BEGIN CERTIFICATE-----"}})).await;
    rig.run_for(Duration::from_secs(60)).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
}

#[tokio::test(start_paused = true)]
async fn a_missing_privilege_is_named() {
    let mut rig = Rig::new().await;
    rig.world.answers().missing = vec![MissingPrivilege { privilege: "VM.Allocate".into(), path: "/vms".into() }];
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/PrivilegesMissing");
    assert_eq!(rig.condition("Authorized"), "False/PrivilegesMissing");
    assert!(rig.message("Authorized").contains("VM.Allocate on /vms"));
    assert_eq!(verdict(&rig), "Forbidden");
    assert!(matches!(presence(&rig, "u"), Presence::Unknown(_)));
    rig.world.answers().missing.clear();
    rig.run_for(Duration::from_secs(700)).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_lost_its_sight_proves_no_absence() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.run_for(Duration::from_secs(1)).await;
    rig.world.answers().inventory.vms.clear();
    rig.world.answers().missing = vec![MissingPrivilege { privilege: "VM.Audit".into(), path: "/vms".into() }];
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/PrivilegesMissing");
    assert!(matches!(presence(&rig, &uid), Presence::Unknown(_)));
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_is_hidden_is_not_gone() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.run_for(Duration::from_secs(1)).await;
    rig.world.hide("5000");
    rig.run_for(IDLE * 5).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
    assert!(rig.message("Ready").contains("VM 5000 on pve1"), "{}", rig.message("Ready"));
    assert!(matches!(presence(&rig, &uid), Presence::Unknown(_)));
    rig.world.remove_vm("5000");
    rig.run_for(IDLE * 3).await;
    assert!(matches!(presence(&rig, &uid), Presence::Absent { polls: 2.. }), "{:?}", presence(&rig, &uid));
    let before = asked(&rig);
    rig.run_for(IDLE * 10).await;
    assert_eq!(asked(&rig)[2], before[2], "what is gone is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn what_an_abandoned_worker_had_is_not_waited_for() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    let uid = rig.add_worker("w2").await;
    rig.world.add_vm("5000", "w2", &uid, Power::Off);
    rig.run_for(Duration::from_secs(1)).await;
    rig.world.hide("5000");
    rig.run_for(IDLE * 2).await;
    assert!(matches!(presence(&rig, "u"), Presence::Unknown(_)));
    rig.delete::<Worker>("w2").await;
    rig.run_for(IDLE * 3).await;
    assert!(matches!(presence(&rig, "u"), Presence::Absent { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_taken_out_of_the_cluster_proves_no_absence() {
    let mut rig = Rig::new().await;
    rig.world.set_nodes("prod", &["pve1", "pve2"]);
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.run_for(IDLE * 4).await;
    let before = asked(&rig);
    rig.run_for(IDLE * 4).await;
    assert_eq!(asked(&rig)[1], before[1], "nothing is asked for that at rest");
    rig.world.remove_vm("5000");
    rig.world.set_nodes("pve2", &["pve2"]);
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/IdentityChanged");
    assert!(!matches!(presence(&rig, &uid), Presence::Absent { .. }));
    assert_eq!(rig.connection().view(View::complete_since), None);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_with_the_same_node_names_proves_no_absence() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.run_for(IDLE * 4).await;
    rig.world.remove_vm("5000");
    rig.world.answers().probe.identity.ca_fingerprint = "BB".into();
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/IdentityChanged");
    assert!(!matches!(presence(&rig, &uid), Presence::Absent { .. }));
    assert_eq!(rig.connection().view(View::complete_since), None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_is_taken_over() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.run_for(IDLE * 4).await;
    rig.world.set_nodes("prod", &["pve1", "pve2"]);
    rig.run_for(IDLE * 2).await;
    assert_eq!(rig.status().identity.unwrap().nodes, ["pve1", "pve2"]);
    assert!(matches!(presence(&rig, &uid), Presence::Absent { .. }));
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_not_touched_until_it_is_accepted() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.run_for(Duration::from_secs(1)).await;
    rig.woken();
    rig.world.answers().probe.identity = cluster("test", "BB");
    rig.run_for(Duration::from_secs(620)).await;
    assert_eq!(rig.condition("Ready"), "False/IdentityChanged");
    assert_eq!(verdict(&rig), "IdentityChanged");
    assert!(matches!(presence(&rig, &uid), Presence::Unknown(_)));
    assert_eq!(rig.woken(), ["w1"]);
    let polls = rig.world.answers().polls;
    rig.run_for(Duration::from_secs(300)).await;
    assert_eq!(rig.world.answers().polls, polls, "it is asked who it is, and nothing else");
    assert_eq!(rig.status().identity.unwrap().cluster_name.as_deref(), Some("prod"));
    let accept = |name: &str| json!({"metadata": {"annotations": {"stevedore.dev/accept-identity": name}}});
    rig.edit::<Hypervisor>("pve", accept("other")).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/IdentityChanged");
    rig.edit::<Hypervisor>("pve", accept("test")).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
    assert_eq!(rig.status().identity.unwrap().cluster_name.as_deref(), Some("test"));
}

#[tokio::test(start_paused = true)]
async fn nobody_works_on_a_cluster_before_it_is_written_down() {
    let mut rig = Rig::new().await;
    rig.api.intercept(|call| {
        let is_status = call.target.subresource.as_deref() == Some("status");
        if is_status { Fault::Answer(StatusCode::CONFLICT) } else { Fault::None }
    });
    rig.reconcile().await;
    assert_eq!(verdict(&rig), "HypervisorNotReady");
    rig.api.stop_intercepting();
    rig.reconcile().await;
    assert_eq!(verdict(&rig), "Ready");
    assert_eq!(rig.world.answers().polls, 1, "nothing is asked again for that");
}

#[tokio::test(start_paused = true)]
async fn without_quorum_nothing_is_believed() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.set_quorate(false);
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/NoQuorum");
    assert_eq!((rig.status().identity, verdict(&rig).as_str()), (None, "NoQuorum"));
    rig.world.set_quorate(true);
    rig.run_for(Duration::from_secs(91)).await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
    assert!(matches!(presence(&rig, &uid), Presence::Absent { polls: 2.. }));
    rig.world.set_quorate(false);
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/NoQuorum");
    assert!(matches!(presence(&rig, &uid), Presence::Unknown(_)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_costs_one_probe_per_interval() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    rig.run_for(Duration::from_secs(1)).await;
    rig.world.answers().fault = Some(FaultKind::Unreachable);
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/Unreachable");
    assert_eq!(verdict(&rig), "HypervisorUnreachable");
    assert!(rig.state().away_since.is_some());
    assert_eq!(rig.status().hosts_online.as_deref(), Some("?/1"));
    // The event about it is sent from another task.
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.api.forget_writes();
    let before = asked(&rig);
    for _ in 0..1800 {
        rig.connection().hurry(rig.context.clock.boot());
        rig.reconcile().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = asked(&rig);
    let probes = after[1] - before[1];
    assert!((10..=20).contains(&probes), "{probes} probes in half an hour");
    assert_eq!(after[0], before[0], "nothing but probes");
    assert!(rig.api.writes().is_empty(), "{:?}", rig.api.writes());
    rig.world.answers().fault = None;
    rig.run_for(Duration::from_secs(140)).await;
    assert_eq!((rig.condition("Ready").as_str(), verdict(&rig).as_str()), ("True/Connected", "Ready"));
    assert_eq!(rig.state().away_since, None);
}

#[tokio::test(start_paused = true)]
async fn only_workers_whose_vm_looks_different_are_woken() {
    let mut rig = Rig::new().await;
    for (name, id) in [("w1", "5001"), ("w2", "5002"), ("w3", "5003")] {
        let uid = rig.add_worker(name).await;
        rig.world.add_vm(id, name, &uid, Power::Off);
    }
    rig.run_for(Duration::from_secs(1)).await;
    assert_eq!(rig.woken(), ["w1", "w2", "w3"]);
    rig.world.answers().inventory.vms.get_mut("5002").unwrap().power = Power::On;
    rig.world.answers().inventory.vms.remove("5003");
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.woken(), ["w2", "w3"]);
    rig.edit::<Hypervisor>("pve", json!({"spec": {"limits": {"deletionsPerHour": 20}}})).await;
    rig.reconcile().await;
    assert_eq!(rig.woken(), ["w1", "w2", "w3"], "what the spec says may concern everybody");
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_cannot_be_read_may_be_anybodys() {
    let mut rig = Rig::new().await;
    rig.world.add_vm("5000", "w1", "u", Power::Off);
    rig.world.answers().marks.clear();
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "True/Connected");
    assert!(rig.message("Ready").contains("VM 5000 on pve1"), "{}", rig.message("Ready"));
    assert!(matches!(presence(&rig, "u"), Presence::Unknown(_)));
}

#[tokio::test(start_paused = true)]
async fn workers_without_a_vm_are_woken_when_that_can_be_judged() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.add_worker("w2").await;
    rig.world.add_vm("5001", "w1", &uid, Power::Off);
    rig.world.add_vm("5002", "other", "u", Power::Off);
    let unread = rig.world.answers().marks.remove("5002").unwrap();
    rig.reconcile().await;
    assert_eq!(rig.woken(), ["w1", "w2"]);
    rig.world.answers().marks.insert("5002".to_owned(), unread);
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.woken(), ["w2"], "only now it is known that it has no VM");

    rig.world.answers().token = "an0ther".into();
    rig.edit::<Secret>("pve", json!({"data": {"tokenSecret": "YW4wdGhlcg=="}})).await;
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.woken(), ["w2"], "with another credential absence is proven anew");
}

#[tokio::test(start_paused = true)]
async fn orphans_are_reported() {
    let mut rig = Rig::new().await;
    let uid = rig.add_worker("w1").await;
    rig.world.add_vm("5000", "w1", &uid, Power::Off);
    rig.world.add_vm("5001", "w0", "uid-of-old", Power::Off);
    rig.reconcile().await;
    let status = rig.status();
    assert_eq!((status.orphan_count, status.orphans.len()), (Some(1), 1));
    assert_eq!((status.orphans[0].vm_id.as_str(), status.orphans[0].worker.as_deref()), ("5001", Some("backup/w0")));
}

#[tokio::test(start_paused = true)]
async fn two_hypervisors_of_one_cluster_share_limits() {
    let mut rig = Rig::new().await;
    rig.add_hypervisor("twin", json!({"limits": {"parallelLaunches": 2, "deletionsPerHour": 3}})).await;
    rig.reconcile().await;
    rig.reconcile_cached("twin").await;
    rig.reconcile().await;
    assert_eq!(rig.condition("SharedConnection"), "True/SharedCluster");
    let limits = rig.status().limits.unwrap();
    assert_eq!((limits.parallel_launches, limits.deletions_per_hour), (2, 3));
    assert_eq!(rig.state().parallel_launches, 2);
}

#[tokio::test(start_paused = true)]
async fn clients_of_one_cluster_go_by_the_same_limits_and_keep_the_pace() {
    let mut rig = Rig::new().await;
    rig.add_hypervisor("twin", json!({"limits": {"parallelOperations": 6}})).await;
    rig.reconcile().await;
    rig.reconcile_cached("twin").await;
    let limits = |rig: &Rig, client: usize| rig.world.answers().limits[&client].clone();
    assert!(Arc::ptr_eq(&limits(&rig, 1), &limits(&rig, 2)));
    assert_eq!(limits(&rig, 1).allowed(), 6, "the lower one counts at once, also for the one that was there first");
    rig.edit::<Hypervisor>("twin", json!({"spec": {"limits": {"parallelOperations": 16}}})).await;
    rig.sync();
    rig.reconcile_cached("twin").await;
    rig.reconcile().await;
    assert_eq!(limits(&rig, 1).allowed(), 8, "nobody has a lower one than 8");

    limits(&rig, 1).slow_down(rig.context.clock.boot());
    rig.edit::<Secret>("pve", json!({"data": {"tokenId": "c3RldmVkb3JlQHB2ZSFvdGhlcg=="}})).await;
    tokio::time::sleep(IDLE).await;
    rig.reconcile().await;
    assert_eq!(rig.world.answers().clients, 3, "another credential is another client");
    assert!(Arc::ptr_eq(&limits(&rig, 3), &limits(&rig, 2)));
    assert_eq!(limits(&rig, 3).allowed(), 4);

    // Who answers is another cluster: it has no part in these limits, and they none in it.
    rig.world.answers().probe.identity = cluster("test", "BB");
    rig.run_for(Duration::from_secs(620)).await;
    assert_eq!(rig.condition("Ready"), "False/IdentityChanged");
    assert!(!Arc::ptr_eq(&limits(&rig, 3), &limits(&rig, 2)));
}

#[tokio::test(start_paused = true)]
async fn what_a_new_worker_names_costs_a_question_and_no_new_client() {
    let mut rig = Rig::new().await;
    rig.add_worker("w1").await;
    rig.run_for(Duration::from_secs(91)).await;
    assert_eq!(rig.world.answers().in_use.storages, ["local-lvm".to_owned()].into());
    let before = asked(&rig);
    rig.edit::<Worker>("w1", json!({"spec": {"proxmox": {"storage": "fast"}}})).await;
    rig.run_for(IDLE).await;
    let answers = rig.world.answers();
    assert_eq!(answers.in_use.storages, ["fast".to_owned()].into());
    assert_eq!(answers.in_use.bridges, ["vmbr0".to_owned()].into());
    assert_eq!((answers.clients, answers.probes), (1, before[1]));
    drop(answers);
    assert!(matches!(presence(&rig, "u"), Presence::Absent { polls: 3.. }), "what was seen before still counts");
}

#[tokio::test(start_paused = true)]
async fn an_object_of_the_same_name_begins_anew() {
    let mut rig = Rig::new().await;
    rig.reconcile().await;
    rig.delete::<Hypervisor>("pve").await;
    rig.world.answers().fault = Some(FaultKind::Unreachable);
    rig.add_hypervisor("pve", json!({})).await;
    rig.reconcile().await;
    assert_eq!(rig.condition("Ready"), "False/Unreachable");
    assert!(rig.status().identity.is_none() && rig.state().client.is_some());
}

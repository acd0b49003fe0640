//! The life of a virtual machine, from its creation to its end.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::probe::Probe;
use stevedore::simulator::scenario::{GuestBehaviour, GuestRule, Release, Scenario, Seconds};

#[tokio::test(start_paused = true)]
async fn a_worker_is_made_booted_used_and_removed() {
    let probe = Probe::demo();
    probe.create_worker("500", "worker").await;
    let vm = "/nodes/pve1/qemu/500";
    let config = probe.get(&format!("{vm}/config")).await;
    assert_eq!(config["scsi0"], "local-lvm:vm-500-disk-0,size=2G");
    assert_eq!(config["memory"], "1024");
    assert!(config["net0"].as_str().unwrap().starts_with("virtio=BC:24:11:"));

    assert_eq!(probe.run("POST", &format!("{vm}/status/start"), &[]).await, "OK");
    let early = probe.send("POST", &format!("{vm}/agent/ping"), &[]).await;
    assert_eq!((early.status, early.reason.as_str()), (500, "QEMU guest agent is not running"));
    sleep(Duration::from_secs(25)).await;
    assert_eq!(probe.send("POST", &format!("{vm}/agent/ping"), &[]).await.ok(), json!({"result": {}}));
    let cards = probe.get(&format!("{vm}/agent/network-get-interfaces")).await;
    assert_eq!(cards["result"][1]["name"], "eth0");
    assert_eq!(cards["result"][1]["ip-addresses"][0]["prefix"], 24);

    let command = [("command", "/bin/echo"), ("command", "hällo")];
    let pid = probe.send("POST", &format!("{vm}/agent/exec"), &command).await.ok()["pid"].to_string();
    let status = probe.send("GET", &format!("{vm}/agent/exec-status"), &[("pid", &pid)]).await.ok();
    assert_eq!(status, json!({"exited": 1, "exitcode": 0, "out-data": "hÃ¤llo\n", "out-truncated": 0}));
    let again = probe.send("GET", &format!("{vm}/agent/exec-status"), &[("pid", &pid)]).await;
    assert_eq!(again.reason, "Agent error: Invalid parameter 'pid'");

    assert_eq!(probe.send("DELETE", vm, &[]).await.reason, "VM 500 is running - destroy failed");
    assert_eq!(probe.run("POST", &format!("{vm}/status/shutdown"), &[("timeout", "60")]).await, "OK");
    assert_eq!(probe.run("DELETE", vm, &[("purge", "1")]).await, "OK");
    let gone = probe.send("GET", &format!("{vm}/config"), &[]).await;
    assert_eq!(gone.reason, "Configuration file 'nodes/pve1/qemu-server/500.conf' does not exist");
    assert!(probe.simulator.world(|world| world.volumes_of(500)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_in_the_making_shows_nothing_but_its_lock() {
    let probe = Probe::demo();
    let params =
        [("vmid", "501"), ("name", "a"), ("scsi0", "local-lvm:0,import-from=local:import/debian-12-worker.qcow2")];
    let upid = probe.send("POST", "/nodes/pve1/qemu", &params).await.ok();
    let config = probe.get("/nodes/pve1/qemu/501/config").await;
    assert_eq!(config["lock"], "create");
    assert_eq!(config.as_object().unwrap().len(), 2, "{config}");
    let taken = probe.send("POST", "/nodes/pve2/qemu", &[("vmid", "501")]).await;
    assert_eq!(taken.reason, "unable to create VM 501 - VM 501 already exists on node 'pve1'");
    assert_eq!(probe.wait(&upid).await, "OK");
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_unmarked_until_its_first_disk_and_locks_both_sides() {
    let probe = Probe::new(Scenario::demo_of(Release::V8));
    let params = [("newid", "510"), ("name", "clone"), ("full", "1"), ("description", "ours")];
    let upid = probe.send("POST", "/nodes/pve1/qemu/9001/clone", &params).await.ok();
    assert!(upid.as_str().unwrap().contains(":qmclone:9001:"));
    sleep(Duration::from_millis(100)).await;
    let config = probe.get("/nodes/pve1/qemu/510/config").await;
    assert_eq!((&config["lock"], &config["description"]), (&json!("clone"), &json!(" qmclone temporary file")));
    for vmid in ["510", "9001"] {
        let begun = tokio::time::Instant::now();
        let write = probe.send("PUT", &format!("/nodes/pve1/qemu/{vmid}/config"), &[("cores", "3")]).await;
        assert_eq!(write.reason, format!("can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout"));
        assert!(begun.elapsed() >= Duration::from_secs(10) || vmid == "9001");
        if vmid == "510" {
            break;
        }
    }
    let config = probe.get("/nodes/pve1/qemu/510/config").await;
    assert_eq!(
        (&config["lock"], &config["description"], &config["name"]),
        (&json!("clone"), &json!("ours"), &json!("clone"))
    );
    assert_eq!(probe.wait(&upid).await, "OK");
    let config = probe.get("/nodes/pve1/qemu/510/config").await;
    assert_eq!(config["lock"], json!(null));
    assert_eq!(config["scsi0"], "local-lvm:vm-510-disk-0,size=4G");
    assert_ne!(config["smbios1"], probe.get("/nodes/pve1/qemu/9001/config").await["smbios1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_source_is_shared_by_clones_and_closed_to_writers() {
    let probe = Probe::demo();
    let one = probe.send("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", "511"), ("full", "1")]).await.ok();
    let two = probe.send("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", "512"), ("full", "1")]).await.ok();
    sleep(Duration::from_millis(100)).await;
    let write = probe.send("PUT", "/nodes/pve1/qemu/9001/config", &[("cores", "3")]).await;
    assert_eq!(write.reason, "can't lock file '/var/lock/qemu-server/lock-9001.conf' - got timeout");
    let target = probe.send("PUT", "/nodes/pve1/qemu/511/config", &[("cores", "3")]).await;
    assert_eq!(target.reason, "VM is locked (clone)");
    assert_eq!((probe.wait(&one).await, probe.wait(&two).await), ("OK".into(), "OK".into()));
}

#[tokio::test(start_paused = true)]
async fn lists_are_stale_and_existence_is_not() {
    let probe = Probe::demo();
    sleep(Duration::from_secs(20)).await;
    let upid =
        probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "520"), ("name", "new"), ("tags", "Stevedore")]).await.ok();
    assert_eq!(probe.wait(&upid).await, "OK");
    let find = || async {
        let all = probe.send("GET", "/cluster/resources", &[("type", "vm")]).await.ok();
        all.as_array().unwrap().iter().find(|entry| entry["vmid"] == 520).cloned()
    };
    sleep(Duration::from_secs(10)).await;
    let entry = find().await.unwrap();
    assert_eq!(
        (&entry["status"], &entry["name"], &entry["tags"]),
        (&json!("stopped"), &json!("new"), &json!("stevedore"))
    );
    probe.run("POST", "/nodes/pve1/qemu/520/status/start", &[]).await;
    assert_eq!(probe.get("/nodes/pve1/qemu/520/status/current").await["status"], "running");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(find().await.unwrap()["status"], "running");
    probe.run("POST", "/nodes/pve1/qemu/520/status/stop", &[]).await;
    probe.run("DELETE", "/nodes/pve1/qemu/520", &[]).await;
    assert_eq!(find().await, None);
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_running_machine_wait_for_a_cold_start() {
    let probe = Probe::demo();
    let vm = "/nodes/pve1/qemu/101";
    probe.send("PUT", &format!("{vm}/config"), &[("cores", "4"), ("description", "x")]).await.ok();
    assert_eq!(probe.get(&format!("{vm}/config")).await["cores"], 4);
    let current = probe.send("GET", &format!("{vm}/config"), &[("current", "1")]).await.ok();
    assert_eq!((&current["cores"], &current["description"]), (&json!(2), &json!("x")));
    let pending = probe.get(&format!("{vm}/pending")).await;
    let cores = pending.as_array().unwrap().iter().find(|entry| entry["key"] == "cores").unwrap();
    assert_eq!(cores, &json!({"key": "cores", "value": 2, "pending": 4}));
    probe.simulator.world(|world| world.reboot_machine(101));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(probe.run("POST", &format!("{vm}/status/reboot"), &[]).await, "OK");
    let current = probe.send("GET", &format!("{vm}/config"), &[("current", "1")]).await.ok();
    assert_eq!(current["cores"], 4);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_holds_the_lock_and_can_be_overruled() {
    let deaf =
        GuestRule { name: "files".into(), behaviour: GuestBehaviour { ignores_shutdown: true, ..Default::default() } };
    let probe = Probe::new(Scenario { guests: vec![deaf], ..Scenario::default_demo() });
    let vm = "/nodes/pve1/qemu/101";
    let down = probe.send("POST", &format!("{vm}/status/shutdown"), &[("timeout", "40")]).await.ok();
    let stop = probe.run("POST", &format!("{vm}/status/stop"), &[]).await;
    assert_eq!(stop, "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout");
    assert_eq!(probe.run("POST", &format!("{vm}/status/stop"), &[("overrule-shutdown", "1")]).await, "OK");
    assert_eq!(probe.wait(&down).await, "unexpected status");
    assert_eq!(probe.get(&format!("{vm}/status/current")).await["status"], "stopped");
}

#[tokio::test(start_paused = true)]
async fn without_quorum_a_delete_takes_the_disks_and_leaves_the_entry() {
    let probe = Probe::demo();
    probe.simulator.world(|world| world.set_quorate(false));
    let create = probe.send("POST", "/nodes/pve1/qemu", &[("vmid", "530")]).await;
    assert_eq!((create.status, create.reason.as_str()), (500, "cluster not ready - no quorum?"));
    let end = probe.run("DELETE", "/nodes/pve2/qemu/103", &[]).await;
    assert!(end.starts_with("unable to open file '/etc/pve/nodes/pve2/qemu-server/103.conf.tmp."), "{end}");
    assert!(probe.simulator.world(|world| world.volumes_of(103)).is_empty());
    assert_eq!(probe.get("/nodes/pve2/qemu/103/config").await["name"], "old-crm");
}

#[tokio::test(start_paused = true)]
async fn a_killed_clone_leaves_an_orphan_and_a_stopped_one_does_not() {
    let probe = Probe::demo();
    let clone = |newid: &'static str| {
        let probe = probe.clone();
        async move { probe.send("POST", "/nodes/pve1/qemu/9001/clone", &[("newid", newid), ("full", "1")]).await.ok() }
    };
    let stopped = clone("540").await;
    sleep(Duration::from_secs(2)).await;
    let upid = stopped.as_str().unwrap();
    probe.send("DELETE", &format!("/nodes/pve1/tasks/{upid}"), &[]).await.ok();
    assert!(probe.wait(&stopped).await.ends_with("interrupted by signal"));
    assert!(!probe.simulator.world(|world| world.machines()).iter().any(|(vmid, _)| *vmid == 540));
    let killed = clone("541").await;
    sleep(Duration::from_secs(2)).await;
    probe.simulator.world(|world| world.kill_tasks("qmclone"));
    assert_eq!(probe.wait(&killed).await, "unexpected status");
    assert_eq!(probe.get("/nodes/pve1/qemu/541/config").await["lock"], "clone");
    assert_eq!(probe.run("DELETE", "/nodes/pve1/qemu/541", &[]).await, "VM is locked (clone)");
}

#[tokio::test(start_paused = true)]
async fn a_start_right_after_a_stop_leaves_the_lock_held() {
    let probe = Probe::demo();
    let vm = "/nodes/pve1/qemu/101";
    let stop = probe.send("POST", &format!("{vm}/status/stop"), &[]).await.ok();
    let start = probe.send("POST", &format!("{vm}/status/start"), &[]).await.ok();
    assert_eq!((probe.wait(&stop).await, probe.wait(&start).await), ("OK".into(), "OK".into()));
    let write = probe.send("PUT", &format!("{vm}/config"), &[("description", "x")]).await;
    assert_eq!(write.reason, "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout");
    sleep(Duration::from_secs(30)).await;
    probe.send("PUT", &format!("{vm}/config"), &[("description", "x")]).await.ok();
    assert_eq!(probe.run("POST", &format!("{vm}/status/stop"), &[]).await, "OK");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(probe.run("POST", &format!("{vm}/status/start"), &[]).await, "OK");
    probe.send("PUT", &format!("{vm}/config"), &[("description", "y")]).await.ok();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_removed_is_told_in_the_log() {
    for (release, end, sign) in [(Release::V8, "OK", ""), (Release::V9, "WARNINGS: 1", "WARN: ")] {
        let probe = Probe::new(Scenario::demo_of(release));
        probe.simulator.world(|world| world.set_storage_active("local-lvm", false));
        let upid = probe.send("DELETE", "/nodes/pve2/qemu/103", &[]).await.ok();
        assert_eq!(probe.wait(&upid).await, end);
        let log = probe.log(&upid).await;
        let text = format!("{sign}Could not remove disk 'local-lvm:vm-103-disk-0', check manually: ");
        assert!(log[0].starts_with(&text), "{log:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_goes_on_unheard() {
    let mut scenario = Scenario::default_demo();
    scenario.timings.import = Seconds(45.0);
    let probe = Probe::new(scenario);
    let disk = [("scsi1", "local-lvm:0,import-from=local:import/debian-12-worker.qcow2")];
    let read = probe.send("PUT", "/nodes/pve2/qemu/103/config", &disk).await;
    assert_eq!((read.status, read.body.is_null()), (596, true));
    assert_eq!(probe.get("/nodes/pve2/qemu/103/config").await["scsi1"], "local-lvm:vm-103-disk-1,size=2G");
}

//! Recorded successes: what the client makes of them.

use std::time::Duration;

use serde_json::json;
use stevedore::domain::fault::FaultKind;
use stevedore::guest::channel::{Output, Script};
use stevedore::hypervisor::Hypervisor;
use stevedore::hypervisor::vm::image::ImageWanted;
use stevedore::hypervisor::vm::making::{MadeFrom, Making};
use stevedore::hypervisor::vm::{CreateOrder, InUse, ObstacleKind, Power, Started, Takes, TaskHandle, TaskState};

use super::canned::{Canned, LONG, Recorded, any_time, at, client, making, recorded, wanted};

const SCRIPT: Script = Script { name: "sample", text: "cat; echo \"$1\"" };

#[tokio::test(start_paused = true)]
async fn a_probe_knows_the_cluster_by_its_ca() {
    let canned = Canned::recorded(&[
        "002-version-token",
        "731-offline-node-cluster-status",
        "914-certificates-info@9.2",
        "840-ha-status",
    ]);
    let probe = client(canned.clone()).probe().await.unwrap();
    assert_eq!((probe.product.as_str(), probe.version.as_str()), ("Proxmox VE", "8.4.21"));
    assert_eq!(probe.identity.name, "lab");
    assert_eq!(probe.identity.nodes, ["pve1", "pve2"]);
    assert!(probe.identity.ca_fingerprint.starts_with("7E:8C:15:1C:"));
    assert!(probe.quorate);
    assert_eq!(canned.lines().len(), 4);

    let alone = Canned::recorded(&[
        "002-version-token",
        "157-cluster-status",
        "914-certificates-info@9.2",
        "900-no-quorum-ha-status-current@9.2",
    ]);
    let probe = client(alone).probe().await.unwrap();
    assert_eq!((probe.identity.name.as_str(), probe.quorate), ("pve1", false));
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_two_requests() {
    let canned = Canned::recorded(&["732-offline-node-resources", "840-ha-status"]);
    let client = client(canned.clone());
    let inventory = client.inventory().await.unwrap();
    assert!(inventory.quorate);
    assert_eq!(inventory.vms.keys().collect::<Vec<_>>(), ["100", "200", "300"]);
    assert_eq!(inventory.vms["300"].power, Power::Unknown);
    assert!(inventory.hosts["pve1"].online && !inventory.hosts["pve2"].online);
    assert!(inventory.storages[&("pve1".into(), "store2".into())].available);
    assert!(!inventory.storages[&("pve2".into(), "store2".into())].available);
    assert_eq!(canned.lines().len(), usize::try_from(client.capabilities().requests_per_poll).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_read_live() {
    let canned = Canned::default();
    canned.say("GET /nodes/pve1/qemu/200/config", Ok(recorded("235-config-after-import")));
    canned.say("GET /nodes/pve1/qemu/200/status/current", Ok(recorded("244-status-current-running")));
    let canned = std::sync::Arc::new(canned);
    let seen = client(canned.clone()).vm(&at("200")).await.unwrap();
    assert_eq!(canned.lines().len(), 2);
    assert_eq!((seen.name.as_str(), seen.power), ("tiny", Power::On));
    assert_eq!(seen.shown.uuid.as_deref(), Some("437ff7b6-9e7a-4f36-9dce-5c16252b5fc0"));
    assert_eq!(seen.macs, ["BC:24:11:88:AE:09"]);
    assert_eq!(seen.disk_bytes, Some(96 << 20));
    assert_eq!(seen.digest, "c47bdb38dea288bdff51f183f5ebf5162724262f");

    let locked = Canned::recorded(&["410-locked-config-get", "411-locked-status"]);
    let seen = client(locked.clone()).vm(&at("100")).await.unwrap();
    assert_eq!((seen.power, seen.lock.as_deref()), (Power::Off, Some("backup")));
    assert_eq!(locked.lines().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_is_hidden_is_told_from_one_that_is_gone() {
    // Rights are checked first: the refusal is the same for both.
    let kind = async |id: &str| {
        let canned = Canned::recorded(&["022-permission-denied-vm-config", id]);
        let fault = client(canned.clone()).vm(&at("100")).await.unwrap_err();
        assert_eq!(canned.last("GET /cluster/nextid").params, [("vmid".to_owned(), "100".to_owned())]);
        fault.kind
    };
    let forbidden = FaultKind::Forbidden { privilege: "VM.Audit".into(), path: "/vms/100".into() };
    assert_eq!(kind("739-nextid-taken-by-other-node").await, forbidden);
    assert_eq!(kind("148-nextid-free").await, FaultKind::NotFound);
    let silent = Canned::recorded(&["022-permission-denied-vm-config"]);
    silent.say("GET /cluster/nextid", Ok(Recorded::saying(595, "No route to host", None)));
    assert_eq!(client(silent).vm(&at("100")).await.unwrap_err().kind, forbidden);
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_sent_once_with_the_digest() {
    let canned = Canned::default();
    canned.say("GET /nodes/pve1/qemu/200/config", Ok(recorded("366-clone-config")));
    canned.say("GET /nodes/pve1/qemu/200/status/current", Ok(recorded("224-status-current-stopped")));
    canned.say(
        "POST /nodes/pve1/qemu/200/config",
        Ok(Recorded::data(json!("UPID:pve1:0000025B:00039E36:6B025509:qmconfig:200:dev@pve!t1:"))),
    );
    let canned = std::sync::Arc::new(canned);
    let client = client(canned.clone());
    let seen = client.vm(&at("200")).await.unwrap();
    let fields: Vec<String> =
        client.differences(&wanted(), &seen).into_iter().map(|difference| difference.field).collect();
    assert!(
        fields.contains(&"cloud-init drive".to_owned()) && fields.contains(&"resources.disk".to_owned()),
        "{fields:?}"
    );
    assert!(matches!(client.within(any_time()).configure(&wanted(), &seen).await.unwrap(), Started::Task(_)));
    // The drive allocates a disk, so the call that makes a task is taken, for all of it.
    let sent = canned.last("POST /nodes/pve1/qemu/200/config");
    assert_eq!(sent.param("digest"), Some(seen.digest.as_str()));
    assert_eq!(sent.param("ide2"), Some("store2:cloudinit"));
    assert_eq!(sent.param("smbios1"), Some(format!("uuid={}", wanted().mark.uuid()).as_str()));
    assert_eq!(sent.param("sshkeys"), Some("ssh-ed25519%20AAAA%2B%2F%20me"));
    assert_eq!(sent.param("virtio0"), None);
    assert_eq!(sent.param("net0"), None, "the card fits, so its MAC is not touched");
    assert_eq!(canned.lines().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_disk_grows_to_an_absolute_size() {
    let canned = Canned::default();
    canned.say("GET /nodes/pve1/qemu/200/config", Ok(recorded("366-clone-config")));
    canned.say("GET /nodes/pve1/qemu/200/status/current", Ok(recorded("224-status-current-stopped")));
    canned.say("PUT /nodes/pve1/qemu/200/resize", Ok(recorded("240-start")));
    let canned = std::sync::Arc::new(canned);
    let client = client(canned.clone());
    let mut seen = client.vm(&at("200")).await.unwrap();
    assert!(matches!(client.within(any_time()).grow_disk(&wanted(), &seen).await.unwrap(), Started::Task(_)));
    let sent = canned.last("PUT /nodes/pve1/qemu/200/resize");
    assert_eq!((sent.param("disk"), sent.param("size")), (Some("virtio0"), Some("32G")));
    seen.disk_bytes = Some(32 << 30);
    assert_eq!(client.within(any_time()).grow_disk(&wanted(), &seen).await.unwrap(), Started::Done);
    assert!(!client.differences(&wanted(), &seen).iter().any(|difference| difference.takes == Takes::Grow));
}

fn resources() -> Recorded {
    Recorded::data(json!([
        {"type": "node", "node": "pve1", "status": "online"}, {"type": "node", "node": "pve2", "status": "offline"},
        {"type": "qemu", "vmid": 200, "node": "pve1", "name": "tiny-template", "template": 1, "status": "stopped"},
        {"type": "qemu", "vmid": 201, "node": "pve1", "name": "twice", "template": 1},
        {"type": "qemu", "vmid": 202, "node": "pve1", "name": "twice", "template": "1"},
        {"type": "qemu", "vmid": 300, "node": "pve2", "name": "far", "template": 1},
        {"type": "qemu", "vmid": 301, "node": "pve1", "name": "no-template", "template": 0, "status": "stopped"},
        {"type": "storage", "storage": "store2", "node": "pve1", "plugintype": "dir", "content": "images,rootdir"},
        {"type": "storage", "storage": "thin", "node": "pve1", "plugintype": "lvmthin", "content": "images"}
    ]))
}

#[tokio::test(start_paused = true)]
async fn obstacles_are_found_before_anything_is_made() {
    let canned = Canned::recorded(&["160-storage-list", "601-network-bridges", "002-version-token"]);
    canned.say("GET /cluster/resources", Ok(resources()));
    let client = client(canned);
    let kinds = async |change: &dyn Fn(&mut stevedore::hypervisor::vm::VmWanted)| {
        let mut wanted = wanted();
        change(&mut wanted);
        client.obstacles(&wanted).await.unwrap().into_iter().map(|obstacle| obstacle.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&|_| {}).await, []);
    assert_eq!(kinds(&|wanted| wanted.image = ImageWanted::Template("202".into())).await, []);
    assert_eq!(kinds(&|wanted| wanted.host = "pve9".into()).await, [ObstacleKind::HostMissing]);
    assert_eq!(kinds(&|wanted| wanted.host = "pve2".into()).await, [ObstacleKind::HostOffline]);
    assert_eq!(kinds(&|wanted| wanted.storage = "nope".into()).await, [ObstacleKind::StorageMissing]);
    assert_eq!(
        kinds(&|wanted| wanted.image = ImageWanted::Template("twice".into())).await,
        [ObstacleKind::TemplateAmbiguous]
    );
    for missing in ["far", "300", "no-template", "301"] {
        assert_eq!(
            kinds(&|wanted| wanted.image = ImageWanted::Template(missing.into())).await,
            [ObstacleKind::TemplateMissing],
            "{missing}"
        );
    }
    assert_eq!(kinds(&|wanted| wanted.networks[0].bridge = "vmbr7".into()).await, [ObstacleKind::BridgeMissing]);
}

#[tokio::test(start_paused = true)]
async fn storages_without_snapshots_are_refused() {
    for (version, kind, expected) in [
        ("8.4.1", "lvm", Some(ObstacleKind::StorageSnapshotsUnsupported)),
        ("9.2.1", "lvm", Some(ObstacleKind::StorageSnapshotsUnknown)),
        ("9.2.1", "newfs", Some(ObstacleKind::StorageSnapshotsUnknown)),
        ("8.4.1", "iscsi", Some(ObstacleKind::StorageSnapshotsUnsupported)),
        ("8.4.1", "lvmthin", None),
        ("8.4.1", "nfs", None),
    ] {
        let canned = Canned::recorded(&["601-network-bridges"]);
        canned.say("GET /cluster/resources", Ok(resources()));
        canned.say("GET /version", Ok(Recorded::data(json!({ "version": version }))));
        let storage = json!([{"storage": "store2", "type": kind, "content": "images", "active": 1, "enabled": "1"}]);
        canned.say("GET /nodes/pve1/storage", Ok(Recorded::data(storage)));
        let found = client(canned).obstacles(&wanted()).await.unwrap();
        assert_eq!(found.first().map(|obstacle| obstacle.kind), expected, "{kind} on {version}: {found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_must_be_there_active_and_take_disks() {
    for wrong in
        [json!({"content": "iso,backup"}), json!({"active": 0}), json!({"enabled": "0"}), json!({"storage": "x"})]
    {
        let mut storage = json!({"storage": "store2", "type": "dir", "content": "images", "active": 1, "enabled": 1});
        storage.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let canned = Canned::recorded(&["601-network-bridges", "002-version-token"]);
        canned.say("GET /cluster/resources", Ok(resources()));
        canned.say("GET /nodes/pve1/storage", Ok(Recorded::data(json!([storage]))));
        let found = client(canned).obstacles(&wanted()).await.unwrap();
        assert_eq!(found.first().map(|obstacle| obstacle.kind), Some(ObstacleKind::StorageMissing), "{wrong}");
    }
}

fn order() -> CreateOrder {
    CreateOrder { wanted: wanted(), at: at("5000"), since: "2026-11-22T02:03:00Z".parse().unwrap() }
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_whole_marked_and_can_make_snapshots() {
    let canned = Canned::default();
    canned.say("GET /cluster/resources", Ok(resources()));
    canned.say("POST /nodes/pve1/qemu/200/clone", Ok(recorded("240-start")));
    let canned = std::sync::Arc::new(canned);
    let client = client(canned.clone());
    assert!(matches!(client.within(any_time()).create(&order()).await.unwrap(), Started::Task(_)));
    let sent = canned.last("POST /nodes/pve1/qemu/200/clone");
    let description = wanted().mark.describe("für die Nacht");
    for (name, value) in [
        ("newid", "5000"),
        ("full", "1"),
        ("name", "w1"),
        ("storage", "store2"),
        ("format", "qcow2"),
        ("description", description.as_str()),
    ] {
        assert_eq!(sent.param(name), Some(value), "{name}");
    }
    let mut on_thin = order();
    on_thin.wanted.storage = "thin".into();
    client.within(any_time()).create(&on_thin).await.unwrap();
    assert_eq!(canned.last("POST /nodes/pve1/qemu/200/clone").param("format"), None);
    on_thin.wanted.image = ImageWanted::Template("gone".into());
    assert_eq!(client.within(any_time()).create(&on_thin).await.unwrap_err().kind, FaultKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_template_is_not_missing_while_the_host_has_not_named_all_its_vms() {
    let canned = Canned::recorded(&["160-storage-list", "601-network-bridges", "002-version-token"]);
    // Recorded 152: what was made just now has neither name nor kind.
    let unnamed = json!([
        {"type": "node", "node": "pve1", "status": "online"},
        {"type": "qemu", "vmid": 101, "node": "pve1", "status": "unknown"},
        {"type": "storage", "storage": "store2", "node": "pve1", "plugintype": "dir", "content": "images,rootdir"}
    ]);
    canned.say("GET /cluster/resources", Ok(Recorded::data(unnamed)));
    let client = client(canned);
    assert_eq!(client.obstacles(&wanted()).await.unwrap_err().kind, FaultKind::Busy);
    assert_eq!(client.within(any_time()).create(&order()).await.unwrap_err().kind, FaultKind::Busy);
}

#[tokio::test(start_paused = true)]
async fn a_young_clone_of_the_template_could_be_ours() {
    // Recorded 396: two clones of VM 200, begun at 02:42:12 and 02:42:44.
    let canned = Canned::recorded(&["396-tasks-active"]);
    canned.say("GET /cluster/resources", Ok(resources()));
    let client = client(canned);
    let order = making(&order());
    let is_made_from = async |from| client.is_being_made(&Making { from, ..order.clone() }).await.unwrap();
    assert!(client.is_being_made(&order).await.unwrap());
    let later = Making { since: "2026-11-22T02:50:00Z".parse().unwrap(), ..order.clone() };
    assert!(!client.is_being_made(&later).await.unwrap());
    assert!(!is_made_from(MadeFrom::Template("201".into())).await);
    assert!(is_made_from(MadeFrom::Template("removed meanwhile".into())).await);
    assert!(is_made_from(MadeFrom::Anything).await);
    assert!(!is_made_from(MadeFrom::Image).await);
    let idle = super::canned::client(Canned::recorded(&["116-tasks-list-source-active"]));
    assert!(!idle.is_being_made(&order).await.unwrap());
}

/// The state of the task in the recorded status `name`, with a log if one is given.
async fn state(name: &str, log: Option<&str>) -> TaskState {
    let names: Vec<&str> = ["116-tasks-list-source-active", name].into_iter().chain(log).collect();
    let upid =
        recorded(name).request.split('/').nth(4).unwrap().replace("%3A", ":").replace("%40", "@").replace("%21", "!");
    client(Canned::recorded(&names)).task(&TaskHandle(upid)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_task_is_understood() {
    assert_eq!(state("104-task-status-ok", None).await, TaskState::Succeeded { warnings: Vec::new() });
    assert_eq!(state("110-task-status-unknown-upid", None).await, TaskState::Lost);
    assert_eq!(state("340-shutdown-overruled-task", None).await, TaskState::Lost);
    let warned = state("611-start-with-warnings-task", Some("611-start-with-warnings-task-log")).await;
    let TaskState::Succeeded { warnings } = warned else { panic!("{warned:?}") };
    assert!(warnings[0].contains("no efidisk configured"), "{warnings:?}");
    let leaked = state("808-delete-on-inactive-storage-task", Some("808-delete-on-inactive-storage-task-log")).await;
    let TaskState::Succeeded { warnings } = leaked else { panic!("{leaked:?}") };
    assert!(warnings[0].contains("Could not remove disk 'gone:101/vm-101-disk-0.raw'"), "{warnings:?}");
    for (status, log, kind, text) in [
        (
            "335-stop-while-shutdown-task-runs-task",
            "335-stop-while-shutdown-task-runs-task-log",
            FaultKind::Busy,
            "can't lock file",
        ),
        ("633-start-paused-task", "633-start-paused-task-log", FaultKind::AlreadyDone, "already running"),
        (
            "741-clone-newid-of-other-node-task",
            "741-clone-newid-of-other-node-task-log",
            FaultKind::AlreadyExists,
            "File exists",
        ),
        (
            "821-start-too-much-memory-task",
            "821-start-too-much-memory-task-log",
            FaultKind::Other,
            "cannot set up guest memory",
        ),
    ] {
        let TaskState::Failed { message, kind: found } = state(status, Some(log)).await else { panic!("{status}") };
        assert_eq!(found, kind, "{status}");
        assert!(message.contains(text), "{status}: {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_tasks_are_followed_with_one_list() {
    let canned = Canned::recorded(&["396-tasks-active"]);
    let client = client(canned.clone());
    for upid in [
        "UPID:pve1:0000051B:00043241:6B025684:qmclone:200:dev@pve!t1:",
        "UPID:pve1:0000053D:00043EE4:6B0256A4:qmclone:200:dev@pve!t1:",
    ] {
        assert_eq!(client.task(&TaskHandle(upid.to_owned())).await.unwrap(), TaskState::Running);
    }
    assert_eq!(canned.lines(), ["GET /nodes/pve1/tasks"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.task(&TaskHandle("UPID:pve1:0000051B:00043241:6B025684:qmclone:200:dev@pve!t1:".into())).await.unwrap();
    assert_eq!(canned.lines().len(), 2);
    assert_eq!(client.task(&TaskHandle("garbage".into())).await.unwrap_err().kind, FaultKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn no_delete_goes_out_without_quorum() {
    let canned = Canned::recorded(&["900-no-quorum-ha-status-current@9.2"]);
    let fault = client(canned.clone()).within(any_time()).destroy(&at("100")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NoQuorum);
    assert_eq!(canned.lines(), ["GET /cluster/ha/status/current"]);
    let canned = Canned::recorded(&["840-ha-status", "808-delete-on-inactive-storage"]);
    assert!(matches!(client(canned.clone()).within(any_time()).destroy(&at("101")).await.unwrap(), Started::Task(_)));
    let sent = canned.last("DELETE /nodes/pve1/qemu/101");
    assert_eq!(sent.params, [("purge".to_owned(), "1".to_owned())]);
    assert!(!sent.headers.contains_key("content-length") && !sent.headers.contains_key("content-type"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_guest_is_no_fault() {
    for name in ["247-agent-ping-before-agent-up", "288-agent-vm-stopped", "361-agent-ping-agent-key-absent"] {
        assert!(!client(Canned::always(name)).guest_answers(&at("200")).await.unwrap(), "{name}");
    }
    assert!(client(Canned::always("250-agent-ping-ok")).guest_answers(&at("200")).await.unwrap());
    let refused = client(Canned::always("286-agent-permission")).guest_answers(&at("200")).await.unwrap_err();
    assert!(matches!(refused.kind, FaultKind::Forbidden { .. }));
}

#[tokio::test(start_paused = true)]
async fn addresses_come_by_card() {
    let found =
        client(Canned::recorded(&["251-agent-network-get-interfaces"])).guest_addresses(&at("200")).await.unwrap();
    let [address] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (address.mac.as_str(), address.address.to_string().as_str(), address.prefix),
        ("BC:24:11:88:AE:09", "10.77.0.29", 24)
    );
    let refusing = Canned::default();
    let error = json!({"result": {"error": {"class": "Unsupported", "desc": "this feature is not supported"}}});
    refusing.say("GET /nodes/pve1/qemu/200/agent/network-get-interfaces", Ok(Recorded::data(error)));
    let fault = client(std::sync::Arc::new(refusing)).guest_addresses(&at("200")).await.unwrap_err();
    assert!(fault.message.contains("this feature is not supported"), "{fault}");
}

async fn run(canned: &std::sync::Arc<Canned>, stdin: &[u8]) -> Result<Output, stevedore::domain::fault::Fault> {
    client(canned.clone()).guest(&at("200")).run(SCRIPT, &["wörld".to_owned()], stdin, LONG).await
}

#[tokio::test(start_paused = true)]
async fn a_script_runs_in_the_guest() {
    let canned = Canned::recorded(&["260-agent-exec", "261-agent-exec-status-early", "262-agent-exec-status-exited"]);
    let output = run(&canned, b"\x00\xff\xc3").await.unwrap();
    assert_eq!((output.exit_code, output.truncated), (Some(0), false));
    assert_eq!(output.stdout, "hello wörld\n".as_bytes());
    let sent = canned.last("POST /nodes/pve1/qemu/200/agent/exec");
    let command: Vec<&str> =
        sent.params.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.as_str()).collect();
    assert_eq!(command, ["/bin/sh", "-c", SCRIPT.text, "sample", "wörld"]);
    assert_eq!(sent.param("input-data"), Some("\u{0}\u{ff}\u{c3}"));
    assert_eq!(canned.last("GET /nodes/pve1/qemu/200/agent/exec-status").param("pid"), Some("113"));
}

#[tokio::test(start_paused = true)]
async fn how_a_script_ends_badly_is_told_apart() {
    let killed = Canned::recorded(&["260-agent-exec"]);
    killed.say("GET /nodes/pve1/qemu/200/agent/exec-status", Ok(recorded("276-agent-exec-status-killed")));
    assert_eq!(run(&killed, b"").await.unwrap().exit_code, None);

    let read_twice = Canned::recorded(&["260-agent-exec", "263-agent-exec-status-second-read"]);
    let fault = run(&read_twice, b"").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::UnknownOutcome);
    assert!(fault.message.contains("result is lost"), "{fault}");

    let away_for_a_while = Canned::recorded(&["260-agent-exec"]);
    for name in ["247-agent-ping-before-agent-up", "664-pvedaemon-down-status-current", "262-agent-exec-status-exited"]
    {
        away_for_a_while.say("GET /nodes/pve1/qemu/200/agent/exec-status", Ok(recorded(name)));
    }
    assert_eq!(run(&away_for_a_while, b"").await.unwrap().exit_code, Some(0));

    let endless = Canned::recorded(&["260-agent-exec", "261-agent-exec-status-early"]);
    assert_eq!(run(&endless, b"").await.unwrap_err().kind, FaultKind::UnknownOutcome);

    let off = Canned::always("288-agent-vm-stopped");
    assert_eq!(run(&off, b"").await.unwrap_err().kind, FaultKind::GuestAway);
    assert_eq!(run(&off, &vec![b'x'; 49 * 1024]).await.unwrap_err().kind, FaultKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn missing_privileges_are_named_with_their_paths() {
    let canned = Canned::recorded(&["002-version-token", "032-access-permissions-dev"]);
    let administrator = client(canned);
    let in_use =
        InUse { storages: ["store2".to_owned()].into(), bridges: ["vmbr0".to_owned()].into(), ..InUse::default() };
    assert_eq!(administrator.missing_privileges(&in_use).await.unwrap(), []);
    // What an Administrator has on 8.4 lacks what 9 asks for.
    let canned = Canned::recorded(&["032-access-permissions-dev"]);
    canned.say("GET /version", Ok(Recorded::data(json!({"version": "9.2.11"}))));
    let missing = client(canned).missing_privileges(&InUse::default()).await.unwrap();
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["VM.GuestAgent.Audit on /vms", "VM.GuestAgent.Unrestricted on /vms"]);
    let canned = Canned::recorded(&["032-access-permissions-dev@9.2"]);
    canned.say("GET /version", Ok(Recorded::data(json!({"version": "9.2.11"}))));
    assert_eq!(client(canned).missing_privileges(&InUse::default()).await.unwrap(), []);
}

//! The states of the world in which the exchanges were recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use stevedore::simulator::scenario::{
    AclSpec, AgentPresence, BridgeSpec, GuestBehaviour, GuestRule, MachineSpec, NodeSpec, Release, Scenario, Seconds,
    StorageSpec, TokenSpec, UserSpec,
};
use tokio::time::sleep;

use crate::simulator::probe::Probe;

const ADMINISTRATOR: &str = "PVEAPIToken=dev@pve!t1=s1";

/// The recorded node: alone, two storages, two machines.
pub(super) fn scenario(setup: &str, release: Release) -> Scenario {
    let cluster = matches!(setup, "offline" | "noquorum");
    let mut scenario = Scenario {
        release,
        cluster: cluster.then(|| "lab".to_owned()),
        nodes: vec![NodeSpec { address: Some([10, 77, 0, 1].into()), cores: 2, memory_gib: 24, ..NodeSpec::default() }],
        storages: storages(setup),
        bridges: vec![BridgeSpec::default()],
        machines: machines(setup),
        users: users(setup),
        acls: acls(setup),
        guests: guests(setup),
        ..Scenario::default()
    };
    if cluster {
        scenario.nodes.push(NodeSpec { name: "pve2".into(), online: false, ..NodeSpec::default() });
        if setup == "offline" {
            scenario.machines.push(MachineSpec { vmid: 300, node: "pve2".into(), ..MachineSpec::default() });
        }
    }
    if setup == "cloning" {
        scenario.timings.full_clone = Seconds(300.0);
    }
    scenario
}

fn storages(setup: &str) -> Vec<StorageSpec> {
    let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let local = StorageSpec {
        content: words("import,backup,snippets,iso,vztmpl"),
        volumes: BTreeMap::from([("import/tiny.qcow2".to_owned(), 96 << 20)]),
        ..StorageSpec::default()
    };
    let store2 =
        StorageSpec { name: "store2".into(), path: Some("/var/lib/pvestore".into()), ..StorageSpec::default() };
    let gone = StorageSpec {
        name: "gone".into(),
        content: words("images"),
        path: Some("/var/lib/pvegone".into()),
        active: setup != "inactive",
        enabled: setup != "storageoff",
        ..StorageSpec::default()
    };
    let mut storages = vec![local, store2];
    if matches!(setup, "inactive" | "storageoff") {
        storages.push(gone);
    }
    storages
}

fn machine(vmid: u32, options: &[(&str, &str)]) -> MachineSpec {
    let common = [
        ("boot", "order=scsi0"),
        ("cores", "1"),
        ("cpu", "qemu64"),
        ("kvm", "0"),
        ("memory", "256"),
        ("net0", "virtio,bridge=vmbr0"),
        ("ostype", "l26"),
        ("scsihw", "virtio-scsi-pci"),
        ("serial0", "socket"),
    ];
    let mut config: BTreeMap<String, String> =
        common.iter().chain(options).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    config.retain(|_, value| value != "-");
    MachineSpec { vmid, node: "pve1".into(), running: false, config }
}

fn machines(setup: &str) -> Vec<MachineSpec> {
    if setup == "empty" {
        return Vec::new();
    }
    let later = ["agentless", "locked", "paused", "auditor", "daemondown", "pmxcfsdown", "noquorum", "offline"];
    let agent = if later.contains(&setup) { "-" } else { "1" };
    let disk =
        if setup == "grown" { "store2:100/vm-100-disk-0.raw,size=3G" } else { "store2:100/vm-100-disk-0.raw,size=1G" };
    let mut alpha = machine(100, &[("name", "alpha"), ("agent", agent), ("scsi0", disk)]);
    let disk = ("virtio0", "store2:200/vm-200-disk-0.qcow2,size=96M");
    let agent = ("agent", if setup == "disabled" { "0" } else { "enabled=1" });
    let mut tiny = machine(200, &[("name", "tiny"), ("boot", "order=virtio0"), ("vga", "serial0"), agent, disk]);
    tiny.running = matches!(setup, "running" | "executed" | "told" | "pending" | "disabled" | "mute" | "hibernated");
    alpha.running = matches!(setup, "mute" | "shutting" | "paused");
    if setup == "locked" {
        alpha.config.insert("lock".into(), "backup".into());
    }
    let mut all = vec![alpha, tiny];
    all.extend(third(setup));
    all
}

/// The third machine, where a recording needs one.
fn third(setup: &str) -> Option<MachineSpec> {
    let name = ("name", if matches!(setup, "template" | "linked") { "tmpl" } else { "spare" });
    let order = ("boot", "order=virtio0");
    let base = ("virtio0", "store2:201/base-201-disk-0.qcow2,size=200M");
    let disk = ("virtio0", "store2:201/vm-201-disk-0.qcow2,size=200M");
    let raw = ("scsi0", "store2:201/vm-201-disk-0.raw,size=1G");
    let vga = ("vga", "serial0");
    let agent = ("agent", "1");
    Some(match setup {
        "spare" => machine(201, &[name, order, disk, vga, agent]),
        "protected" => machine(201, &[name, order, disk, ("protection", "1")]),
        "template" | "linked" => machine(201, &[name, order, base, vga, agent, ("template", "1")]),
        "bridgeless" => machine(201, &[name, raw, ("net0", "virtio,bridge=vmbr77")]),
        "lost" => machine(201, &[name, raw]),
        "wide" => machine(201, &[name, raw, ("cores", "64")]),
        "ovmf" => machine(201, &[name, raw, ("bios", "ovmf")]),
        "inactive" => {
            let mut spec = machine(101, &[("name", "on-gone"), ("scsi0", "gone:101/vm-101-disk-0.raw,size=1G")]);
            spec.config.remove("net0");
            spec
        }
        _ => return None,
    })
}

fn users(setup: &str) -> Vec<UserSpec> {
    let token =
        |id: &str, secret: &str, privsep| TokenSpec { id: id.into(), secret: secret.into(), privsep, expire: None };
    let mut dev = vec![token("t1", "s1", false)];
    if matches!(setup, "privsep" | "auditor" | "vmuser") {
        dev.push(token("other", "s2", true));
    }
    let account =
        |id: &str, tokens| UserSpec { id: id.into(), password: Some("<REDACTED>".into()), enabled: true, tokens };
    let off = UserSpec { id: "off@pve".into(), enabled: false, ..UserSpec::default() };
    let mut users = vec![
        account("dev@pve", dev),
        account("weak@pve", vec![token("w", "s3", false)]),
        account("root@pam", vec![token("r", "s4", false)]),
        off,
    ];
    // The recorded login with a wrong password has the same placeholder for it.
    if setup == "wrong-password" {
        users[0].password = Some("another".into());
    }
    users
}

fn acls(setup: &str) -> Vec<AclSpec> {
    let entry = |path: &str, to: &str, role: &str| AclSpec {
        path: path.into(),
        to: to.into(),
        role: role.into(),
        propagate: true,
    };
    let mut entries = vec![entry("/", "dev@pve", if setup == "noaudit" { "PVEVMUser" } else { "Administrator" })];
    match setup {
        "auditor" => entries.push(entry("/vms/100", "dev@pve!other", "PVEAuditor")),
        "vmuser" => entries.push(entry("/vms/100", "dev@pve!other", "PVEVMUser")),
        _ => {}
    }
    entries
}

fn guests(setup: &str) -> Vec<GuestRule> {
    let mute = GuestBehaviour { agent: AgentPresence::Absent, hangs: true, ..GuestBehaviour::default() };
    let alpha = GuestRule { name: "alpha".into(), behaviour: mute.clone() };
    match setup {
        "mute" => vec![alpha, GuestRule { name: "*".into(), behaviour: mute }],
        _ => vec![alpha],
    }
}

/// A world in the state called `setup`, asked by the administrator.
pub(super) async fn prepare(setup: &str, release: Release) -> Probe {
    let probe = administrator(&Probe::new(scenario(setup, release)));
    let at = |vmid: u32, rest: &str| format!("/nodes/pve1/qemu/{vmid}{rest}");
    sleep(Duration::from_secs(30)).await;
    match setup {
        "executed" | "told" => {
            let command = [("command", "/bin/echo"), ("command", "hello"), ("command", "wörld")];
            for _ in 0..2 {
                probe.send("POST", &at(200, "/agent/exec"), &command).await.ok();
            }
            if setup == "told" {
                probe.send("GET", &at(200, "/agent/exec-status"), &[("pid", "113")]).await.ok();
            }
        }
        "pending" => {
            probe.send("PUT", &at(200, "/config"), &[("cores", "2"), ("memory", "300")]).await.ok();
        }
        "shutting" => {
            probe.send("POST", &at(100, "/status/shutdown"), &[("timeout", "60")]).await.ok();
            sleep(Duration::from_secs(5)).await;
        }
        "paused" => {
            probe.run("POST", &at(200, "/status/start"), &[]).await;
            sleep(Duration::from_secs(30)).await;
            for vmid in [100, 200] {
                probe.run("POST", &at(vmid, "/status/suspend"), &[]).await;
            }
        }
        "hibernated" => {
            probe.run("POST", &at(200, "/status/suspend"), &[("todisk", "1")]).await;
        }
        "cloning" => {
            let params = [("newid", "203"), ("name", "slow"), ("full", "1")];
            probe.send("POST", &at(200, "/clone"), &params).await.ok();
            sleep(Duration::from_secs(1)).await;
        }
        "copied" => {
            let params = [("newid", "202"), ("name", "clone-full"), ("full", "1"), ("description", "copy")];
            probe.run("POST", &at(200, "/clone"), &params).await;
        }
        "linked" => {
            probe.run("POST", &at(201, "/clone"), &[("newid", "202"), ("name", "linked")]).await;
        }
        "lost" => probe.simulator.world(|world| world.lose_volumes(201)),
        "noquorum" => probe.simulator.world(|world| world.set_quorate(false)),
        "daemondown" => probe.simulator.world(|world| world.set_daemon("pve1", false)),
        "pmxcfsdown" => probe.simulator.world(|world| world.set_pmxcfs("pve1", false)),
        "maintenance" => probe.simulator.world(|world| world.set_maintenance("pve1", true)),
        "cloudinit" => {
            let params = [
                ("vmid", "201"),
                ("name", "ci"),
                ("ide2", "store2:cloudinit"),
                ("ciuser", "adm"),
                ("cipassword", "hush"),
                ("sshkeys", "ssh-ed25519%20AAAA%20me"),
                ("ipconfig0", "ip=dhcp"),
                ("net0", "virtio,bridge=vmbr0"),
                ("nameserver", "10.77.0.1"),
                ("searchdomain", "example.test"),
                ("memory", "256"),
                ("kvm", "0"),
                ("cpu", "qemu64"),
            ];
            probe.run("POST", "/nodes/pve1/qemu", &params).await;
        }
        _ => {}
    }
    probe
}

/// The same world, asked by the administrator.
pub(super) fn administrator(probe: &Probe) -> Probe {
    probe.with_authorization(ADMINISTRATOR)
}

/// The same world, asked by whom the recording names.
pub(super) async fn caller(probe: &Probe, setup: &str, name: Option<&str>) -> Probe {
    let header = match name {
        None => return probe.clone(),
        Some("none") => "",
        Some("weak") => "PVEAPIToken=weak@pve!w=s3",
        Some("root") => "PVEAPIToken=root@pam!r=s4",
        Some("wrong-secret") => "PVEAPIToken=dev@pve!t1=wrong",
        Some("wrong-token") => "PVEAPIToken=dev@pve!nosuch=s1",
        Some("wrong-user") => "PVEAPIToken=nobody@pve!t1=s1",
        Some("malformed") => "PVEAPIToken=garbage",
        Some("bearer") => "Bearer abc",
        Some("other") if matches!(setup, "privsep" | "auditor" | "vmuser") => "PVEAPIToken=dev@pve!other=s2",
        Some("bogus-ticket") => "PVEAuthCookie=PVE:dev@pve:00000000::garbage",
        Some("ticket" | "bad-csrf") => {
            let params = [("username", "dev@pve"), ("password", "<REDACTED>")];
            let login = probe.with_authorization("").send("POST", "/access/ticket", &params).await.ok();
            return probe.with_authorization(&format!("PVEAuthCookie={}", login["ticket"].as_str().unwrap()));
        }
        Some(other) => panic!("nobody is called {other} in {setup}"),
    };
    probe.with_authorization(header)
}

/// The newest task of the node, running ones included; a well-formed identifier if there is none.
pub(super) async fn some_upid(probe: &Probe) -> String {
    let probe = administrator(probe);
    let read = probe.send("GET", "/nodes/pve1/tasks", &[("source", "all")]).await;
    let upid = read.body["data"][0]["upid"].as_str();
    upid.unwrap_or("UPID:pve1:000F0000:00010000:60000000:qmcreate:100:dev@pve:").to_owned()
}

/// A parameter's text; `8193 times x` stands for that many.
fn text(value: &Value) -> String {
    if let Some(count) = value.as_str().and_then(|text| text.strip_suffix(" times x")) {
        return "x".repeat(count.parse().unwrap());
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Parameters as a form.
pub(super) fn form(params: &[(String, Value)]) -> String {
    let params = params.iter().map(|(key, value)| (key, text(value)));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

/// Parameters as a JSON object.
pub(super) fn json_body(params: &[(String, Value)]) -> String {
    json!(params.iter().cloned().collect::<serde_json::Map<_, _>>()).to_string()
}

/// A text without what differs from one run or build to the next: numbers of processes and of source lines.
pub(super) fn masked(text: &str) -> String {
    let text = text.split_once(".pm line ").map_or(text, |(head, _)| head);
    let Some((head, tail)) = text.split_once(".conf.tmp.") else { return text.to_owned() };
    format!("{head}.conf.tmp.N{}", tail.trim_start_matches(|letter: char| letter.is_ascii_digit()))
}

//! A guest that really boots, from its image to its end.

use serde_json::json;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::scenario::{Scenario, SegmentSpec};
use stevedore::simulator::server::Server;

use super::stage::{Stage, image, scenario};

const IMPORT: (&str, &str) = ("scsi0", "local-lvm:0,import-from=local:import/worker.qcow2");
const UUID: &str = "0f9a1b2c-0000-4000-8000-000000000001";

async fn serve(simulator: &Simulator) -> Server {
    Server::start(simulator, "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

fn with_image() -> Scenario {
    scenario(Some(&image()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_guest_has_what_its_configuration_says() {
    let stage = Stage::open(with_image()).await;
    let server = serve(&stage.probe.simulator).await;
    let smbios = format!("uuid={UUID}");
    let options = [IMPORT, ("net0", "virtio,bridge=vmbr0,mtu=1400"), ("ipconfig0", "ip=dhcp"), ("smbios1", &smbios)];
    stage.create(110, "worker-1", &options).await;
    stage.done("PUT", 110, "/resize", &[("disk", "scsi0"), ("size", "8G")]).await;
    let log = stage.done("POST", 110, "/status/start", &[]).await;
    println!("real: {log}");
    stage.wait_for_agent(110).await;
    assert_eq!(
        stage.script(110, "cloud-init status --wait >/dev/null; cat /sys/class/dmi/id/product_uuid", 0).await,
        UUID
    );
    assert_eq!(stage.script(110, "hostname; cat /sys/class/net/eth0/mtu", 0).await, "worker-1\n1400");
    assert!(stage.script(110, "df -k --output=size / | tail -1", 0).await.parse::<u64>().unwrap() > 7 << 20);
    the_network_is_real(&stage, server.addr.port()).await;
    the_agent_answers_as_recorded(&stage).await;
    assert!(stage.qemu().console(110).unwrap().contains("Welcome to "), "the console is not on the serial port");
    let boot = stage.script(110, "cat /proc/sys/kernel/random/boot_id", 0).await;
    stage.done("POST", 110, "/status/shutdown", &[("timeout", "300")]).await;
    assert_eq!(stage.status(110).await, "stopped");
    stage.done("POST", 110, "/status/start", &[]).await;
    stage.wait_for_agent(110).await;
    assert_ne!(stage.script(110, "cat /proc/sys/kernel/random/boot_id", 0).await, boot);
    // The guest ends its process by itself.
    stage.script(110, "systemd-run --quiet --on-active=1 systemctl poweroff", 0).await;
    stage.wait_until_off(110).await;
}

/// The way to a target: `open`, `refused` or `silent`.
fn connect(host: &str, port: u16) -> String {
    format!(
        "timeout 5 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/tmp/connect; code=$?; \
         if [ $code = 0 ]; then echo open; elif [ $code = 124 ]; then echo silent; \
         elif grep -q refused /tmp/connect; then echo refused; else cat /tmp/connect; fi"
    )
}

async fn the_network_is_real(stage: &Stage, api: u16) {
    let cards = stage.probe.get("/nodes/pve1/qemu/110/agent/network-get-interfaces").await;
    let eth0 = cards["result"].as_array().unwrap().iter().find(|card| card["name"] == "eth0").unwrap();
    // What the simulated guest of this VMID has, too.
    assert_eq!(eth0["ip-addresses"][0]["ip-address"], "10.77.0.238", "{eth0}");
    assert_eq!(stage.script(110, "getent ahosts repo.lab | head -1 | cut -d ' ' -f 1", 0).await, "10.77.0.3");
    stage.script(110, "getent ahosts nosuch.lab", 2).await;
    assert_eq!(stage.script(110, &connect("backup.example.org", 9000), 0).await, "open");
    assert_eq!(stage.script(110, &connect("unreachable.example.org", 9000), 0).await, "refused");
    assert_eq!(stage.script(110, &connect("10.77.0.1", api), 0).await, "open");
}

async fn the_agent_answers_as_recorded(stage: &Stage) {
    let path = "/nodes/pve1/qemu/110/agent";
    // Recorded 260 to 263: the output of UTF-8 arrives as Latin-1, and once.
    let command = [("command", "/bin/echo"), ("command", "hello"), ("command", "wörld")];
    let pid = stage.probe.send("POST", &format!("{path}/exec"), &command).await.ok()["pid"].to_string();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let ended = stage.probe.send("GET", &format!("{path}/exec-status"), &[("pid", &pid)]).await.ok();
    assert_eq!(ended, json!({"exited": 1, "exitcode": 0, "out-data": "hello w\u{c3}\u{b6}rld\n", "out-truncated": 0}));
    let again = stage.probe.send("GET", &format!("{path}/exec-status"), &[("pid", &pid)]).await;
    // The words are the agent's: "Invalid parameter 'pid'" from that of QEMU 7, others from later ones.
    assert_eq!(again.status, 500, "{again:?}");
    assert!(again.reason.starts_with("Agent error: ") && again.reason.to_lowercase().contains("pid"), "{again:?}");
    // Recorded 269.
    let missing = stage.probe.send("POST", &format!("{path}/exec"), &[("command", "/bin/nosuch")]).await;
    assert_eq!((missing.status, missing.reason.as_str()), (596, "Broken pipe"));
    // Recorded 271 and 272.
    let cat = [("command", "/bin/cat"), ("input-data", "abc\n")];
    let pid = stage.probe.send("POST", &format!("{path}/exec"), &cat).await.ok()["pid"].to_string();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let ended = stage.probe.send("GET", &format!("{path}/exec-status"), &[("pid", &pid)]).await.ok();
    assert_eq!(ended["out-data"], "abc\n");
    // Recorded 630: a machine that is paused is silent.
    stage.done("POST", 110, "/status/suspend", &[]).await;
    let silent = stage.probe.send("POST", &format!("{path}/ping"), &[]).await;
    assert_eq!((silent.status, silent.reason.as_str()), (500, "QEMU guest agent is not running"));
    stage.done("POST", 110, "/status/resume", &[]).await;
    stage.wait_for_agent(110).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_clone_on_a_vlan_meets_dead_names_filtered_targets_and_a_wrong_clock() {
    let written = || std::fs::metadata(image()).unwrap().modified().unwrap();
    let (before, mut world) = (written(), with_image());
    let vlan =
        SegmentSpec { subnet: Some("10.77.20.0/24".into()), gateway: Some("10.77.20.1".parse().unwrap()), dhcp: false };
    world.bridges[0].vlans.insert(20, vlan);
    let rule = "{name: worker-2, dnsDead: true, clockOffset: 7200, filtered: ['backup.example.org:9000', '10.77.0.5']}";
    world.guests.push(serde_yaml::from_str(rule).unwrap());
    let stage = Stage::open(world).await;
    stage.done("POST", 9001, "/clone", &[("newid", "120"), ("name", "worker-2"), ("full", "0")]).await;
    let options = [
        ("net0", "virtio,bridge=vmbr0,tag=20"),
        ("ipconfig0", "ip=10.77.20.9/24,gw=10.77.20.1"),
        ("ciupgrade", "0"),
        ("memory", "1024"),
    ];
    assert_eq!(stage.probe.send("PUT", "/nodes/pve1/qemu/120/config", &options).await.status, 200);
    let (end, log) = stage.task("POST", 120, "/status/start", &[]).await;
    assert_eq!(end, "OK", "{log}");
    stage.wait_for_agent(120).await;
    stage.script(120, "ip -4 -o addr show dev eth0 | grep -q 10.77.20.9/24", 0).await;
    stage.script(120, "timeout 20 getent ahosts repo.lab; [ $? -ne 0 ]", 0).await;
    assert_eq!(stage.script(120, &connect("10.77.0.3", 443), 0).await, "open");
    assert_eq!(stage.script(120, &connect("10.77.0.4", 9000), 0).await, "silent");
    assert_eq!(stage.script(120, &connect("10.77.0.4", 9001), 0).await, "refused");
    assert_eq!(stage.script(120, &connect("10.77.0.5", 22), 0).await, "silent");
    let ahead = stage.script(120, "date +%s", 0).await.parse::<i64>().unwrap() - jiff::Timestamp::now().as_second();
    assert!((7000..7400).contains(&ahead), "the guest's clock is {ahead} s ahead");
    // A reset begins anew in the same process.
    let (pid, boot) = (stage.qemu().pid(120), stage.script(120, "cat /proc/sys/kernel/random/boot_id", 0).await);
    stage.done("POST", 120, "/status/reset", &[]).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    stage.wait_for_agent(120).await;
    assert_eq!(stage.qemu().pid(120), pid);
    assert_ne!(stage.script(120, "cat /proc/sys/kernel/random/boot_id", 0).await, boot);
    stage.done("POST", 120, "/status/stop", &[]).await;
    assert_eq!(written(), before, "the image is not only read");
}

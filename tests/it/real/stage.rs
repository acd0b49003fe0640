//! A cluster whose machines are real, and a client of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stevedore::clock::{Clock as _, SystemClock};
use stevedore::simulator::guest_exec::EchoGuest;
use stevedore::simulator::proxmox::Simulator;
use stevedore::simulator::qemu::Qemu;
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN, QemuSpec, Release, Scenario};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::simulator::probe::Probe;

/// Machines that may run at once, so that none starves the other.
static TURNS: Semaphore = Semaphore::const_new(2);
/// How long a guest may take to boot where software runs it on a loaded machine.
const BOOT: Duration = Duration::from_secs(900);
/// How long one script in a guest may take.
const SCRIPT: Duration = Duration::from_secs(300);

/// The image that guests boot from.
pub(super) fn image() -> PathBuf {
    named("STEVEDORE_WORKER_IMAGE")
}

/// The same with dnf, and what makes packages for it.
pub(super) fn image_with_dnf() -> PathBuf {
    named("STEVEDORE_DNF_IMAGE")
}

fn named(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.map_or_else(|| panic!("{variable} names no image: run make test-guests"), PathBuf::from)
}

/// The demo's cluster with real machines, small enough for two at once.
pub(super) fn scenario(image: Option<&Path>) -> Scenario {
    let mut scenario = Scenario::with_real_guests(Release::V9, image);
    scenario.qemu = Some(QemuSpec { max_memory_mib: Some(1024), max_cores: Some(1), ..QemuSpec::default() });
    // A machine may be started again at once.
    scenario.timings.restart_latch = stevedore::simulator::scenario::Seconds(0.0);
    scenario
}

/// Waits for a turn to run one machine.
pub(super) async fn turn() -> SemaphorePermit<'static> {
    TURNS.acquire().await.unwrap()
}

/// The files of a machine's disks, by the number of the disk.
pub(super) fn disk_files(qemu: &Qemu, vmid: u32) -> Vec<PathBuf> {
    let files = std::fs::read_dir(qemu.folder().join("disks")).unwrap().map(|entry| entry.unwrap().path());
    let name = format!("vm-{vmid}-disk");
    let mut files: Vec<_> = files.filter(|file| file.to_string_lossy().contains(&name)).collect();
    files.sort();
    files
}

/// Whether a process is there and has not ended.
pub(super) fn is_there(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

/// A cluster with a turn to run one machine.
pub(super) struct Stage {
    pub(super) probe: Probe,
    _turn: SemaphorePermit<'static>,
}

impl Stage {
    pub(super) async fn open(scenario: Scenario) -> Self {
        Self::with(scenario, 1).await
    }

    /// The same with a turn to run so many.
    pub(super) async fn with(scenario: Scenario, machines: u32) -> Self {
        let turn = TURNS.acquire_many(machines).await.unwrap();
        let simulator = Simulator::open(scenario, Arc::new(EchoGuest)).unwrap();
        let authorization = format!("PVEAPIToken={DEMO_TOKEN}={DEMO_SECRET}");
        Self { probe: Probe { simulator, authorization }, _turn: turn }
    }

    pub(super) fn qemu(&self) -> &Qemu {
        self.probe.simulator.qemu().unwrap()
    }

    /// Makes a machine out of these options; the others are what a worker has.
    pub(super) async fn create(&self, vmid: u32, name: &str, options: &[(&str, &str)]) {
        let vmid = vmid.to_string();
        let mut all = vec![
            ("vmid", vmid.as_str()),
            ("name", name),
            ("memory", "1024"),
            ("scsihw", "virtio-scsi-single"),
            ("ide2", "local-lvm:cloudinit"),
            ("agent", "1"),
            ("serial0", "socket"),
            ("ciuser", "stevedore"),
            ("ciupgrade", "0"),
            ("boot", "order=scsi0"),
        ];
        all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
        all.extend(options);
        assert_eq!(self.probe.run("POST", "/nodes/pve1/qemu", &all).await, "OK");
    }

    /// Sends a request about a machine whose answer names a task; gives back how the task ended, and its log.
    pub(super) async fn task(&self, method: &str, vmid: u32, path: &str, params: &[(&str, &str)]) -> (String, String) {
        let path = format!("/nodes/pve1/qemu/{vmid}{path}");
        let upid = self.probe.send(method, &path, params).await.ok();
        let end = self.probe.wait(&upid).await;
        (end, self.probe.log(&upid).await.join("\n"))
    }

    /// The same for one that must succeed.
    pub(super) async fn done(&self, method: &str, vmid: u32, path: &str, params: &[(&str, &str)]) -> String {
        let (end, log) = self.task(method, vmid, path, params).await;
        assert_eq!(end, "OK", "{method} {path}: {log}");
        log
    }

    pub(super) async fn status(&self, vmid: u32) -> Value {
        self.probe.get(&format!("/nodes/pve1/qemu/{vmid}/status/current")).await["qmpstatus"].clone()
    }

    /// Waits until the guest's agent answers, and says how long that took.
    pub(super) async fn wait_for_agent(&self, vmid: u32) {
        let (path, begin) = (format!("/nodes/pve1/qemu/{vmid}/agent/ping"), SystemClock.boot());
        loop {
            let answer = self.probe.send("POST", &path, &[]).await;
            let took = SystemClock.boot().since(begin);
            if answer.status == 200 {
                return println!("real: VM {vmid} booted to an answering agent in {} s", took.as_secs());
            }
            let console = || self.qemu().console(vmid).unwrap_or_default();
            assert!(took < BOOT, "VM {vmid} has no agent after {} s; its console:\n{}", took.as_secs(), console());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asks a guest's agent. A busy guest may miss the ping that goes before each question, which is not put then.
    async fn ask(&self, method: &str, path: &str, params: &[(&str, &str)]) -> Value {
        let begin = SystemClock.boot();
        loop {
            let answer = self.probe.send(method, path, params).await;
            if answer.reason != "QEMU guest agent is not running" || SystemClock.boot().since(begin) > SCRIPT {
                return answer.ok();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn node_of(&self, vmid: u32) -> String {
        let machines = self.probe.simulator.world(|world| world.machines());
        machines.into_iter().find(|(id, _)| *id == vmid).expect("there is no such machine").1
    }

    /// Runs a shell script in a guest and gives back what it printed; it must end with `code`.
    pub(super) async fn script(&self, vmid: u32, script: &str, code: i64) -> String {
        let path = format!("/nodes/{}/qemu/{vmid}/agent", self.node_of(vmid));
        let command = ["/bin/sh", "-c", script].map(|word| ("command", word));
        let pid = self.ask("POST", &format!("{path}/exec"), &command).await["pid"].to_string();
        let begin = SystemClock.boot();
        loop {
            let ended = self.ask("GET", &format!("{path}/exec-status"), &[("pid", &pid)]).await;
            if ended["exited"] == 1 {
                assert_eq!(ended["exitcode"], code, "{script}: {ended}");
                return ended["out-data"].as_str().unwrap_or("").trim().to_owned();
            }
            assert!(SystemClock.boot().since(begin) < SCRIPT, "the script does not end: {script}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits until a machine is off without having been told to stop.
    pub(super) async fn wait_until_off(&self, vmid: u32) {
        let begin = SystemClock.boot();
        while self.status(vmid).await != "stopped" {
            assert!(SystemClock.boot().since(begin) < BOOT, "VM {vmid} does not power off");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

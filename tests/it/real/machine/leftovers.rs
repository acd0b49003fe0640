//! Nothing stays: of a simulator, a download, a check or a start, however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use stevedore::clock::{Clock as _, SystemClock};
use stevedore::simulator::scenario::{DEMO_SECRET, DEMO_TOKEN};
use tokio::sync::SemaphorePermit;

use super::super::super::simulator::sockets::{HttpsClient, client};
use super::super::stage::{Stage, scenario, turn};
use super::{EMPTY, is_there, until};

const DOWNLOAD: &str = "/nodes/pve1/storage/local/download-url";
const TASKS: &str = "/nodes/pve1/tasks";

/// A simulator in a process of its own, with a turn to run one machine.
struct Outside {
    process: Running,
    /// Of its machines.
    folder: PathBuf,
    url: String,
    client: HttpsClient,
    _turn: SemaphorePermit<'static>,
}

/// Killed when it is dropped, also where a test fails.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Outside {
    /// Starts one that finds programs in this folder first.
    async fn start(programs: &Path) -> Self {
        let turn = turn().await;
        let ca = programs.join("ca.pem");
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut process = Command::new(env!("CARGO_BIN_EXE_stevedore"))
            .args(["simulate", "proxmox", "--listen", "127.0.0.1:0", "--guests", "qemu", "--write-ca"])
            .arg(&ca)
            .env("PATH", path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let process = Running(process);
        let node = lines.find_map(|line| line.strip_prefix("pve1 https://127.0.0.1").map(str::to_owned)).unwrap();
        let folder = lines.find_map(|line| line.strip_prefix("folder ").map(PathBuf::from)).unwrap();
        let client = client(&fs::read_to_string(ca).unwrap());
        Self { process, folder, url: format!("https://localhost{node}"), client, _turn: turn }
    }

    async fn send(&self, method: &str, path: &str, params: &[(&str, &str)]) -> Value {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Authorization", format!("PVEAPIToken={DEMO_TOKEN}={DEMO_SECRET}"))
            .body(Full::new(Bytes::from(form)))
            .unwrap();
        let answer = self.client.request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{method} {path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()["data"].clone()
    }

    /// Sends a request whose answer names a task, and waits for how that ends.
    async fn run(&self, method: &str, path: &str, params: &[(&str, &str)]) -> String {
        let upid = self.send(method, path, params).await;
        let status = format!("{TASKS}/{}/status", upid.as_str().unwrap());
        loop {
            let status = self.send("GET", &status, &[]).await;
            if let Some(end) = status["exitstatus"].as_str() {
                return end.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Creates a machine with an empty disk and this network card, and starts it; how that ended.
    async fn power_on(&self, vmid: &str, net: &str) -> String {
        let options = [("vmid", vmid), ("memory", "512"), EMPTY[0], ("net0", net)];
        assert_eq!(self.run("POST", "/nodes/pve1/qemu", &options).await, "OK");
        self.run("POST", &format!("/nodes/pve1/qemu/{vmid}/status/start"), &[]).await
    }
}

/// Processes whose command line speaks of a folder: their numbers and names.
fn processes(folder: &Path) -> Vec<(u32, String)> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let speaks = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy())
    };
    let name = |pid| (pid, fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned());
    all.filter(speaks).map(name).collect()
}

fn has(folder: &Path, program: &str) -> bool {
    processes(folder).iter().any(|(_, name)| name.starts_with(program))
}

/// Serves the beginning of a file whose rest never comes.
fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8589934592\r\n\r\n").unwrap();
            stream.write_all(&vec![0; 1 << 16]).unwrap();
            open.push(stream);
        }
    });
    url
}

/// Waits for a download. Time goes on in the simulated world when someone looks.
async fn begins(is_there: impl Fn() -> bool, mut look: impl AsyncFnMut()) {
    let begin = SystemClock.boot();
    while !is_there() {
        assert!(SystemClock.boot().since(begin) < Duration::from_secs(30), "nothing is downloaded");
        look().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn order(url: &str) -> [(&str, &str); 3] {
    [("content", "import"), ("filename", "worker.qcow2"), ("url", url)]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn all_goes_with_the_simulator() {
    let stage = Stage::open(scenario(None)).await;
    stage.create(110, "empty", &EMPTY).await;
    stage.done("POST", 110, "/status/start", &[]).await;
    let (pid, folder) = (stage.qemu().pid(110).unwrap(), stage.qemu().folder().to_owned());
    drop(stage);
    until("something of the simulator stays", || !is_there(pid) && !folder.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn all_goes_when_the_simulator_is_killed() {
    let own = tempfile::tempdir().unwrap();
    let mut outside = Outside::start(own.path()).await;
    let folder = outside.folder.clone();
    assert_eq!(outside.power_on("110", "virtio,bridge=vmbr0").await, "OK");
    outside.send("POST", DOWNLOAD, &order(&endless())).await;
    begins(|| has(&folder, "wget"), async || drop(outside.send("GET", TASKS, &[]).await)).await;
    assert!(has(&folder, "dnsmasq") && has(&folder, "qemu-system"), "{:?}", processes(&folder));
    let running = processes(&folder);
    outside.process.kill();
    until("the folder stays", || !folder.exists()).await;
    until("processes stay", || !running.iter().any(|(pid, _)| is_there(*pid))).await;
    assert_eq!(processes(&folder), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_download_ends_with_its_task() {
    let stage = Stage::open(scenario(None)).await;
    let disks = stage.qemu().folder().join("disks");
    let sizes = || -> Vec<u64> {
        fs::read_dir(&disks).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
    };
    let upid = stage.probe.send("POST", DOWNLOAD, &order(&endless())).await.ok();
    begins(|| sizes().iter().any(|size| *size > 0), async || drop(stage.probe.get(TASKS).await)).await;
    let wget = processes(&disks);
    assert!(matches!(&wget[..], [(_, name)] if name == "wget"), "{wget:?}");
    stage.probe.send("DELETE", &format!("{TASKS}/{}", upid.as_str().unwrap()), &[]).await.ok();
    until("wget stays", || !is_there(wget[0].0)).await;
    until("its file stays", || sizes().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn an_image_that_is_checked_goes_when_the_check_is_interrupted() {
    for signal in ["-INT", "-TERM", "-KILL"] {
        let temporary = tempfile::tempdir().unwrap();
        let content = || fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path());
        let check = Command::new(env!("CARGO_BIN_EXE_stevedore"))
            .args(["check", "image", &endless()])
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut check = Running(check);
        let is_coming = |folder: PathBuf| fs::metadata(folder.join("image")).is_ok_and(|file| file.len() > 0);
        until("nothing is downloaded", || content().any(is_coming)).await;
        assert!(has(temporary.path(), "wget"));
        let pid = check.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        check.0.wait().unwrap();
        until("the image stays", || content().next().is_none()).await;
        until("processes stay", || processes(temporary.path()).is_empty()).await;
    }
}

/// A QEMU that does not know a card by the name that it is asked for.
const FORGETFUL: &str = r#"#!/bin/sh
for argument; do
  shift
  set -- "$@" "$(printf %s "$argument" | sed 's/id=net0/id=other/; s/netdev=net0/netdev=other/')"
done
exec REAL "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs QEMU: make test-guests"]
async fn a_start_that_fails_late_leaves_no_process_and_no_card() {
    let programs = tempfile::tempdir().unwrap();
    let real = Command::new("sh").args(["-c", "command -v qemu-system-x86_64"]).output().unwrap().stdout;
    let script = programs.path().join("qemu-system-x86_64");
    fs::write(&script, FORGETFUL.replace("REAL", String::from_utf8(real).unwrap().trim())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let outside = Outside::start(programs.path()).await;
    let (dnsmasq, _) = processes(&outside.folder).into_iter().find(|(_, name)| name == "dnsmasq").unwrap();
    let cards = || {
        let net = format!("--net=/proc/{dnsmasq}/ns/net");
        let links = Command::new("nsenter").args([&net, "ip", "-brief", "link"]).output().unwrap();
        assert!(links.status.success());
        let links = String::from_utf8(links.stdout).unwrap();
        links.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(outside.power_on("110", "virtio,bridge=vmbr0").await, "OK");
    let before = cards();
    assert!(before.contains(&"tap110i0".to_owned()), "{before:?}");
    let end = outside.power_on("111", "virtio,bridge=vmbr0,link_down=1").await;
    assert!(end.contains("net0"), "{end}");
    assert_eq!(cards(), before);
    assert!(processes(&outside.folder.join("run/111")).is_empty());
    let status = outside.send("GET", "/nodes/pve1/qemu/111/status/current", &[]).await;
    assert_eq!(status["status"], "stopped");
}

//! The network namespace, and the one thread of ours that is in it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::error::QemuError;
use super::super::lane::Lane;
use super::super::tools::{Tools, said};
use crate::watchdog::Watchdog;

/// How long the namespace may take to come about.
const PATIENCE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(10);

/// A network namespace. What its thread starts or opens is in it; everything else of this process is not.
#[derive(Debug)]
pub(in super::super) struct Namespace {
    lane: Lane,
    ip: std::path::PathBuf,
}

impl Namespace {
    /// Makes a namespace with nothing in it but `lo`.
    pub(super) fn make(tools: &Tools) -> Result<Self, QemuError> {
        let lane = Lane::start("guest-network").map_err(QemuError::Thread)?;
        let unshare = tools.unshare.clone();
        let entered = lane.run(move || enter(&unshare));
        let refused = || Err("the thread broke down".to_owned());
        entered.unwrap_or_else(refused).map_err(|reason| QemuError::Namespace { reason })?;
        Ok(Self { lane, ip: tools.ip.clone() })
    }

    /// Does these commands of `ip`, in order, in one go; ends at the first that fails.
    pub(super) fn ip(&self, commands: &[String]) -> Result<(), QemuError> {
        self.batch(&["-batch", "-"], commands)
    }

    /// The same, but goes on after those that fail: for what is taken away, and may not be there any more.
    pub(super) fn ip_all(&self, commands: &[String]) {
        let _ = self.batch(&["-force", "-batch", "-"], commands);
    }

    fn batch(&self, options: &'static [&'static str], commands: &[String]) -> Result<(), QemuError> {
        if commands.is_empty() {
            return Ok(());
        }
        let (ip, text) = (self.ip.clone(), commands.join("\n") + "\n");
        let command = format!("ip -batch - <<< '{}'", commands.join("; "));
        let done = self
            .lane
            .run(move || batch(&ip, options, &text))
            .unwrap_or_else(|| Err("the thread broke down".to_owned()));
        done.map_err(|said| QemuError::Network { command, said })
    }

    /// Lets packets go from one segment to the other, and vanish where a rule says so.
    pub(super) fn forward(&self) -> Result<(), QemuError> {
        // Below /proc/sys/net a thread sees the settings of its own namespace.
        let file = "/proc/sys/net/ipv4/ip_forward";
        let written = self.lane.run(move || std::fs::write(file, "1"));
        written.unwrap_or(Ok(())).map_err(QemuError::file("write", file))
    }

    /// Starts a process in the namespace.
    pub(in super::super) fn spawn(&self, mut command: Command, watchdog: &Arc<Watchdog>) -> std::io::Result<Child> {
        // Ctrl-C in the terminal is for the simulator to act on.
        command.process_group(0);
        let started = self.lane.run(move || command.spawn());
        let child = started.unwrap_or_else(|| Err(std::io::Error::other("the thread broke down")))?;
        watchdog.guard(child.id());
        Ok(child)
    }

    /// Listens on an address in the namespace.
    pub(super) fn listen(&self, address: SocketAddr) -> Result<TcpListener, QemuError> {
        let listening = self.lane.run(move || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listening = listening.unwrap_or_else(|| Err(std::io::Error::other("the thread broke down")));
        listening.map_err(|source| QemuError::Target { target: address.to_string(), reason: source.to_string() })
    }
}

/// Takes the calling thread into a new namespace. Leaving one's own is no safe call, entering another's is: so a
/// process makes it, and ends when we are in.
fn enter(unshare: &Path) -> Result<(), String> {
    let mut holder = Command::new(unshare)
        .args(["--net", "--", "sleep", "60"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let entered = follow(&mut holder);
    let _ = holder.kill();
    let output = holder.wait_with_output();
    entered.map_err(|reason| match output {
        Ok(output) => said(&output.stderr, b"", &reason),
        Err(_) => reason,
    })
}

fn follow(holder: &mut Child) -> Result<(), String> {
    let link = format!("/proc/{}/ns/net", holder.id());
    let own = std::fs::read_link("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if holder.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Err("unshare ended".to_owned());
        }
        if std::fs::read_link(&link).is_ok_and(|new| new != own) {
            let namespace = File::open(&link).map_err(|error| error.to_string())?;
            return move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| std::io::Error::from(error).to_string());
        }
        std::thread::sleep(STEP);
    }
    Err("unshare did not make one in time".to_owned())
}

fn batch(ip: &Path, options: &[&str], text: &str) -> Result<(), String> {
    let mut command = Command::new(ip);
    let command = command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(text.as_bytes()) {
            // It stops reading at the first command that fails, and says why.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.to_string()),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(said(&output.stderr, &output.stdout, "it failed")) }
}

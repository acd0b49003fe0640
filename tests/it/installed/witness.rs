//! Who changed what, and when: by the API server's audit log, which tells tokens apart, and by the calls to the simulated
//! cluster, whose connections Linux knows the processes of.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use stevedore::controlplane::{AuditEvent, Replica};
use stevedore::simulator::fault::{CallKind, LoggedCall, Moment};

use super::stage::Stage;

/// One process of the operator.
#[derive(Debug, Clone)]
struct Party {
    id: u32,
    credential: String,
}

/// A call, and which party sent it. None: one that had ended when it was looked for.
type Sent = (Option<usize>, String);

/// Looks on while one process after the other leads.
#[derive(Clone, Default)]
pub(super) struct Witness {
    /// In the order in which they lead.
    parties: Arc<Mutex<Vec<Party>>>,
    /// Who is at the other end of each connection to the cluster.
    connections: Arc<Mutex<HashMap<SocketAddr, usize>>>,
    /// The changing calls to the cluster, in the order in which they came.
    calls: Arc<Mutex<Vec<Sent>>>,
    /// Whether the next process that calls is stopped at that.
    stops: Arc<AtomicBool>,
}

/// How the lead went from one process to the next.
#[derive(Debug)]
pub(super) struct Takeover {
    /// From the last renewal to the take-over, by the times that stand in the Lease.
    pub(super) after: SignedDuration,
    /// How often the next one looked at the Lease after it had seen it unchanged for as long as it lasts.
    pub(super) late_looks: usize,
}

impl Witness {
    /// Begins to look.
    pub(super) fn of(stage: &Stage) -> Self {
        let witness = Self::default();
        let porter = witness.clone();
        let server = stage.server.addr;
        stage.pve.faults().set_porter(Arc::new(move |peer| porter.connected(peer, server)));
        let looker = witness.clone();
        stage.pve.faults().set_hook(Arc::new(move |moment: Moment, call: &LoggedCall| {
            if moment == Moment::Before && call.kind == CallKind::Change {
                looker.saw(call);
            }
            None
        }));
        witness
    }

    fn connected(&self, peer: SocketAddr, server: SocketAddr) {
        let parties = self.parties.lock().unwrap();
        // A port is used again and again.
        self.connections.lock().unwrap().remove(&peer);
        // The kernel's table may lack a line while others come and go.
        for _ in 0..100 {
            let socket = socket_of(peer, server);
            let is_its = |party: &Party| socket.as_deref().is_some_and(|socket| has_open(party.id, socket));
            if let Some(party) = parties.iter().position(is_its) {
                self.connections.lock().unwrap().insert(peer, party);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn saw(&self, call: &LoggedCall) {
        let sender = call.peer.and_then(|peer| self.connections.lock().unwrap().get(&peer).copied());
        self.calls.lock().unwrap().push((sender, format!("{} {}", call.method, call.path)));
        if let Some(sender) = sender.filter(|_| self.stops.swap(false, Ordering::Relaxed)) {
            let id = i32::try_from(self.parties.lock().unwrap()[sender].id).ok().and_then(Pid::from_raw);
            kill_process(id.unwrap(), Signal::STOP).unwrap();
        }
    }

    /// Waits until the n-th process has called the cluster.
    pub(super) async fn until_called_by(&self, number: usize) {
        while !self.calls.lock().unwrap().iter().any(|(sender, _)| *sender == Some(number)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has the next process that calls the cluster stopped (SIGSTOP) while its call is on the way, and waits for that.
    pub(super) async fn stop_at_a_call(&self) {
        self.stops.store(true, Ordering::Relaxed);
        while self.stops.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Gets to know the process that leads next.
    pub(super) fn meet(&self, replica: &Replica) {
        let (id, credential) = (replica.process.id(), replica.process.credential().to_owned());
        assert!(credential.starts_with("JTI="), "{credential}");
        self.parties.lock().unwrap().push(Party { id, credential });
    }

    /// Checks in both logs that every process made all its changes before the next one made its first. The first
    /// process is the one that was killed.
    pub(super) fn testify(&self, stage: &Stage) -> String {
        let calls = self.calls.lock().unwrap().clone();
        let callers: Vec<usize> = calls.iter().map(|(owner, _)| owner.unwrap_or(0)).collect();
        assert!(callers.is_sorted(), "two at a time changed something at the hypervisor: {calls:?}");
        let parties = self.parties.lock().unwrap().clone();
        let mut figures = Vec::new();
        let (mut until, mut last) = (Timestamp::MIN, None);
        for (number, party) in parties.iter().enumerate() {
            let writes = writes(stage, party);
            let called = callers.iter().filter(|caller| **caller == number).count();
            assert!(called > 0 && !writes.is_empty(), "process {number} of {parties:?} did not work");
            figures.push(format!("{} writes and {called} calls", writes.len()));
            let first = writes.iter().map(|event| event.received).min().unwrap();
            assert!(until < first, "process {number} wrote at {first}, the one before it until {until}: {last:?}");
            last = writes.into_iter().max_by_key(|event| event.reached);
            until = last.as_ref().map_or(Timestamp::MIN, |event| event.reached);
        }
        figures.join(", then ")
    }

    /// How the lead was handed on each time.
    pub(super) fn takeovers(&self, stage: &Stage) -> Vec<Takeover> {
        let parties = self.parties.lock().unwrap().clone();
        parties.windows(2).map(|pair| takeover(stage, &pair[0], &pair[1])).collect()
    }
}

/// What a process changed in Kubernetes, its Lease left out. What the API server refused changed nothing: a process that
/// is suspended between its last question and its sending cannot know what became of its lead, which is why every write
/// names the version that it was made from.
fn writes(stage: &Stage, party: &Party) -> Vec<AuditEvent> {
    let mut events = requests(stage, party);
    events.retain(|event| event.is_change() && event.resource != "leases" && event.code.is_none_or(|code| code < 400));
    events
}

fn requests(stage: &Stage, party: &Party) -> Vec<AuditEvent> {
    let mut events = stage.installed.requests(&stage.plane).unwrap();
    events.retain(|event| event.credential == party.credential);
    events
}

fn takeover(stage: &Stage, before: &Party, next: &Party) -> Takeover {
    let held = |party: &Party| {
        let mut events = requests(stage, party);
        events.retain(|event| {
            event.resource == "leases" && event.is_change() && event.code.is_some_and(|code| code < 300)
        });
        events
    };
    let (renewal, taking) = (held(before).pop().unwrap(), held(next).swap_remove(0));
    assert!(renewal.reached < taking.received, "the Lease had two holders");
    let lasts =
        SignedDuration::from_secs(renewal.sent.as_ref().unwrap()["spec"]["leaseDurationSeconds"].as_i64().unwrap());
    let mut looks = requests(stage, next);
    looks.retain(|event| event.resource == "leases" && event.verb == "get");
    looks.retain(|look| renewal.reached < look.received && look.received < taking.received);
    // It saw the last renewal by its first look, and waits from then on.
    let seen = looks.first().unwrap().reached;
    let late_looks = looks.iter().filter(|look| look.received.duration_since(seen) >= lasts).count();
    Takeover { after: time(&taking, "acquireTime").duration_since(time(&renewal, "renewTime")), late_looks }
}

/// A time in the Lease that was written.
fn time(event: &AuditEvent, field: &str) -> Timestamp {
    event.sent.as_ref().unwrap()["spec"][field].as_str().unwrap().parse().unwrap()
}

/// The socket of a client's end of a connection, as Linux shows it among the open files of its process.
fn socket_of(client: SocketAddr, server: SocketAddr) -> Option<String> {
    let ends = [shown(client)?, shown(server)?];
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // A port can be that of several connections to different servers.
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1..3)? == ends.as_slice()).then(|| format!("socket:[{}]", fields[9]))
    };
    table.lines().find_map(of)
}

/// An address as the kernel's table has it.
fn shown(end: SocketAddr) -> Option<String> {
    let SocketAddr::V4(end) = end else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(end.ip().octets()), end.port()))
}

fn has_open(id: u32, socket: &str) -> bool {
    // A process that has ended has no files.
    let Ok(files) = std::fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

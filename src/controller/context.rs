//! What every reconcile needs: clients, clock, the leader's permission, and what this process remembers.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::UnboundedSender;

use super::connection::Connections;
use super::connection::Key;
use super::events::Events;
use super::listed::Listed;
use super::roster::Roster;
use super::scheduling::disks::Disks;
use super::session::Runs;
use super::tasks::Tasks;
use super::tracks::Tracks;
use super::unreadable::Unreadables;
use crate::api::{Hypervisor, Worker, WorkerSession, WorkerTask};
use crate::clock::SharedClock;
use crate::domain::allowed::AllowedEndpoints;
use crate::domain::fault::Fault;
use crate::hypervisor::SharedHypervisor;
pub use crate::hypervisor::credential::Credential;
use crate::runtime::metrics::Metrics;

/// What every reconcile needs.
pub struct Context {
    /// The Kubernetes API; every call has a deadline.
    pub client: kube::Client,
    /// The source of time.
    pub clock: SharedClock,
    /// What makes this installation's marks its own.
    pub installation: String,
    /// All hypervisors of this process.
    pub connections: Connections,
    /// Makes clients of hypervisors.
    pub connector: Arc<dyn Connect>,
    /// Says whether a changing call may be sent.
    pub gate: Arc<dyn Gate>,
    /// All Workers, as the watch shows them.
    pub workers: Roster,
    /// Whether all Workers are known: not just after the start.
    pub workers_listed: Listed,
    /// The Workers that cannot be read: they are there all the same.
    pub unreadable_workers: Unreadables,
    /// All Hypervisors, as the watch shows them.
    pub hypervisors: Store<Hypervisor>,
    /// The Hypervisors that cannot be read.
    pub unreadable_hypervisors: Unreadables,
    /// Takes the workers whose VM, or whose hypervisor, looks different from before: they are reconciled.
    pub changed: UnboundedSender<ObjectRef<Worker>>,
    /// All `WorkerTask`s, as the watch shows them.
    pub tasks: Tasks,
    /// All `WorkerSession`s, as the watch shows them.
    pub sessions: Store<WorkerSession>,
    /// The `WorkerSession`s that cannot be read.
    pub unreadable_sessions: Unreadables,
    /// The `WorkerTask`s that cannot be read.
    pub unreadable_tasks: Unreadables,
    /// Whether all `WorkerTask`s and `WorkerSession`s are known: not just after the start.
    pub sessions_listed: Listed,
    /// The storages of VMs that sessions process.
    pub disks: Disks,
    /// What this process remembers of each session.
    pub runs: Runs,
    /// Takes the sessions whose tasks changed, or that are to be looked at soon.
    pub changed_sessions: UnboundedSender<ObjectRef<WorkerSession>>,
    /// Takes the tasks that are to be looked at soon.
    pub changed_tasks: UnboundedSender<ObjectRef<WorkerTask>>,
    /// Takes the Hypervisors whose tasks are to be given to workers anew.
    pub schedule: UnboundedSender<Key>,
    /// What this process remembers of each worker.
    pub tracks: Tracks,
    /// Where events go.
    pub events: Events,
    /// Makes ids of operations.
    pub operation_ids: Arc<dyn Fn() -> String + Send + Sync>,
    /// What hypervisors and images may be reached at.
    pub allowed: AllowedEndpoints,
    /// How long things may take.
    pub patience: Patience,
    /// What this process counts.
    pub metrics: Metrics,
}

impl Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("installation", &self.installation).finish_non_exhaustive()
    }
}

impl Context {
    /// Has a worker reconciled soon.
    pub fn wake_worker(&self, worker: &Worker) {
        // Nobody listens only while the process ends.
        let _ = self.changed.send(ObjectRef::from_obj(worker));
    }

    /// Has a task reconciled soon.
    pub fn wake_task(&self, task: &WorkerTask) {
        let _ = self.changed_tasks.send(ObjectRef::from_obj(task));
    }

    /// Has a task's session reconciled soon.
    pub fn wake_session(&self, task: &WorkerTask) {
        let (namespace, name) = super::tasks::session_key(task);
        // Nobody listens only while the process ends.
        let _ = self.changed_sessions.send(ObjectRef::new(&name).within(&namespace));
    }
}

/// How long things may take; shorter in tests.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From power-on until the guest agent answers.
    pub guest: Duration,
    /// From power-on until a check that fails counts: addresses and services come a little after the guest agent.
    pub settle: Duration,
    /// One script inside a guest.
    pub script: Duration,
    /// One call to a hypervisor.
    pub call: Duration,
    /// Between two looks at what rarely changes: certificate, privileges, cluster identity.
    pub probe: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            guest: Duration::from_secs(300),
            settle: Duration::from_secs(60),
            script: Duration::from_secs(60),
            call: crate::domain::fault::CALL_DEADLINE,
            probe: Duration::from_secs(600),
        }
    }
}

/// Says whether a changing call may be sent: only while this process is the leader, and will be for longer than the
/// call can take.
pub trait Gate: Debug + Send + Sync {
    /// Whether a call of at most `deadline` may be sent now.
    fn may_change(&self, deadline: Duration) -> bool;
}

/// A gate that is always open: for a process without leader election.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn may_change(&self, _: Duration) -> bool {
        true
    }
}

/// Makes clients of hypervisors.
pub trait Connect: Debug + Send + Sync {
    /// A client for these settings; nothing is sent yet.
    fn connect(&self, settings: &ConnectionSettings) -> Result<SharedHypervisor, Fault>;
}

/// What a client of a hypervisor is made from. Two equal settings mean the same client: what is no matter of whom to
/// talk to and how, such as limits, is not in here, for it must not cost a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// `https://host:port`, one or more.
    pub endpoints: Vec<String>,
    /// How to log in.
    pub credential: Credential,
    /// How the server is trusted.
    pub trust: Trust,
}

/// How a server's certificate is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM bundle of authorities.
    pub ca_pem: Option<String>,
    /// SHA-256 fingerprints of certificates that are accepted.
    pub fingerprints: Vec<String>,
    /// Accept anything.
    pub insecure: bool,
}

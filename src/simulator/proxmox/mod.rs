//! The Proxmox VE API in front of a [`World`].

mod agent;
mod agent_channel;
mod answer;
mod auth;
mod check;
mod cloudinit;
mod cluster;
mod config;
mod exchange;
mod formats;
mod machines;
mod nodes;
mod power;
mod request;
mod routes;
mod schema;
mod storages;
mod tasks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::answer::{Later, Reply};
use self::request::{Asked, Form};
use super::certificates::{Authority, CertificateError};
use super::fault::{CallKind, Effect, Failure, Faults, LoggedCall, Moment, span};
use super::guest_exec::{EchoGuest, SharedGuestExec};
use super::qemu::{Qemu, QemuError};
use super::scenario::Scenario;
use super::world::World;
use super::world::refusal::Refusal;
use super::world::vmm::{LOOK_AGAIN, Vmm, Work};
use crate::clock::{BootTime, SharedClock, SystemClock};

/// How often a call that waits for a file lock tries again.
const RETRY: Duration = Duration::from_millis(200);
/// How long the proxy in front waits; what takes longer goes on, and the client does not hear of it.
const HOP: Duration = Duration::from_secs(30);
/// Names of parameters whose values are not logged.
const SECRET: [&str; 4] = ["password", "cipassword", "sshkeys", "input-data"];

/// What a client gets.
#[derive(Debug)]
pub enum Outcome {
    /// An answer. Its text is in the extension [`hyper::ext::ReasonPhrase`], too.
    Answered(Response<Bytes>),
    /// The connection was closed without an answer.
    Dropped,
}

impl Outcome {
    /// The answer, if there was one.
    pub fn answer(self) -> Option<Response<Bytes>> {
        match self {
            Self::Answered(response) => Some(response),
            Self::Dropped => None,
        }
    }
}

/// The address of a client, in the extensions of a request that came over a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// A simulated cluster with its API. Cheap to clone; all clones are one cluster.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    clock: SharedClock,
    guest: SharedGuestExec,
    qemu: Option<Qemu>,
    faults: Faults,
    daemons: BTreeMap<String, Semaphore>,
    first_node: String,
    authority: Mutex<Option<Arc<Authority>>>,
}

impl Simulator {
    /// A cluster whose guests know nothing but echoing.
    pub fn new(scenario: Scenario, clock: SharedClock) -> Self {
        Self::with_guests(scenario, clock, Arc::new(EchoGuest))
    }

    /// A cluster whose guests' inside is played by `guest`; the scenario's wish for real ones is for [`Self::open`].
    pub fn with_guests(scenario: Scenario, clock: SharedClock, guest: SharedGuestExec) -> Self {
        Self::with_machines(scenario, clock, guest, None)
    }

    /// A cluster in real time, with the guests that the scenario wants: real ones, or such as `guest` plays.
    pub fn open(scenario: Scenario, guest: SharedGuestExec) -> Result<Self, QemuError> {
        let qemu = scenario.qemu.is_some().then(|| Qemu::start(&scenario)).transpose()?;
        Ok(Self::with_machines(scenario, Arc::new(SystemClock), guest, qemu))
    }

    fn with_machines(scenario: Scenario, clock: SharedClock, guest: SharedGuestExec, qemu: Option<Qemu>) -> Self {
        let scenario = if qemu.is_some() { scenario.in_real_time() } else { scenario };
        let faults = Faults::default();
        scenario.faults.iter().cloned().for_each(|rule| faults.add(rule));
        let first_node = scenario.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
        let workers = scenario.daemon_workers.max(1);
        let daemons = scenario.nodes.iter().map(|node| (node.name.clone(), Semaphore::new(workers))).collect();
        let vmm = qemu.clone().map(|qemu| Arc::new(qemu) as Arc<dyn Vmm>);
        let mut world = World::with_vmm(scenario, clock.clone(), vmm);
        if let Some(qemu) = &qemu {
            world.fetch = Arc::new(qemu.clone());
        }
        let world = Mutex::new(world);
        Self(Arc::new(Inner { world, clock, guest, qemu, faults, daemons, first_node, authority: Mutex::new(None) }))
    }

    /// What runs the machines, if they are real.
    pub fn qemu(&self) -> Option<&Qemu> {
        self.0.qemu.as_ref()
    }

    /// Rules for what goes wrong, hooks, and the log of calls.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Looks at the world, or changes it by hand, at the present moment.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        world.catch_up();
        let seen = look(&mut world);
        // Before anybody asks the next guest.
        for end in std::mem::take(&mut world.ended_guests) {
            self.0.guest.went_down(&end);
        }
        seen
    }

    /// Names of the nodes, in the scenario's order.
    pub fn nodes(&self) -> Vec<String> {
        self.world(|world| world.scenario.nodes.iter().map(|node| node.name.clone()).collect())
    }

    /// The cluster's certificate authority, made when it is first asked for; all its servers share it.
    pub(crate) fn authority(&self) -> Result<Arc<Authority>, CertificateError> {
        let mut place = self.0.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = place.as_ref() {
            return Ok(authority.clone());
        }
        let mut world = self.lock();
        let authority = Arc::new(Authority::new(&world.installation)?);
        world.certificates.authority.clone_from(&authority.fingerprint);
        world.certificates.authority_pem.clone_from(&authority.pem);
        Ok(place.insert(authority).clone())
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request to the first node. Waits by tokio's timer only.
    pub async fn call(&self, request: Request<Bytes>) -> Outcome {
        self.call_at(&self.0.first_node, request).await
    }

    /// Sends a request to the node called `node`. What began goes on although the caller gives up waiting.
    pub async fn call_at(&self, node: &str, request: Request<Bytes>) -> Outcome {
        let (simulator, node) = (self.clone(), node.to_owned());
        match tokio::spawn(async move { simulator.serve(&node, request).await }).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Outcome::Dropped,
            },
        }
    }

    async fn serve(&self, node: &str, request: Request<Bytes>) -> Outcome {
        let online = self.world(|world| world.nodes.get(node).is_some_and(|node| node.off_since.is_none()));
        if !online {
            return Outcome::Dropped;
        }
        let asked = match request::read(&request) {
            Ok(asked) => asked,
            Err(refusal) => return Outcome::Answered(answer::refusal(Form::Json, &refusal)),
        };
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let (place, call, struck) = self.0.faults.enter(self.logged(&asked, peer));
        let struck = self.0.faults.hook(Moment::Before, &call).or(struck);
        let outcome = self.strike(node, &asked, &call, struck).await;
        if let Outcome::Answered(response) = &outcome {
            self.0.faults.answered(place, response.status().as_u16());
        }
        outcome
    }

    fn logged(&self, asked: &Asked, peer: Option<SocketAddr>) -> LoggedCall {
        let params = asked.params.0.keys().map(|name| {
            let value =
                if SECRET.contains(&name.as_str()) { "…".to_owned() } else { asked.params.list(name).join(" ") };
            (name.clone(), value)
        });
        LoggedCall {
            at: self.0.clock.boot(),
            kind: kind(asked),
            number: 0,
            method: asked.method.to_string(),
            path: asked.path_text(),
            params: params.collect(),
            peer,
            status: None,
        }
    }

    async fn strike(&self, node: &str, asked: &Asked, call: &LoggedCall, struck: Option<Effect>) -> Outcome {
        match &struck {
            Some(Effect::Delay(seconds)) => tokio::time::sleep(span(*seconds)).await,
            Some(Effect::Fail(failure)) => return Outcome::Answered(failed(failure)),
            Some(Effect::DropBefore) => return Outcome::Dropped,
            Some(Effect::Duplicate) => drop(self.perform(node, asked).await),
            _ => {}
        }
        let Done { response, after, turn } = self.perform(node, asked).await;
        self.0.faults.hook(Moment::After, call);
        tokio::time::sleep(after).await;
        drop(turn);
        match struck {
            Some(Effect::DropAfter) => return Outcome::Dropped,
            Some(Effect::FailAfter(failure)) => return Outcome::Answered(failed(&failure)),
            Some(Effect::DelayAnswer(seconds)) => tokio::time::sleep(span(seconds)).await,
            _ => {}
        }
        Outcome::Answered(response)
    }

    /// Performs a call.
    async fn perform(&self, local: &str, asked: &Asked) -> Done<'_> {
        let latency = self.lock().scenario.timings.api_latency.span();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let turn = match self.daemon_of(local, asked) {
            Some(daemon) => daemon.acquire().await.ok(),
            None => None,
        };
        let begun = self.0.clock.boot();
        let result = loop {
            match self.world(|world| routes::perform(world, local, asked)) {
                Err(refusal) if refusal.busy.is_some() && self.may_wait(begun) => tokio::time::sleep(RETRY).await,
                result => break result,
            }
        };
        let result = match result {
            Ok(reply) => self.finish(reply).await,
            refused => refused,
        };
        match result {
            Ok(reply) if reply.after > HOP => {
                let lost = Refusal::bare(596, "Connection timed out");
                Done { response: answer::refusal(asked.form, &lost), after: HOP, turn }
            }
            Ok(reply) => Done { after: reply.after, response: answer::success(asked.form, reply), turn },
            // The proxy in front takes its time alone.
            Err(refusal) => {
                let turn = turn.filter(|_| !refusal.bare);
                Done { after: refusal.after, response: answer::refusal(asked.form, &refusal), turn }
            }
        }
    }

    fn may_wait(&self, begun: BootTime) -> bool {
        let wait = self.lock().scenario.timings.lock_wait.span();
        self.0.clock.boot().since(begun) < wait
    }

    /// The daemon whose workers a protected call takes one of.
    fn daemon_of(&self, local: &str, asked: &Asked) -> Option<&Semaphore> {
        let (endpoint, values) = schema::route(asked.method.as_str(), &asked.path)?;
        let node = values.get("node").map_or(local, String::as_str);
        let node = if node == "localhost" { local } else { node };
        self.0.daemons.get(node).filter(|_| endpoint.is_protected())
    }

    /// Does what a call still has to do outside of the world.
    async fn finish(&self, mut reply: Reply) -> Result<Reply, Refusal> {
        match reply.later.take() {
            None => {}
            Some(Later::Program(start)) => agent::run(self, *start).await?,
            Some(Later::Agent(call)) => reply.data = call.ask().await?,
            Some(Later::Disks(work)) => done(&work).await?,
        }
        Ok(reply)
    }
}

/// A call that had its effect.
#[derive(Debug)]
struct Done<'a> {
    response: Response<Bytes>,
    /// The answer comes this much later,
    after: Duration,
    /// and as long one of the daemon's workers is taken.
    turn: Option<SemaphorePermit<'a>>,
}

/// Waits until work is done.
async fn done(work: &[Work]) -> Result<(), Refusal> {
    for work in work {
        let report = loop {
            match work.report() {
                Some(report) => break report,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        if let Some(error) = report.error {
            return Err(Refusal::error(error));
        }
    }
    Ok(())
}

fn kind(asked: &Asked) -> CallKind {
    let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
    match (asked.method == Method::GET, path.as_slice()) {
        (true, _) | (_, ["access", "ticket"] | [.., "agent", "ping"]) => CallKind::Read,
        (_, [.., "agent", "exec"]) => CallKind::Exec,
        _ => CallKind::Change,
    }
}

fn failed(failure: &Failure) -> Response<Bytes> {
    let refusal = Refusal { status: failure.status, ..Refusal::error(failure.reason.clone()) };
    let bare = matches!(failure.status, 401 | 595..=599);
    answer::refusal(Form::Json, &Refusal { bare, ..refusal })
}

//! Proxmox VE 8.4 and 9.x.
//!
//! From the wire inwards: `connection` brings answers, `wire` and `lenient` read them, the other rooms turn them into
//! the values that all providers share: `inventory` and `probe` what a cluster is, `detail` what a VM is, `changes`
//! what it lacks, `changing` the way to change it, `making`, `importing` and `power` what is done to it, `images` what
//! it can be made from, `tasks` what became of that, `agent` its inside.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::SharedClock;
use crate::domain::fault::{Fault, FaultKind};
use crate::guest::channel::GuestChannel;

use super::inventory::Inventory;
use super::registry::ConnectionLimits;
use super::transport::{CallObserver, Exchange};
use super::vm::image::{ImageFile, ImageState};
use super::vm::making::Making;
use super::vm::{
    Capabilities, Difference, GuestAddress, InUse, MissingPrivilege, Obstacle, Probe, TaskHandle, TaskState, VmDetail,
    VmRef, VmWanted,
};
use super::window::Window;
use super::{Changes, Hypervisor};

mod agent;
mod auth;
mod call;
mod changes;
mod changing;
mod connection;
mod detail;
mod images;
mod importing;
mod inventory;
mod lenient;
mod making;
mod networks;
mod obstacles;
mod params;
mod power;
mod privileges;
mod probe;
mod property;
mod routes;
mod storages;
mod tasks;
mod texts;
mod upid;
mod wire;

pub use auth::Credential;

use changing::Changing;
use connection::{Connection, Endpoint};

/// Every call that is made, as `METHOD /path/{name}` below `/api2/json`.
pub fn calls() -> impl Iterator<Item = String> {
    routes::ALL.iter().map(|route| format!("{} {}", route.method, route.path))
}

/// What is needed to reach a Proxmox VE cluster.
#[derive(Debug)]
pub struct ProxmoxSettings {
    /// `https://host:port`, 1–16 of them; the one that answered last is asked first.
    pub endpoints: Vec<String>,
    /// Who we are.
    pub credential: Credential,
    /// The pool that VMs are made in, if the credential's rights come by a pool.
    pub pool: Option<String>,
    /// How much may go on at once, until others are [shared](Hypervisor::use_limits).
    pub limits: Arc<ConnectionLimits>,
    /// How long a call may take, waiting for its turn included. Usually
    /// [`CALL_DEADLINE`](crate::domain::fault::CALL_DEADLINE).
    pub deadline: Duration,
    /// The time.
    pub clock: SharedClock,
    /// Is told of every call.
    pub observer: Arc<dyn CallObserver>,
}

/// A Proxmox VE cluster, or a lone node.
#[derive(Debug)]
pub struct Proxmox {
    connection: Arc<Connection>,
    pool: Option<String>,
    running: tasks::RunningTasks,
}

impl Proxmox {
    /// A client that sends over `exchange`. Sends nothing yet; fails only if an endpoint cannot be one.
    pub fn new(settings: ProxmoxSettings, exchange: Arc<dyn Exchange>) -> Result<Self, Fault> {
        let endpoints = settings.endpoints.iter().map(|url| Endpoint::parse(url)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(Fault::new(FaultKind::Refused, "a Proxmox VE connection needs at least one endpoint"));
        }
        let connection = Connection {
            exchange,
            endpoints,
            preferred: AtomicUsize::new(0),
            session: auth::Session::new(settings.credential),
            limits: RwLock::new(settings.limits),
            deadline: settings.deadline,
            clock: settings.clock,
            observer: settings.observer,
        };
        Ok(Self { connection: Arc::new(connection), pool: settings.pool, running: tasks::RunningTasks::default() })
    }
}

#[async_trait]
impl Hypervisor for Proxmox {
    fn capabilities(&self) -> Capabilities {
        Capabilities { provider: "Proxmox", chooses_ids: true, requests_per_poll: 2 }
    }

    fn use_limits(&self, limits: Arc<ConnectionLimits>) {
        *self.connection.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    async fn probe(&self) -> Result<Probe, Fault> {
        probe::probe(&self.connection).await
    }

    async fn missing_privileges(&self, in_use: &InUse) -> Result<Vec<MissingPrivilege>, Fault> {
        privileges::missing(&self.connection, in_use, self.pool.as_deref()).await
    }

    async fn inventory(&self) -> Result<Inventory, Fault> {
        inventory::inventory(&self.connection).await
    }

    async fn vm(&self, at: &VmRef) -> Result<VmDetail, Fault> {
        detail::vm(&self.connection, at).await
    }

    fn differences(&self, wanted: &VmWanted, seen: &VmDetail) -> Vec<Difference> {
        changes::changes(wanted, seen).into_iter().map(Into::into).collect()
    }

    async fn obstacles(&self, wanted: &VmWanted) -> Result<Vec<Obstacle>, Fault> {
        obstacles::obstacles(&self.connection, wanted).await
    }

    async fn image(&self, host: &str, image: &ImageFile, task: Option<&TaskHandle>) -> Result<ImageState, Fault> {
        images::state(&self.connection, host, image, task).await
    }

    async fn task(&self, task: &TaskHandle) -> Result<TaskState, Fault> {
        tasks::state(&self.connection, &self.running, task).await
    }

    async fn is_being_made(&self, making: &Making) -> Result<bool, Fault> {
        making::is_being_made(&self.connection, making).await
    }

    fn within(&self, window: Window) -> Box<dyn Changes + '_> {
        Box::new(Changing { connection: &self.connection, pool: self.pool.as_deref(), window })
    }

    async fn storages_of(&self, at: &VmRef) -> Result<BTreeSet<String>, Fault> {
        detail::storages_of(&self.connection, at).await
    }

    async fn guest_addresses(&self, at: &VmRef) -> Result<Vec<GuestAddress>, Fault> {
        agent::addresses(&self.connection, at).await
    }

    async fn guest_answers(&self, at: &VmRef) -> Result<bool, Fault> {
        agent::answers(&self.connection, at).await
    }

    fn guest(&self, at: &VmRef) -> Arc<dyn GuestChannel> {
        Arc::new(agent::AgentChannel::new(self.connection.clone(), at.clone(), None))
    }

    fn guest_within(&self, at: &VmRef, window: Window) -> Arc<dyn GuestChannel> {
        Arc::new(agent::AgentChannel::new(self.connection.clone(), at.clone(), Some(window)))
    }
}

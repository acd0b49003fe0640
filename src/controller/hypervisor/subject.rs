//! One `Hypervisor` while it is being reconciled, with what belongs to it.

use std::sync::Arc;

use kube::Api;
use kube::api::{Patch, PatchParams};

use super::error::Error;
use super::peers;
use crate::api::names::{self, FIELD_MANAGER};
use crate::api::reasons::HypervisorReason;
use crate::api::{Hypervisor, HypervisorStatus, Worker};
use crate::clock::BootTime;
use crate::controller::connection::{Connection, Key};
use crate::controller::context::Context;
use crate::controller::events::Happening;
use crate::controller::snapshot::workers_of;
use crate::controller::unreadable::Unreadable;

/// One `Hypervisor` while it is being reconciled.
pub(super) struct Subject<'a> {
    pub(super) context: &'a Context,
    pub(super) connection: &'a Connection,
    /// Namespace and name.
    pub(super) key: Key,
    /// The object as it was read or written last.
    pub(super) hypervisor: Hypervisor,
    /// The Workers that name it.
    pub(super) workers: Vec<Arc<Worker>>,
    /// Workers that name it, or may, and cannot be read.
    pub(super) unreadable: Vec<Arc<Unreadable>>,
    /// Whether all Workers are known: not just after the start.
    pub(super) workers_known: bool,
    /// Other Hypervisors that reach the same cluster.
    pub(super) peers: Vec<Arc<Hypervisor>>,
    /// When this began.
    pub(super) now: BootTime,
    /// The resource versions that our writes have replaced.
    pub(super) superseded: Vec<String>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(context: &'a Context, connection: &'a Connection, key: Key, hypervisor: Hypervisor) -> Self {
        let unreadable = context.unreadable_workers.of(&key);
        let workers = workers_of(context, &key);
        let workers_known = context.workers_listed.has_come();
        let peers = peers::of(context, &hypervisor);
        Self {
            context,
            connection,
            key,
            hypervisor,
            workers,
            unreadable,
            workers_known,
            peers,
            now: context.clock.boot(),
            superseded: Vec::new(),
        }
    }

    /// The Workers that name it by now: one that came while the hypervisor was looked at must be told, too.
    pub(super) fn workers_by_now(&self) -> Vec<Arc<Worker>> {
        workers_of(self.context, &self.key)
    }

    /// The part of the API that this kind is in, for this namespace.
    pub(super) fn api(&self) -> Api<Hypervisor> {
        Api::namespaced(self.context.client.clone(), &self.key.0)
    }

    /// `namespace/name`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.key.0, self.key.1)
    }

    pub(super) fn status(&self) -> HypervisorStatus {
        self.hypervisor.status.clone().unwrap_or_default()
    }

    pub(super) fn generation(&self) -> Option<i64> {
        self.hypervisor.metadata.generation
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.hypervisor.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.hypervisor.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        names::is_set(self.hypervisor.metadata.annotations.as_ref(), names::ABANDON)
    }

    /// The Hypervisor was written: from here on it is this one.
    pub(super) fn replace(&mut self, written: Hypervisor) {
        let before = std::mem::replace(&mut self.hypervisor, written);
        if before.metadata.resource_version != self.hypervisor.metadata.resource_version {
            self.superseded.extend(before.metadata.resource_version);
        }
    }

    /// Patches the object (not its status) as it was read.
    pub(super) async fn patch(&mut self, operations: Vec<json_patch::PatchOperation>) -> Result<(), Error> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Json::<()>(json_patch::Patch(operations));
        let written = self.api().patch(&self.key.1, &params, &patch).await;
        self.replace(written.map_err(Error::of(format!("changing Hypervisor {}", self.name())))?);
        Ok(())
    }

    /// Tells people what happened.
    pub(super) fn tell(&self, warning: bool, reason: HypervisorReason, action: &'static str, note: String) {
        let object = kube::Resource::object_ref(&self.hypervisor, &());
        self.context.events.publish(Happening { object, warning, reason: reason.as_str(), action, note });
    }
}

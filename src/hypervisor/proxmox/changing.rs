//! The one door by which a changing call leaves: with the window within which it may.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::call::Call;
use super::connection::Connection;
use super::upid::Upid;
use super::{images, making, power};
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::Changes;
use crate::hypervisor::vm::image::ImageFile;
use crate::hypervisor::vm::{CreateOrder, Started, TaskHandle, VmDetail, VmRef, VmWanted};
use crate::hypervisor::window::Window;

/// Changes that are allowed for a while.
pub(super) struct Changing<'a> {
    pub(super) connection: &'a Connection,
    /// The pool that VMs are made in.
    pub(super) pool: Option<&'a str>,
    pub(super) window: Window,
}

impl Changing<'_> {
    /// Makes a changing call and reads what it started. An answer without a task id means that it is done.
    pub(super) async fn started(&self, call: Call) -> Result<Started, Fault> {
        let call = call.within(self.window.clone());
        match self.connection.value(&call).await? {
            Value::Null => Ok(Started::Done),
            Value::String(upid) if Upid::parse(&upid).is_ok() => Ok(Started::Task(TaskHandle(upid))),
            other => {
                Err(call
                    .fault(FaultKind::UnknownOutcome, &format!("answered with neither a task nor nothing: {other}")))
            }
        }
    }
}

#[async_trait]
impl Changes for Changing<'_> {
    async fn download(&self, host: &str, image: &ImageFile) -> Result<Started, Fault> {
        images::download(self, host, image).await
    }

    async fn create(&self, order: &CreateOrder) -> Result<Started, Fault> {
        making::create(self, order).await
    }

    async fn configure(&self, wanted: &VmWanted, seen: &VmDetail) -> Result<Started, Fault> {
        making::configure(self, wanted, seen).await
    }

    async fn grow_disk(&self, wanted: &VmWanted, seen: &VmDetail) -> Result<Started, Fault> {
        making::grow_disk(self, wanted, seen).await
    }

    async fn start(&self, at: &VmRef) -> Result<Started, Fault> {
        power::start(self, at).await
    }

    async fn shut_down(&self, at: &VmRef, grace: Duration) -> Result<Started, Fault> {
        power::shut_down(self, at, grace).await
    }

    async fn power_off(&self, at: &VmRef) -> Result<Started, Fault> {
        power::power_off(self, at).await
    }

    async fn destroy(&self, at: &VmRef) -> Result<Started, Fault> {
        power::destroy(self, at).await
    }
}

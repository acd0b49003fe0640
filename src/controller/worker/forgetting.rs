//! A pass removes what attempts at tasks left behind in the guest that do not exist any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commands::Commands;
use super::{Error, Pass, Turn};
use crate::controller::connection::Connection;
use crate::controller::execute::ExecuteError;
use crate::domain::attempt::AttemptId;
use crate::domain::declare;
use crate::domain::observation::Facts;
use crate::hypervisor::SharedHypervisor;

impl Pass<'_> {
    /// Removes these guards. Should that fail, the launch is not kept waiting: they stay until the next one.
    pub(super) async fn forget(
        &mut self,
        facts: &Facts,
        attempts: &[AttemptId],
        link: Option<&(Arc<Connection>, SharedHypervisor)>,
    ) -> Result<Turn, Error> {
        let worker = declare::qualified_name(&self.worker);
        if let Some(guest) = self.guest(facts, link) {
            match (Commands { guest: &guest }).forget(attempts).await {
                Ok(()) => tracing::info!(%worker, guards = attempts.len(), "what tasks that are gone left is removed"),
                Err(Error::Execute(ExecuteError::Unproven(fault))) => {
                    tracing::info!(%worker, %fault, "what tasks that are gone left could not be removed");
                }
                Err(error) => return Err(error),
            }
        }
        self.looks.gone = Some(BTreeSet::new());
        Ok(Turn::Again)
    }
}

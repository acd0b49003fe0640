//! What a person sees of a hypervisor with their own rights: the same settings as the operator's, the same question who
//! answers.

use std::sync::Arc;

use kube::{Client, ResourceExt as _};

use super::error::Error;
use super::identity::{self, Standing};
use super::input::{self, Reader};
use super::peers;
use super::trouble::Trouble;
use crate::api::Hypervisor;
use crate::api::reasons::HypervisorReason;
use crate::controller::context::{Connect, ConnectionSettings};
use crate::hypervisor::SharedHypervisor;

/// Why a person does not get to a hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoWay {
    /// Whether it is for want of a right in Kubernetes.
    pub is_forbidden: bool,
    /// What is wrong, where, and what to do; without secrets.
    pub message: String,
}

impl From<Trouble> for NoWay {
    fn from(trouble: Trouble) -> Self {
        Self { is_forbidden: trouble.reason == HypervisorReason::Forbidden, message: trouble.message }
    }
}

/// A client of the cluster that `hypervisor` has pinned, with the credential that the person may read. Whatever else
/// answers is not touched.
pub async fn reach(
    client: &Client,
    connector: &dyn Connect,
    hypervisor: &Hypervisor,
) -> Result<Result<SharedHypervisor, NoWay>, Error> {
    let settings = match settings(client, hypervisor).await? {
        Ok(settings) => settings,
        Err(trouble) => return Ok(Err(trouble.into())),
    };
    let reached = match connector.connect(&settings) {
        Ok(reached) => known(hypervisor, reached).await,
        Err(fault) => Err(Trouble::from(&fault)),
    };
    Ok(reached.map_err(|trouble| {
        let message = format!("Hypervisor {}: {}", hypervisor.name_any(), trouble.message);
        NoWay { message, ..trouble.into() }
    }))
}

async fn settings(client: &Client, hypervisor: &Hypervisor) -> Result<Result<ConnectionSettings, Trouble>, Error> {
    let namespace = hypervisor.namespace().unwrap_or_default();
    let forbidden = |kind: &str, name: &str| {
        format!("you may not get {kind} {name}, with which the hypervisor is reached: ask for a role with get on it")
    };
    let reader = Reader { client, namespace: &namespace, forbidden };
    let input = input::read(reader, &hypervisor.spec).await?;
    let unknown = || Trouble::new(HypervisorReason::CredentialsMissing, "its credential is not complete");
    Ok(input::settings(&hypervisor.spec, None, &input).ok_or_else(|| input.trouble.unwrap_or_else(unknown)))
}

/// The client, if the cluster that answers is the pinned one.
async fn known(hypervisor: &Hypervisor, client: SharedHypervisor) -> Result<SharedHypervisor, Trouble> {
    let refuse = |text: String| Err(Trouble::new(HypervisorReason::IdentityChanged, text));
    let Some(pinned) = hypervisor.status.as_ref().and_then(|status| status.identity.as_ref()) else {
        return refuse(
            "the operator has not pinned yet which cluster this is, so that none is trusted to be it".into(),
        );
    };
    let probe = client.probe().await.map_err(|fault| Trouble::from(&fault))?;
    match identity::judge(Some(&identity::from_status(pinned)), &probe.identity, probe.quorate, None) {
        Standing::Known(_) => Ok(client),
        Standing::Unpinned => refuse("it cannot be told which cluster answers".into()),
        Standing::Changed { why, .. } => {
            refuse(format!("another cluster answers behind the endpoints: {why}. Nothing is asked of it"))
        }
    }
}

/// Those of `others` that reach the same cluster as `hypervisor`: their workers and tasks share what it has.
pub fn sharers(hypervisor: &Hypervisor, others: &[Arc<Hypervisor>]) -> Vec<Arc<Hypervisor>> {
    others.iter().filter(|other| peers::is_peer(hypervisor, other)).cloned().collect()
}

/// The most tasks at a time that work on the disks of one storage: in force, or as declared if that is not known yet.
pub fn tasks_per_storage(hypervisor: &Hypervisor) -> usize {
    let in_force = hypervisor.status.as_ref().and_then(|status| status.limits.as_ref()?.tasks_per_storage);
    let most = in_force.or_else(|| peers::limits(hypervisor, &[]).tasks_per_storage);
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(1)
}

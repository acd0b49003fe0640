//! A call that the hypervisor refuses, with the texts that its clients match on.

use std::collections::BTreeMap;
use std::time::Duration;

/// Why a call is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) errors: BTreeMap<String, String>,
    /// Sent by the proxy in front: no body, the text only in the reason phrase.
    pub(crate) bare: bool,
    /// The body is the text itself.
    pub(crate) text_body: bool,
    /// The answer comes this much later.
    pub(crate) after: Duration,
    /// Nothing was done because this machine's file lock is held; the call tries again until its time is up.
    pub(crate) busy: Option<u32>,
}

impl Refusal {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self { status: 500, message: message.into(), ..Self::default() }
    }

    pub(crate) fn param(name: &str, text: impl Into<String>) -> Self {
        Self::params(BTreeMap::from([(name.to_owned(), text.into())]))
    }

    pub(crate) fn params(errors: BTreeMap<String, String>) -> Self {
        Self { status: 400, message: "Parameter verification failed.".into(), errors, ..Self::default() }
    }

    pub(crate) fn denied(what: &str) -> Self {
        let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
        Self { status: 403, ..Self::error(format!("Permission check failed{what}")) }
    }

    pub(crate) fn bare(status: u16, message: impl Into<String>) -> Self {
        Self { status, bare: true, ..Self::error(message) }
    }

    pub(crate) fn busy(vmid: u32) -> Self {
        Self { busy: Some(vmid), ..Self::error(flock_timeout(vmid)) }
    }

    /// The same refusal, sent later.
    #[must_use]
    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// The configuration is not on that node: deleted or moved (recorded 182, 736).
    pub(crate) fn no_config(node: &str, vmid: u32) -> Self {
        Self::error(no_config(node, vmid))
    }
}

/// Text for a configuration that is not on `node`.
pub(crate) fn no_config(node: &str, vmid: u32) -> String {
    format!("Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
}

/// The same, as the calls say it that look before they load (recorded 319, 370).
pub(crate) fn cannot_find(node: &str, vmid: u32) -> String {
    format!("unable to find configuration file for VM {vmid} on node '{node}'")
}

/// A file lock that someone else holds (recorded 383).
pub(crate) fn flock_timeout(vmid: u32) -> String {
    format!("can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout")
}

/// A configuration lock (recorded 412).
pub(crate) fn locked(lock: &str) -> String {
    format!("VM is locked ({lock})")
}

//! Clients of hypervisors, from the settings that the controllers read.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::controller::context::{Connect, ConnectionSettings};
use crate::domain::fault::Fault;
use crate::hypervisor::SharedHypervisor;
use crate::hypervisor::proxmox::{Proxmox, ProxmoxSettings};
use crate::hypervisor::registry::ConnectionLimits;
use crate::hypervisor::transport::client::HttpExchange;
use crate::hypervisor::transport::tls::TlsSettings;
use crate::hypervisor::transport::{CallObserver, Exchange};

/// Makes clients that speak HTTPS.
#[derive(Debug)]
pub struct HttpsConnector {
    /// How long one call may take.
    pub deadline: Duration,
    /// The source of time.
    pub clock: SharedClock,
    /// Is told of every call.
    pub observer: Arc<dyn CallObserver>,
}

impl Connect for HttpsConnector {
    fn connect(&self, settings: &ConnectionSettings) -> Result<SharedHypervisor, Fault> {
        let tls = TlsSettings {
            ca_pem: settings.trust.ca_pem.clone(),
            fingerprints: settings.trust.fingerprints.clone(),
            insecure_skip_verify: settings.trust.insecure,
        };
        let exchange = Arc::new(HttpExchange::new(&tls)?);
        proxmox(settings, exchange, self.deadline, self.clock.clone(), Arc::clone(&self.observer))
    }
}

/// A client of a Proxmox VE cluster that sends over `exchange`.
pub fn proxmox(
    settings: &ConnectionSettings,
    exchange: Arc<dyn Exchange>,
    deadline: Duration,
    clock: SharedClock,
    observer: Arc<dyn CallObserver>,
) -> Result<SharedHypervisor, Fault> {
    let client = Proxmox::new(
        ProxmoxSettings {
            endpoints: settings.endpoints.clone(),
            credential: settings.credential.clone(),
            pool: None,
            limits: ConnectionLimits::unshared(),
            deadline,
            clock,
            observer,
        },
        exchange,
    )?;
    Ok(Arc::new(client))
}

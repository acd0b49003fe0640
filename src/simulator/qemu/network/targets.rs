//! Targets that guests can connect to: each is a listener that takes connections and closes them.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::error::QemuError;
use super::namespace::Namespace;
use super::rules::addresses_of;
use crate::simulator::scenario::NetworkSpec;

/// How often connections are closed. Guests do not notice: the kernel has accepted them long before.
const ROUND: Duration = Duration::from_millis(200);

/// The open targets. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Targets {
    // Taken on drop, which ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Targets {
    /// Opens what the scenario says.
    pub(super) fn open(namespace: &Namespace, offers: &NetworkSpec) -> Result<Self, QemuError> {
        let mut listeners = Vec::new();
        for target in &offers.open {
            for address in addresses(target, offers)? {
                listeners.push(namespace.listen(address)?);
            }
        }
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("guest-targets".to_owned());
        let thread = thread.spawn(move || serve(&listeners, &stopped)).map_err(QemuError::Thread)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn addresses(target: &str, offers: &NetworkSpec) -> Result<Vec<SocketAddr>, QemuError> {
    let wrong = |reason: &str| QemuError::Target { target: target.to_owned(), reason: reason.to_owned() };
    let (host, port) = target.rsplit_once(':').ok_or_else(|| wrong("it is not host:port"))?;
    let port = port.parse().map_err(|_| wrong("it is not host:port"))?;
    let addresses = addresses_of(host.trim_matches(['[', ']']), offers);
    if addresses.is_empty() {
        return Err(wrong("its host has no address: add it to network.hosts"));
    }
    Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

fn serve(listeners: &[TcpListener], stopped: &mpsc::Receiver<()>) {
    while stopped.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
        for listener in listeners {
            while listener.accept().is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_whose_name_is_unknown_is_named() {
        let error = addresses("nosuch.lab:80", &NetworkSpec::default()).unwrap_err().to_string();
        assert!(error.contains("nosuch.lab:80") && error.contains("network.hosts"), "{error}");
        let error = addresses("10.0.0.1", &NetworkSpec::default()).unwrap_err().to_string();
        assert!(error.contains("it is not host:port"), "{error}");
    }
}

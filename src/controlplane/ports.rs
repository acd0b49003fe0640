//! Free TCP ports.

use std::net::{Ipv4Addr, TcpListener};

use super::Error;

/// `N` different ports of 127.0.0.1 that are free now.
///
/// Another process may take one before it is used: whoever starts a server on it has to be ready to try again.
pub(super) fn free<const N: usize>() -> Result<[u16; N], Error> {
    // All are held until all are known, otherwise the system might name one twice.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::Port)?;
        *port = listener.local_addr().map_err(Error::Port)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports = free::<3>().unwrap();
        let bound: Vec<_> = ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap()).collect();
        assert_eq!(bound.len(), 3);
    }
}

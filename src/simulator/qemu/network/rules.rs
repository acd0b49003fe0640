//! Routing rules in place of a firewall: what they call a black hole swallows packets without an answer.

use std::net::{IpAddr, Ipv4Addr};

use crate::simulator::scenario::NetworkSpec;

/// Priority of rules that hold for one guest; lower than that of local addresses, so that they come first.
const GUEST: u32 = 10;
/// Priority of local addresses; by default 0, before which there is no place.
const LOCAL: u32 = 100;

/// What is done in a new namespace.
pub(super) fn first() -> Vec<String> {
    vec!["link set lo up".to_owned(), format!("rule add pref {LOCAL} lookup local"), "rule del pref 0".to_owned()]
}

/// The rules for what a guest with the address `from` gets no answer from: name service, and targets (`host` or
/// `host:port`).
pub(super) fn of_guest(from: Ipv4Addr, dns_dead: bool, filtered: &[&str], offers: &NetworkSpec) -> Vec<String> {
    let dns = ["udp", "tcp"].map(|protocol| format!("pref {GUEST} from {from} ipproto {protocol} dport 53 blackhole"));
    let dns = dns.into_iter().filter(|_| dns_dead);
    let targets = filtered.iter().flat_map(|target| {
        let (host, port) = match target.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, format!(" ipproto tcp dport {port}")),
            _ => (*target, String::new()),
        };
        let addresses = addresses_of(host, offers);
        addresses.into_iter().map(move |to| format!("pref {GUEST} from {from} to {to}{port} blackhole"))
    });
    dns.chain(targets).collect()
}

/// The addresses of a name that resolves, or of an address.
pub(super) fn addresses_of(host: &str, offers: &NetworkSpec) -> Vec<IpAddr> {
    host.parse().map_or_else(|_| offers.hosts.get(host).cloned().unwrap_or_default(), |address| vec![address])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn targets_are_swallowed_by_port_or_whole() {
        let offers = NetworkSpec {
            hosts: BTreeMap::from([("repo.lab".into(), vec![IpAddr::from([10, 77, 0, 3])])]),
            open: Vec::new(),
        };
        let rules = of_guest(Ipv4Addr::new(10, 77, 0, 200), false, &["repo.lab:443", "10.77.0.9", "nosuch"], &offers);
        assert_eq!(
            rules,
            [
                "pref 10 from 10.77.0.200 to 10.77.0.3 ipproto tcp dport 443 blackhole",
                "pref 10 from 10.77.0.200 to 10.77.0.9 blackhole",
            ]
        );
        assert_eq!(of_guest(Ipv4Addr::LOCALHOST, true, &[], &offers).len(), 2);
    }
}

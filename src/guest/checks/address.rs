//! `address/NAME`: each network card has the address that was declared for it.

use std::fmt;
use std::net::IpAddr;

use super::super::facts::Facts;
use super::Verdict;
use crate::hypervisor::vm::GuestAddress;

/// A network card and what it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedNetwork {
    /// The network's name in the declaration.
    pub name: String,
    /// The card's MAC address, in any spelling of the hex digits.
    pub mac: String,
    /// What it must have in IPv4.
    pub ipv4: AddressWanted,
    /// What it must have in IPv6.
    pub ipv6: AddressWanted,
}

/// What one network card must have in one of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressWanted {
    /// Nothing.
    Nothing,
    /// Some address that others can reach: from DHCP, or from a router's announcement.
    Assigned,
    /// This one.
    Static {
        /// The address.
        ip: IpAddr,
        /// Its prefix length, bits.
        prefix: u8,
    },
}

/// An address that a card has.
#[derive(Clone, Copy)]
struct Found {
    ip: IpAddr,
    prefix: u8,
    duplicate: bool,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.duplicate { " (another machine has it too)" } else { "" };
        write!(f, "{}/{}{note}", self.ip, self.prefix)
    }
}

impl Found {
    /// Whether other machines can reach the guest by it.
    fn is_usable(&self) -> bool {
        let of_the_link_only = match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !self.duplicate && !of_the_link_only && !self.ip.is_loopback() && !self.ip.is_unspecified()
    }
}

/// Judges one card.
pub(super) fn judge(network: &ExpectedNetwork, facts: &Facts, seen: &[GuestAddress]) -> Verdict {
    let found = found(network, facts, seen)?;
    for (protocol, wanted) in [("IPv4", network.ipv4), ("IPv6", network.ipv6)] {
        protocol_fits(protocol, wanted, &found).map_err(|text| text + setup_note(facts))?;
    }
    Ok(if found.is_empty() {
        "the card is there; it needs no address".to_owned()
    } else {
        format!("has {}", list(&found))
    })
}

/// The addresses of the card: the guest's own word, else the hypervisor's.
fn found(network: &ExpectedNetwork, facts: &Facts, seen: &[GuestAddress]) -> Result<Vec<Found>, String> {
    if facts.problem_of("ip").is_some() {
        let seen = seen.iter().filter(|address| address.mac.eq_ignore_ascii_case(&network.mac));
        return Ok(seen.map(|seen| Found { ip: seen.address, prefix: seen.prefix, duplicate: false }).collect());
    }
    let Some(addresses) = facts.addresses_of(&network.mac) else {
        let links = facts.links.iter().filter(|link| link.name != "lo");
        let links: Vec<String> = links.map(|link| format!("{} ({})", link.name, link.mac)).collect();
        return Err(format!(
            "expected a network card with MAC address {}, the guest has {}; look whether the guest's kernel has a driver \
             for the card",
            network.mac.to_ascii_uppercase(),
            if links.is_empty() { "none".to_owned() } else { links.join(", ") },
        ));
    };
    Ok(addresses.iter().map(|has| Found { ip: has.ip, prefix: has.prefix, duplicate: has.duplicate }).collect())
}

fn protocol_fits(protocol: &str, wanted: AddressWanted, found: &[Found]) -> Result<(), String> {
    match wanted {
        AddressWanted::Nothing => Ok(()),
        AddressWanted::Assigned => {
            let v4 = protocol == "IPv4";
            if found.iter().any(|address| address.ip.is_ipv4() == v4 && address.is_usable()) {
                return Ok(());
            }
            Err(format!(
                "expected an {protocol} address that the network assigns, found {}; look whether {} on this bridge and \
                 VLAN, or declare a static address",
                list(found),
                if v4 { "a DHCP server answers" } else { "a router or DHCP server gives out IPv6 addresses" },
            ))
        }
        AddressWanted::Static { ip, prefix } => {
            if found.iter().any(|address| (address.ip, address.prefix, address.duplicate) == (ip, prefix, false)) {
                return Ok(());
            }
            Err(format!(
                "expected the static address {ip}/{prefix}, found {}; look whether no other machine has the address, and \
                 whether the image applies its cloud-init network settings at each boot",
                list(found),
            ))
        }
    }
}

fn list(found: &[Found]) -> String {
    if found.is_empty() {
        return "none".to_owned();
    }
    found.iter().map(Found::to_string).collect::<Vec<_>>().join(", ")
}

/// Why settings may not have reached the guest.
fn setup_note(facts: &Facts) -> &'static str {
    match facts.cloud_init.as_str() {
        "error" => "; cloud-init failed in this guest, `cloud-init status --long` there says why",
        "absent" => "; this image has no cloud-init, which sets addresses",
        _ if facts.is_being_set_up() => "; cloud-init has not finished in this guest yet",
        _ => "",
    }
}

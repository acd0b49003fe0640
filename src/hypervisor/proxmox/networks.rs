//! Network cards and their addresses: `netN` and `ipconfigN`.

use std::net::IpAddr;

use super::property::{NetCard, Properties};
use crate::hypervisor::vm::{AddressWanted, NetworkWanted};

/// The model that every worker's cards have.
const MODEL: &str = "virtio";
/// The MTU value that means "that of the bridge" (schema: `net[n].mtu`).
const MTU_OF_BRIDGE: &str = "1";

/// The card as it must be: ours where we say something, else as it is. The MAC that was read stays, because Proxmox VE
/// draws another one for a card that is written without.
pub(super) fn card(network: &NetworkWanted, seen: Option<&str>) -> NetCard {
    let mut card = seen.map_or_else(|| NetCard::parse(MODEL), NetCard::parse);
    MODEL.clone_into(&mut card.model);
    card.rest.set("bridge", &network.bridge);
    card.rest.put("tag", network.vlan.map(|tag| tag.to_string()).as_deref());
    if network.mtu.is_some() || card.rest.get("mtu") != Some(MTU_OF_BRIDGE) {
        card.rest.put("mtu", network.mtu.map(|mtu| mtu.to_string()).as_deref());
    }
    card
}

/// Whether the card that was read is `card`.
pub(super) fn is_card(seen: &str, card: &NetCard) -> bool {
    let seen = NetCard::parse(seen);
    seen.model == card.model && seen.mac == card.mac && seen.rest.same_as(&card.rest)
}

/// `ipconfigN` as it must be; empty if the card gets no address at all.
pub(super) fn addresses(network: &NetworkWanted) -> Properties {
    let mut properties = Properties::default();
    family(&mut properties, &network.ipv4, "ip", "gw");
    family(&mut properties, &network.ipv6, "ip6", "gw6");
    properties
}

fn family(properties: &mut Properties, wanted: &AddressWanted, address_key: &str, gateway_key: &str) {
    match wanted {
        AddressWanted::None => {}
        AddressWanted::Dhcp => properties.set(address_key, "dhcp"),
        AddressWanted::Auto => properties.set(address_key, "auto"),
        AddressWanted::Static { address, prefix, gateway } => {
            properties.set(address_key, &format!("{address}/{prefix}"));
            properties.put(gateway_key, gateway.map(|gateway| gateway.to_string()).as_deref());
        }
    }
}

/// `ipconfigN` as it was read, its addresses in their one usual spelling.
pub(super) fn read_addresses(text: &str) -> Properties {
    let read = Properties::parse(text, "ip");
    let mut properties = Properties::default();
    for key in ["ip", "gw", "ip6", "gw6"] {
        properties.put(key, read.get(key).map(usual).as_deref());
    }
    properties
}

fn usual(text: &str) -> String {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    match (address.parse::<IpAddr>(), prefix) {
        (Ok(address), Some(prefix)) => format!("{address}/{prefix}"),
        (Ok(address), None) => address.to_string(),
        (Err(_), _) => text.to_owned(),
    }
}

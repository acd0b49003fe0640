//! A worker's networks, resolved from text into addresses.

use std::net::IpAddr;

use crate::api::network::{Ipv4Method, Ipv6Method, Network};
use crate::hypervisor::vm::{AddressWanted, NetworkWanted};

/// The network card that a declared network asks for; the error names the field that cannot be read.
pub fn wanted(network: &Network) -> Result<NetworkWanted, String> {
    let name = &network.name;
    let small = |field: &str, value: Option<i32>| match value.map(u16::try_from) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(format!("networks[{name}].{field} is out of range")),
    };
    let ipv4 = match network.ipv4.method {
        Ipv4Method::Dhcp => AddressWanted::Dhcp,
        Ipv4Method::None => AddressWanted::None,
        Ipv4Method::Static => fixed(name, "ipv4", network.ipv4.address.as_deref(), network.ipv4.gateway.as_deref())?,
    };
    let ipv6 = match network.ipv6.method {
        Ipv6Method::Auto => AddressWanted::Auto,
        Ipv6Method::Dhcp => AddressWanted::Dhcp,
        Ipv6Method::None => AddressWanted::None,
        Ipv6Method::Static => fixed(name, "ipv6", network.ipv6.address.as_deref(), network.ipv6.gateway.as_deref())?,
    };
    Ok(NetworkWanted {
        name: name.clone(),
        bridge: network.bridge.clone().unwrap_or_default(),
        vlan: small("vlan", network.vlan)?,
        mtu: small("mtu", network.mtu)?,
        ipv4,
        ipv6,
    })
}

fn fixed(name: &str, family: &str, address: Option<&str>, gateway: Option<&str>) -> Result<AddressWanted, String> {
    let field = format!("networks[{name}].{family}");
    let text = address.ok_or_else(|| format!("{field}.address is missing"))?;
    let unreadable = || format!("{field}.address {text:?} is not an address with prefix length, such as 10.0.0.5/24");
    let (address, prefix) = text.split_once('/').ok_or_else(unreadable)?;
    let gateway = match gateway {
        None => None,
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| format!("{field}.gateway {text:?} is not an address"))?),
    };
    Ok(AddressWanted::Static {
        address: address.parse().map_err(|_| unreadable())?,
        prefix: prefix.parse().map_err(|_| unreadable())?,
        gateway,
    })
}

/// The static addresses that a VM declares, each with its VLAN and bridge: the same one twice on one segment is a
/// conflict.
pub fn static_addresses(networks: &[NetworkWanted]) -> impl Iterator<Item = (IpAddr, &NetworkWanted)> {
    networks.iter().flat_map(|network| {
        [&network.ipv4, &network.ipv6].into_iter().filter_map(move |wanted| match wanted {
            AddressWanted::Static { address, .. } => Some((*address, network)),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn network(value: serde_json::Value) -> Network {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_static_address_is_read() {
        let declared = network(json!({
            "name": "lan", "bridge": "vmbr1", "vlan": 7,
            "ipv4": {"method": "Static", "address": "10.77.1.5/24", "gateway": "10.77.1.1"}, "ipv6": {"method": "None"},
        }));
        let card = wanted(&declared).unwrap();
        assert_eq!(
            card.ipv4,
            AddressWanted::Static {
                address: "10.77.1.5".parse().unwrap(),
                prefix: 24,
                gateway: Some("10.77.1.1".parse().unwrap())
            }
        );
        assert_eq!((card.ipv6.clone(), card.vlan), (AddressWanted::None, Some(7)));
        assert_eq!(static_addresses(&[card]).count(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let declared = network(json!({"name": "lan", "ipv4": {"method": "Static", "address": "10.77.1.5"}}));
        assert!(wanted(&declared).unwrap_err().contains("networks[lan].ipv4.address"));
        let declared = network(json!({"name": "lan", "ipv4": {"method": "Static"}}));
        assert!(wanted(&declared).unwrap_err().contains("missing"));
    }
}

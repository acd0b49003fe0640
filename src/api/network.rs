//! The networks of a worker.

#![allow(unreachable_pub, reason = "the derive of KubeSchema puts a copy of each public struct inside a function")]

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shapes;

/// One network interface of the worker.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.ipv6.method == 'None' || !has(self.mtu) || self.mtu >= 1280")
        .message("IPv6 needs an mtu of at least 1280"),
)]
pub struct Network {
    /// A name of your choice, which conditions and test results use. It does not appear in the VM.
    #[schemars(schema_with = "shapes::network_name")]
    pub name: String,

    /// The bridge (or SDN vnet) of the host that the interface is connected to, such as `vmbr0`. Needed on Proxmox VE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::bridge")]
    pub bridge: Option<String>,

    /// The VLAN that the interface's frames are tagged with. Untagged if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<i32>,

    /// The largest packet, in bytes. Left to the hypervisor if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 65520))]
    pub mtu: Option<i32>,

    /// How the interface gets its IPv4 address.
    #[serde(default)]
    pub ipv4: Ipv4,

    /// How the interface gets its IPv6 address.
    #[serde(default)]
    pub ipv6: Ipv6,
}

const ADDRESS_RULE: &str = "(self.method == 'Static') == has(self.address)";
const ADDRESS_MESSAGE: &str = "address is needed with method Static, and only with it";
const GATEWAY_RULE: &str = "self.method == 'Static' || !has(self.gateway)";
const GATEWAY_MESSAGE: &str = "gateway belongs to method Static";
const OWN_ADDRESS_MESSAGE: &str = "gateway is the worker's own address";

/// Passes where the subnet and the gateway cannot be compared: their own rules say what is wrong with them then.
macro_rules! gateway_rule {
    ($family:literal, $rule:literal) => {
        concat!(
            "!has(self.address) || !has(self.gateway) || !isCIDR(self.address) || !isIP(self.gateway) || \
             cidr(self.address).ip().family() != ",
            $family,
            " || ip(self.gateway).family() != ",
            $family,
            " || ",
            $rule
        )
    };
}

const INSIDE_V4: &str = gateway_rule!("4", "cidr(self.address).containsIP(self.gateway)");
const INSIDE_V6: &str =
    gateway_rule!("6", "(cidr(self.address).containsIP(self.gateway) || ip(self.gateway).isLinkLocalUnicast())");
const NOT_OWN_V4: &str = gateway_rule!("4", "!(cidr(self.address).ip() == ip(self.gateway))");
const NOT_OWN_V6: &str = gateway_rule!("6", "!(cidr(self.address).ip() == ip(self.gateway))");

/// How an interface gets its IPv4 address.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new(ADDRESS_RULE).message(ADDRESS_MESSAGE),
    validation = Rule::new(GATEWAY_RULE).message(GATEWAY_MESSAGE),
    validation = Rule::new(INSIDE_V4).message("gateway lies outside the subnet of address"),
    validation = Rule::new(NOT_OWN_V4).message(OWN_ADDRESS_MESSAGE),
)]
pub struct Ipv4 {
    /// `DHCP`, the default: from a server. `Static`: the one in `address`. `None`: no IPv4 on this interface.
    #[serde(default)]
    pub method: Ipv4Method,

    /// The address with its prefix length, such as `10.0.0.5/24`. Only with method `Static`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::ipv4_address")]
    pub address: Option<String>,

    /// The gateway, such as `10.0.0.1`. Only with method `Static`, and only on the first network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::ipv4_gateway")]
    pub gateway: Option<String>,
}

/// Where an IPv4 address comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv4Method {
    /// From a DHCP server.
    #[default]
    #[serde(rename = "DHCP")]
    Dhcp,
    /// From the spec.
    Static,
    /// No address.
    None,
}

/// How an interface gets its IPv6 address.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new(ADDRESS_RULE).message(ADDRESS_MESSAGE),
    validation = Rule::new(GATEWAY_RULE).message(GATEWAY_MESSAGE),
    validation = Rule::new(INSIDE_V6).message("gateway lies outside the subnet of address and is not link-local"),
    validation = Rule::new(NOT_OWN_V6).message(OWN_ADDRESS_MESSAGE),
)]
pub struct Ipv6 {
    /// `Auto`: from router advertisements (SLAAC). `DHCP`: from a server. `Static`: the one in `address`.
    /// `None`, the default: no IPv6 on this interface.
    #[serde(default)]
    pub method: Ipv6Method,

    /// The address with its prefix length, such as `2001:db8::5/64`. Only with method `Static`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::ipv6_address")]
    pub address: Option<String>,

    /// The gateway: an address in the subnet or a link-local one, such as `fe80::1`. Only with method `Static`, and
    /// only on the first network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::ipv6_gateway")]
    pub gateway: Option<String>,
}

/// Where an IPv6 address comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6Method {
    /// From router advertisements.
    Auto,
    /// From a `DHCPv6` server.
    #[serde(rename = "DHCP")]
    Dhcp,
    /// From the spec.
    Static,
    /// No address.
    #[default]
    None,
}

/// The list of networks: ordered, and with rules that look at several networks at once.
pub(super) fn list(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "x-kubernetes-list-type": "atomic",
        "items": generator.subschema_for::<Network>(),
        "x-kubernetes-validations": list_rules(),
    })
}

/// `minItems` does not keep these rules from running on an empty list, so `self[0]` is guarded.
fn list_rules() -> Vec<Value> {
    let mut rules = vec![json!({
        "rule": "self.all(a, self.exists_one(b, b.name == a.name))",
        "message": "each network needs a name of its own",
    })];
    for family in ["4", "6"] {
        let field = format!("ipv{family}.address");
        rules.push(json!({
            "rule": format!(
                "self.all(a, !has(a.{field}) || !isCIDR(a.{field}) || self.exists_one(b, has(b.{field}) \
                 && isCIDR(b.{field}) && cidr(b.{field}).ip() == cidr(a.{field}).ip()))"
            ),
            "message": format!("two networks have the same IPv{family} address"),
        }));
    }
    for family in ["ipv4", "ipv6"] {
        let gateways = format!("self.filter(n, has(n.{family}.gateway)).size()");
        rules.push(json!({
            "rule": format!(
                "{gateways} == 0 || (self.size() > 0 && has(self[0].{family}.gateway) && {gateways} == 1)"
            ),
            "message": format!("only the first network routes: a gateway is allowed there alone ({family})"),
        }));
    }
    rules.push(json!({
        "rule": "self.size() == 0 || self[0].ipv4.method != 'None' || self[0].ipv6.method != 'None'",
        "message": "the first network needs an address: method None is for the others",
    }));
    rules
}

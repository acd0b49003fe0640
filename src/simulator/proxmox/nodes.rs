//! Calls about one node.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::cluster::{merge, node_numbers, used_memory};
use super::routes::Call;
use crate::simulator::scenario::BridgeSpec;
use crate::simulator::world::World;

pub(crate) fn list(world: &World, call: &Call) -> Value {
    let entries = world.nodes.values().map(|node| {
        let name = &node.spec.name;
        let mut entry = json!({
            "type": "node", "id": format!("node/{name}"), "node": name, "ssl_fingerprint": node.fingerprint,
            "status": if node.off_since.is_none() { "online" } else { "offline" },
        });
        if node.off_since.is_none() {
            entry["level"] = json!("");
            if world.access.may(&call.caller, &format!("/nodes/{name}"), "Sys.Audit") {
                merge(&mut entry, node_numbers(world, node));
            }
        }
        entry
    });
    entries.collect()
}

/// Figures of a node; some numbers are text, as the real ones are (recorded 156).
pub(crate) fn status(world: &World, call: &Call) -> Value {
    let Some(node) = world.nodes.get(&call.node) else { return Value::Null };
    let (total, used) = (node.spec.memory_gib << 30, used_memory(world, &call.node));
    let free = total.saturating_sub(used);
    let disk = json!({"total": 200u64 << 30, "used": 20u64 << 30, "free": 180u64 << 30, "avail": 170u64 << 30});
    let mut data = json!({
        "uptime": world.now().since(node.on_since).as_secs() + 1000,
        "cpu": 0.02, "wait": 0.001, "idle": 0, "loadavg": ["0.24", "0.33", "0.62"],
        "memory": {"total": total, "used": used, "free": free}, "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": disk, "ksm": {"shared": 0},
        "cpuinfo": {
            "cpus": node.spec.cores, "cores": node.spec.cores, "sockets": 1, "model": "Simulated CPU", "mhz": "2596.100",
            "user_hz": 100, "hvm": "1", "flags": "fpu vme de pse tsc msr pae mce cx8 apic sep",
        },
        "kversion": "Linux 6.14.0-1-pve #1 SMP PREEMPT_DYNAMIC",
        "current-kernel": {"sysname": "Linux", "release": "6.14.0-1-pve", "version": "#1 SMP PREEMPT_DYNAMIC", "machine": "x86_64"},
        "boot-info": {"mode": "efi", "secureboot": 0},
        "pveversion": pveversion(world),
    });
    if world.is_v9() {
        data["memory"]["available"] = json!(free);
    }
    data
}

fn pveversion(world: &World) -> &'static str {
    if world.is_v9() { "pve-manager/9.2.11/14a22df35955d97d" } else { "pve-manager/8.4.21/2606ac850d46da29" }
}

/// Interfaces; bridges that the caller may not use are left out silently.
pub(crate) fn network(world: &World, call: &Call) -> Value {
    let kind = call.params.text("type");
    let mut entries = Vec::new();
    if kind.is_none_or(|kind| kind == "eth") {
        let port = json!({"type": "eth", "iface": "eno1", "active": 1, "exists": 1, "method": "manual", "method6": "manual", "families": ["inet"]});
        entries.push(port);
    }
    if kind.is_none_or(|kind| matches!(kind, "bridge" | "any_bridge" | "any_local_bridge" | "include_sdn")) {
        let bridges = world.scenario.bridges.iter().enumerate();
        let here = bridges.filter(|(_, bridge)| world.has_bridge(&call.node, &bridge.name));
        let seen = here.filter(|(_, bridge)| {
            let path = format!("/sdn/zones/localnetwork/{}", bridge.name);
            ["SDN.Audit", "SDN.Use"].iter().any(|name| world.access.may(&call.caller, &path, name))
        });
        let address = world.nodes.get(&call.node).and_then(|node| node.spec.address);
        entries.extend(seen.map(|(place, bridge)| bridge_entry(place, bridge, address)));
    }
    entries.into()
}

/// The node's own address stands at the bridge in whose network it lies (recorded 600).
fn bridge_entry(place: usize, bridge: &BridgeSpec, address: Option<IpAddr>) -> Value {
    let mut entry = json!({
        "type": "bridge", "iface": bridge.name, "active": 1, "autostart": 1, "bridge_ports": "eno1", "bridge_stp": "off",
        "bridge_fd": "0", "method": "manual", "method6": "manual", "families": ["inet"], "priority": place + 2,
    });
    if let Some((address, prefix)) = address.and_then(|address| Some((address, bridge.prefix_of(address)?))) {
        let cidr = format!("{address}/{prefix}");
        merge(&mut entry, json!({"method": "static", "address": address, "netmask": prefix.to_string(), "cidr": cidr}));
    }
    if bridge.vlan_aware {
        merge(&mut entry, json!({"bridge_vlan_aware": 1, "bridge_vids": "2-4094"}));
    }
    entry
}

pub(crate) fn time(world: &World) -> Value {
    json!({"timezone": "Etc/UTC", "time": world.wall(), "localtime": world.wall()})
}

/// The authority's entry identifies the installation (recorded 914).
pub(crate) fn certificates(world: &World, call: &Call) -> Value {
    let unit = &world.installation;
    let authority = format!("/CN=Proxmox Virtual Environment/OU={unit}/O=PVE Cluster Manager CA");
    let Some(node) = world.nodes.get(&call.node) else { return Value::Null };
    let (from, name) = (world.wall() - 86_400, &node.spec.name);
    json!([
        {
            "filename": "pve-root-ca.pem", "fingerprint": world.certificates.authority,
            "subject": authority, "issuer": authority, "san": [], "pem": world.certificates.authority_pem,
            "public-key-type": "ED25519", "public-key-bits": 256,
            "notbefore": from, "notafter": from + 3650 * 86_400,
        },
        {
            "filename": "pve-ssl.pem", "fingerprint": node.fingerprint, "pem": node.pem,
            "subject": format!("/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={name}"), "issuer": authority,
            "san": ["127.0.0.1", "0000:0000:0000:0000:0000:0000:0000:0001", "localhost", name],
            "public-key-type": "id-ecPublicKey", "public-key-bits": 256,
            "notbefore": from, "notafter": from + 730 * 86_400,
        },
    ])
}

//! Calls about the cluster as a whole.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answer::Reply;
use super::request::Params;
use super::routes::Call;
use crate::simulator::scenario::Release;
use crate::simulator::world::access::Caller;
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::storage::Storage;
use crate::simulator::world::{Node, World};

/// What a node last published is forgotten after this time.
const STALE: Duration = Duration::from_secs(300);

pub(crate) fn version(world: &World) -> Value {
    match world.scenario.release {
        Release::V8 => json!({"version": "8.4.21", "release": "8.4", "repoid": "2606ac850d46da29"}),
        Release::V9 => json!({"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"}),
    }
}

/// Without a name for the cluster, or without its communication, a node stands alone (recorded 157, 702, 731).
fn is_alone(world: &World) -> bool {
    world.scenario.cluster.is_none() || !world.quorate
}

/// The nodes that `local` knows of (recorded 703).
fn members<'a>(world: &'a World, local: &'a str) -> impl Iterator<Item = &'a Node> {
    let alone = is_alone(world);
    world.nodes.values().filter(move |node| !alone || node.spec.name == local)
}

pub(crate) fn status(world: &World, local: &str) -> Value {
    let alone = is_alone(world);
    let nodes = members(world, local).enumerate().map(|(place, node)| {
        let (name, online) = (&node.spec.name, node.off_since.is_none());
        let mut entry = json!({
            "type": "node", "id": format!("node/{name}"), "name": name, "nodeid": if alone { 0 } else { place + 1 },
            "online": u8::from(online), "local": u8::from(name == local), "level": "",
        });
        if let (Some(address), true) = (node.spec.address, online) {
            entry["ip"] = json!(address);
        }
        entry
    });
    let nodes: Vec<Value> = nodes.collect();
    match &world.scenario.cluster {
        Some(name) if !alone => {
            let count = nodes.len();
            let cluster = json!({"type": "cluster", "id": "cluster", "name": name, "nodes": count, "version": count, "quorate": 1});
            [vec![cluster], nodes].concat().into()
        }
        _ => nodes.into(),
    }
}

/// Always says whether there is a quorum (recorded 840, 900, 910).
pub(crate) fn ha_status(world: &World, local: &str) -> Value {
    let mut entries = vec![if world.quorate {
        json!({"type": "quorum", "id": "quorum", "node": local, "quorate": 1, "status": "OK"})
    } else {
        let text = format!("No quorum on node '{local}'!");
        json!({"type": "quorum", "id": "quorum", "node": local, "quorate": 0, "status": text})
    }];
    let time = world.timestamp(world.now()).strftime("%a %b %e %H:%M:%S %Y").to_string();
    let now = world.wall();
    // The manager works as soon as there is something to do (recorded 840, 910).
    if world.nodes.values().any(|node| node.maintenance) {
        let status = format!("{local} (idle, {time})");
        entries.push(json!({"type": "master", "id": "master", "node": local, "status": status, "timestamp": now}));
    }
    if world.is_v9() {
        let status = "standby (CRM watchdog standby)";
        entries.push(
            json!({"type": "fencing", "id": "fencing", "node": local, "armed-state": "standby", "status": status}),
        );
    }
    for node in world.nodes.values().filter(|node| node.maintenance) {
        let name = &node.spec.name;
        entries.push(json!({
            "type": "lrm", "id": format!("lrm:{name}"), "node": name, "timestamp": now,
            "status": format!("{name} (maintenance mode, watchdog standby, {time})"),
        }));
    }
    entries.into()
}

pub(crate) fn next_id(world: &World, call: &Call) -> Result<Reply, Refusal> {
    if let Some(vmid) = call.params.number::<u32>("vmid") {
        if world.vms.contains_key(&vmid) {
            return Err(Refusal::param("vmid", format!("VM {vmid} already exists")));
        }
        return Ok(vmid.to_string().into());
    }
    world.next_id().map(|vmid| vmid.to_string().into()).ok_or_else(|| Refusal::error("unable to get any free VMID"))
}

pub(crate) fn options(world: &World, call: &Call) -> Value {
    let tags = &world.scenario.registered_tags;
    if !world.access.may(&call.caller, "/", "Sys.Audit") {
        return json!({"allowed-tags": tags});
    }
    let mut options = json!({"allowed-tags": tags, "description": "", "mac_prefix": "BC:24:11"});
    if !tags.is_empty() {
        options["registered-tags"] = json!(tags);
    }
    options
}

/// Existence, node, tags and lock are live; the rest is what each node published last.
pub(crate) fn resources(world: &World, call: &Call) -> Value {
    let wanted = |kind: &str| wants(call.params, kind);
    let mut entries = Vec::new();
    if wanted("vm") {
        entries.extend(machines(world, &call.caller));
    }
    if wanted("node") {
        entries.extend(members(world, &call.node).map(|node| node_entry(world, &call.caller, node)));
    }
    if wanted("storage") {
        entries.extend(storages(world, call));
    }
    if wanted("sdn") {
        entries.extend(networks(world, call));
    }
    entries.into()
}

fn wants(params: &Params, kind: &str) -> bool {
    params.text("type").is_none_or(|wanted| wanted == kind)
}

fn machines(world: &World, caller: &Caller) -> Vec<Value> {
    let seen = world.vms.iter().filter(|(vmid, _)| world.access.may(caller, &format!("/vms/{vmid}"), "VM.Audit"));
    seen.map(|(vmid, vm)| {
        let mut entry = json!({"type": "qemu", "id": format!("qemu/{vmid}"), "vmid": vmid, "node": vm.node});
        for (key, option) in [("tags", "tags"), ("lock", "lock")] {
            if let Some(text) = vm.config.get(option).filter(|text| !text.trim().is_empty()) {
                entry[key] = json!(text);
            }
        }
        let fresh = world.nodes.get(&vm.node).is_some_and(|node| is_fresh(world, node));
        let published = vm.published(world.round_of(&vm.node)).filter(|_| fresh);
        let Some(seen) = published else {
            entry["status"] = json!("unknown");
            return entry;
        };
        let uptime = seen.running_since.map_or(0, |since| world.round_of(&vm.node).since(since).as_secs());
        let numbers = json!({
            "status": seen.status, "name": seen.name, "template": u8::from(seen.template), "uptime": uptime,
            "maxmem": seen.maxmem, "maxdisk": seen.maxdisk, "maxcpu": seen.cpus,
            "cpu": 0, "mem": if uptime > 0 { seen.maxmem / 4 } else { 0 },
            "disk": 0, "diskread": 0, "diskwrite": 0, "netin": 0, "netout": 0,
        });
        merge(&mut entry, numbers);
        if world.is_v9() {
            entry["memhost"] = entry["mem"].clone();
        }
        entry
    })
    .collect()
}

fn is_fresh(world: &World, node: &Node) -> bool {
    node.off_since.is_none_or(|since| world.now().since(since) < STALE)
}

pub(crate) fn merge(entry: &mut Value, more: Value) {
    if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), more) {
        entry.extend(more);
    }
}

fn node_entry(world: &World, caller: &Caller, node: &Node) -> Value {
    let name = &node.spec.name;
    let mut entry = json!({"type": "node", "id": format!("node/{name}"), "node": name, "status": "offline"});
    if node.maintenance {
        entry["hastate"] = json!("maintenance");
    }
    if node.off_since.is_some() {
        return entry;
    }
    merge(&mut entry, json!({"status": "online", "level": "", "cgroup-mode": 2}));
    if world.access.may(caller, &format!("/nodes/{name}"), "Sys.Audit") {
        merge(&mut entry, node_numbers(world, node));
    }
    entry
}

/// Sizes and use of a node.
pub(crate) fn node_numbers(world: &World, node: &Node) -> Value {
    let memory = node.spec.memory_gib << 30;
    json!({
        "uptime": world.now().since(node.on_since).as_secs() + 1000, "cpu": 0.02, "maxcpu": node.spec.cores,
        "mem": used_memory(world, &node.spec.name), "maxmem": memory, "disk": 20u64 << 30, "maxdisk": 200u64 << 30,
    })
}

pub(crate) fn used_memory(world: &World, node: &str) -> u64 {
    let running = world.vms.values().filter(|vm| vm.node == node).filter_map(|vm| vm.run.as_ref());
    (2 << 30) + running.map(|run| run.started_with.memory_bytes() / 2).sum::<u64>()
}

fn storages(world: &World, call: &Call) -> Vec<Value> {
    let mut entries = Vec::new();
    for storage in world.storages.values() {
        let name = &storage.spec.name;
        if !world.access.may(&call.caller, &format!("/storage/{name}"), "Datastore.Audit") || !storage.spec.enabled {
            continue;
        }
        let here = members(world, &call.node).filter(|node| storage.is_on(&node.spec.name));
        entries.extend(here.map(|node| storage_entry(storage, node)));
    }
    entries
}

fn storage_entry(storage: &Storage, node: &Node) -> Value {
    let (name, at) = (&storage.spec.name, &node.spec.name);
    let mut entry = json!({
        "type": "storage", "id": format!("storage/{at}/{name}"), "storage": name, "node": at,
        "shared": u8::from(storage.spec.shared), "content": storage.spec.content.join(","),
        "plugintype": storage.spec.kind.api_name(), "status": "unknown",
    });
    if node.off_since.is_none() && storage.spec.active {
        merge(&mut entry, json!({"status": "available", "disk": storage.used(at), "maxdisk": storage.total()}));
    }
    entry
}

fn networks(world: &World, call: &Call) -> Vec<Value> {
    let zone = "/sdn/zones/localnetwork";
    if !["SDN.Audit", "SDN.Use"].iter().any(|name| world.access.may(&call.caller, zone, name)) {
        return Vec::new();
    }
    let entries = members(world, &call.node).map(|node| {
        let node = &node.spec.name;
        let mut entry = Map::from_iter([("node".to_owned(), json!(node)), ("status".to_owned(), json!("ok"))]);
        let more = if world.is_v9() {
            json!({"type": "network", "id": format!("network/{node}/zone/localnetwork"), "network": "localnetwork", "network-type": "zone"})
        } else {
            json!({"type": "sdn", "id": format!("sdn/{node}/localnetwork"), "sdn": "localnetwork"})
        };
        entry.extend(more.as_object().cloned().unwrap_or_default());
        Value::Object(entry)
    });
    entries.collect()
}

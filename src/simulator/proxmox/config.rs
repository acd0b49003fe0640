//! Calls about a machine's configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::{Later, Reply};
use super::machines::only_root;
use super::routes::Call;
use super::schema;
use crate::simulator::world::World;
use crate::simulator::world::config::{Drive, Pending};
use crate::simulator::world::jobs::{ConfigJob, ResizeJob};
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::update::Change;
use crate::simulator::world::vmm::Awaited;

/// Parameters of a change that are no options of the machine.
const STEERING: [&str; 8] = ["node", "vmid", "delete", "revert", "digest", "force", "skiplock", "background_delay"];

/// A value as the API shows it: numbers for integers and booleans, text for the rest (recorded 180).
pub(crate) fn shown(key: &str, value: &str) -> Value {
    if key == "cipassword" {
        return json!("**********");
    }
    let numeric =
        matches!(key, "template" | "snaptime") || schema::option(key).is_some_and(|spec| "ib".contains(spec.kind()));
    match value.parse::<i64>() {
        Ok(number) if numeric => json!(number),
        _ => json!(value),
    }
}

pub(crate) fn show(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    if let Some(snapshot) = call.params.text("snapshot") {
        return Err(Refusal::error(format!("snapshot '{snapshot}' does not exist")));
    }
    let current = call.params.flag("current").unwrap_or(false);
    let values = if current { config.values.clone() } else { config.future() };
    let mut data: Map<_, _> = values.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect();
    data.insert("digest".into(), json!(config.digest()));
    Ok(Value::Object(data).into())
}

pub(crate) fn pending(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    let mut entries: BTreeMap<&str, Value> = config
        .values
        .iter()
        .map(|(key, value)| (key.as_str(), json!({"key": key, "value": shown(key, value)})))
        .collect();
    for (key, change) in &config.pending {
        let entry = entries.entry(key).or_insert_with(|| json!({"key": key}));
        match change {
            Pending::Set(value) => entry["pending"] = shown(key, value),
            Pending::Delete { force } => entry["delete"] = json!(if *force { 2 } else { 1 }),
        }
    }
    let mut entries: Vec<Value> = entries.into_values().collect();
    entries.push(json!({"key": "digest", "value": config.digest()}));
    Ok(Value::from(entries).into())
}

fn change(call: &Call) -> Result<Change, Refusal> {
    only_root(call)?;
    let change = Change {
        set: call.options(&STEERING),
        delete: call.params.names("delete"),
        revert: call.params.names("revert"),
        digest: call.params.text("digest").map(str::to_owned),
        force: call.params.flag("force").unwrap_or(false),
    };
    for (name, keys) in [("delete", &change.delete), ("revert", &change.revert)] {
        if let Some(key) = keys.iter().find(|key| schema::option(key).is_none()) {
            return Err(Refusal::param(name, format!("unknown option '{key}'")));
        }
    }
    Ok(change)
}

/// Changes at once; waits for the file lock.
pub(crate) fn put(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let change = change(call)?;
    world.check_change(&call.caller, &call.node, call.vmid, &change)?;
    if !world.is_unlocked(call.vmid) {
        return Err(Refusal::busy(call.vmid));
    }
    let wishes: Vec<_> =
        change.drives().iter().map(|(_, drive)| crate::simulator::world::drives::Wish::of(drive)).collect();
    let after = world.drive_time(&wishes);
    world.make_change(&call.node, call.vmid, &change)?;
    let later = Later::of_work(world.take_begun());
    Ok(Reply { after, later, ..Value::Null.into() })
}

/// Changes in a task.
pub(crate) fn post(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let change = change(call)?;
    world.check_change(&call.caller, &call.node, call.vmid, &change)?;
    world.check_unlocked(&call.node, call.vmid)?;
    let job = ConfigJob { node: call.node.clone(), vmid: call.vmid, change, stage: 0, awaited: Awaited::default() };
    Ok(world.fork(&call.node, "qmconfig", &call.vmid.to_string(), &call.caller, Box::new(job)).into())
}

/// Always a task; whether the machine is there shows in it (recorded 445).
pub(crate) fn resize(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    only_root(call)?;
    if let Some(vm) = world.vms.get(&call.vmid).filter(|vm| vm.node == call.node) {
        let disk = vm.config.get(call.params.text("disk").unwrap_or("")).map(Drive::parse);
        if let Some(storage) = disk.as_ref().and_then(Drive::storage) {
            world.access.need_any(&call.caller, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
        }
    }
    let text = |name: &str| call.params.text(name).map(str::to_owned);
    let job = ResizeJob {
        node: call.node.clone(),
        vmid: call.vmid,
        disk: text("disk").unwrap_or_default(),
        size: text("size").unwrap_or_default(),
        digest: text("digest"),
        stage: 0,
        awaited: Awaited::default(),
    };
    Ok(world.fork(&call.node, "resize", &call.vmid.to_string(), &call.caller, Box::new(job)).into())
}

pub(crate) fn unlink(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let force = call.params.flag("force").unwrap_or(false);
    let change = Change { delete: call.params.names("idlist"), force, ..Change::default() };
    world.check_change(&call.caller, &call.node, call.vmid, &change)?;
    if !world.is_unlocked(call.vmid) {
        return Err(Refusal::busy(call.vmid));
    }
    world.make_change(&call.node, call.vmid, &change)?;
    Ok(Value::Null.into())
}

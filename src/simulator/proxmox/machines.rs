//! Calls that list, make and remove virtual machines.

use serde_json::{Value, json};

use super::answer::Reply;
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::config::Config;
use crate::simulator::world::jobs::{CloneJob, CloneOrder, CreateJob, DestroyJob, TemplateJob};
use crate::simulator::world::refusal::{Refusal, cannot_find};
use crate::simulator::world::storage::find;
use crate::simulator::world::vm::Vm;

/// Parameters of a create that are no options of the machine.
const STEERING: [&str; 11] = [
    "node",
    "vmid",
    "archive",
    "bwlimit",
    "force",
    "ha-managed",
    "import-working-storage",
    "live-restore",
    "pool",
    "start",
    "storage",
];

pub(crate) fn index() -> Value {
    let names =
        ["config", "cloudinit", "pending", "status", "unlink", "migrate", "resize", "move", "agent", "snapshot"];
    names.iter().map(|name| json!({"subdir": name})).collect()
}

pub(crate) fn list(world: &World, call: &Call) -> Value {
    let here = world.vms.iter().filter(|(_, vm)| vm.node == call.node);
    let seen = here.filter(|(vmid, _)| world.access.may(&call.caller, &format!("/vms/{vmid}"), "VM.Audit"));
    let full = call.params.flag("full").unwrap_or(false);
    let entries = seen.map(|(vmid, vm)| {
        let mut entry = figures(world, *vmid, vm);
        if full {
            entry["qmpstatus"] = json!(vm.qmp_status());
        }
        entry
    });
    entries.collect()
}

/// What lists and the current status have in common.
pub(crate) fn figures(world: &World, vmid: u32, vm: &Vm) -> Value {
    let current = vm.run.as_ref().map_or(&vm.config, |run| &run.started_with);
    let uptime = vm.run.as_ref().map_or(0, |run| world.now().since(run.since).as_secs());
    let mem = if vm.run.is_some() { current.memory_bytes() / 4 } else { 0 };
    let mut entry = json!({
        "vmid": vmid, "name": vm.shown_name(vmid), "status": vm.status(), "uptime": uptime, "cpus": current.vcpus(),
        "maxmem": current.memory_bytes(), "mem": mem, "maxdisk": vm.config.boot_disk_bytes(), "disk": 0, "cpu": 0,
        "netin": 0, "netout": 0,
    });
    if world.is_v9() {
        entry["memhost"] = json!(mem);
    }
    for (key, on) in [("template", vm.config.is_template()), ("serial", vm.config.get("serial0").is_some())] {
        if on {
            entry[key] = json!(1);
        }
    }
    for key in ["tags", "lock"] {
        if let Some(text) = vm.config.get(key).filter(|text| !text.trim().is_empty()) {
            entry[key] = json!(text);
        }
    }
    if let Some(run) = &vm.run {
        entry["pid"] = json!(run.pid);
        entry["diskread"] = json!(0);
        entry["diskwrite"] = json!(0);
    }
    entry
}

/// Refuses while the cluster is not quorate (recorded 704, 707, 710).
pub(crate) fn quorate(world: &World) -> Result<(), Refusal> {
    if world.quorate { Ok(()) } else { Err(Refusal::error("cluster not ready - no quorum?")) }
}

pub(crate) fn create(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let (vmid, path) = (call.vmid, format!("/vms/{}", call.vmid));
    if let Some(pool) = call.params.text("pool") {
        return Err(Refusal::denied(&format!("pool '{pool}' does not exist")));
    }
    quorate(world)?;
    if !world.access.may(&call.caller, &path, "VM.Allocate") {
        return Err(Refusal::denied(""));
    }
    let start = call.params.flag("start").unwrap_or(false);
    if start && world.is_v9() {
        world.access.need_any(&call.caller, &path, &["VM.PowerMgmt"])?;
    }
    if let Some(taken) = world.vms.get(&vmid) {
        let node = &taken.node;
        return Err(Refusal::error(format!("unable to create VM {vmid} - VM {vmid} already exists on node '{node}'")));
    }
    let mut options = call.options(&STEERING);
    options.remove("unique");
    world.check_options(&call.caller, &call.node, vmid, &options, &[])?;
    if let Some(tags) = options.get("tags").filter(|_| world.is_v9()) {
        world.check_tags(&call.caller, "", tags)?;
    }
    let life = world.new_life(vmid);
    world.add(vmid, Vm::new(&call.node, life, Config::of([("lock", "create")])));
    world.note(vmid);
    let job = CreateJob::new(&call.node, vmid, options, start);
    Ok(world.fork(&call.node, "qmcreate", &vmid.to_string(), &call.caller, Box::new(job)).into())
}

pub(crate) fn clone(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let order = order(call);
    // That a pool's right would do as well, the refusal does not tell.
    if !world.access.may(&call.caller, &format!("/vms/{}", order.target), "VM.Allocate") {
        return Err(Refusal::denied(""));
    }
    quorate(world)?;
    if let Some(pool) = call.params.text("pool") {
        return Err(Refusal::denied(&format!("pool '{pool}' does not exist")));
    }
    if let Some(target) = call.params.text("target").filter(|target| !world.nodes.contains_key(*target)) {
        return Err(Refusal::error(format!("no such cluster node '{target}'")));
    }
    let Some(vm) = world.vms.get(&order.source).filter(|vm| vm.node == call.node) else {
        return Err(Refusal::error(cannot_find(&call.node, order.source)));
    };
    let full = call.params.flag("full").unwrap_or(!vm.config.is_template());
    let order = CloneOrder { full, ..order };
    check_clone(world, call, vm, &order)?;
    let job = CloneJob::new(order);
    Ok(world.fork(&call.node, "qmclone", &call.vmid.to_string(), &call.caller, Box::new(job)).into())
}

fn order(call: &Call) -> CloneOrder {
    let text = |name: &str| call.params.text(name).map(str::to_owned);
    CloneOrder {
        node: call.node.clone(),
        source: call.vmid,
        target: call.params.number("newid").unwrap_or(0),
        full: true,
        name: text("name"),
        description: text("description"),
        storage: text("storage"),
        format: text("format"),
        bwlimit: call.params.number("bwlimit"),
        to_node: text("target").filter(|target| *target != call.node),
    }
}

fn check_clone(world: &World, call: &Call, vm: &Vm, order: &CloneOrder) -> Result<(), Refusal> {
    if let Some(name) = &order.storage {
        world.check_target(&call.caller, &call.node, name)?;
    }
    world.check_unlocked(&call.node, order.source)?;
    if let Some(snapshot) = call.params.text("snapname") {
        return Err(Refusal::error(format!("snapshot '{snapshot}' does not exist")));
    }
    if !order.full {
        for (name, given) in [("storage", &order.storage), ("format", &order.format)] {
            if given.is_some() {
                return Err(Refusal::error(format!("parameter '{name}' not allowed for linked clones")));
            }
        }
    }
    for (key, drive) in vm.config.drives().filter(|(_, drive)| !drive.is_cdrom() || drive.is_cloudinit()) {
        let (name, volume) = drive.file.split_once(':').unwrap_or_default();
        let storage = find(&world.storages, name)?;
        if let Some(target) = order.to_node.as_ref().filter(|_| !storage.spec.shared) {
            return Err(Refusal::error(format!("can't clone VM to node '{target}' (VM uses local storage)")));
        }
        if !order.full && !drive.is_cloudinit() && !storage.can_link(volume) {
            return Err(Refusal::error(format!("Linked clone feature is not supported for '{}' ({key})", drive.file)));
        }
        if order.storage.is_none() {
            world.access.need_any(&call.caller, &format!("/storage/{name}"), &["Datastore.AllocateSpace"])?;
        }
    }
    for (_, net) in vm.config.nets() {
        if let Some(bridge) = net.bridge() {
            world.access.need_any(&call.caller, &format!("/sdn/zones/localnetwork/{bridge}"), &["SDN.Use"])?;
        }
    }
    match world.vms.get(&order.target).filter(|taken| taken.node == call.node) {
        Some(_) => Err(Refusal::error(format!("unable to create VM {}: config file already exists", order.target))),
        None => Ok(()),
    }
}

pub(crate) fn destroy(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let vm = world.vm_on(&call.node, call.vmid)?;
    only_root(call)?;
    if vm.config.flag("protection") {
        return Err(Refusal::error(format!("can't remove VM {} - protection mode enabled", call.vmid)));
    }
    if vm.run.is_some() {
        return Err(Refusal::error(format!("VM {} is running - destroy failed", call.vmid)));
    }
    let purge = call.params.flag("purge").unwrap_or(false);
    let job = DestroyJob { node: call.node.clone(), vmid: call.vmid, purge, stage: 0 };
    Ok(world.fork(&call.node, "qmdestroy", &call.vmid.to_string(), &call.caller, Box::new(job)).into())
}

/// Passing over locks is for the literal superuser (recorded 215).
pub(crate) fn only_root(call: &Call) -> Result<(), Refusal> {
    if call.params.flag("skiplock") == Some(true) && !call.caller.is_root() {
        return Err(Refusal::param("skiplock", "Only root may use this option."));
    }
    Ok(())
}

pub(crate) fn template(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    let vm = world.vm_on(&call.node, call.vmid)?;
    if vm.config.is_template() {
        return Err(Refusal::error("you can't convert a template to a template"));
    }
    if vm.run.is_some() {
        return Err(Refusal::error("you can't convert a VM to template if VM is running"));
    }
    world.check_unlocked(&call.node, call.vmid)?;
    let job = TemplateJob { node: call.node.clone(), vmid: call.vmid, stage: 0 };
    Ok(world.fork(&call.node, "qmtemplate", &call.vmid.to_string(), &call.caller, Box::new(job)).into())
}

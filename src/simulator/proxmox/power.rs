//! Calls that start and stop machines, and their current status.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::Reply;
use super::cluster::merge;
use super::machines::{figures, only_root, quorate};
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::jobs::{HibernateJob, NudgeJob, RebootJob, ShutdownJob, StartJob, StopJob};
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::task::Job;
use crate::simulator::world::vm::Vm;
use crate::simulator::world::vmm::Awaited;

/// How long a shutdown waits unless it is told.
const SHUTDOWN_WAIT: u64 = 60;

pub(crate) fn index() -> Value {
    let names = ["current", "start", "stop", "reset", "shutdown", "suspend", "reboot"];
    names.iter().map(|name| json!({"subdir": name})).collect()
}

/// Whether the machine is there shows in the task of start, stop and shutdown (recorded 318, 319).
pub(crate) fn command(world: &mut World, name: &str, call: &Call) -> Result<Reply, Refusal> {
    only_root(call)?;
    let (node, vmid) = (call.node.as_str(), call.vmid);
    let wait = Duration::from_secs(call.params.number("timeout").unwrap_or(SHUTDOWN_WAIT));
    let (kind, job): (_, Box<dyn Job>) = match name {
        "start" => {
            quorate(world)?;
            ("qmstart", Box::new(StartJob::new(node, vmid)))
        }
        "stop" => {
            let overrule = call.params.flag("overrule-shutdown").unwrap_or(false);
            (
                "qmstop",
                Box::new(StopJob { node: node.to_owned(), vmid, overrule, stage: 0, awaited: Awaited::default() }),
            )
        }
        "shutdown" => {
            let force = call.params.flag("forceStop").unwrap_or(false);
            let paused = world.vms.get(&vmid).and_then(|vm| vm.run.as_ref()).is_some_and(|run| run.paused);
            if paused && !force {
                return Err(Refusal::error("VM is paused - cannot shutdown"));
            }
            ("qmshutdown", Box::new(ShutdownJob::new(node, vmid, wait, force)))
        }
        "reboot" => {
            needs_running(world, call)?;
            ("qmreboot", Box::new(RebootJob { down: ShutdownJob::new(node, vmid, wait, false), start: None }))
        }
        "suspend" if call.params.flag("todisk").unwrap_or(false) => {
            needs_running(world, call)?;
            world.check_unlocked(node, vmid)?;
            ("qmsuspend", Box::new(HibernateJob { node: node.to_owned(), vmid }))
        }
        other => {
            needs_running(world, call)?;
            world.check_unlocked(node, vmid)?;
            let kind = match other {
                "reset" => "qmreset",
                "suspend" => "qmpause",
                _ => "qmresume",
            };
            (kind, Box::new(NudgeJob::new(vmid, kind)))
        }
    };
    Ok(world.fork(node, kind, &vmid.to_string(), &call.caller, job).into())
}

/// Recorded 314 to 317.
fn needs_running(world: &World, call: &Call) -> Result<(), Refusal> {
    let running = world.vm_on(&call.node, call.vmid)?.run.is_some();
    if running { Ok(()) } else { Err(Refusal::error(format!("VM {} not running", call.vmid))) }
}

pub(crate) fn current(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let vm = world.vm_on(&call.node, call.vmid)?;
    let mut data = figures(world, call.vmid, vm);
    data["qmpstatus"] = json!(vm.qmp_status());
    data["ha"] = json!({"managed": 0});
    if vm.config.agent_enabled() {
        data["agent"] = json!(1);
    }
    if vm.config.get("vga").is_some() {
        data["clipboard"] = Value::Null;
    }
    if vm.run.is_some() {
        merge(&mut data, running(world, call.vmid, vm));
    }
    Ok(data.into())
}

fn running(world: &World, vmid: u32, vm: &Vm) -> Value {
    let memory = vm.run.as_ref().map_or(0, |run| run.started_with.memory_bytes());
    let nics: serde_json::Map<_, _> = vm
        .config
        .nets()
        .map(|(key, _)| (format!("tap{vmid}i{}", &key[3..]), json!({"netin": 0, "netout": 0})))
        .collect();
    let blocks: serde_json::Map<_, _> = vm
        .config
        .drives()
        .map(|(key, _)| {
            (key.to_owned(), json!({"rd_bytes": 0, "wr_bytes": 0, "account_failed": true, "timed_stats": []}))
        })
        .collect();
    let mut data = json!({
        "balloon": memory, "ballooninfo": {"actual": memory, "max_mem": memory}, "nics": nics, "blockstat": blocks,
        "running-qemu": "10.0.2", "running-machine": world.machine_type(),
        "proxmox-support": support(),
    });
    if world.is_v9() {
        for name in ["cpu", "io", "memory"] {
            data[format!("pressure{name}some")] = json!(0);
            data[format!("pressure{name}full")] = json!(0);
        }
    }
    data
}

/// What QEMU can do for backups (recorded 244).
fn support() -> Value {
    json!({
        "backup-access-api": true, "backup-fleecing": true, "backup-max-workers": true, "pbs-dirty-bitmap": true,
        "pbs-dirty-bitmap-migration": true, "pbs-dirty-bitmap-savevm": true, "pbs-library-version": "1.5.2",
        "pbs-masterkey": true, "query-bitmap-info": true,
    })
}

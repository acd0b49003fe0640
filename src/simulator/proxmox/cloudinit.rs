//! Calls about cloud-init.

use serde_json::{Value, json};

use super::answer::Reply;
use super::config::shown;
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::cloudinit;
use crate::simulator::world::refusal::Refusal;

/// Options that the list of settings shows.
const LISTED: [&str; 8] =
    ["cicustom", "cipassword", "citype", "ciuser", "ciupgrade", "nameserver", "searchdomain", "sshkeys"];

pub(crate) fn pending(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    let set =
        LISTED.iter().filter_map(|key| config.get(key).map(|value| json!({"key": key, "value": shown(key, value)})));
    Ok(set.collect::<Value>().into())
}

/// Rebuilds the drive; the guest reads it at its next boot.
pub(crate) fn regenerate(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    if config.drives().any(|(_, drive)| drive.is_cloudinit()) {
        return Ok(Value::Null.into());
    }
    Err(Refusal::error("VM has no cloudinit drive"))
}

pub(crate) fn dump(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let config = &world.vm_on(&call.node, call.vmid)?.config;
    let kind = call.params.text("type").unwrap_or("meta");
    Ok(cloudinit::dump(kind, call.vmid, config, &world.resolver()).into())
}

//! Calls about storages.

use serde_json::{Value, json};

use super::answer::Reply;
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::refusal::Refusal;
use crate::simulator::world::storage::{Storage, Volume, find};

pub(crate) fn list(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let content = call.params.names("content");
    if let Some(name) = call.params.text("storage") {
        find(&world.storages, name)?;
    }
    let seen = world.storages.values().filter(|storage| {
        let path = format!("/storage/{}", storage.spec.name);
        storage.is_on(&call.node)
            && ["Datastore.Audit", "Datastore.AllocateSpace"]
                .iter()
                .any(|name| world.access.may(&call.caller, &path, name))
            && (content.is_empty() || content.iter().any(|kind| storage.holds(kind)))
            && call.params.flag("enabled").is_none_or(|wanted| !wanted || storage.spec.enabled)
            && call.params.text("storage").is_none_or(|name| name == storage.spec.name)
    });
    let entries = seen.map(|storage| {
        let mut entry = figures(storage, &call.node);
        entry["storage"] = json!(storage.spec.name);
        if storage.spec.active && storage.spec.enabled {
            entry["used_fraction"] = json!(fraction(storage, &call.node));
        }
        entry
    });
    Ok(entries.collect::<Value>().into())
}

#[expect(clippy::cast_precision_loss, reason = "a share of a disk")]
fn fraction(storage: &Storage, node: &str) -> f64 {
    storage.used(node) as f64 / storage.total().max(1) as f64
}

fn figures(storage: &Storage, node: &str) -> Value {
    let on = storage.spec.active && storage.spec.enabled;
    let number = |value: u64| if on { value } else { 0 };
    json!({
        "type": storage.spec.kind.api_name(), "content": storage.spec.content.join(","),
        "shared": u8::from(storage.spec.shared), "enabled": u8::from(storage.spec.enabled), "active": u8::from(on),
        "total": number(storage.total()), "used": number(storage.used(node)), "avail": number(storage.free(node)),
    })
}

pub(crate) fn status(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let storage = world.storages.get(call.part("storage"));
    let storage = storage.ok_or_else(|| Refusal::param("storage", "No such storage."))?;
    Ok(figures(storage, &call.node).into())
}

pub(crate) fn content(world: &World, call: &Call) -> Result<Reply, Refusal> {
    let storage = find(&world.storages, call.part("storage"))?;
    storage.usable().map_err(Refusal::error)?;
    let (kind, vmid) = (call.params.text("content"), call.params.number::<u32>("vmid"));
    let wanted = storage.volumes(&call.node).filter(|volume| {
        kind.is_none_or(|kind| volume.content == kind) && vmid.is_none_or(|vmid| volume.vmid == Some(vmid))
    });
    Ok(wanted.map(|volume| entry(storage, volume)).collect::<Value>().into())
}

fn entry(storage: &Storage, volume: &Volume) -> Value {
    let files = storage.spec.kind.is_files();
    let name = match &volume.parent {
        Some(parent) if files => format!("{parent}/{}", volume.name),
        _ => volume.name.clone(),
    };
    let mut entry = json!({
        "volid": format!("{}:{name}", storage.spec.name), "content": volume.content, "format": volume.format,
        "size": volume.size, "ctime": volume.made,
    });
    if let Some(vmid) = volume.vmid {
        entry["vmid"] = json!(vmid);
        if files {
            let parent = volume.parent.as_ref().map(|parent| format!("../{parent}"));
            entry["parent"] = json!(parent);
            entry["used"] = json!(volume.size / 3);
        }
    }
    entry
}

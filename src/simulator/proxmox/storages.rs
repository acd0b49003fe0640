//! Calls about storages.

use serde_json::{Value, json};

use super::answer::Reply;
use super::routes::Call;
use crate::simulator::world::World;
use crate::simulator::world::jobs::{DownloadJob, DownloadOrder};
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

/// Whether the caller may have the node reach out (recorded with bare text: the right can be held in two ways).
fn may_reach_out(world: &World, call: &Call) -> Result<(), Refusal> {
    let may = |path: &str, privilege: &str| world.access.may(&call.caller, path, privilege);
    let on_node = may(&format!("/nodes/{}", call.node), "Sys.AccessNetwork");
    if on_node || may("/", "Sys.Audit") && may("/", "Sys.Modify") { Ok(()) } else { Err(Refusal::denied("")) }
}

/// A name as the server makes it of what was asked for.
fn normalized(filename: &str) -> String {
    let last = filename.rsplit(['/', '\\']).next().unwrap_or(filename);
    let keeps = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    last.chars().map(|letter| if keeps(letter) { letter } else { '_' }).collect()
}

/// Endings of the files of a content type, and what is said of others.
fn endings(content: &str) -> (&'static [&'static str], &'static str) {
    match content {
        "import" => (&[".ova", ".qcow2", ".raw", ".vmdk"], "invalid filename or wrong extension"),
        "iso" => (&[".iso", ".img"], "wrong file extension"),
        _ => (&[".tar.gz", ".tar.xz", ".tar.zst"], "wrong file extension"),
    }
}

/// `download_url` of pve-storage: what is checked before the worker is forked.
pub(crate) fn download(world: &mut World, call: &Call) -> Result<Reply, Refusal> {
    may_reach_out(world, call)?;
    let name = call.part("storage").to_owned();
    let storage = find(&world.storages, &name)?;
    if !storage.spec.enabled {
        return Err(Refusal::error(format!("storage '{name}' is disabled")));
    }
    if !storage.is_on(&call.node) {
        return Err(Refusal::error(format!("storage '{name}' is not available on node '{}'", call.node)));
    }
    if !storage.spec.kind.is_files() {
        let kind = storage.spec.kind.api_name();
        return Err(Refusal::error(format!("can't upload to storage type '{kind}', not a file based storage!")));
    }
    let text = |name: &str| call.params.text(name).unwrap_or_default().to_owned();
    let (content, filename) = (text("content"), normalized(&text("filename")));
    if !storage.holds(&content) {
        return Err(Refusal::error(format!("storage '{name}' is not configured for content-type '{content}'")));
    }
    let (endings, refusal) = endings(&content);
    if !endings.iter().any(|ending| filename.ends_with(ending)) {
        return Err(Refusal::param("filename", refusal));
    }
    storage.usable().map_err(Refusal::error)?;
    let checksum = call.params.text("checksum").map(|digits| (text("checksum-algorithm"), digits.to_owned()));
    let (node, url) = (call.node.clone(), text("url"));
    let order = DownloadOrder { node, storage: name, content, filename: filename.clone(), url, checksum };
    let job = Box::new(DownloadJob::new(order));
    Ok(world.fork(&call.node, "download", &filename, &call.caller, job).into())
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

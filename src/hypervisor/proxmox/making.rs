//! Making a VM: clone (or import), configure, grow.

use super::call::Call;
use super::changes::{CLOUD_INIT_DRIVE, changes};
use super::changing::Changing;
use super::connection::Connection;
use super::detail::boot_disk;
use super::importing;
use super::inventory::resources;
use super::obstacles::{NoTemplate, template};
use super::params::Params;
use super::routes::{CLONE, CONFIGURE, CONFIGURE_TASK, RESIZE};
use super::storages::snapshots;
use super::tasks::running;
use super::wire::{Resource, Task};
use crate::domain::fault::Fault;
use crate::hypervisor::vm::image::ImageWanted;
use crate::hypervisor::vm::making::{MadeFrom, Making};
use crate::hypervisor::vm::{CreateOrder, Started, Takes, VmDetail, VmWanted};

/// How far a node's clock may be behind ours, seconds. Too much only means to wait for somebody else's clone.
const CLOCK_SLACK: i64 = 300;

/// Makes the VM from its template or its image.
pub(super) async fn create(changing: &Changing<'_>, order: &CreateOrder) -> Result<Started, Fault> {
    match &order.wanted.image {
        ImageWanted::Template(name) => clone(changing, order, name).await,
        ImageWanted::File(image) => importing::create(changing, order, image).await,
    }
}

/// Clones the template, whole and marked. The description goes with the call, so that the mark is there as soon as
/// anything of the VM is.
async fn clone(changing: &Changing<'_>, order: &CreateOrder, name: &str) -> Result<Started, Fault> {
    let wanted = &order.wanted;
    let resources = resources(changing.connection).await?;
    let source = template(&resources, &wanted.host, name).map_err(NoTemplate::fault)?;
    let mut params = Params::default()
        .with("newid", &order.at.id)
        .flag("full", true)
        .with("name", &wanted.name)
        .with("description", wanted.mark.describe(&wanted.description))
        .with("storage", &wanted.storage);
    if let Some(format) = disk_format(&resources, wanted) {
        params.push("format", format);
    }
    if let Some(pool) = changing.pool {
        params.push("pool", pool);
    }
    changing.started(Call::new(&CLONE, &[&order.at.host, source]).with(params)).await
}

/// On file storages a VM's disk would be raw, which has no snapshots.
pub(super) fn disk_format(resources: &[Resource], wanted: &VmWanted) -> Option<&'static str> {
    let storage = resources.iter().find(|resource| {
        resource.kind.as_deref() == Some("storage")
            && resource.storage.as_ref() == Some(&wanted.storage)
            && resource.node.as_ref() == Some(&wanted.host)
    })?;
    snapshots(storage.plugintype.as_deref()?, 0).format()
}

/// Whether a task runs that could be the one that makes this VM. An import's task names the VM. A clone's names its
/// source only, so any clone of the template that is young enough counts.
pub(super) async fn is_being_made(connection: &Connection, making: &Making) -> Result<bool, Fault> {
    let Making { at, from, since } = making;
    let mut running = running(connection, &at.host).await?;
    running.retain(|task| task.starttime.is_none_or(|start| start >= since.as_second().saturating_sub(CLOCK_SLACK)));
    if running.iter().any(|task| is(task, "qmcreate") && task.id.as_ref() == Some(&at.id)) {
        return Ok(true);
    }
    running.retain(|task| is(task, "qmclone"));
    match from {
        MadeFrom::Image => Ok(false),
        MadeFrom::Anything => Ok(!running.is_empty()),
        MadeFrom::Template(_) if running.is_empty() => Ok(false),
        MadeFrom::Template(name) => {
            // If the template is not to be found (any more), every clone could be it.
            let resources = resources(connection).await?;
            let source = template(&resources, &at.host, name).ok();
            Ok(running.iter().any(|task| source.is_none_or(|source| task.id.as_deref() == Some(source))))
        }
    }
}

fn is(task: &Task, kind: &str) -> bool {
    task.kind.as_deref() == Some(kind)
}

/// Sends what differs, in one call, with the digest of what was seen. Adding the cloud-init drive allocates a disk, so
/// then a task does it all.
pub(super) async fn configure(changing: &Changing<'_>, wanted: &VmWanted, seen: &VmDetail) -> Result<Started, Fault> {
    let changes = changes(wanted, seen);
    let mut params = Params::default();
    let mut deleted: Vec<&str> = Vec::new();
    let mut allocates = false;
    for change in changes.iter().filter(|change| change.takes == Takes::Configure) {
        match &change.value {
            Some(value) => params.push(&change.key, value),
            None => deleted.push(&change.key),
        }
        allocates |= change.field == CLOUD_INIT_DRIVE;
    }
    if params.is_empty() && deleted.is_empty() {
        return Ok(Started::Done);
    }
    if !deleted.is_empty() {
        params.push("delete", &deleted.join(","));
    }
    if !seen.digest.is_empty() {
        params.push("digest", &seen.digest);
    }
    let route = if allocates { &CONFIGURE_TASK } else { &CONFIGURE };
    changing.started(Call::new(route, &[&seen.at.host, &seen.at.id]).with(params)).await
}

/// Grows the boot disk to an absolute size, so that asking again changes nothing.
pub(super) async fn grow_disk(changing: &Changing<'_>, wanted: &VmWanted, seen: &VmDetail) -> Result<Started, Fault> {
    if !changes(wanted, seen).iter().any(|change| change.takes == Takes::Grow) {
        return Ok(Started::Done);
    }
    let Some((disk, _)) = boot_disk(&seen.config) else { return Ok(Started::Done) };
    let params = Params::default().with("disk", disk).with("size", format!("{}G", wanted.disk_gib));
    changing.started(Call::new(&RESIZE, &[&seen.at.host, &seen.at.id]).with(params)).await
}

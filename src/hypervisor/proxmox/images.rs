//! Images on a storage: whether one is there or on its way, what stands against keeping one there, the download.
//!
//! A host downloads under another name, checks, and only then gives the file its name (`download_file_from_url` of
//! pve-common): what the storage lists under the name is whole, and of a download that failed nothing is left. A file
//! that is there already is not downloaded again, only checked; so a repeated call does no harm.

use jiff::{SignedDuration, Timestamp};

use super::call::Call;
use super::changing::Changing;
use super::connection::Connection;
use super::inventory::resources;
use super::lenient::elements;
use super::params::Params;
use super::routes::{CONTENT, DOWNLOAD};
use super::storages::takes_files;
use super::tasks::running;
use super::texts::without_queries;
use super::upid::Upid;
use super::wire::{Resource, Storage, Task, Volume};
use crate::domain::fault::{Fault, FaultKind};
use crate::hypervisor::vm::image::{ImageFile, ImageState, LONGEST_DOWNLOAD};
use crate::hypervisor::vm::{Obstacle, ObstacleKind, Started, TaskHandle};

/// The content type of images, and the folder that stands in their volume names.
const CONTENT_TYPE: &str = "import";
/// The type of the task that downloads; its id is the file's name.
pub(super) const TASK: &str = "download";
/// As a difference of points in time.
const LONGEST: SignedDuration = SignedDuration::from_secs(LONGEST_DOWNLOAD.as_secs().cast_signed());

/// The image's volume.
pub(super) fn volume(image: &ImageFile) -> String {
    format!("{}:{CONTENT_TYPE}/{}", image.storage, image.name())
}

/// Where the image is. Of several looks the last one is at the storage: a download that ends between two of them is
/// then seen there.
pub(super) async fn state(
    connection: &Connection,
    host: &str,
    image: &ImageFile,
    task: Option<&TaskHandle>,
) -> Result<ImageState, Fault> {
    if is_kept(connection, host, image).await? {
        return Ok(ImageState::Present);
    }
    let nodes = match task {
        Some(task) => vec![Upid::parse(&task.0)?.node.to_owned()],
        None => downloaders(&resources(connection).await?, host, &image.storage),
    };
    let (name, now) = (image.name(), connection.clock.wall());
    for node in nodes {
        if running(connection, &node).await?.iter().any(|task| is_on_its_way(task, &name, now)) {
            return Ok(ImageState::Downloading);
        }
    }
    let kept = is_kept(connection, host, image).await?;
    Ok(if kept { ImageState::Present } else { ImageState::Absent })
}

async fn is_kept(connection: &Connection, host: &str, image: &ImageFile) -> Result<bool, Fault> {
    let params = Params::default().with("content", CONTENT_TYPE);
    let call = Call::new(&CONTENT, &[host, &image.storage]).with(params);
    let volumes: Vec<Volume> = elements(connection.value(&call).await?);
    let wanted = volume(image);
    Ok(volumes.iter().any(|volume| volume.volid.as_ref() == Some(&wanted)))
}

/// Whether a task downloads this file, and not for too long already; the clocks of nodes are near enough to ours for that.
fn is_on_its_way(task: &Task, name: &str, now: Timestamp) -> bool {
    let since = task.starttime.and_then(|start| Timestamp::from_second(start).ok());
    let is_late = since.is_none_or(|since| now.duration_since(since) >= LONGEST);
    task.kind.as_deref() == Some(TASK) && task.id.as_deref() == Some(name) && !is_late
}

/// The nodes whose downloads fill the storage as `host` sees it: each that has it, if it is shared.
fn downloaders(resources: &[Resource], host: &str, storage: &str) -> Vec<String> {
    let of_kind = |kind: &'static str| resources.iter().filter(move |one| one.kind.as_deref() == Some(kind));
    let is_online = |node: &str| {
        of_kind("node").any(|one| one.node.as_deref() == Some(node) && one.status.as_deref() == Some("online"))
    };
    let places = of_kind("storage").filter(|one| one.storage.as_deref() == Some(storage) && one.shared == Some(true));
    let mut nodes: Vec<&str> = places.filter_map(|one| one.node.as_deref()).filter(|node| is_online(node)).collect();
    if !nodes.contains(&host) {
        nodes.push(host);
    }
    nodes.into_iter().map(ToOwned::to_owned).collect()
}

/// Why images cannot be kept on the storage that the worker names for them.
pub(super) fn obstacle(storages: &[Storage], host: &str, image: &ImageFile) -> Option<Obstacle> {
    let name = &image.storage;
    let found = |kind, message| Some(Obstacle { kind, message });
    let Some(storage) = storages.iter().find(|storage| storage.name.as_ref() == Some(name)) else {
        let known: Vec<&str> = storages.iter().filter_map(|storage| storage.name.as_deref()).collect();
        let text = format!(
            "the host {host} has no storage {name:?} for images that this credential can see (Datastore.Audit on \
             /storage/{name}); it sees: {}",
            known.join(", ")
        );
        return found(ObstacleKind::ImageStorageMissing, text);
    };
    if storage.enabled == Some(false) || storage.active == Some(false) {
        let text = format!("the storage {name} for images on {host} is disabled or not active; activate it there");
        return found(ObstacleKind::ImageStorageMissing, text);
    }
    let kind = storage.kind.as_deref().unwrap_or_default();
    if !takes_files(kind) {
        let text = format!(
            "the storage {name} is of type {kind}, onto which no image can be downloaded; name a storage of files (dir, \
             nfs, cifs, cephfs, btrfs) in proxmox.imageStorage"
        );
        return found(ObstacleKind::ImageStorageUnsuitable, text);
    }
    let content = storage.content.as_deref().unwrap_or_default();
    if content.split(',').any(|one| one.trim() == CONTENT_TYPE) {
        return None;
    }
    let text = format!(
        "the storage {name} takes no images (its content: {content}); add the content type \"Import\" to it, or name \
         another storage in proxmox.imageStorage"
    );
    found(ObstacleKind::ImageStorageUnsuitable, text)
}

/// Has the host download the image.
pub(super) async fn download(changing: &Changing<'_>, host: &str, image: &ImageFile) -> Result<Started, Fault> {
    let params = Params::default()
        .with("content", CONTENT_TYPE)
        .with("filename", image.name())
        .with("url", &image.url)
        .with("checksum", &image.checksum.hex)
        .with("checksum-algorithm", image.checksum.algorithm);
    let call = Call::new(&DOWNLOAD, &[host, &image.storage]).with(params);
    changing.started(call).await.map_err(|fault| {
        let message = without_queries(&fault.message);
        named(Fault { message, ..fault }, host)
    })
}

/// Which right is missing, where the refusal does not say: that one may be held in two ways, so its text names neither.
fn named(fault: Fault, host: &str) -> Fault {
    match &fault.kind {
        FaultKind::Forbidden { privilege, path } if privilege.is_empty() && path.is_empty() => {
            let path = format!("/nodes/{host}");
            let message = format!(
                "{}; the credential needs Sys.AccessNetwork on {path}, or Sys.Audit and Sys.Modify on /",
                fault.message
            );
            Fault::new(FaultKind::Forbidden { privilege: "Sys.AccessNetwork".to_owned(), path }, message)
        }
        _ => fault,
    }
}

/// What there is to do about a download that ended so.
pub(super) fn advice(end: &str) -> &'static str {
    let has = |part: &str| end.contains(part);
    if has("checksum mismatch") && has("aborting") {
        "a file of that name with other content lies on the storage: delete it there"
    } else if has("checksum mismatch") {
        "what the URL serves is not what image.checksum names: correct one of them; nothing was kept"
    } else if has("failed to verify file") {
        "what the URL serves is no image of the format that image.format names; a compressed one must be unpacked first"
    } else if has("exit code 5") {
        "the host does not trust the server's certificate"
    } else if has("download failed") {
        "see that image.url is right, and that the host reaches it"
    } else {
        "see the task's log on the host"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hypervisor::vm::image::{Checksum, ImageFormat};

    fn image(storage: &str) -> ImageFile {
        let checksum = Checksum::parse(&format!("sha256:{}", "a".repeat(64))).unwrap();
        let url = "https://images.example.org/worker.img".to_owned();
        ImageFile { url, checksum, format: ImageFormat::Qcow2, storage: storage.to_owned() }
    }

    #[test]
    fn a_shared_storage_is_filled_by_every_node_that_has_it_and_is_there() {
        let resources: Vec<Resource> = elements(json!([
            {"type": "node", "node": "pve1", "status": "online"},
            {"type": "node", "node": "pve2", "status": "online"},
            {"type": "node", "node": "pve3", "status": "offline"},
            {"type": "storage", "storage": "nfs", "node": "pve1", "shared": 1},
            {"type": "storage", "storage": "nfs", "node": "pve2", "shared": 1},
            {"type": "storage", "storage": "nfs", "node": "pve3", "shared": 1},
            {"type": "storage", "storage": "local", "node": "pve1", "shared": 0},
            {"type": "storage", "storage": "local", "node": "pve2", "shared": 0},
        ]));
        assert_eq!(downloaders(&resources, "pve1", "nfs"), ["pve1", "pve2"]);
        assert_eq!(downloaders(&resources, "pve2", "local"), ["pve2"]);
        assert_eq!(downloaders(&resources, "pve2", "unseen"), ["pve2"]);
    }

    #[test]
    fn a_task_that_runs_for_too_long_does_not_count() {
        let tasks: Vec<Task> = elements(json!([
            {"type": "download", "id": "x.qcow2", "status": "RUNNING", "starttime": 10_000},
            {"type": "download", "id": "x.qcow2", "status": "RUNNING"},
            {"type": "download", "id": "y.qcow2", "status": "RUNNING", "starttime": 10_000},
            {"type": "imgcopy", "id": "x.qcow2", "status": "RUNNING", "starttime": 10_000},
        ]));
        let at =
            |second| tasks.iter().map(move |task| is_on_its_way(task, "x.qcow2", Timestamp::new(second, 0).unwrap()));
        assert!(at(10_000 + 1799).eq([true, false, false, false]));
        assert!(at(10_000 - 60).eq([true, false, false, false]), "its clock is ahead");
        assert!(!at(10_000 + 1800).any(|counts| counts));
    }

    #[test]
    fn what_cannot_keep_images_is_named() {
        let storages: Vec<Storage> = elements(json!([
            {"storage": "local", "type": "dir", "content": "iso,import", "active": 1, "enabled": 1},
            {"storage": "plain", "type": "dir", "content": "iso,images", "active": 1, "enabled": 1},
            {"storage": "off", "type": "nfs", "content": "import", "active": 0, "enabled": 1},
            {"storage": "thin", "type": "lvmthin", "content": "images", "active": 1, "enabled": 1},
            {"storage": "esx", "type": "esxi", "content": "import", "active": 1, "enabled": 1},
        ]));
        let kind = |name: &str| obstacle(&storages, "pve1", &image(name)).map(|obstacle| obstacle.kind);
        assert_eq!(kind("local"), None);
        assert_eq!(kind("nowhere"), Some(ObstacleKind::ImageStorageMissing));
        assert_eq!(kind("off"), Some(ObstacleKind::ImageStorageMissing));
        for name in ["plain", "thin", "esx"] {
            assert_eq!(kind(name), Some(ObstacleKind::ImageStorageUnsuitable), "{name}");
        }
        let text = obstacle(&storages, "pve1", &image("plain")).unwrap().message;
        assert!(text.contains("plain") && text.contains("iso,images") && text.contains("\"Import\""), "{text}");
    }

    #[test]
    fn a_refusal_without_a_name_gets_one() {
        let bare = Fault::new(FaultKind::Forbidden { privilege: String::new(), path: String::new() }, "no");
        let fault = named(bare, "pve1");
        let needed = FaultKind::Forbidden { privilege: "Sys.AccessNetwork".into(), path: "/nodes/pve1".into() };
        assert_eq!(fault.kind, needed);
        assert!(fault.message.contains("or Sys.Audit and Sys.Modify on /"), "{}", fault.message);
        let other = Fault::new(FaultKind::Forbidden { privilege: "X".into(), path: "/y".into() }, "no");
        assert_eq!(named(other.clone(), "pve1"), other);
    }
}

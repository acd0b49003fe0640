//! From a `Worker` as people write it to what a decision needs: defaults filled in, texts read, one hash over it all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::identity::Mark;
use super::observation::{Abandon, Declared, Problem, UpdatesWanted};
use super::sizing::{Sizes, sizes};
use super::{network, operation::Operation};
use crate::api::common::Quantity;
use crate::api::reasons::WorkerReason;
use crate::api::worker::{Image, ImageFormat as DeclaredFormat, TestPolicy};
use crate::api::worker_updates::{OnUpdateFailure, UpdatePolicy, Updates};
use crate::api::{Worker, names};
use crate::hypervisor::vm::image::{Checksum, ImageFile, ImageFormat, ImageWanted};
use crate::hypervisor::vm::making::MadeFrom;
use crate::hypervisor::vm::{VmRef, VmWanted};

/// How long the guest gets to shut down if the spec's text cannot be read.
const DEFAULT_GRACE: Duration = Duration::from_secs(120);
/// How long an update may take if the spec's text cannot be read.
const DEFAULT_UPDATE: Duration = Duration::from_secs(1800);

/// Reads a worker's declaration. What admission lets through is readable; anything else is a problem for people.
pub fn declared(worker: &Worker, installation: &str) -> Result<Declared, Problem> {
    let wanted = wanted(worker, installation).map_err(|text| Problem::new(WorkerReason::ProviderMismatch, text))?;
    let annotations = worker.metadata.annotations.as_ref();
    Ok(Declared {
        spec_hash: spec_hash(worker, &wanted),
        wanted,
        test_on_change: worker.spec.test.policy == TestPolicy::OnChange,
        test_request: names::test_request(annotations),
        grace: worker.spec.shutdown.grace_period.duration().unwrap_or(DEFAULT_GRACE),
        enabled: worker.spec.enabled,
        slots: usize::try_from(worker.spec.max_concurrent_tasks).unwrap_or(0),
        max_age: worker.spec.test.max_age.duration().unwrap_or_default(),
        delay: worker.spec.shutdown.delay.duration().unwrap_or_default(),
        updates: updates(&worker.spec.updates),
        paused: worker.spec.paused,
        deleting: worker.metadata.deletion_timestamp.is_some(),
        has_finalizer: worker.metadata.finalizers.iter().flatten().any(|name| name == names::WORKER_FINALIZER),
        abandon: abandon(annotations),
    })
}

/// How packages are updated; `None` if they are not.
fn updates(spec: &Updates) -> Option<UpdatesWanted> {
    let failure_fails = spec.on_failure == OnUpdateFailure::Fail;
    let timeout = spec.timeout.duration().unwrap_or(DEFAULT_UPDATE);
    (spec.policy == UpdatePolicy::OnLaunch).then_some(UpdatesWanted { failure_fails, timeout })
}

/// The VM that a worker asks for; its mark lacks operation and VM id.
fn wanted(worker: &Worker, installation: &str) -> Result<VmWanted, String> {
    let spec = &worker.spec;
    let place =
        spec.proxmox.as_ref().ok_or("spec.proxmox is missing: it says on which host and storage the VM is to be")?;
    let image = image(&spec.image, place.image_storage.as_deref())?;
    let Sizes { cpus, memory_mib, disk_gib } = sizes(spec);
    Ok(VmWanted {
        host: place.host.clone(),
        storage: place.storage.clone(),
        image,
        name: worker.vm_name(),
        description: spec.description.clone().unwrap_or_default().trim().to_owned(),
        mark: Mark {
            installation: installation.to_owned(),
            worker_uid: worker.metadata.uid.clone().unwrap_or_default(),
            worker: qualified_name(worker),
            operation: String::new(),
            vm_id: String::new(),
        },
        cpus,
        memory_mib,
        disk_gib,
        networks: spec.networks.iter().map(network::wanted).collect::<Result<_, _>>()?,
        dns_servers: spec
            .dns
            .servers
            .iter()
            .map(|text| text.parse().map_err(|_| format!("dns.servers: {text:?} is not an address")))
            .collect::<Result<_, _>>()?,
        search_domains: spec.dns.search_domains.clone(),
        user: spec.access.user.clone(),
        authorized_keys: spec.access.authorized_keys.clone(),
    })
}

/// What the VM is made from.
fn image(image: &Image, storage: Option<&str>) -> Result<ImageWanted, String> {
    let Some(url) = &image.url else {
        let template = image.template.clone().ok_or("spec.image has neither template nor url")?;
        return Ok(ImageWanted::Template(template));
    };
    let checksum = image.checksum.as_deref().unwrap_or_default();
    let format = match image.format.unwrap_or_default() {
        DeclaredFormat::Qcow2 => ImageFormat::Qcow2,
        DeclaredFormat::Raw => ImageFormat::Raw,
        DeclaredFormat::Vmdk => ImageFormat::Vmdk,
    };
    Ok(ImageWanted::File(ImageFile {
        url: url.clone(),
        checksum: Checksum::parse(checksum)
            .ok_or_else(|| format!("spec.image.checksum {checksum:?} is neither sha256:… nor sha512:…"))?,
        format,
        storage: storage.ok_or("spec.proxmox.imageStorage is missing, which image.url needs")?.to_owned(),
    }))
}

/// `namespace/name` of a worker.
pub fn qualified_name(worker: &Worker) -> String {
    let metadata = &worker.metadata;
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The hash of everything that a test result speaks of: the VM and what is checked in it, but not when it is tested
/// or how it is shut down.
fn spec_hash(worker: &Worker, wanted: &VmWanted) -> String {
    let spec = &worker.spec;
    let tested = json!({
        "hypervisor": spec.hypervisor_ref.name,
        "proxmox": spec.proxmox,
        "name": wanted.name,
        "description": wanted.description,
        "sizes": [wanted.cpus.to_string(), wanted.memory_mib.to_string(), wanted.disk_gib.to_string()],
        "image": spec.image,
        "networks": spec.networks,
        "dns": spec.dns,
        "access": spec.access,
        "service": spec.service,
        "checks": spec.checks,
    });
    let digest = Sha256::digest(tested.to_string().as_bytes());
    digest.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// What the annotation says of leaving the VM behind. One that is misspelt was meant to keep it, perhaps.
fn abandon(annotations: Option<&BTreeMap<String, String>>) -> Abandon {
    match names::unclear(annotations, names::ABANDON) {
        Some(value) => Abandon::Unclear(value.chars().take(40).collect()),
        None if names::is_set(annotations, names::ABANDON) => Abandon::Yes,
        None => Abandon::No,
    }
}

const TEMPLATE: &str = "image.template";
const CHECKSUM: &str = "image.checksum";
const FORMAT: &str = "image.format";

/// The settings that only another VM can have and that no VM shows of itself, by field. An image is told by its checksum
/// and its format: from another URL, or kept on another storage, it is still the same.
pub fn made_as(wanted: &VmWanted) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([("proxmox.host".to_owned(), wanted.host.clone())]);
    match &wanted.image {
        ImageWanted::Template(template) => settings.extend([(TEMPLATE.to_owned(), template.clone())]),
        ImageWanted::File(file) => settings.extend([
            (CHECKSUM.to_owned(), file.checksum.to_string()),
            (FORMAT.to_owned(), file.format.suffix().to_owned()),
        ]),
    }
    settings
}

/// What an operation with this record makes its VM from. An old record does not say.
pub fn made_from(made_as: &BTreeMap<String, String>) -> MadeFrom {
    match made_as.get(TEMPLATE) {
        Some(template) => MadeFrom::Template(template.clone()),
        None if made_as.contains_key(CHECKSUM) => MadeFrom::Image,
        None => MadeFrom::Anything,
    }
}

/// In which of these settings a VM that was made with `before` differs from what is wanted: field, what it was, what it
/// is to be. What is not written down differs in nothing.
pub fn made_otherwise(before: &BTreeMap<String, String>, wanted: &VmWanted) -> Vec<(String, String, String)> {
    let now = made_as(wanted);
    let mut differing: Vec<_> = now
        .iter()
        .filter_map(|(field, to)| {
            let from = before.get(field).filter(|from| *from != to)?;
            Some((field.clone(), from.clone(), to.clone()))
        })
        .collect();
    let of = |settings: &BTreeMap<String, String>| {
        [TEMPLATE, CHECKSUM].into_iter().find_map(|field| Some((field, settings.get(field)?.clone())))
    };
    if let (Some((was, from)), Some((is, to))) = (of(before), of(&now))
        && was != is
    {
        differing.push(("image".to_owned(), format!("{was} {from}"), format!("{is} {to}")));
    }
    differing
}

/// The settings that stand in `status.applied.summary`, with the disk's size as it is.
pub fn summary(wanted: &VmWanted, disk: &Quantity) -> BTreeMap<String, String> {
    let mut lines = made_as(wanted);
    lines.extend([
        ("resources.cpus".to_owned(), wanted.cpus.to_string()),
        ("resources.memory".to_owned(), Quantity::mib(wanted.memory_mib).to_string()),
        ("resources.disk".to_owned(), disk.to_string()),
        ("vmName".to_owned(), wanted.name.clone()),
    ]);
    for network in &wanted.networks {
        let vlan = network.vlan.map(|tag| format!(" vlan {tag}")).unwrap_or_default();
        lines.insert(format!("networks.{}", network.name), format!("{}{vlan}", network.bridge));
    }
    lines
}

/// What is wanted of a certain VM: with the mark of the operation that made it.
pub fn wanted_of(wanted: &VmWanted, made_by: &str, at: &VmRef) -> VmWanted {
    let mark = Mark { operation: made_by.to_owned(), vm_id: at.id.clone(), ..wanted.mark.clone() };
    VmWanted { mark, ..wanted.clone() }
}

/// What is wanted of the VM that an operation makes.
pub fn wanted_by(wanted: &VmWanted, operation: &Operation) -> VmWanted {
    wanted_of(wanted, &operation.id, &operation.target.at())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(extra: &serde_json::Value) -> Worker {
        let mut object = json!({
            "apiVersion": "stevedore.dev/v1alpha1", "kind": "Worker",
            "metadata": {"name": "w1", "namespace": "backup", "uid": "uid-1"},
            "spec": {
                "hypervisorRef": {"name": "lab"}, "proxmox": {"host": "pve1", "storage": "local-lvm"},
                "image": {"template": "debian-worker"}, "networks": [{"name": "lan", "bridge": "vmbr0"}],
            },
        });
        json_patch::merge(&mut object, extra);
        serde_json::from_value(object).unwrap()
    }

    fn hash(extra: &serde_json::Value) -> String {
        declared(&worker(extra), "inst").unwrap().spec_hash
    }

    #[test]
    fn the_hash_speaks_of_the_vm_and_its_checks_alone() {
        let plain = hash(&json!({}));
        assert_eq!(plain, hash(&json!({"spec": {"test": {"policy": "OnChange"}, "paused": true}})));
        assert_eq!(plain, hash(&json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"maxConcurrentTasks": 4}})));
        assert_ne!(plain, hash(&json!({"spec": {"maxConcurrentTasks": 5}})));
        assert_ne!(plain, hash(&json!({"spec": {"service": {"unit": "a.service"}}})));
        assert_ne!(plain, hash(&json!({"spec": {"networks": [{"name": "lan", "bridge": "vmbr1"}]}})));
    }

    fn by_url(url: &str, digit: &str, format: Option<&str>) -> serde_json::Value {
        json!({"spec": {
            "proxmox": {"imageStorage": "local"},
            "image": {"template": null, "url": url, "checksum": format!("sha256:{}", digit.repeat(64)), "format": format},
        }})
    }

    fn wanted(extra: &serde_json::Value) -> VmWanted {
        declared(&worker(extra), "inst").unwrap().wanted
    }

    #[test]
    fn an_image_is_told_by_checksum_and_format() {
        let one = by_url("https://a/x.img", "a", None);
        let before = made_as(&wanted(&one));
        let fields = |extra: &serde_json::Value| -> Vec<String> {
            made_otherwise(&before, &wanted(extra)).into_iter().map(|(field, ..)| field).collect()
        };
        assert!(fields(&one).is_empty());
        assert!(fields(&by_url("https://b/y.img", "a", Some("Qcow2"))).is_empty(), "the same image from elsewhere");
        let mut moved = one.clone();
        moved["spec"]["proxmox"]["imageStorage"] = json!("nfs1");
        assert!(fields(&moved).is_empty(), "the same image on another storage");
        assert_eq!(fields(&by_url("https://a/x.img", "b", None)), ["image.checksum"]);
        assert_eq!(fields(&by_url("https://a/x.img", "a", Some("Raw"))), ["image.format"]);
        assert_eq!(fields(&json!({})), ["image"]);
        let of_template = made_as(&wanted(&json!({})));
        assert_eq!(made_from(&of_template), MadeFrom::Template("debian-worker".into()));
        assert_eq!((made_from(&before), made_from(&BTreeMap::new())), (MadeFrom::Image, MadeFrom::Anything));
        assert_eq!(made_otherwise(&of_template, &wanted(&one))[0].1, "image.template debian-worker");
        assert!(made_otherwise(&BTreeMap::new(), &wanted(&one)).is_empty(), "nothing is known of it");
    }

    #[test]
    fn another_url_is_another_declaration() {
        let one = hash(&by_url("https://a/x.img", "a", None));
        assert_ne!(one, hash(&by_url("https://b/x.img", "a", None)), "so that a corrected one acts at once");
    }

    #[test]
    fn what_admission_would_refuse_is_a_problem_not_a_panic() {
        let image = json!({"spec": {"image": {"template": null, "url": "https://x/a", "checksum": "sha256:0"}}});
        assert!(declared(&worker(&image), "inst").unwrap_err().message.contains("spec.image.checksum"));
        let problem = declared(&worker(&json!({"spec": {"proxmox": null}})), "inst").unwrap_err();
        assert!(problem.message.contains("spec.proxmox"));
    }
}

//! `Worker`: one backup worker, a Linux VM on a hypervisor.

#![allow(unreachable_pub, reason = "the derive of KubeSchema puts a copy of each public struct inside a function")]

use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::common::{Quantity, Span};
use super::network::{self, Network};
use super::shapes;
use super::worker_rules as rules;
use super::worker_status::WorkerStatus;
use super::worker_updates::Updates;

/// The worker as it should be.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "stevedore.dev",
    version = "v1alpha1",
    kind = "Worker",
    plural = "workers",
    singular = "worker",
    namespaced,
    derive = "PartialEq",
    status = "WorkerStatus",
    doc = "A backup worker: a Linux VM on a hypervisor that reads, moves and writes the data of backup and restore runs. A Worker has at most one VM, ever. Deleting the Worker deletes the VM with its disks.",
    shortname = "wk",
    category = "stevedore",
    selectable = ".spec.hypervisorRef.name",
    selectable = ".status.phase",
    validation = Rule::new(rules::VM_NAME).message(rules::VM_NAME_MESSAGE).field_path(".spec.vmName").optional_old_self(true),
    validation = Rule::new(rules::DISK_GROWS).message(rules::DISK_MESSAGE).field_path(rules::DISK_PATH),
    validation = Rule::new(rules::DISK_GROWS_TO_DEFAULT).message(rules::DISK_MESSAGE).field_path(rules::DISK_PATH),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.vm.host"),
    printcolumn(name = "VM", type_ = "string", json_path = ".status.vm.id"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.vm.addresses[0]"),
    printcolumn(name = "Tasks", type_ = "string", json_path = ".status.tasks"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "CPU", type_ = "integer", json_path = ".status.resources.cpus", priority = 1),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.resources.memory", priority = 1),
    printcolumn(name = "Tested", type_ = "date", json_path = ".status.lastTest.finishedAt", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(rules::BLOCK).message(rules::BLOCK_MESSAGE),
    validation = Rule::new(rules::BLOCK_KEPT).message(rules::BLOCK_KEPT_MESSAGE),
    validation = Rule::new(rules::HYPERVISOR_KEPT).message(rules::HYPERVISOR_KEPT_MESSAGE).field_path(".hypervisorRef"),
    validation = Rule::new(rules::BRIDGES).message(rules::BRIDGES_MESSAGE).field_path(".networks"),
    validation = Rule::new(rules::IMAGE_STORAGE).message(rules::IMAGE_STORAGE_MESSAGE).field_path(".proxmox"),
)]
pub struct WorkerSpec {
    /// The Hypervisor that the worker lives on, in the same namespace. It cannot be changed.
    pub hypervisor_ref: HypervisorRef,

    /// Where on Proxmox VE the VM is. Needed, and it cannot be taken away again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox: Option<ProxmoxPlacement>,

    /// The name of the VM: at most 40 of a-z, A-Z, 0-9 and -. The Worker's own name if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::vm_name")]
    pub vm_name: Option<String>,

    /// A text that is put into the VM's notes on the hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::vm_description")]
    pub description: Option<String>,

    /// Whether the worker is given tasks; true if not given. While false it gets no new ones, and those that run go on to
    /// their end. It can still be tested.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// While true, nothing is changed for this worker; it is still observed.
    #[serde(default)]
    pub paused: bool,

    /// How many tasks the worker runs at the same time; 4 if not given. CPUs and memory follow from it where they are not given.
    #[serde(default = "max_concurrent_tasks")]
    #[schemars(range(min = 1, max = 64))]
    pub max_concurrent_tasks: i32,

    /// How large the VM is. The sizes in use are in `status.resources`.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,

    /// What the VM is made from.
    pub image: Image,

    /// The network interfaces of the VM, in their order. The first one has the default route.
    #[schemars(schema_with = "network::list")]
    pub networks: Vec<Network>,

    /// How the worker resolves names. What DHCP says if not given.
    #[serde(default, skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,

    /// Who may log in to the worker. The operator itself does not log in: it uses the guest agent.
    #[serde(default)]
    pub access: Access,

    /// The backup agent in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,

    /// What a test checks beyond what it always checks.
    #[serde(default, skip_serializing_if = "Checks::is_empty")]
    pub checks: Checks,

    /// When the worker is tested.
    #[serde(default)]
    pub test: Test,

    /// Whether and how the worker's packages are updated.
    #[serde(default)]
    pub updates: Updates,

    /// How the worker is shut down.
    #[serde(default)]
    pub shutdown: Shutdown,
}

fn enabled() -> bool {
    true
}

fn max_concurrent_tasks() -> i32 {
    4
}

impl Worker {
    /// The name that the VM has or gets.
    pub fn vm_name(&self) -> String {
        self.spec.vm_name.clone().unwrap_or_else(|| self.name_any())
    }
}

/// A Hypervisor in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct HypervisorRef {
    /// The name of the Hypervisor.
    #[schemars(schema_with = "shapes::hypervisor_name")]
    pub name: String,
}

/// Where on Proxmox VE a VM is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProxmoxPlacement {
    /// The name of the node, such as `pve1`.
    #[schemars(schema_with = "shapes::proxmox_host")]
    pub host: String,

    /// The storage for the VM's disks, such as `local-lvm`. It must support snapshots: LVM-thin, ZFS and RBD do, and
    /// directories, NFS and CIFS do with qcow2.
    #[schemars(schema_with = "shapes::proxmox_storage")]
    pub storage: String,

    /// The storage onto which the image of `image.url` is downloaded, such as `local`; needed with it, and only with it.
    /// It is made of files (a directory, NFS, CIFS) and has the content type `import`. It holds each image once, for all
    /// workers; onto a storage that hosts share, it is downloaded once for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::image_storage")]
    pub image_storage: Option<String>,
}

/// How large a VM is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// The number of virtual CPUs. `maxConcurrentTasks` + 2 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub cpus: Option<i32>,

    /// The memory, a whole number of MiB between 512Mi and 16Ti. (`maxConcurrentTasks` + 2) GiB if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::memory")]
    pub memory: Option<Quantity>,

    /// The system disk, a whole number of GiB between 2Gi and 64Ti. 100Gi if not given, or the size of the image if
    /// that is larger. Once there is a VM, its disk can grow but not shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::disk")]
    pub disk: Option<Quantity>,
}

impl Resources {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a VM is made from: a template, or an image that the VM's host downloads.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new(rules::ONE_IMAGE).message(rules::ONE_IMAGE_MESSAGE),
    validation = Rule::new(rules::CHECKED).message(rules::CHECKED_MESSAGE),
    validation = Rule::new(rules::FORMAT).message(rules::FORMAT_MESSAGE),
)]
pub struct Image {
    /// The name or the id of a template on the hypervisor, such as `debian-worker` or `9000`. The VM is a full clone of
    /// it. The template has cloud-init and the guest agent installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::template")]
    pub template: Option<String>,

    /// Where the image of a disk is served by http or https. The VM's host downloads it onto `proxmox.imageStorage`, once
    /// for all workers that want it. The image has cloud-init and the guest agent installed, and is not compressed. It is
    /// no place for a secret, such as a signed query: everybody can read it who may read this Worker, and the host writes
    /// it into the task's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::image_url")]
    pub url: Option<String>,

    /// The checksum of what `url` serves: `sha256:` and 64, or `sha512:` and 128 hex digits in lower case. It tells one
    /// image from another: the same one may be served from elsewhere later; with another checksum the VM must be made
    /// anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shapes::image_checksum")]
    pub checksum: Option<String>,

    /// The format of what `url` serves, whatever the URL ends with; `Qcow2` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
}

/// The format of an image.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// QEMU's own format; files of it are often named `.qcow2` or `.img`.
    #[default]
    Qcow2,
    /// The bytes of the disk as they are.
    Raw,
    /// VMDK.
    Vmdk,
}

/// How a worker resolves names.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// The addresses of the name servers, in the order in which they are asked; 3 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::dns_servers")]
    pub servers: Vec<String>,

    /// The domains in which short names are looked for, in this order; 6 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::search_domains")]
    pub search_domains: Vec<String>,
}

impl Dns {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who may log in to a worker.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The Linux user that cloud-init creates; `stevedore` if not given. It may use sudo. It is never root.
    #[serde(default = "access_user")]
    #[schemars(schema_with = "shapes::linux_user")]
    pub user: String,

    /// The OpenSSH public keys with which this user may log in. Nobody can log in without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shapes::authorized_keys")]
    pub authorized_keys: Vec<String>,
}

fn access_user() -> String {
    "stevedore".to_owned()
}

impl Default for Access {
    fn default() -> Self {
        Self { user: access_user(), authorized_keys: Vec::new() }
    }
}

/// The backup agent in the image.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The systemd unit of the backup agent, such as `backup-agent.service`. A test passes only if it runs.
    #[schemars(schema_with = "shapes::systemd_unit")]
    pub unit: String,
}

/// What a test checks beyond what it always checks.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// What the worker must be able to open a TCP connection to, such as the backup server and the repository. The
    /// hypervisor's own API is always checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "connect_checks")]
    pub connect: Vec<ConnectCheck>,
}

impl Checks {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One TCP connection that must be possible.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ConnectCheck {
    /// A name of your choice, which the test's result uses.
    #[schemars(schema_with = "shapes::check_name")]
    pub name: String,

    /// The DNS name or the address to connect to.
    #[schemars(schema_with = "shapes::network_host")]
    pub host: String,

    /// The TCP port to connect to.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

fn connect_checks(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": generator.subschema_for::<ConnectCheck>(),
    })
}

/// When a worker is tested.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    /// `Manual`, the default: only when asked for with the annotation `stevedore.dev/test-requested-at`; until then no VM is made.
    /// `OnChange`: also after the Worker was created or edited, so that its VM is made at once.
    #[serde(default)]
    pub policy: TestPolicy,

    /// How old a passed test of the same configuration may be, between 0s and 720h, for a launch to go without the checks;
    /// 0s if not given: each launch makes them.
    #[serde(default = "max_age")]
    #[schemars(schema_with = "shapes::test_age")]
    pub max_age: Span,
}

fn max_age() -> Span {
    Span::new("0s")
}

impl Default for Test {
    fn default() -> Self {
        Self { policy: TestPolicy::default(), max_age: max_age() }
    }
}

/// When a worker is tested.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TestPolicy {
    /// Only when asked for.
    #[default]
    Manual,
    /// Also after each change.
    OnChange,
}

/// How a worker is shut down.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// How long the guest has to shut down by itself before the VM is powered off, between 0s and 1h; 2m if not given.
    #[serde(default = "grace_period")]
    #[schemars(schema_with = "shapes::grace_period")]
    pub grace_period: Span,

    /// How long the worker stays powered on after its last task, ready for the next one, between 0s and 24h; 0s if not
    /// given.
    #[serde(default = "shutdown_delay")]
    #[schemars(schema_with = "shapes::warm_time")]
    pub delay: Span,
}

fn grace_period() -> Span {
    Span::new("2m")
}

fn shutdown_delay() -> Span {
    Span::new("0s")
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace_period: grace_period(), delay: shutdown_delay() }
    }
}

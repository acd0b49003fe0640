//! The rules that look at a whole `Worker`, and what they say.
//!
//! A rule at the root also runs on every write of status and metadata, on objects of an earlier CRD too, and would make
//! one that it refuses unwritable, finalizers included. So each of them passes when what it speaks of did not change.

/// Runs on creation, too, where `oldSelf` has no value.
pub(super) const VM_NAME: &str = "oldSelf.hasValue() && has(oldSelf.value().spec.vmName) == has(self.spec.vmName) \
     || has(self.spec.vmName) \
     || self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$') && self.metadata.name.size() <= 40";
pub(super) const VM_NAME_MESSAGE: &str =
    "the Worker's name cannot be the VM's name (at most 40 of a-z, 0-9 and -): set spec.vmName";

// The rules on disks are written out with `has()`: through an optional value the API server loses sight of how long a
// text can be, and prices the rule out.

macro_rules! once_there_is_a_vm {
    ($rule:literal) => {
        concat!("!has(self.status) || !has(self.status.vm) || ", $rule)
    };
}

/// A size is asked for that is another one than before. What counts is what the VM has, which the status says, and not
/// what was asked for before: that may have been too much for the storage.
pub(super) const DISK_GROWS: &str = once_there_is_a_vm!(
    "!has(self.spec.resources) || !has(self.spec.resources.disk) \
     || has(oldSelf.spec.resources) && has(oldSelf.spec.resources.disk) \
     && self.spec.resources.disk == oldSelf.spec.resources.disk \
     || !has(self.status.resources) || !isQuantity(self.status.resources.disk) \
     || !isQuantity(self.spec.resources.disk) \
     || quantity(self.spec.resources.disk).compareTo(quantity(self.status.resources.disk)) >= 0"
);

/// None is asked for any more: the default must not be smaller.
pub(super) const DISK_GROWS_TO_DEFAULT: &str = once_there_is_a_vm!(
    "has(self.spec.resources) && has(self.spec.resources.disk) \
     || !has(oldSelf.spec.resources) || !has(oldSelf.spec.resources.disk) \
     || !has(self.status.resources) || !isQuantity(self.status.resources.disk) \
     || quantity(self.status.resources.disk).compareTo(quantity('100Gi')) <= 0"
);
pub(super) const DISK_MESSAGE: &str = "the VM has a disk already, which can grow but not shrink; \
     status.resources.disk says how large it is";
pub(super) const DISK_PATH: &str = ".spec.resources.disk";

pub(super) const BLOCK: &str = "has(self.proxmox)";
pub(super) const BLOCK_MESSAGE: &str = "the block proxmox is missing: it says on which host and storage the VM is to be, \
     such as proxmox: {host: pve1, storage: local-lvm}";

/// Stands on the parent: a rule on the block itself would not see it being taken away.
pub(super) const BLOCK_KEPT: &str = "has(self.proxmox) == has(oldSelf.proxmox)";
pub(super) const BLOCK_KEPT_MESSAGE: &str =
    "the provider block cannot be changed; delete this Worker and create another one";

pub(super) const HYPERVISOR_KEPT: &str = "self.hypervisorRef.name == oldSelf.hypervisorRef.name";
pub(super) const HYPERVISOR_KEPT_MESSAGE: &str =
    "hypervisorRef cannot be changed; delete this Worker and create another one";

pub(super) const BRIDGES: &str = "!has(self.proxmox) || self.networks.all(n, has(n.bridge))";
pub(super) const BRIDGES_MESSAGE: &str = "each network needs a bridge on Proxmox VE, such as vmbr0";

pub(super) const IMAGE_STORAGE: &str = "!has(self.proxmox) || has(self.proxmox.imageStorage) == has(self.image.url)";
pub(super) const IMAGE_STORAGE_MESSAGE: &str = "proxmox.imageStorage and image.url belong together: \
     the storage is where the image is downloaded to";

pub(super) const ONE_IMAGE: &str = "has(self.template) != has(self.url)";
pub(super) const ONE_IMAGE_MESSAGE: &str = "exactly one of template (the name or the id of a template on the hypervisor) \
     and url must be given";

pub(super) const CHECKED: &str = "has(self.url) == has(self.checksum)";
pub(super) const CHECKED_MESSAGE: &str = "url and checksum belong together, such as checksum: sha256:<64 hex digits>";

pub(super) const FORMAT: &str = "!has(self.format) || has(self.url)";
pub(super) const FORMAT_MESSAGE: &str = "format belongs to url: it says what the URL serves";

//! Making a VM from an image: everything in one call, so that the VM is complete, and carries all its marks, as soon as
//! it shows anything.

use std::collections::BTreeMap;

use super::call::Call;
use super::changes::changes;
use super::changing::Changing;
use super::images::volume;
use super::inventory::resources;
use super::making::disk_format;
use super::params::Params;
use super::routes::CREATE;
use crate::domain::fault::Fault;
use crate::hypervisor::vm::image::ImageFile;
use crate::hypervisor::vm::{CreateOrder, Started, Takes, VmDetail, VmWanted};

/// The disk that the image becomes.
const DISK: &str = "scsi0";

/// Makes the VM. While that lasts its configuration shows nothing but a lock, and nothing is left if it fails (recorded
/// 231–234); the task names the id.
pub(super) async fn create(changing: &Changing<'_>, order: &CreateOrder, image: &ImageFile) -> Result<Started, Fault> {
    let resources = resources(changing.connection).await?;
    let format = disk_format(&resources, &order.wanted);
    let mut params = Params::default().with("vmid", &order.at.id);
    for (key, value) in configuration(order, image, format) {
        params.push(&key, &value);
    }
    if let Some(pool) = changing.pool {
        params.push("pool", pool);
    }
    changing.started(Call::new(&CREATE, &[&order.at.host]).with(params)).await
}

/// All that is set: the hardware, and whatever a VM of this hardware would lack of what is wanted.
fn configuration(order: &CreateOrder, image: &ImageFile, format: Option<&str>) -> BTreeMap<String, String> {
    let mut config = hardware(&order.wanted, image, format);
    let bare = VmDetail::bare(order.at.clone(), config.clone());
    let lacking = changes(&order.wanted, &bare).into_iter().filter(|change| change.takes == Takes::Configure);
    config.extend(lacking.filter_map(|change| Some((change.key, change.value?))));
    config
}

/// Hardware that every common cloud image boots on, with the default firmware (`SeaBIOS`) and machine type.
///
/// - Disk and cloud-init drive are both SCSI, behind virtio: small cloud kernels such as Debian 12's have no driver for the
///   IDE and SATA controllers that Proxmox VE puts cloud-init drives on by default.
/// - The processor is what Proxmox VE's own dialog proposes: the default of the API, `kvm64`, lacks what distributions
///   such as Rocky 9 ask for (x86-64-v2), and `host` would keep a VM from moving between hosts.
/// - Cloud images talk to the serial port, some wait for one; so that is the console, too.
fn hardware(wanted: &VmWanted, image: &ImageFile, format: Option<&str>) -> BTreeMap<String, String> {
    let storage = &wanted.storage;
    let format = format.map(|format| format!(",format={format}")).unwrap_or_default();
    let disk = format!("{storage}:0,import-from={}{format},discard=on,iothread=1", volume(image));
    let options = [
        (DISK, disk),
        ("scsi1", format!("{storage}:cloudinit")),
        ("scsihw", "virtio-scsi-single".to_owned()),
        ("boot", format!("order={DISK}")),
        ("ostype", "l26".to_owned()),
        ("cpu", "x86-64-v2-AES".to_owned()),
        ("serial0", "socket".to_owned()),
        ("vga", "serial0".to_owned()),
    ];
    options.map(|(key, value)| (key.to_owned(), value)).into()
}

//! From a machine's configuration to QEMU's command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::disks;
use crate::simulator::scenario::{AgentPresence, QemuSpec};
use crate::simulator::world::config::{Config, Drive};
use crate::simulator::world::prop::{Net, Props};
use crate::simulator::world::vmm::PowerOn;

/// Sockets and logs of one machine, by name in its folder.
pub(super) const QMP: &str = "qmp.sock";
pub(super) const AGENT: &str = "qga.sock";
const SERIAL: &str = "serial0.sock";

/// A command line, and what a person should know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) arguments: Vec<String>,
    pub(super) remarks: Vec<String>,
}

/// The tap device of a network card.
pub(super) fn tap(vmid: u32, key: &str) -> String {
    format!("tap{vmid}i{}", key.strip_prefix("net").unwrap_or(key))
}

/// Where a machine's own files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its sockets.
    pub(super) run: PathBuf,
    /// What its guest writes on the first serial port.
    pub(super) console: PathBuf,
}

/// The command line of a machine.
pub(super) fn command_line(
    order: &PowerOn,
    spec: &QemuSpec,
    accelerator: &str,
    folder: &Folder,
) -> Result<CommandLine, String> {
    let mut line = CommandLine::default();
    line.basics(order, spec, accelerator, &folder.run);
    line.firmware(order, &folder.run)?;
    line.channels(order, folder);
    if !order.behaviour.hangs {
        line.drives(order)?;
    }
    line.networks(order);
    Ok(line)
}

impl CommandLine {
    fn add<'a>(&mut self, arguments: impl IntoIterator<Item = &'a str>) {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
    }

    fn device(&mut self, text: impl Into<String>) {
        self.arguments.extend(["-device".to_owned(), text.into()]);
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.arguments.extend([name.to_owned(), value.into()]);
    }

    fn basics(&mut self, order: &PowerOn, spec: &QemuSpec, accelerator: &str, folder: &Path) {
        let config = &order.config;
        let name = config.get("name").map_or_else(|| format!("VM{}", order.vmid), str::to_owned);
        self.option("-name", name.replace(',', ""));
        self.add(["-no-user-config", "-nodefaults", "-display", "none"]);
        let machine = if config.get("machine").is_some_and(|machine| machine.contains("q35")) { "q35" } else { "pc" };
        self.option("-machine", machine);
        self.option("-accel", accelerator);
        // Software has no model of its own to copy, so it gets all that it can do.
        self.option("-cpu", if accelerator == "kvm" { "host" } else { "max" });
        let cores = self.capped("cores", config.vcpus(), spec.max_cores);
        self.option("-smp", cores.to_string());
        let memory = self.capped("MiB of memory", config.memory_bytes() >> 20, spec.max_memory_mib);
        self.option("-m", format!("{memory}M"));
        self.identity(config);
        let serial = config.get("vga").is_some_and(|vga| vga.starts_with("serial") || vga.starts_with("none"));
        self.option("-vga", if serial { "none" } else { "std" });
        self.option("-rtc", rtc(order.clock));
        self.option("-chardev", format!("socket,id=qmp,path={},server=on,wait=off", folder.join(QMP).display()));
        self.add(["-mon", "chardev=qmp,mode=control"]);
        if config.get("balloon") != Some("0") {
            self.device("virtio-balloon-pci,id=balloon0");
        }
        if config.get("rng0").is_some() {
            self.add(["-object", "rng-random,id=rng0,filename=/dev/urandom"]);
            self.device("virtio-rng-pci,rng=rng0");
        }
    }

    fn capped(&mut self, what: &str, wanted: u64, most: Option<u64>) -> u64 {
        match most.filter(|most| *most < wanted) {
            None => wanted,
            Some(most) => {
                self.remarks.push(format!("the simulator gives this machine {most} {what} in place of {wanted}"));
                most
            }
        }
    }

    fn identity(&mut self, config: &Config) {
        let props = config.get("smbios1").map(Props::parse).unwrap_or_default();
        let encoded = props.get("base64") == Some("1");
        let mut text = "type=1".to_owned();
        for (key, value) in props.0.iter().filter(|(key, _)| key != "base64") {
            let plain = if encoded && key != "uuid" { decoded(value) } else { value.clone() };
            let _ = write!(text, ",{key}={}", plain.replace(',', ",,"));
        }
        if let Some(uuid) = props.get("uuid") {
            self.option("-uuid", uuid);
        }
        self.option("-smbios", text);
    }

    fn firmware(&mut self, order: &PowerOn, folder: &Path) -> Result<(), String> {
        if order.config.get("bios") != Some("ovmf") {
            return Ok(());
        }
        let code = disks::firmware_code()?;
        let variables = if let Some(file) = order.files.get("efidisk0") {
            file.clone()
        } else {
            let temporary = folder.join("efivars.fd");
            disks::make_firmware_variables(&temporary)?;
            temporary
        };
        self.option("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={}", code.display()));
        self.option("-drive", format!("if=pflash,unit=1,format=raw,file={}", variables.display()));
        Ok(())
    }

    fn channels(&mut self, order: &PowerOn, folder: &Folder) {
        let config = &order.config;
        if config.agent_enabled() && order.behaviour.agent != AgentPresence::Absent {
            let path = folder.run.join(AGENT);
            self.option("-chardev", format!("socket,id=qga0,path={},server=on,wait=off", path.display()));
            self.device("virtio-serial-pci,id=qga0");
            self.device("virtserialport,chardev=qga0,name=org.qemu.guest_agent.0");
        }
        if config.get("serial0").is_some() {
            let (socket, log) = (folder.run.join(SERIAL), folder.console.display());
            let socket = socket.display();
            self.option("-chardev", format!("socket,id=serial0,path={socket},server=on,wait=off,logfile={log}"));
            self.device("isa-serial,chardev=serial0");
        }
    }

    fn drives(&mut self, order: &PowerOn) -> Result<(), String> {
        let config = &order.config;
        let mut controllers = Vec::new();
        for (key, drive) in config.drives().filter(|(key, _)| !key.starts_with("efidisk")) {
            let Some((bus, number)) = split(key) else { continue };
            if bus == "tpmstate" {
                return Err("the simulator's QEMU machines have no TPM: remove tpmstate0".to_owned());
            }
            let file = order.files.get(key);
            if let Some(file) = file {
                self.option("-blockdev", block(key, &drive, file).to_string());
            }
            let medium = file.map(|_| format!(",drive=drive-{key}")).unwrap_or_default();
            let (controller, device) = place(config, bus, number, drive.is_cdrom());
            if let Some(controller) = controller.filter(|controller| !controllers.contains(controller)) {
                self.device(controller.clone());
                controllers.push(controller);
            }
            let index = boot_index(config, key).map(|index| format!(",bootindex={index}")).unwrap_or_default();
            self.device(format!("{device},id={key}{medium}{index}"));
        }
        Ok(())
    }

    fn networks(&mut self, order: &PowerOn) {
        for (key, net) in order.config.nets() {
            self.option("-netdev", format!("tap,id={key},ifname={},script=no,downscript=no", tap(order.vmid, key)));
            let model = match net.model.as_str() {
                "virtio" => "virtio-net-pci",
                other => other,
            };
            let mac = net.mac.as_deref().unwrap_or("");
            let mtu = host_mtu(&net).map(|mtu| format!(",host_mtu={mtu}")).unwrap_or_default();
            let index = boot_index(&order.config, key).map(|index| format!(",bootindex={index}")).unwrap_or_default();
            self.device(format!("{model},mac={mac},netdev={key},id=card-{key}{mtu}{index}"));
        }
    }
}

/// Proxmox VE tells a guest the MTU by virtio alone, and nothing of it in cloud-init's network data. 1 is the bridge's.
fn host_mtu(net: &Net) -> Option<u32> {
    let mtu = net.rest.get("mtu")?.parse().ok()?;
    (net.model == "virtio").then_some(if mtu == 1 { 1500 } else { mtu })
}

fn decoded(value: &str) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The hardware clock: the true time in UTC, or another.
fn rtc(clock: Option<Timestamp>) -> String {
    clock.map_or_else(|| "base=utc".to_owned(), |time| format!("base={}", time.strftime("%Y-%m-%dT%H:%M:%S")))
}

/// `scsi12` as `scsi` and 12.
fn split(key: &str) -> Option<(&str, u32)> {
    let digits = key.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    Some((&key[..key.len() - digits.len()], digits.parse().ok()?))
}

/// What QEMU opens for a drive. Nothing waits for the disk of this machine: its guests are there for a while.
fn block(key: &str, drive: &Drive, file: &Path) -> Value {
    let format = if drive.is_cdrom() { "raw" } else { "qcow2" };
    json!({
        "node-name": format!("drive-{key}"),
        "driver": format,
        "read-only": drive.is_cdrom(),
        "discard": "unmap",
        "cache": {"direct": false, "no-flush": true},
        "file": {"driver": "file", "filename": PathBuf::from(file), "discard": "unmap"},
    })
}

/// The controller that a drive needs, if it is one to be added, and the drive's own device.
fn place(config: &Config, bus: &str, number: u32, cdrom: bool) -> (Option<String>, String) {
    let q35 = config.get("machine").is_some_and(|machine| machine.contains("q35"));
    match bus {
        "virtio" => (None, "virtio-blk-pci".to_owned()),
        "scsi" => {
            let kind = if cdrom { "scsi-cd" } else { "scsi-hd" };
            let hardware = config.get("scsihw").unwrap_or("lsi");
            // One controller for each disk, or one for all.
            let (model, at, unit) = match hardware {
                "virtio-scsi-single" => ("virtio-scsi-pci", number, 0),
                other => (other, 0, number),
            };
            (Some(format!("{model},id=scsihw{at}")), format!("{kind},bus=scsihw{at}.0,scsi-id={unit}"))
        }
        "sata" => {
            let kind = if cdrom { "ide-cd" } else { "ide-hd" };
            (Some("ahci,id=ahci0".to_owned()), format!("{kind},bus=ahci0.{number}"))
        }
        _ => {
            let kind = if cdrom { "ide-cd" } else { "ide-hd" };
            let (bus, unit) = if q35 { (number, 0) } else { (number / 2, number % 2) };
            (None, format!("{kind},bus=ide.{bus},unit={unit}"))
        }
    }
}

/// The place of a device in the boot order, from 100 as Proxmox VE counts.
fn boot_index(config: &Config, key: &str) -> Option<usize> {
    let order = config.get("boot").map(Props::parse)?;
    let place = order.get("order")?.split(';').position(|device| device == key)?;
    Some(100 + place)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
